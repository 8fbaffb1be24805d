"""Studies behind what docs/ says: each measures and writes its tables."""
