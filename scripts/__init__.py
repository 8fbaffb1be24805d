"""What people who work on the repository run, from its root: `python -m scripts.NAME --help`."""
