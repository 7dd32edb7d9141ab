"""Small plates at people's boxes: who is who."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import OUTLINE, Colour
from edgepose.drawing.text import SMALLEST_PX, Plate, draw_plate, make_plate

__all__ = ["Label", "draw_labels"]

CAPITAL = 0.06  # of the person's size
SMALLEST, LARGEST = 1 / 140, 1 / 60  # of the picture's longer side
OPACITY = 0.92

Corner = tuple[int, int]
Rectangle = tuple[int, int, int, int]


class Label(NamedTuple):
    """A text at a box.

    Attributes:
        text: one line.
        colour: of the plate; light.
        box: (4,), left, top, right, bottom in image pixels.
        size: of the person in pixels; the text grows with it, within what can be read.
    """

    text: str
    colour: Colour
    box: npt.NDArray[np.float64]
    size: float


def draw_labels(canvas: npt.NDArray[np.uint8], labels: Sequence[Label]) -> None:
    """Draw a label at each box: over its left top corner, or at another corner where that one is taken.

    Args:
        canvas: (H, W, 3), drawn on.
        labels: those given later are drawn over the others, and have the first choice of a place.
    """
    height, width = canvas.shape[:2]
    smallest = max(SMALLEST_PX, SMALLEST * max(height, width))
    largest = max(SMALLEST_PX, LARGEST * max(height, width))
    placed: list[tuple[Plate, Corner]] = []
    taken: list[Rectangle] = []
    for label in reversed(labels):
        left, top, right, bottom = label.box.tolist()
        if right < 0 or bottom < 0 or left > width or top > height:
            continue
        capital_px = round(min(max(CAPITAL * label.size, smallest), largest))
        plate = make_plate(label.text, capital_px, ink=OUTLINE, paper=label.colour, opacity=OPACITY)
        x, y = _place(plate.size, (left, top, right, bottom), (width, height), taken)
        taken.append((x, y, x + plate.size[0], y + plate.size[1]))
        placed.append((plate, (x, y)))
    for plate, (x, y) in reversed(placed):
        draw_plate(canvas, plate, x, y)


def _place(size: tuple[int, int], box: tuple[float, float, float, float], limits: tuple[int, int], taken: list[Rectangle]) -> Corner:
    """The first place that nothing has taken; else the first of all. None lies outside the image."""
    width, height = size
    lefts, tops = (box[0], box[2] - width), (box[1] - height, box[3])
    places = [
        (round(min(max(x, 0), max(limits[0] - width, 0))), round(min(max(y, 0), max(limits[1] - height, 0)))) for y in tops for x in lefts
    ]
    for x, y in places:
        if not any(x < right and left < x + width and y < bottom and top < y + height for left, top, right, bottom in taken):
            return x, y
    return places[0]
