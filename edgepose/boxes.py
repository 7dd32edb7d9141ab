"""Person boxes: checking them, and reading them from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepose.document import read_json
from edgepose.errors import InputError, SpecError

__all__ = ["BoxFile", "check_boxes", "load_boxes"]

# Crop geometry is float32, as published: beyond this range its rounding would reach the size of the smallest box.
MAX_COORDINATE_PX = 100_000
MIN_SIDE_PX = 0.1
MAX_BYTES = 1 << 30

FORMS = '[[left, top, right, bottom], …], {"image.jpg": [[…], …], …} or {"people": [{"box_xyxy": […]}, …]}'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxFile:
    """The boxes that a file holds, for every image or by image.

    Attributes:
        source: the file, as error messages name it.
        shared: (N, 4) boxes for every image, or ``None`` where ``by_name`` holds them.
        by_name: image file name → (N, 4) boxes.
    """

    source: str
    shared: npt.NDArray[np.float64] | None
    by_name: Mapping[str, npt.NDArray[np.float64]]

    def for_image(self, path: str | Path) -> npt.NDArray[np.float64]:
        """Return the boxes (N, 4) of an image, found by its file name.

        Raises:
            InputError: the file says nothing about the image.
        """
        if self.shared is not None:
            return self.shared
        name = Path(path).name
        if name not in self.by_name:
            raise InputError(f"{self.source} has no boxes for the image {name!r}; it names {_some(list(self.by_name))}")
        return self.by_name[name]


def load_boxes(path: str | Path) -> BoxFile:
    """Read a JSON file of boxes in one of these forms, in image pixels.

    - ``[[left, top, right, bottom], …]``: the same for every image;
    - ``{"image.jpg": [[left, top, right, bottom], …], …}``: by image file name;
    - ``{"people": [{"box_xyxy": [left, top, right, bottom], …}, …]}``: the same for every image; what else a person holds is ignored.

    Only the form is checked here: ``check_boxes`` does the rest when the image is known.

    Raises:
        InputError: the file can't be read.
        SpecError: its content has none of these forms.
    """
    source = str(path)
    document = read_json(path, what="the boxes file", max_bytes=MAX_BYTES)
    if isinstance(document, list):
        return BoxFile(source=source, shared=_parse(document, source), by_name={})
    if not isinstance(document, dict):
        raise SpecError(f"{source} holds {_short(document)}; allowed: {FORMS}")
    people = document.get("people")
    if isinstance(people, list) and all(isinstance(person, dict) for person in people):
        boxes = [person.get("box_xyxy") for person in people]
        return BoxFile(source=source, shared=_parse(boxes, f"{source}: people"), by_name={})
    by_name = {name: _parse(boxes, f"{source}: {name}") for name, boxes in document.items()}
    return BoxFile(source=source, shared=None, by_name=by_name)


def check_boxes(boxes_xyxy: npt.ArrayLike, image_shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Check boxes against the image that they are for.

    Args:
        boxes_xyxy: (N, 4) left, top, right, bottom in image pixels; they may reach beyond the image. An empty list is no box.
        image_shape: height, width, … of the image.

    Returns:
        (N, 4) float64.

    Raises:
        InputError: not (N, 4) numbers, or a box is NaN, infinite, inverted, without area, too far away or wholly outside the image.
    """
    try:
        given = np.asarray(boxes_xyxy)
    except ValueError as error:
        raise InputError(f"boxes don't make an array: {error}; expected (N, 4) numbers: left, top, right, bottom") from None
    if given.size == 0 and given.shape in ((0,), (0, 4)):
        return np.empty((0, 4), dtype=np.float64)
    if given.dtype.kind not in "iuf":
        raise InputError(f"boxes have dtype {given.dtype}; expected integers or floats")
    if given.ndim != 2 or given.shape[1] != 4:
        raise InputError(f"boxes have shape {given.shape}; expected (N, 4): left, top, right, bottom")
    boxes = given.astype(np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    height, width = image_shape[:2]
    outside = (high <= 0) | (low >= np.array([width, height]))
    _refuse(boxes, ~np.isfinite(boxes), "every number must be finite")
    _refuse(boxes, high < low, "left must be less than right and top less than bottom (not x, y, width, height)")
    _refuse(boxes, high - low < MIN_SIDE_PX, f"width and height must be at least {MIN_SIDE_PX} pixels")
    _refuse(boxes, np.abs(boxes) > MAX_COORDINATE_PX, f"coordinates must lie between ±{MAX_COORDINATE_PX}")
    _refuse(boxes, outside, f"it lies outside the image of {width}×{height} pixels; a part of it must be inside")
    return boxes


def _refuse(boxes: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        index = int(wrong.any(axis=1).argmax())
        raise InputError(f"box {index} is {[float(f'{value:.6g}') for value in boxes[index]]}: {why}")


def _parse(items: object, where: str) -> npt.NDArray[np.float64]:
    if not isinstance(items, list):
        raise SpecError(f"{where} holds {_short(items)}; expected a list of boxes: {FORMS}")
    for index, item in enumerate(items):
        numbers = isinstance(item, list) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in item)
        if not numbers or len(item) != 4:
            raise SpecError(f"{where}: box {index} is {_short(item)}; expected four numbers: left, top, right, bottom")
    try:
        return np.array(items, dtype=np.float64).reshape(-1, 4)
    except OverflowError as error:
        raise SpecError(f"{where} holds a number that is too large: {error}") from None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(map(repr, names[:5])) or "no image at all") + more


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
