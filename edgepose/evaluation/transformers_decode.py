"""Heatmaps → keypoints as the image processor of Hugging Face's ``transformers`` decodes them, for comparisons with it.

It follows the published procedure (see ``edgepose.heatmap``) but for the smoothing before DARK: a Gaussian with sigma 0.8, over eleven
pixels, that mirrors the border *with* its outermost pixel (SciPy's ``reflect``), where the published code takes sigma 2 and mirrors
without it. Written anew after ``VitPoseImageProcessor.post_process_pose_estimation`` (Apache-2.0).
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_like_transformers"]

SIGMA, RADIUS = 0.8, 5
LOWEST, HIGHEST = 0.001, 50.0


def decode_like_transformers(heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the keypoints in heatmaps.

    Args:
        heatmaps: (N, K, height, width) float32.

    Returns:
        Coordinates (N, K, 2), x and y in heatmap pixels, and scores (N, K). Both float32. Where no value is positive, coordinates are
        (-1, -1); the image processor refines that point, too, into one that means nothing.
    """
    people, keypoints, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    flat = maps.reshape(len(maps), -1)
    peaks = flat.argmax(axis=1)
    scores = flat[np.arange(len(flat)), peaks]
    rows, columns = np.divmod(peaks, width)
    (before, above, _), (left, here, right), (_, below, after) = np.log(
        np.clip(_smooth_around(maps, rows, columns), LOWEST, HIGHEST)
    ).transpose(1, 2, 0)
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxy = 0.5 * (after - right - below + here + here - left - above + before)
    regular = np.finfo(np.float32).eps
    dxx, dyy = right - 2 * here + left + regular, below - 2 * here + above + regular
    determinant = dxx * dyy - dxy * dxy
    inverse = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    steps = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) * inverse[:, None]
    found = (scores > 0)[:, None]
    coordinates = np.where(found, np.stack([columns, rows], axis=1) - steps, -1).astype(np.float32)
    return coordinates.reshape(people, keypoints, 2), scores.reshape(people, keypoints)


def _smooth_around(maps: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """Smoothed values of the peaks and their neighbours, (M, 3, 3); beyond the border the outermost smoothed value is repeated."""
    height, width = maps.shape[1:]
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    weights /= weights.sum()
    down, across = _neighbours(rows, height), _neighbours(columns, width)
    windows = maps[np.arange(len(maps))[:, None, None], down.reshape(len(maps), -1)[:, :, None], across.reshape(len(maps), -1)[:, None]]
    # Rows first and float32 in between, as SciPy filters.
    taps = len(weights)
    vertical = np.einsum("mitx,t->mix", windows.reshape(len(maps), 3, taps, -1).astype(np.float64), weights).astype(np.float32)
    smoothed: NDArray[np.float64] = np.einsum("mijt,t->mij", vertical.reshape(len(maps), 3, 3, taps).astype(np.float64), weights)
    return smoothed.astype(np.float32).astype(np.float64)


def _neighbours(peaks: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Pixels under the filter at each peak and beside it: (M, 3, taps)."""
    centres = np.clip(peaks[:, None] + np.arange(-1, 2), 0, length - 1)
    taps = centres[:, :, None] + np.arange(-RADIUS, RADIUS + 1)
    period = 2 * length
    folded = taps % period
    mirrored: NDArray[np.intp] = np.minimum(folded, period - 1 - folded)
    return mirrored
