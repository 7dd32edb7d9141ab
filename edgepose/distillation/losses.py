"""Losses between heatmaps."""

import math

import torch
from torch import Tensor

from edgepose.distillation.targets import SIGMA

__all__ = ["cross_entropy", "squared_error"]

SHARPNESS = 10.0
GAUSSIAN_ENERGY = math.pi * SIGMA**2


def cross_entropy(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Compare heatmaps as distributions over pixels: the Kullback-Leibler divergence of their softmaxes.

    From scratch this learns at once where squared error stays at the trivial answer, an empty heatmap, for epochs: a distribution has to
    be somewhere. It leaves a heatmap's level open, so a network that is to have scores finishes with ``squared_error``. Heatmaps are
    multiplied by 10 before the softmax: that gives a Gaussian target of height 1 about the width it has.

    Args:
        heatmaps: (N, K, h, w) of the student.
        targets: (N, K, h, w).
        weights: (N, K).

    Returns:
        The weighted mean over keypoints; 0 without any.
    """
    logits = heatmaps.float().flatten(2) * SHARPNESS
    wanted = (targets.float().flatten(2) * SHARPNESS).log_softmax(-1)
    distances = (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1)
    return _mean(distances, weights)


def squared_error(heatmaps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum of squared differences, relative to the energy of one Gaussian: an empty heatmap has loss 1.

    ViTPose's own loss is the same but for a constant factor, which AdamW doesn't see.

    Args:
        heatmaps: (N, K, h, w) of the student.
        targets: (N, K, h, w).
        weights: (N, K).

    Returns:
        The weighted mean over keypoints; 0 without any.
    """
    distances = (heatmaps.float() - targets.float()).flatten(2).square().sum(-1) / GAUSSIAN_ENERGY
    return _mean(distances, weights)


def _mean(distances: Tensor, weights: Tensor) -> Tensor:
    return torch.where(weights > 0, distances * weights, 0).sum() / weights.sum().clamp(min=1e-6)
