"""Metrics: the arithmetic (`functional`), the backbones, and the evaluators that a configuration names."""

from gan_lab.metrics.factories import classifier_evaluator, inception_evaluator

__all__ = ["classifier_evaluator", "inception_evaluator"]
