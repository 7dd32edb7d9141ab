"""Calibration data: person crops, cut out of photos by the pipeline's own code."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import BoxFile, judge_boxes
from edgepose.crop import crop
from edgepose.errors import InputError
from edgepose.image import SUFFIXES, read_image
from edgepose.quantization.recipe import Calibration
from edgepose.spec import ModelSpec

__all__ = ["ENOUGH_PHOTOS", "CalibrationSet", "find_photos", "load_calibration"]

ENOUGH_PHOTOS = 16
"""Fewer photos than these say little about the ranges of activations: they are taken, with a warning."""

_logger = logging.getLogger(__name__)

_HELD_OUT = 5
_MAX_HELD_OUT = 64
_MIN_SIDE_PX = 16
_MIN_CONTRAST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationSet:
    """Crops to decide on, and crops to judge the decision by.

    Attributes:
        crops: (N, 3, H, W) float32, normalized.
        held_out: (M, 3, H, W), at least one: from photos that ``crops`` has nothing of; of fewer than five photos other people of the same,
            and of one person the same crop.
        source: where they come from.
        problems: one line for each photo that couldn't be used, and why.
        held_out_boxes: (M, 4) float64, the boxes of ``held_out`` on their photos: left, top, right, bottom. ``None`` where nobody knows.
    """

    crops: NDArray[np.float32]
    held_out: NDArray[np.float32]
    source: Calibration
    problems: tuple[str, ...]
    held_out_boxes: NDArray[np.float64] | None = None


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the photos that ``paths`` name: files as they are, and the images inside folders, sorted.

    Raises:
        InputError: a path doesn't exist, or there is no image at all.
    """
    photos: list[Path] = []
    for path in paths:
        if path.is_dir():
            photos += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif path.exists():
            photos.append(path)
        else:
            raise InputError(f"there are no photos at {str(path)!r}: it doesn't exist")
    if not photos:
        raise InputError(f"there is no image in {', '.join(map(str, paths)) or 'the calibration photos'}; allowed: {', '.join(SUFFIXES)}")
    return photos


def load_calibration(
    photos: Sequence[Path], boxes: BoxFile | None, spec: ModelSpec, *, limit: int, progress: Callable[[str], None] = lambda _: None
) -> CalibrationSet:
    """Cut crops out of photos. Every fifth photo is held out, to judge the decision on; of fewer than five photos, every fifth person.

    One photo is enough to decide at all. Few are warned about: what they don't show is outside the ranges that are found.

    What can't be used is skipped and listed: unreadable files, photos that the boxes file doesn't name or has no usable box for (at least
    16 pixels wide and high, and inside the image), and people without any contrast.

    Args:
        photos: image files; where there are more than needed, they are taken evenly.
        boxes: the people on them; ``None`` takes each photo whole.
        spec: of the model.
        limit: the largest number of crops to calibrate on.
        progress: is told what is going on.

    Raises:
        InputError: none of the photos can be used.
    """
    calibration: list[_Cut] = []
    held_out: list[_Cut] = []
    problems: list[str] = []
    used = 0
    if boxes is not None:
        boxes.check_names(photos)
    for number, photo in enumerate(_evenly(photos)):
        progress(f"reading photos: {number + 1}/{len(photos)}, {sum(len(crops) for crops, _ in calibration)} crops")
        try:
            batch, people = _cut(photo, boxes, spec)
        except InputError as error:
            problems.append(f"{photo.name}: {error}")
            continue
        target, room = (held_out, _MAX_HELD_OUT) if used % _HELD_OUT == _HELD_OUT - 1 else (calibration, limit)
        used += 1
        if room := max(0, room - sum(len(crops) for crops, _ in target)):
            target.append((batch[:room], people[:room]))
        if sum(len(crops) for crops, _ in calibration) >= limit and used >= ENOUGH_PHOTOS:
            break
    if not used:
        reasons = "".join(f"\n  {problem}" for problem in problems[:10]) + ("\n  …" if len(problems) > 10 else "")
        raise InputError(f"none of the {len(photos)} photos can be calibrated on{reasons}")
    crops, judges, where = _hold_out(calibration, held_out)
    if used < ENOUGH_PHOTOS:
        _logger.warning(
            "%d photos with %d people are few to calibrate on (at least %d, better 300): values that they don't show are cut off, so "
            "expect larger errors on other pictures; the figures are of %d people %s",
            used,
            len(crops),
            ENOUGH_PHOTOS,
            len(judges[0]),
            where,
        )
    source = Calibration(photos=used, skipped=len(problems), crops=len(crops), sha256=hashlib.sha256(crops.tobytes()).hexdigest())
    return CalibrationSet(crops=crops, held_out=judges[0], source=source, problems=tuple(problems), held_out_boxes=judges[1])


_Cut = tuple[NDArray[np.float32], NDArray[np.float64]]
"""Crops (N, 3, H, W) and the boxes (N, 4) that they were cut from."""


def _hold_out(calibration: list[_Cut], held_out: list[_Cut]) -> tuple[NDArray[np.float32], _Cut, str]:
    """Return crops to decide on, crops and boxes to judge by, and where those are from."""
    crops, boxes = _join(calibration)
    if held_out:
        return crops, _join(held_out), "on photos that were held out"
    if len(crops) == 1:
        return crops, (crops, boxes), "who are the same: nothing was held out"
    judges = np.zeros(len(crops), np.bool_)
    judges[_HELD_OUT - 1 :: _HELD_OUT] = True
    judges[-1] |= not judges.any()
    return crops[~judges], (crops[judges], boxes[judges]), "on the same photos"


def _join(pieces: list[_Cut]) -> _Cut:
    return np.concatenate([crops for crops, _ in pieces]), np.concatenate([boxes for _, boxes in pieces])


def _evenly(photos: Sequence[Path]) -> Iterator[Path]:
    """Go through the photos in an order whose every beginning is spread over the whole: a folder is often sorted by scene."""
    order = np.argsort(np.arange(len(photos)) * 0.6180339887498949 % 1.0, kind="stable")
    return (photos[index] for index in order)


def _cut(photo: Path, boxes: BoxFile | None, spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the crops (N, 3, H, W) of a photo and their boxes (N, 4)."""
    image = read_image(photo)
    height, width = image.shape[:2]
    judged = judge_boxes([[0, 0, width, height]] if boxes is None else boxes.for_image(photo), image.shape)
    people = judged.boxes_xyxy[judged.usable]
    people = people[(people[:, 2:] - people[:, :2]).min(axis=1) >= _MIN_SIDE_PX]
    if not len(people):
        raise InputError(f"no box of at least {_MIN_SIDE_PX} pixels")
    usable = [box for box in people if _contrast(image, box) >= _MIN_CONTRAST]
    if not usable:
        raise InputError("the image is constant inside its boxes")
    return crop(image, usable, spec.input, spec.codec).batch, np.array(usable)


def _contrast(image: NDArray[np.uint8], box: NDArray[np.float64]) -> float:
    """Standard deviation of the grey values inside a box."""
    left, top = np.floor(box[:2].clip(0)).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    return float(image[top:bottom, left:right].mean(axis=2).std())
