"""Benchmarks: gan_lab against plain PyTorch as it is usually written, in one process and interleaved."""
