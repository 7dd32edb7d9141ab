"""Heatmaps ↔ keypoints: decoding (DARK, quarter pixel), the way back to the image, flip merging and Gaussian targets.

Decoding follows the published evaluation of ViTPose (mmpose 0.x, Apache-2.0: ``_get_max_preds``, ``post_dark_udp``,
``keypoints_from_heatmaps``, ``flip_back``, ``_udp_generate_target``), vectorised over people and keypoints. DARK (arXiv 1910.06278) takes
second derivatives of a logarithm, which amplify the last bit of a flat heatmap to whole pixels: smoothing therefore goes through the same
OpenCV filter in float32, the Newton step is solved in float64, and peaks are returned in float32, as published.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.spec import Codec, InputSpec

__all__ = ["Peaks", "decode", "encode", "find_peaks", "flip_heatmaps", "newton_steps", "to_crop", "to_image"]

LOWEST, HIGHEST = 0.001, 50.0  # smoothed heatmaps are clipped to this range before the logarithm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peaks:
    """The first highest pixel of each of M heatmaps.

    Attributes:
        maps: float32 (M, height, width), the keypoints of one person after those of another.
        rows: (M,), y of the pixel.
        columns: (M,), x of the pixel.
        scores: float32 (M,), its value, finite.
        found: bool (M,), whether that is positive: otherwise there is no peak.
    """

    maps: npt.NDArray[np.float32]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    scores: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]

    @property
    def coordinates(self) -> npt.NDArray[np.float32]:
        """(M, 2), x and y; (-1, -1) where there is no peak."""
        return np.where(self.found[:, None], np.stack([self.columns, self.rows], axis=1), -1).astype(np.float32)


def find_peaks(heatmaps: npt.NDArray[np.float32]) -> Peaks:
    """Find the highest pixel of each heatmap.

    Args:
        heatmaps: (N, K, height, width), any float type.

    Raises:
        InputError: not four axes, an empty heatmap, or a heatmap whose highest value is NaN or infinite.
    """
    if heatmaps.ndim != 4 or 0 in heatmaps.shape[1:]:
        raise InputError(f"heatmaps have shape {heatmaps.shape}; expected (people, keypoints, height, width)")
    keypoints, height, width = heatmaps.shape[1:]
    maps = np.ascontiguousarray(heatmaps, dtype=np.float32).reshape(-1, height, width)
    flat = maps.reshape(len(maps), height * width)
    peaks = flat.argmax(axis=1)
    scores = flat[np.arange(len(flat)), peaks]
    # argmax takes a NaN for the highest value, so looking at the scores finds it anywhere in the heatmap.
    broken = np.flatnonzero(~np.isfinite(scores))
    if len(broken):
        person, keypoint = divmod(int(broken[0]), keypoints)
        raise InputError(
            f"the heatmap of person {person}, keypoint {keypoint} has the highest value {scores[broken[0]]}; it must be finite. "
            "The model overflowed or its weights are damaged: try an fp32 file of it"
        )
    rows, columns = np.divmod(peaks, width)
    return Peaks(maps=maps, rows=rows, columns=columns, scores=scores, found=scores > 0)


def decode(heatmaps: npt.NDArray[np.float32], codec: Codec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Find the keypoints in heatmaps.

    The first highest pixel is the peak and its value the score. ``udp`` refines it with one DARK step on the smoothed logarithm,
    ``standard`` moves it a quarter pixel towards the higher neighbours. A heatmap without a positive value has no peak: its coordinates
    start at (-1, -1) and mean nothing, its score says so.

    Args:
        heatmaps: (N, K, height, width), any float type.
        codec: how the head was trained.

    Returns:
        Coordinates (N, K, 2), x and y in heatmap pixels, unbounded; and scores (N, K). Both float32.

    Raises:
        InputError: see ``find_peaks``.
    """
    peaks = find_peaks(heatmaps)
    coordinates = peaks.coordinates
    if len(coordinates) and codec.kind == "udp":
        coordinates = (coordinates - newton_steps(_stencils(peaks, codec.blur_kernel))).astype(np.float32)
    elif codec.kind == "standard":
        coordinates += _quarter_steps(peaks.maps, peaks.rows, peaks.columns, peaks.found)
    return coordinates.reshape(*heatmaps.shape[:2], 2), peaks.scores.reshape(heatmaps.shape[:2])


def newton_steps(stencils: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """DARK: how far each pixel lies from the maximum of the parabola through the logarithms around it.

    Args:
        stencils: (M, 3, 3), smoothed values of the pixel (in the middle) and its neighbours, rows first.

    Returns:
        (M, 2), x and y in pixels, to be subtracted from the pixel's coordinates; 0 where there is no such parabola.
    """
    logs = np.log(np.clip(stencils, np.float32(LOWEST), np.float32(HIGHEST)))
    (before, above, _), (left, here, right), (_, below, after) = logs.transpose(1, 2, 0)
    # Differences are float32, the sums that they go into float64.
    dx = (0.5 * (right - left)).astype(np.float64)
    dy = (0.5 * (below - above)).astype(np.float64)
    dxy = (0.5 * (after - right - below + here + here - left - above + before)).astype(np.float64)
    regular = float(np.finfo(np.float32).eps)
    dxx = (right - 2 * here + left).astype(np.float64) + regular
    dyy = (below - 2 * here + above).astype(np.float64) + regular
    determinant = dxx * dyy - dxy * dxy
    # A singular Hessian says nothing about where the peak is (the published code stops with an error): leave it on its pixel.
    inverse = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    steps: npt.NDArray[np.float64] = np.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], axis=1) * inverse[:, None]
    return steps


def to_image(
    coordinates: npt.NDArray[np.floating],
    centres: npt.NDArray[np.float64],
    sizes: npt.NDArray[np.float64],
    heatmap_size: tuple[int, int],
    codec: Codec,
) -> npt.NDArray[np.float64]:
    """Move coordinates from heatmap pixels to image pixels.

    Args:
        coordinates: (N, K, 2) from ``decode``.
        centres: (N, 2) from ``edgepose.crop.pad_boxes``.
        sizes: (N, 2) from ``edgepose.crop.pad_boxes``.
        heatmap_size: height and width of the heatmaps.
        codec: how the head was trained.

    Returns:
        (N, K, 2), x and y in image pixels.
    """
    scales = sizes / _span(heatmap_size, codec)
    return coordinates * scales[:, None] + (centres - sizes * 0.5)[:, None]


def to_crop(coordinates: npt.NDArray[np.floating], input_spec: InputSpec, codec: Codec) -> npt.NDArray[np.float64]:
    """Move coordinates (…, 2) from heatmap pixels to pixels of the network's input."""
    return coordinates * _stride(input_spec, codec)


def flip_heatmaps(heatmaps: npt.NDArray[np.float32], flip_order: Sequence[int], codec: Codec) -> npt.NDArray[np.float32]:
    """Turn the heatmaps of mirrored crops back into heatmaps of the crops.

    Args:
        heatmaps: (N, K, height, width) of the mirrored crops.
        flip_order: ``Skeleton.flip_order``: the index of each keypoint's mirror image.
        codec: how the head was trained; ``standard`` also moves the result right by one pixel, since its samples don't align.

    Returns:
        (N, K, height, width), to be averaged with the heatmaps of the crops as they are.
    """
    flipped = np.ascontiguousarray(heatmaps[:, list(flip_order), :, ::-1])
    if codec.kind == "standard":
        flipped[..., 1:] = flipped[..., :-1].copy()
    return flipped


def encode(
    keypoints_xy: npt.ArrayLike, visible: npt.ArrayLike, input_spec: InputSpec, codec: Codec, *, sigma: float = 2.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Make the Gaussian heatmaps that a head is trained on.

    Each is 1 at the keypoint and cut off three sigma from the pixel that holds it. ``udp`` centres it on the exact position,
    ``standard`` on that pixel.

    Args:
        keypoints_xy: (…, K, 2) in pixels of the network's input.
        visible: (…, K) weights of the keypoints; those up to 0.5 get an empty heatmap and may have any position.
        input_spec: the network's input.
        codec: how the head is trained.
        sigma: standard deviation in heatmap pixels.

    Returns:
        Heatmaps (…, K, height, width), and weights (…, K): those of ``visible``, but 0 where no part of the Gaussian lies in the heatmap.
        Both float32.
    """
    weights = np.array(visible, dtype=np.float32)
    drawn = weights > 0.5
    centres = np.where(drawn[..., None], np.asarray(keypoints_xy, dtype=np.float64), 0.0) / _stride(input_spec, codec)
    pixels = np.trunc(centres + 0.5)
    side = np.array(input_spec.heatmap_size[::-1])
    radius = 3 * sigma
    drawn &= np.all((pixels - radius < side) & (pixels + radius + 1 >= 0), axis=-1)
    weights[~drawn & (weights > 0.5)] = 0.0
    exact = centres if codec.kind == "udp" else pixels
    across, down = (_gaussian(exact[..., axis], pixels[..., axis], side[axis], sigma) for axis in (0, 1))
    heatmaps = down[..., :, None] * across[..., None, :] * drawn[..., None, None]
    return heatmaps.astype(np.float32), weights


def _span(heatmap_size: tuple[int, int], codec: Codec) -> npt.NDArray[np.float64]:
    """Width and height of the heatmap as the codec measures them: between the centres, or the outer edges, of its corner pixels."""
    height, width = heatmap_size
    return np.array([width, height], dtype=np.float64) - (1.0 if codec.kind == "udp" else 0.0)


def _stride(input_spec: InputSpec, codec: Codec) -> npt.NDArray[np.float64]:
    """Input pixels per heatmap pixel, in x and y."""
    return _span((input_spec.height, input_spec.width), codec) / _span(input_spec.heatmap_size, codec)


def _gaussian(centres: npt.NDArray[np.float64], pixels: npt.NDArray[np.float64], length: int, sigma: float) -> npt.NDArray[np.float64]:
    """One axis of the Gaussians: (…, length)."""
    positions = np.arange(length)
    values = np.exp(-((positions - centres[..., None]) ** 2) / (2 * sigma**2))
    return np.where(np.abs(positions - pixels[..., None]) <= 3 * sigma, values, 0.0)


def _quarter_steps(
    maps: npt.NDArray[np.float32], rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], found: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """A quarter pixel towards the higher neighbour in x and y; nothing in the outer pixels that the published code leaves out."""
    height, width = maps.shape[1:]
    steps = np.zeros((len(maps), 2), dtype=np.float32)
    inner = np.flatnonzero(found & (columns > 1) & (columns < width - 1) & (rows > 1) & (rows < height - 1))
    row, column = rows[inner], columns[inner]
    steps[inner, 0] = np.sign(maps[inner, row, column + 1] - maps[inner, row, column - 1])
    steps[inner, 1] = np.sign(maps[inner, row + 1, column] - maps[inner, row - 1, column])
    return steps * np.float32(0.25)


def _stencils(peaks: Peaks, kernel: int) -> npt.NDArray[np.float32]:
    """Smoothed values around the peaks, (M, 3, 3)."""
    height, width = peaks.maps.shape[1:]
    every = np.arange(len(peaks.maps))
    smoothed = _smoothed_rows(peaks.maps, every, peaks.rows, kernel)
    # Beyond the border the outermost pixel is repeated.
    near = np.arange(-1, 2)
    down = np.clip(peaks.rows[:, None] + near, 0, height - 1) - peaks.rows[:, None] + 1
    across = np.clip(peaks.columns[:, None] + near, 0, width - 1)
    stencils: npt.NDArray[np.float32] = smoothed[every[:, None, None], down[:, :, None], across[:, None, :]]
    missing = np.flatnonzero(~peaks.found)
    if len(missing):
        stencils[missing] = _stencils_before_the_corner(peaks.maps, missing, kernel)
    return stencils


def _smoothed_rows(
    maps: npt.NDArray[np.float32], which: npt.NDArray[np.intp], rows: npt.NDArray[np.intp], kernel: int
) -> npt.NDArray[np.float32]:
    """Rows ``rows - 1 … rows + 1`` of the Gaussian-smoothed heatmaps ``which``: (P, 3, width).

    Only ``kernel + 2`` rows of each heatmap are filtered, all of them in one call, as a tall image of the heatmaps' width: values are
    then equal to those of filtering whole heatmaps, to the last bit, because OpenCV treats a pixel by its column. Sigma follows from
    the kernel's size (2 for 11), and the border is mirrored without repeating its outermost pixel: OpenCV's defaults.
    """
    height, width = maps.shape[1:]
    reach = kernel // 2 + 1
    period = 2 * (height - 1)
    mirrored = np.abs(rows[:, None] + np.arange(-reach, reach + 1)) % period
    mirrored = np.minimum(mirrored, period - mirrored)
    strips = maps.reshape(-1, width)[which[:, None] * height + mirrored]
    smoothed: npt.NDArray[np.float32] = cv2.GaussianBlur(strips.reshape(-1, width), (kernel, kernel), 0)
    return smoothed.reshape(len(which), kernel + 2, width)[:, reach - 1 : reach + 2]


def _stencils_before_the_corner(maps: npt.NDArray[np.float32], which: npt.NDArray[np.intp], kernel: int) -> npt.NDArray[np.float32]:
    """What the published code reads around (-1, -1), where it puts a keypoint without a peak: (P, 3, 3).

    It indexes all padded heatmaps as one array, so right of and below that point lies the heatmap's own first pixel, left of and above
    it the last row of the heatmap before it in the batch, and before the first one the last one.
    """
    height, width = maps.shape[1:]
    own = _smoothed_rows(maps, which, np.zeros_like(which), kernel)[:, 1, 0]
    previous = _smoothed_rows(maps, (which - 1) % len(maps), np.full_like(which, height - 1), kernel)[:, 1]
    stencils = np.empty((len(which), 3, 3), dtype=np.float32)
    stencils[:] = own[:, None, None]
    stencils[:, 0, 0] = stencils[:, 1, 0] = previous[:, width - 1]
    stencils[:, 0, 1] = previous[:, 0]
    return stencils
