"""Datasets: where they come from, how they are stored, and the order in which training sees them."""

from gan_lab.data.dataset import Dataset, TrainingImages, supported_resolution, to_float, to_pixels
from gan_lab.data.sampler import indices
from gan_lab.data.sources import load
from gan_lab.data.store import PackedStore, open_packed, pack

__all__ = [
    "Dataset",
    "PackedStore",
    "TrainingImages",
    "indices",
    "load",
    "open_packed",
    "pack",
    "supported_resolution",
    "to_float",
    "to_pixels",
]
