"""Gaussian heatmaps for whole batches, on the device: ``edgepose.heatmap.encode`` in torch, which it is tested against."""

import torch
from torch import Tensor

__all__ = ["draw_targets"]

SIGMA = 2.0  # heatmap pixels, as ViTPose trains


def draw_targets(keypoints: Tensor, heatmap_size: tuple[int, int], input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Draw UDP targets.

    Args:
        keypoints: (N, K, 3) float32: x, y in input pixels, weight; weight 0 is no keypoint.
        heatmap_size: height and width.
        input_size: height and width.

    Returns:
        Heatmaps (N, K, height, width), 1 at each keypoint and cut off three sigma from the pixel that holds it; and weights (N, K), 0 where
        nothing of the Gaussian is inside.
    """
    height, width = heatmap_size
    strides = keypoints.new_tensor([(input_size[1] - 1) / (width - 1), (input_size[0] - 1) / (height - 1)])
    centres = keypoints[..., :2] / strides
    pixels = torch.trunc(centres + 0.5)
    sides = keypoints.new_tensor([width, height])
    inside = ((pixels - 3 * SIGMA < sides) & (pixels + 3 * SIGMA + 1 >= 0)).all(dim=-1)
    weights = torch.where(inside, keypoints[..., 2], 0)
    across, down = (_gaussian(centres[..., axis], pixels[..., axis], length) for axis, length in ((0, width), (1, height)))
    heatmaps = down[..., :, None] * across[..., None, :]
    return heatmaps * (weights > 0)[..., None, None], weights


def _gaussian(centres: Tensor, pixels: Tensor, length: int) -> Tensor:
    """One axis: (N, K, length)."""
    positions = torch.arange(length, device=centres.device, dtype=centres.dtype)
    values = torch.exp(-((positions - centres[..., None]) ** 2) / (2 * SIGMA**2))
    return torch.where((positions - pixels[..., None]).abs() <= 3 * SIGMA, values, 0)
