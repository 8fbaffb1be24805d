"""The arithmetic of the metrics: functions from features or logits to numbers.

All is computed in float64, except distances between features, which keep the dtype of the features.
"""

from gan_lab.metrics.functional.frechet import (
    covariance_root,
    frechet_distance,
    frechet_distance_of_features,
    mean_and_covariance,
)
from gan_lab.metrics.functional.inception_score import inception_score
from gan_lab.metrics.functional.kernel import kernel_distance
from gan_lab.metrics.functional.labels import label_divergence
from gan_lab.metrics.functional.manifold import (
    density_coverage,
    manifold_figures,
    neighbour_distances,
    precision_recall,
)
from gan_lab.metrics.functional.memorization import copies, nearest_neighbours

__all__ = [
    "copies",
    "covariance_root",
    "density_coverage",
    "frechet_distance",
    "frechet_distance_of_features",
    "inception_score",
    "kernel_distance",
    "label_divergence",
    "manifold_figures",
    "mean_and_covariance",
    "nearest_neighbours",
    "neighbour_distances",
    "precision_recall",
]
