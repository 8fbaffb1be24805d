"""Penalties: terms added to D's or G's loss, and constraints on weights."""

from gan_lab.penalties.base import Batch, Penalty, PenaltyModule
from gan_lab.penalties.classes import (
    AuxiliaryClassifier,
    ClassLoss,
    ConditionalContrastive,
    DataToData,
    DiscriminativeClassifier,
    MultiHinge,
    TwinClassifier,
)
from gan_lab.penalties.consistency import Consistency, LatentConsistency
from gan_lab.penalties.gradient import GradientPenalty, R1Weight
from gan_lab.penalties.latents import LatentOptimization
from gan_lab.penalties.lecam import LeCam
from gan_lab.penalties.path_length import PathLength
from gan_lab.penalties.self_supervision import InfoMax, Rotation
from gan_lab.penalties.weights import Orthogonal, WeightClip

__all__ = [
    "AuxiliaryClassifier",
    "ClassLoss",
    "ConditionalContrastive",
    "DataToData",
    "DiscriminativeClassifier",
    "MultiHinge",
    "TwinClassifier",
    "Consistency",
    "GradientPenalty",
    "InfoMax",
    "LatentConsistency",
    "LatentOptimization",
    "LeCam",
    "Orthogonal",
    "PathLength",
    "R1Weight",
    "Rotation",
    "Batch",
    "Penalty",
    "PenaltyModule",
    "WeightClip",
]
