"""Crop and decoding as the image processor of Hugging Face's ``transformers`` does them, for comparisons with it.

Written anew after ``VitPoseImageProcessor`` (Apache-2.0, 5.23). Its geometry is the published UDP one, whatever the head was trained with;
two things differ from the published code (see ``edgepose.crop`` and ``edgepose.heatmap``):

- Crops are sampled by SciPy, at exact positions in float64 and with black wherever a position lies outside the pixels' centres, where
  OpenCV rounds positions to 1/32 pixel and blends with black at the border.
- Heatmaps are smoothed before DARK with sigma 0.8 over eleven pixels, mirroring the border *with* its outermost pixel (SciPy's
  ``reflect``), where the published code takes sigma 2 and mirrors without it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.crop import Crops, pad_boxes, warp_matrices
from edgepose.heatmap import find_peaks, newton_steps
from edgepose.spec import Codec, InputSpec

__all__ = ["CODEC", "crop_like_transformers", "decode_like_transformers"]

CODEC = Codec()
"""The image processor knows one geometry: UDP, padded by 1.25."""

SIGMA, RADIUS = 0.8, 5


def crop_like_transformers(image: NDArray[np.uint8], boxes_xyxy: ArrayLike, input_spec: InputSpec) -> Crops:
    """Cut boxes out of an image, resample them to the network's input and normalise.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes_xyxy: (N, 4) boxes in image pixels that ``edgepose.boxes.check_boxes`` accepts.
        input_spec: the network's input.
    """
    centres, sizes = pad_boxes(boxes_xyxy, input_spec, CODEC)
    forward = np.zeros((len(centres), 3, 3))
    forward[:, :2] = warp_matrices(centres, sizes, input_spec, CODEC)
    forward[:, 2, 2] = 1
    backward = np.linalg.inv(forward)
    tables = _normalization_tables(input_spec)
    batch = np.empty((len(centres), 3, input_spec.height, input_spec.width), dtype=np.float32)
    for matrix, planes in zip(backward, batch, strict=True):
        rows = matrix[1, 2] + np.arange(input_spec.height) * matrix[1, 1]
        columns = matrix[0, 2] + np.arange(input_spec.width) * matrix[0, 0]
        pixels = _sample(image, rows, columns)
        for channel in range(3):
            planes[channel] = tables[channel][pixels[:, :, channel]]
    return Crops(batch=batch, centres=centres, sizes=sizes)


def decode_like_transformers(heatmaps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the keypoints in heatmaps.

    Args:
        heatmaps: (N, K, height, width), any float type.

    Returns:
        Coordinates (N, K, 2), x and y in heatmap pixels, and scores (N, K). Both float32. Where no value is positive, coordinates are
        (-1, -1); the image processor refines that point, too, into one that means nothing.

    Raises:
        InputError: see ``edgepose.heatmap.find_peaks``.
    """
    peaks = find_peaks(heatmaps)
    steps = newton_steps(_smooth_around(peaks.maps, peaks.rows, peaks.columns))
    coordinates = (peaks.coordinates - np.where(peaks.found[:, None], steps, 0.0)).astype(np.float32)
    return coordinates.reshape(*heatmaps.shape[:2], 2), peaks.scores.reshape(heatmaps.shape[:2])


def _sample(image: NDArray[np.uint8], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bilinear samples (h, w, 3) at every row (h,) and column (w,), rounded half up; 0 outside the outermost pixels' centres."""
    (top, down, above), (left, across, before) = (
        _between(positions, length) for positions, length in zip((rows, columns), image.shape, strict=False)
    )
    # The order of SciPy's sums, so that halves round alike.
    values = np.zeros((len(rows), len(columns), 3))
    for y, weight in ((top, above), (np.minimum(top + 1, image.shape[0] - 1), down)):
        for x, share in ((left, before), (np.minimum(left + 1, image.shape[1] - 1), across)):
            values += image[y[:, None], x] * weight[:, None, None] * share[:, None]
    inside = ((rows >= 0) & (rows <= image.shape[0] - 1))[:, None] & (columns >= 0) & (columns <= image.shape[1] - 1)
    return np.where(inside[:, :, None], values + 0.5, 0.0).astype(np.uint8)


def _between(positions: NDArray[np.float64], length: int) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The pixel before each position, and the weights of the one after it and of itself."""
    pixels = np.floor(positions)
    before = 1 - (positions - pixels)
    return np.clip(pixels, 0, length - 1).astype(np.intp), 1 - before, before


def _normalization_tables(input_spec: InputSpec) -> NDArray[np.float32]:
    """(3, 256): the normalised value of each pixel value, in the image processor's order of operations."""
    pixels = (np.arange(256) * (1 / 255)).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None] for values in (input_spec.mean, input_spec.std))
    tables: NDArray[np.float32] = (pixels - mean) / std
    return tables


def _smooth_around(maps: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
    """Smoothed values of the peaks and their neighbours, (M, 3, 3); beyond the border the outermost smoothed value is repeated."""
    height, width = maps.shape[1:]
    taps = 2 * RADIUS + 1
    down, across = (_neighbours(*axis).reshape(-1, 3 * taps) for axis in ((rows, height), (columns, width)))
    windows = maps[np.arange(len(maps))[:, None, None], down[:, :, None], across[:, None]]
    # Rows first and float32 in between, as SciPy filters.
    vertical = _filter(np.moveaxis(windows.reshape(-1, 3, taps, 3 * taps), 2, -1))
    return _filter(vertical.reshape(-1, 3, 3, taps))


def _filter(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Gaussian's weighted sum over the last axis, in float64 and in SciPy's order: the middle, then pairs from the outside in."""
    weights = np.exp(-0.5 / SIGMA**2 * np.arange(-RADIUS, RADIUS + 1) ** 2)
    weights /= weights.sum()
    taps = values.astype(np.float64)
    total = taps[..., RADIUS] * weights[RADIUS]
    for tap in range(RADIUS):
        total += (taps[..., tap] + taps[..., -1 - tap]) * weights[tap]
    filtered: NDArray[np.float32] = total.astype(np.float32)
    return filtered


def _neighbours(peaks: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Pixels under the filter at each peak and beside it: (M, 3, taps)."""
    centres = np.clip(peaks[:, None] + np.arange(-1, 2), 0, length - 1)
    taps = centres[:, :, None] + np.arange(-RADIUS, RADIUS + 1)
    period = 2 * length
    folded = taps % period
    mirrored: NDArray[np.intp] = np.minimum(folded, period - 1 - folded)
    return mirrored
