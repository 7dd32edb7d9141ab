"""Boxes: thin rectangles, exact to a fraction of a pixel."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import OUTLINE, Colour

__all__ = ["draw_box"]

OPACITY = 0.85
SHADE_OPACITY = 0.4  # of the dark line around the light one


def draw_box(canvas: npt.NDArray[np.uint8], box: npt.NDArray[np.float64], colour: Colour, width: float) -> None:
    """Draw a box.

    Args:
        canvas: (H, W, 3), drawn on.
        box: left, top, right, bottom in image pixels; it may reach beyond the image.
        colour: RGB.
        width: of its line in pixels; a line of less than one pixel is as much fainter.
    """
    left, top, right, bottom = (float(value) for value in box)
    height, image_width = canvas.shape[:2]
    shade = min(width, 1.0)
    half = width / 2
    first, strengths = _along(left - half, right + half, image_width)
    for y in (top, bottom):
        low, coverage, tints = _across(y, width, shade, colour, height)
        _mix(canvas[low : low + len(coverage), first : first + len(strengths)], coverage[:, None] * strengths, tints[:, None])
    first, strengths = _along(top + half, bottom - half, height)
    for x in (left, right):
        low, coverage, tints = _across(x, width, shade, colour, image_width)
        _mix(canvas[first : first + len(strengths), low : low + len(coverage)], strengths[:, None] * coverage, tints)


def _mix(part: npt.NDArray[np.uint8], opacity: npt.NDArray[np.float32], tints: npt.NDArray[np.uint8]) -> None:
    if opacity.size:
        above = np.empty(part.shape, np.uint8)
        above[:] = tints
        cv2.blendLinear(above, part, opacity, 1 - opacity, part)


def _along(low: float, high: float, pixels: int) -> tuple[int, npt.NDArray[np.float32]]:
    """The first pixel and how strong the line is from there on, in its direction."""
    first, last = max(0, math.floor(low + 0.5)), min(pixels, math.floor(high + 0.5) + 1)
    strengths = np.full(max(0, last - first), OPACITY, np.float32)
    for end in (0, -1):
        if len(strengths):
            strengths[end] *= _cover(first if end == 0 else last - 1, low, high)
    return first, strengths


def _across(
    at: float, width: float, shade: float, colour: Colour, pixels: int
) -> tuple[int, npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """The first pixel that a line at a place touches, how much of each it covers, and in which colour."""
    reach = width / 2 + shade
    first, last = max(0, math.floor(at - reach + 0.5)), min(pixels, math.floor(at + reach + 0.5) + 1)
    coverage, shares = [], []
    for pixel in range(first, last):
        line = _cover(pixel, at - width / 2, at + width / 2)
        covered = line + SHADE_OPACITY * _cover(pixel, at - reach, at + reach) * (1 - line)
        coverage.append(covered)
        shares.append(line / covered if covered > 0 else 0.0)
    dark, light = np.array(OUTLINE, np.float32), np.array(colour, np.float32)
    tints = dark + np.array(shares, np.float32)[:, None] * (light - dark)
    return first, np.array(coverage, np.float32), np.rint(tints).astype(np.uint8)


def _cover(pixel: int, low: float, high: float) -> float:
    """How much of a pixel lies between two places; pixels' centres have whole coordinates."""
    covered = (high if high < pixel + 0.5 else pixel + 0.5) - (low if low > pixel - 0.5 else pixel - 0.5)
    return covered if covered > 0.0 else 0.0
