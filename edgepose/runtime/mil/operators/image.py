"""Resizing of the last two dimensions.

Semantics: ``iOS15/image_resizing.py`` and ``iOS16/image_resizing.py`` in ``coremltools/converters/mil/mil/ops/defs`` (coremltools 9.0,
BSD-3-Clause).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgepose.runtime.mil.elements import Array
from edgepose.runtime.mil.operators.call import Call, Operator

__all__ = ["OPERATORS"]

Grid = Callable[[int, int], NDArray[np.floating]]
"""From input and output size to the input position of each output sample, before it is clamped to the input."""


def _edge_to_edge(size: int, out: int) -> NDArray[np.floating]:
    return np.arange(out) * ((size - 1) / max(out - 1, 1))


def _edge_to_edge_or_centre(size: int, out: int) -> NDArray[np.floating]:
    return np.array([(size - 1) / 2]) if out == 1 else _edge_to_edge(size, out)


def _from_first(size: int, out: int) -> NDArray[np.floating]:
    return np.arange(out) * (size / out)


def _half_pixel(size: int, out: int) -> NDArray[np.floating]:
    return (np.arange(out) + 0.5) * (size / out) - 0.5


def _offset_corners(size: int, out: int) -> NDArray[np.floating]:
    return (np.arange(out) + 0.5) * (max(1, size - 1) / out)


_SAMPLING_MODES: dict[str, Grid] = {
    "STRICT_ALIGN_CORNERS": _edge_to_edge,
    "ALIGN_CORNERS": _edge_to_edge_or_centre,
    "DEFAULT": _from_first,
    "OFFSET_CORNERS": _offset_corners,
    "UNALIGN_CORNERS": _half_pixel,
}


def _interpolation(grid: Grid, size: int, out: int) -> NDArray[np.float32]:
    """Return the (out, size) matrix that interpolates linearly."""
    position = np.clip(grid(size, out), 0, size - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((out, size))
    rows = np.arange(out)
    weights[rows, low] += 1 - (position - low)
    weights[rows, high] += position - low
    return weights.astype(np.float32)


def _bilinear(x: Array, grid: Grid, height: int, width: int) -> Array:
    rows, columns = _interpolation(grid, x.shape[-2], height), _interpolation(grid, x.shape[-1], width)
    return np.asarray(rows @ x @ columns.T)


def _scaled_size(call: Call, x: Array) -> tuple[int, int]:
    factors = call.number("scale_factor_height", 1), call.number("scale_factor_width", 1)
    height, width = (int(size * factor) for size, factor in zip(x.shape[-2:], factors, strict=True))
    return height, width


def _upsample_bilinear(call: Call) -> Array:
    """Resize by factors. The spacing follows from the sizes, not from the factors, which may not divide them."""
    x = call.operand("x")
    align_corners = call.flag("align_corners", default=True)
    half_pixel = call.flag("half_pixel_centers", default=not align_corners)
    if align_corners and half_pixel:
        raise ValueError("align_corners and half_pixel_centers exclude each other")
    grid = _edge_to_edge if align_corners else _half_pixel if half_pixel else _from_first
    return _bilinear(x, grid, *_scaled_size(call, x))


def _resize_bilinear(call: Call) -> Array:
    mode = call.text("sampling_mode", "DEFAULT")
    if mode not in _SAMPLING_MODES:
        raise ValueError(f"sampling_mode is {mode!r}; supported: {', '.join(_SAMPLING_MODES)}")
    return _bilinear(call.operand("x"), _SAMPLING_MODES[mode], call.integer("target_size_height", 1), call.integer("target_size_width", 1))


def _upsample_nearest_neighbor(call: Call) -> Array:
    x = call.array("x")
    height, width = _scaled_size(call, x)
    rows, columns = np.arange(height) * x.shape[-2] // height, np.arange(width) * x.shape[-1] // width
    return x[..., rows[:, None], columns]


OPERATORS: dict[str, Operator] = {
    "resize_bilinear": _resize_bilinear,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest_neighbor,
}
