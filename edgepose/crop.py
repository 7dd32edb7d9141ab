"""Boxes → crops: where each crop lies in the image, and the network's normalised input.

The geometry is that of the published ViTPose pipeline (mmpose 0.x, Apache-2.0: ``_box2cs``, ``get_warp_matrix``, ``get_affine_transform``
and ``TopDownAffine``), written anew for many boxes at once. Sums are rounded to float32 where the published code keeps float32, and OpenCV
does the rest, so that crops equal the published ones to the last bit. Coordinates that leave this module are float64.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.spec import Codec, InputSpec

__all__ = ["Crops", "crop", "pad_boxes", "warp_matrices"]

MARGIN_PX = 3  # bilinear interpolation reads one pixel beyond a crop's outline; the rest is for rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crops:
    """The people of one image, ready for the network.

    Attributes:
        batch: float32 (N, 3, height, width), normalised RGB.
        centres: float64 (N, 2), x and y of each crop's centre in image pixels.
        sizes: float64 (N, 2), width and height of each crop in image pixels.
    """

    batch: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]


def pad_boxes(boxes_xyxy: npt.ArrayLike, input_spec: InputSpec, codec: Codec) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Grow boxes to the input's aspect ratio, then by the codec's padding.

    Args:
        boxes_xyxy: (N, 4) boxes in image pixels: left, top, right, bottom; width is ``right - left``.
        input_spec: the network's input.
        codec: how the head was trained.

    Returns:
        Centres (N, 2) and sizes (N, 2) in image pixels.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides * 0.5
    width, height = sides.T
    aspect = input_spec.width / input_spec.height
    grown = np.stack([np.maximum(width, height * aspect), np.maximum(height, width / aspect)], axis=1)
    # The published code stores sizes in units of 200 pixels: leaving that out would move the last bit.
    sizes = (grown / 200.0).astype(np.float32) * np.float32(codec.padding) * np.float32(200.0)
    return centres.astype(np.float32).astype(np.float64), sizes.astype(np.float64)


def warp_matrices(
    centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], input_spec: InputSpec, codec: Codec
) -> npt.NDArray[np.float64]:
    """Return the affine matrices from image pixels to crop pixels.

    ``udp`` puts the centres of the crop's corner pixels on the corners of the padded box, so distances between samples are unbiased
    (UDP, arXiv 1911.07524); ``standard`` is mmpose's classic transform, which takes its scale from the width alone.

    Args:
        centres: (N, 2) from ``pad_boxes``.
        sizes: (N, 2) from ``pad_boxes``.
        input_spec: the network's input.
        codec: how the head was trained.

    Returns:
        (N, 2, 3).
    """
    side = np.array([input_spec.width, input_spec.height], dtype=np.float64)
    if codec.kind == "udp":
        scales = (side - 1.0) / sizes
        matrices = np.zeros((len(centres), 2, 3), dtype=np.float32)
        matrices[:, 0, 0], matrices[:, 1, 1] = scales.T
        matrices[:, :, 2] = scales * (sizes * 0.5 - centres).astype(np.float32)
        return matrices.astype(np.float64)
    # As published: the centre, the point half a width above it, and that one moved left by the same distance, all in float32.
    source = np.empty((len(centres), 3, 2), dtype=np.float32)
    source[:] = centres[:, None]
    source[:, 1, 1] -= (sizes[:, 0] * 0.5).astype(np.float32)
    source[:, 2, 1] = source[:, 1, 1]
    source[:, 2, 0] -= source[:, 0, 1] - source[:, 1, 1]
    middle, top = side * 0.5, (input_spec.height - input_spec.width) * 0.5
    target = np.array([middle, [middle[0], top], [0.0, top]], dtype=np.float32)
    return np.array([cv2.getAffineTransform(points, target) for points in source], dtype=np.float64).reshape(-1, 2, 3)


def crop(
    image: npt.NDArray[np.uint8],
    boxes_xyxy: npt.ArrayLike,
    input_spec: InputSpec,
    codec: Codec,
    *,
    out: npt.NDArray[np.float32] | None = None,
) -> Crops:
    """Cut boxes out of an image, resample them to the network's input and normalise.

    Bilinear interpolation, black beyond the image's border, rounded to 8 bit before normalization, as published.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes_xyxy: (N, 4) boxes in image pixels that ``edgepose.boxes.check_boxes`` accepts.
        input_spec: the network's input.
        codec: how the head was trained.
        out: where to write the batch: C-contiguous float32 (N, 3, height, width).

    Raises:
        InputError: ``out`` has another shape, dtype or layout.
    """
    centres, sizes = pad_boxes(boxes_xyxy, input_spec, codec)
    shape = (len(centres), 3, input_spec.height, input_spec.width)
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise InputError(f"out is {out.dtype} {out.shape}; it must be C-contiguous float32 {shape}")
    canvas = _four_channels(image, centres, sizes)
    warped = np.empty((input_spec.height, input_spec.width, 4), dtype=np.uint8)
    tables = _normalization_tables(input_spec.mean, input_spec.std)
    for matrix, planes in zip(warp_matrices(centres, sizes, input_spec, codec), out, strict=True):
        cv2.warpAffine(canvas, matrix, (input_spec.width, input_spec.height), dst=warped, flags=cv2.INTER_LINEAR)
        for channel, table, plane in zip(cv2.split(warped), tables, planes, strict=False):
            cv2.LUT(channel, table, dst=plane)
    return Crops(batch=out, centres=centres, sizes=sizes)


def _four_channels(image: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Copy the parts of the image that the crops read to a four-channel canvas of the image's size.

    OpenCV warps four channels in about half the time of three, with the same values; copying a box is a fifth of what that saves.
    The canvas is as large as the image, not cut to the boxes, because moved coordinates would be rounded otherwise.
    """
    height, width = image.shape[:2]
    canvas = np.empty((height, width, 4), dtype=np.uint8)
    low = np.clip(np.floor(centres - sizes * 0.5) - MARGIN_PX, 0, (width, height)).astype(np.intp)
    high = np.clip(np.ceil(centres + sizes * 0.5) + MARGIN_PX, 0, (width, height)).astype(np.intp)
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        if left < right and top < bottom:
            cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2RGBA, dst=canvas[top:bottom, left:right])
    return canvas


@lru_cache(maxsize=16)
def _normalization_tables(mean: tuple[float, float, float], std: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """(3, 256): the normalised value of each pixel value, in the published order of float32 operations."""
    pixels = np.arange(256, dtype=np.float32) / np.float32(255.0)
    tables: npt.NDArray[np.float32] = (pixels - np.array(mean, np.float32)[:, None]) / np.array(std, np.float32)[:, None]
    tables.flags.writeable = False
    return tables
