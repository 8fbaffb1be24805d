"""What a run leaves on disk: its directory, checkpoints, logs, image grids and TensorBoard events."""
