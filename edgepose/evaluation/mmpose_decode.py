"""Heatmaps → keypoints as mmpose 1.x decodes them, for comparisons with figures that were measured with it.

Written anew after ``UDPHeatmap``, ``MSRAHeatmap``, ``refine_keypoints_dark_udp``, ``refine_keypoints`` and ``gaussian_blur`` (Apache-2.0,
1.3). Three things differ from the published code, mmpose 0.x (see ``edgepose.heatmap``):

- Before DARK, heatmaps are smoothed with zeros beyond the border, where the published code mirrors it: a peak within six pixels of the
  border moves inwards. (One in the outermost pixels doesn't: DARK moves it outwards by half a pixel, whatever the smoothing.)
- Smoothed heatmaps are scaled back to the highest value that they had, before they are clipped to 0.001 … 50: a low heatmap loses less of
  its flanks to the clipping. Elsewhere a factor doesn't change the step, but for float32 rounding.
- ``standard`` moves each coordinate by a quarter pixel unless *it* is at the border; the published code leaves both where one of them is.

Crops are the published ones but for the rounding of boxes to float32: one in ten thousand values differs, by one grey level.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.heatmap import Peaks, find_peaks, newton_steps
from edgepose.spec import Codec

__all__ = ["decode_like_mmpose1"]


def decode_like_mmpose1(heatmaps: NDArray[np.float32], codec: Codec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the keypoints in heatmaps.

    Args:
        heatmaps: (N, K, height, width), any float type.
        codec: how the head was trained.

    Returns:
        Coordinates (N, K, 2), x and y in heatmap pixels, and scores (N, K). Both float32. Where no value is positive, coordinates are
        (-1, -1); mmpose refines that point, too, into one that means nothing.

    Raises:
        InputError: see ``edgepose.heatmap.find_peaks``.
    """
    peaks = find_peaks(heatmaps)
    found = peaks.found[:, None]
    if codec.kind == "udp":
        steps = newton_steps(_stencils(peaks, codec.blur_kernel))
        coordinates = (peaks.coordinates - np.where(found, steps, 0.0)).astype(np.float32)
    else:
        coordinates = peaks.coordinates + np.where(found, _quarter_steps(peaks), np.float32(0))
    return coordinates.reshape(*heatmaps.shape[:2], 2), peaks.scores.reshape(heatmaps.shape[:2])


def _stencils(peaks: Peaks, kernel: int) -> NDArray[np.float32]:
    """Values around the peaks, (M, 3, 3), of heatmaps that were smoothed between zeros and then scaled to their old maximum.

    All are filtered in one call, as a tall image: their zeros lie between them, as wide as the filter reaches.
    """
    count, height, width = peaks.maps.shape
    border = kernel // 2
    padded: NDArray[np.float32] = np.pad(peaks.maps, ((0, 0), (border, border), (border, border)))
    if count:
        cv2.GaussianBlur(padded.reshape(-1, width + 2 * border), (kernel, kernel), 0, dst=padded.reshape(-1, width + 2 * border))
    smoothed = padded[:, border : border + height, border : border + width]
    highest = smoothed.max(axis=(1, 2), initial=-np.inf)
    factors = np.divide(peaks.scores, highest, out=np.ones_like(highest), where=highest != 0)
    near = np.arange(-1, 2)
    rows = np.clip(peaks.rows[:, None] + near, 0, height - 1)
    columns = np.clip(peaks.columns[:, None] + near, 0, width - 1)
    stencils: NDArray[np.float32] = smoothed[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None]]
    stencils *= factors[:, None, None]
    return stencils


def _quarter_steps(peaks: Peaks) -> NDArray[np.float32]:
    """A quarter pixel towards the higher neighbour, (M, 2), x and y.

    Each where two pixels lie before it and one behind it, and where the other coordinate isn't the first.
    """
    height, width = peaks.maps.shape[1:]
    rows, columns = peaks.rows, peaks.columns
    steps = np.zeros((len(rows), 2), dtype=np.float32)
    across = np.flatnonzero((columns > 1) & (columns < width - 1) & (rows > 0))
    row, column = rows[across], columns[across]
    steps[across, 0] = np.sign(peaks.maps[across, row, column + 1] - peaks.maps[across, row, column - 1])
    down = np.flatnonzero((rows > 1) & (rows < height - 1) & (columns > 0))
    row, column = rows[down], columns[down]
    steps[down, 1] = np.sign(peaks.maps[down, row + 1, column] - peaks.maps[down, row - 1, column])
    return steps * np.float32(0.25)
