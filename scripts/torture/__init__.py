"""Attempts to break a run: kill -9, failing disks (`python -m scripts.torture`), hostile inputs (`.fuzz`)."""
