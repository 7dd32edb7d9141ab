"""Filled shapes on an image: antialiased, exact to a fraction of a pixel, and as opaque as asked, in the pixels around them alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import Colour

__all__ = ["FURTHEST_PX", "OPAQUE", "Bounds", "Layer", "Point", "fill_disc", "fill_polygon", "magnified", "paint", "to_fixed"]

FRACTION_BITS = 4  # OpenCV draws at sixteenths of a pixel
FURTHEST_PX = 100_000.0  # keypoints beyond aren't drawn: OpenCV's fixed-point coordinates would overflow
OPAQUE = 0.995
MAX_MAGNIFIED_PX = 1 << 20
MAGNIFIED_CHANNELS = 4  # OpenCV enlarges four channels several times as fast as three
DIAMOND_BELOW = 3 << FRACTION_BITS  # OpenCV draws smaller circles as squares on their corners
_SPREAD_PX = 2  # how far antialiasing reaches beyond a shape

Layer = npt.NDArray[np.uint8]
"""(H, W, 3) or (H, W, 4), drawn on."""

Point = tuple[int, int]
Bounds = tuple[int, int, int, int]
"""Left, top, right and bottom of a shape, in fixed-point coordinates."""


def to_fixed(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Pixels in OpenCV's fixed-point form."""
    return np.rint(pixels * (1 << FRACTION_BITS)).astype(np.int32)


def fill_polygon(layer: Layer, corners: npt.NDArray[np.int32], colour: Colour) -> None:
    """Fill a convex polygon: (N, 2), fixed-point."""
    cv2.fillConvexPoly(layer, corners, colour, cv2.LINE_AA, FRACTION_BITS)


def fill_disc(layer: Layer, centre: Point, radius: int, colour: Colour) -> None:
    """Fill a circle; centre and radius are fixed-point."""
    if radius < DIAMOND_BELOW and layer.shape[2] != MAGNIFIED_CHANNELS:  # halving rounds those of a magnified layer
        fill_polygon(layer, _small_circle(radius) + np.array(centre, np.int32), colour)
        return
    cv2.circle(layer, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)


@lru_cache(maxsize=DIAMOND_BELOW)
def _small_circle(radius: int) -> npt.NDArray[np.int32]:
    angles = (np.arange(8) + 0.5) * (np.pi / 4)
    corners: npt.NDArray[np.int32] = np.rint(radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int32)
    return corners


def paint(layer: Layer, bounds: Bounds, opacity: float, draw: Callable[[Layer, Point], None]) -> None:
    """Draw something with an opacity from 0 to 1.

    It is drawn on a copy of the pixels around it, and the two are mixed: all that ``draw`` draws is as opaque as one shape.

    Args:
        layer: drawn on.
        bounds: of what is drawn.
        opacity: 0 draws nothing.
        draw: is called with the layer to draw on and where its left top corner lies, fixed-point.
    """
    if opacity >= OPAQUE:
        draw(layer, (0, 0))
        return
    height, width = layer.shape[:2]
    left, top = max(0, (bounds[0] >> FRACTION_BITS) - _SPREAD_PX), max(0, (bounds[1] >> FRACTION_BITS) - _SPREAD_PX)
    right, bottom = min(width, (bounds[2] >> FRACTION_BITS) + 2 + _SPREAD_PX), min(height, (bounds[3] >> FRACTION_BITS) + 2 + _SPREAD_PX)
    if opacity <= 0 or left >= right or top >= bottom:
        return
    below = layer[top:bottom, left:right]
    above = below.copy()
    draw(above, (left << FRACTION_BITS, top << FRACTION_BITS))
    cv2.addWeighted(above, opacity, below, 1.0 - opacity, 0.0, below)


@contextmanager
def magnified(
    canvas: npt.NDArray[np.uint8], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], factor: int
) -> Iterator[tuple[Layer, Point, int]]:
    """Draw on a region as if it had more pixels, so that lines may be thinner than one and lie between them.

    Pixels on which nothing is drawn stay as they are to the bit.

    Args:
        canvas: (H, W, 3), drawn on.
        low: left and top of the region in pixels; what lies outside the canvas is left out.
        high: right and bottom.
        factor: 1 or 2; 1 is used where the magnified region would take too much memory.

    Yields:
        The layer to draw on, the pixel of the canvas in its left top corner, and its factor.
    """
    height, width = canvas.shape[:2]
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(width, int(high[0]) + 1), min(height, int(high[1]) + 1)
    if factor == 1 or left >= right or top >= bottom or (right - left) * (bottom - top) * factor**2 > MAX_MAGNIFIED_PX:
        yield canvas, (0, 0), 1
        return
    region = canvas[top:bottom, left:right]
    size = (right - left, bottom - top)
    layer = cv2.resize(cv2.cvtColor(region, cv2.COLOR_RGB2RGBA), (size[0] * factor, size[1] * factor), interpolation=cv2.INTER_NEAREST)
    yield layer.astype(np.uint8, copy=False), (left, top), factor
    region[:] = cv2.cvtColor(cv2.resize(layer, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGBA2RGB)
