"""A line of text in the corner of an image: a video's time, how many people there are, how fast it goes."""

import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import OUTLINE, PAPER
from edgepose.drawing.text import SMALLEST_PX, Plate, draw_plate, make_plate
from edgepose.errors import InputError
from edgepose.image import check_image

__all__ = ["draw_caption"]

CAPITAL = 1 / 56  # of the picture's longer side
OPACITY = 0.6


def draw_caption(image: npt.NDArray[np.uint8], text: str) -> npt.NDArray[np.uint8]:
    """Write a line of text into the left bottom corner of a copy of an image: white, on a dark plate that lets the picture through.

    The letters are as large as the picture, and smaller where the line would be too long; what still doesn't fit is cut off at the right.

    Args:
        image: (H, W, 3) uint8, RGB.
        text: one line; where it is empty, the copy is as the image. With OpenCV 4 only ASCII can be shown.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the image isn't one, or the text isn't a string.
    """
    canvas = check_image(image).copy()
    if not isinstance(text, str):
        raise InputError(f"the caption is {text!r}; expected a string")
    if not text.strip():
        return canvas
    height, width = canvas.shape[:2]
    capital_px = max(SMALLEST_PX, round(CAPITAL * max(height, width)))
    gap = min(capital_px // 2, height // 16, width // 16)
    plate = _make(text, capital_px)
    if plate.size[0] > width - 2 * gap:
        plate = _make(text, max(SMALLEST_PX, int(capital_px * (width - 2 * gap) / plate.size[0])))
    draw_plate(canvas, plate, gap, max(0, height - gap - plate.size[1]))
    return canvas


def _make(text: str, capital_px: int) -> Plate:
    return make_plate(text, capital_px, ink=PAPER, paper=OUTLINE, opacity=OPACITY, step_px=capital_px)
