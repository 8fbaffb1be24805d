"""What a run tells about its own stability: diagnostics, the detection of collapse, and their pictures."""
