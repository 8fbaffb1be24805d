"""Diagnostics of a run's stability, and the detection of collapse."""
