"""Lines of text on plates.

OpenCV 5 draws its old font names with an outline font, OpenCV 4 with strokes; both look well when they are drawn large and bold, then
made smaller. Letters are drawn one by one and kept: OpenCV 5 takes milliseconds for a large line.
"""

import math
import re
import string
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import Colour
from edgepose.printable import printable

__all__ = ["MAX_LETTERS", "SMALLEST_PX", "Plate", "draw_plate", "make_plate"]

MAX_LETTERS = 120
SMALLEST_PX = 6  # capitals smaller than this can't be read
MARGIN = 0.4  # around the letters, as a part of the capitals' height: it has room for what reaches below the line

GAP = 0.11  # between letters
SPACE = 0.35  # of a space, besides the gaps around it

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 21.0  # pixels of a capital at scale 1
_BOLD = 2.6  # pixels of a stroke at scale 1
_FINER = 4
_KEPT_LETTERS = 8  # ids are drawn again and again, long texts change


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plate:
    """A line of text on a rounded plate, ready to be drawn: what is below counts ``keep / 255``, then ``add`` is added.

    Attributes:
        keep: uint8 (H, W, 3).
        add: uint8 (H, W, 3).
    """

    keep: npt.NDArray[np.uint8]
    add: npt.NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.keep.shape[1], self.keep.shape[0]


def make_plate(text: str, capital_px: int, *, ink: Colour, paper: Colour, opacity: float, step_px: int = 1) -> Plate:
    """Return a line of text with capitals of that height.

    Characters that can't be seen are spelt out; OpenCV 4 shows those beyond ASCII as question marks. What is longer than
    ``MAX_LETTERS`` ends in dots.

    Args:
        text: a few words.
        capital_px: 1 or more.
        ink: the letters' colour.
        paper: the plate's colour.
        opacity: the plate's, from 0 to 1; letters are opaque.
        step_px: the width is a multiple of it, so that the plate of numbers that change doesn't tremble.
    """
    line = printable(unicodedata.normalize("NFC", re.sub(r"\s", " ", text.strip())))
    if len(line) > MAX_LETTERS:
        line = line[: MAX_LETTERS - 3] + "..."
    make = _kept_plate if len(line) <= _KEPT_LETTERS else _make_plate
    return make(line, capital_px, ink, paper, opacity, step_px)


def draw_plate(canvas: npt.NDArray[np.uint8], plate: Plate, left: int, top: int) -> None:
    """Draw a plate; what lies outside the canvas is left out.

    Args:
        canvas: (H, W, 3), drawn on.
        plate: from ``make_plate``.
        left: of the plate on the canvas, in pixels.
        top: the same.
    """
    height, width = canvas.shape[:2]
    rows = slice(max(0, -top), min(plate.size[1], height - top))
    columns = slice(max(0, -left), min(plate.size[0], width - left))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = canvas[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    cv2.multiply(part, plate.keep[rows, columns], part, 1 / 255)
    cv2.add(part, plate.add[rows, columns], part)


def _make_plate(line: str, capital_px: int, ink: Colour, paper: Colour, opacity: float, step_px: int) -> Plate:
    margin = max(2, round(MARGIN * capital_px))
    height = capital_px + 2 * margin
    letters = _letters(line, capital_px, height, capital_px + margin)
    width = step_px * math.ceil((letters.shape[1] + 2 * margin) / step_px)
    covered = np.zeros((height, width), np.float32)
    covered[:, margin : margin + letters.shape[1]] = letters * np.float32(1 / 255)
    ground = _rounded(width, height) * np.float32(opacity) * (1 - covered)
    keep = np.rint(255 * (1 - covered - ground)).astype(np.uint8)
    add = [np.rint(covered * letter + ground * plate).astype(np.uint8) for letter, plate in zip(ink, paper, strict=True)]
    return Plate(keep=np.dstack([keep] * 3), add=np.dstack(add))


_kept_plate = lru_cache(maxsize=256)(_make_plate)


def _letters(line: str, capital_px: int, height: int, baseline: int) -> npt.NDArray[np.uint8]:
    """(height, W): the letters alone. Digits are all as wide as the widest, so that numbers that change stay where they are."""
    gap, space = max(1, round(GAP * capital_px)), round(SPACE * capital_px)
    digit = max(_letter(each, capital_px, height, baseline).shape[1] for each in string.digits)
    inks = [None if each == " " else _letter(each, capital_px, height, baseline) for each in line]
    widths = [
        space if ink is None else max(ink.shape[1], digit if each in string.digits else 0) for each, ink in zip(line, inks, strict=True)
    ]
    letters = np.zeros((height, max(sum(widths) + gap * (len(widths) - 1), 1)), np.uint8)
    left = 0
    for ink, width in zip(inks, widths, strict=True):
        if ink is not None:
            start = left + (width - ink.shape[1]) // 2
            letters[:, start : start + ink.shape[1]] = ink
        left += width + gap
    return letters


@lru_cache(maxsize=1024)
def _letter(letter: str, capital_px: int, height: int, baseline: int) -> npt.NDArray[np.uint8]:
    """(height, W): what a letter covers, drawn larger and averaged."""
    scale = _FINER * capital_px / _CAPITAL
    pad = _FINER * capital_px
    large = np.zeros((_FINER * height, 4 * pad), np.uint8)
    cv2.putText(large, letter, (pad, _FINER * baseline), _FONT, scale, (255,), max(1, round(_BOLD * scale)), cv2.LINE_AA)
    used = np.flatnonzero(large.any(axis=0))
    if not len(used):
        return np.zeros((height, 1), np.uint8)
    large = large[:, used[0] : used[-1] + 1]
    large = np.pad(large, ((0, 0), (0, -large.shape[1] % _FINER)))
    return cv2.resize(large, (large.shape[1] // _FINER, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _rounded(width: int, height: int) -> npt.NDArray[np.float32]:
    """(H, W): how much of each pixel a rectangle with round corners covers."""
    radius = 0.25 * height
    x = np.abs(np.arange(width, dtype=np.float32) - (width - 1) / 2) - (width / 2 - radius)
    y = np.abs(np.arange(height, dtype=np.float32) - (height - 1) / 2) - (height / 2 - radius)
    beyond = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None]) - radius
    covered: npt.NDArray[np.float32] = np.clip(0.5 - beyond, 0.0, 1.0).astype(np.float32)
    return covered
