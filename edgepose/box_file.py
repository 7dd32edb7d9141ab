"""Files of person boxes: for every image, by image name, or in COCO's forms."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgepose.box_rows import PERSON_CLASS, split_rows
from edgepose.document import describe, read_json
from edgepose.errors import InputError, SpecError

__all__ = ["BoxFile", "load_boxes"]

MAX_BYTES = 1 << 30
FORMS = (
    '[[left, top, right, bottom], …], {"folder/image.jpg": [[…], …], …}, {"people": [{"box_xyxy": […]}, …]} or COCO\'s lists of objects '
    "with image_id and bbox"
)
COCO_PERSON = 1
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,18})", re.ASCII)

Rows = npt.NDArray[np.float64]
Parts = tuple[str, ...]
Key = Parts | int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxFile:
    """The boxes that a file holds, for every image or by image.

    A name stands for the image whose path ends with it: ``0001.jpg`` or ``cam1/0001.jpg``, with either slash. Where several names do, the
    longest counts. A name that stands for two images of different folders is an error: both would get the same people.

    Attributes:
        source: the file, as error messages name it.
        shared: (N, 4 to 6) rows for every image, or ``None`` where the file goes by image.
        by_name: image name → (N, 4 to 6) rows: left, top, right, bottom, and the detector's score and class where the file has them.
        by_number: COCO's image id → rows, for files without names: an image is found by the number in its name.
    """

    source: str
    shared: Rows | None
    by_name: Mapping[str, Rows]
    by_number: Mapping[int, Rows] = field(default_factory=dict)
    _names: dict[Parts, str] = field(init=False, repr=False, default_factory=dict)
    _given: dict[Key, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.by_name:
            parts = _split(name)
            if parts in self._names:
                raise SpecError(f"{self.source} names an image twice: {self._names[parts]!r} and {name!r}")
            self._names[parts] = name

    def for_image(self, path: str | Path) -> Rows:
        """Return the boxes (N, 4) of the people in an image: rows of other classes aren't among them.

        Raises:
            InputError: the file says nothing about the image, or the same as about another one of that name.
        """
        boxes, _, classes = split_rows(self.rows_for_image(path))
        return boxes if classes is None else boxes[classes == PERSON_CLASS]

    def rows_for_image(self, path: str | Path) -> Rows:
        """Return the rows (N, 4 to 6) of an image as the file has them.

        Raises:
            InputError: as ``for_image``.
        """
        rows = self.find(path)
        if rows is None:
            raise InputError(f"{self.source} has no boxes for the image {str(path)!r}; {self._describe(path)}")
        return rows

    def find(self, path: str | Path) -> Rows | None:
        """Return the rows of an image; ``None`` where the file says nothing about it.

        Raises:
            InputError: the file says the same about another image that was asked for, which lies in another folder.
        """
        if self.shared is not None:
            return self.shared
        key = self._match(path)
        if key is None:
            return None
        # A bare name says nothing about its folder.
        if len(Path(path).parts) > 1:
            self._refuse_second(key, self._given.setdefault(key, _place(path)), _place(path))
        return self.by_number[key] if isinstance(key, int) else self.by_name[self._names[key]]

    def check_names(self, paths: Iterable[str | Path]) -> None:
        """Look at all images before any is used.

        Raises:
            InputError: a name in the file stands for two of them.
        """
        if self.shared is not None:
            return
        seen: dict[Key, str] = {}
        for path in paths:
            key = self._match(path)
            if key is not None:
                self._refuse_second(key, seen.setdefault(key, _place(path)), _place(path))

    def _match(self, path: str | Path) -> Key | None:
        image = _split(_place(path))
        stem = Path(image[-1]).stem if image else ""
        for name in (image, (*image[:-1], stem)):
            for start in range(len(name)):
                if name[start:] in self._names:
                    return name[start:]
        number = _COCO_NAME.fullmatch(stem)
        return int(number.group(1)) if number and int(number.group(1)) in self.by_number else None

    def _refuse_second(self, key: Key, first: str, second: str) -> None:
        if first != second:
            name = f"image_id {key}" if isinstance(key, int) else repr(self._names[key])
            raise InputError(f"{self.source}: {name} stands for both {first!r} and {second!r}: name each image with its folder")

    def _describe(self, path: str | Path) -> str:
        same = [self._names[parts] for parts in self._names if parts[-1:] == _split(Path(path).name)]
        if same:
            return f"it names {_some(map(repr, same))}, which is in another folder"
        if not self.by_number:
            return f"it names {_some(map(repr, self.by_name))}"
        return (
            f"it goes by image_id ({_some(map(str, self.by_number))}), and no number is in this image's name: put its file_name into each "
            "object"
        )


def load_boxes(path: str | Path) -> BoxFile:
    """Read a JSON file of boxes in one of these forms, in image pixels.

    - ``[[left, top, right, bottom], …]``: the same for every image;
    - ``{"image.jpg": [[left, top, right, bottom], …], …}``: by image name, with as much of its folder as is needed to tell images apart;
    - ``{"people": [{"box_xyxy": [left, top, right, bottom], …}, …]}``: the same for every image; what else a person holds is ignored;
    - ``[{"image_id": 139, "bbox": [left, top, width, height], "score": 0.9}, …]``, COCO's detections: an image is found by the number in
      its name, by ``file_name`` where the objects have it, or by an ``image_id`` that is a name; of several categories 1 are people;
    - ``{"images": [{"id": 1, "file_name": …}, …], "annotations": [{"image_id": 1, "bbox": […]}, …]}``, COCO's annotations.

    Rows of the first two may have a fifth number, the score from 0 to 1, and a sixth, the class, of which 0 are people. Numbers of a box
    may be null, as JSON has no NaN: such a box is a person that can't be used.

    Only the form is checked here: ``judge_boxes`` does the rest when the image is known.

    Raises:
        InputError: the file can't be read.
        SpecError: its content has none of these forms.
    """
    source = str(path)
    document = read_json(path, what="the boxes file", max_bytes=MAX_BYTES)
    if isinstance(document, list):
        if document and all(isinstance(entry, dict) for entry in document):
            return _read_detections(document, source, None, COCO_PERSON)
        return BoxFile(source=source, shared=_parse(document, source), by_name={})
    if not isinstance(document, dict):
        raise SpecError(f"{source} holds {describe(document)}; allowed: {FORMS}")
    if isinstance(document.get("annotations"), list) and isinstance(document.get("images"), list):
        return _read_annotations(document, source)
    people = document.get("people")
    if isinstance(people, list) and all(isinstance(person, dict) for person in people):
        boxes = [person.get("box_xyxy") for person in people]
        return BoxFile(source=source, shared=_parse(boxes, f"{source}: people"), by_name={})
    by_name = {name: _parse(boxes, f"{source}: {name}") for name, boxes in document.items()}
    return BoxFile(source=source, shared=None, by_name=by_name)


def _parse(items: object, where: str) -> Rows:
    if not isinstance(items, list):
        raise SpecError(f"{where} holds {describe(items)}; expected a list of boxes: {FORMS}")
    if items in ([], [[]]):
        return np.empty((0, 4))
    table: list[list[float]] = []
    for index, item in enumerate(map(_finite, items)):
        if not _is_row(item) or not 4 <= len(item) <= 6:
            raise SpecError(f"{where}: box {index} is {describe(item)}; expected four numbers: left, top, right, bottom")
        table.append(item)
        if len(item) != len(table[0]):
            raise SpecError(f"{where}: box {index} has {len(item)} numbers, box 0 {len(table[0])}; expected the same of each")
    rows = np.array(table, dtype=np.float64).reshape(len(table), -1)
    try:
        split_rows(rows)
    except InputError as error:
        raise SpecError(f"{where}: {error}") from None
    return rows


def _read_annotations(document: dict[str, Any], source: str) -> BoxFile:
    names: dict[object, str] = {}
    for number, image in enumerate(document["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not isinstance(image.get("id"), int | str):
            raise SpecError(f"{source}: images[{number}] is {describe(image)}; expected an object with id and file_name")
        names[image["id"]] = image["file_name"]
    categories = document.get("categories")
    known = [each for each in categories if isinstance(each, dict)] if isinstance(categories, list) else []
    people = [each.get("id") for each in known if str(each.get("name")).lower() == "person"]
    entries = document["annotations"]
    if not all(isinstance(entry, dict) for entry in entries):
        raise SpecError(f"{source}: annotations holds something that isn't an object")
    found = _read_detections([entry for entry in entries if not entry.get("iscrowd")], source, names, people[0] if people else COCO_PERSON)
    # An image without people is known, and has none.
    return BoxFile(source=source, shared=None, by_name=dict.fromkeys(names.values(), np.empty((0, 4))) | dict(found.by_name))


def _read_detections(entries: list[dict[str, Any]], source: str, names: Mapping[object, str] | None, person: object) -> BoxFile:
    """Read objects with ``bbox``, and ``image_id`` or ``file_name``; ``names`` are those of the ids, where the file has them."""
    categories = [entry.get("category_id") for entry in entries]
    several = any(category != categories[0] for category in categories)
    if several and person not in categories:
        raise SpecError(f"{source} holds detections of several categories, but none of {person!r}, which are people")
    rows: dict[str | int, list[list[float]]] = {}
    for number, entry in enumerate(entries):
        box, image, score = _finite(entry.get("bbox")), entry.get("file_name", entry.get("image_id")), entry.get("score")
        if not _is_row(box) or len(box) != 4 or isinstance(image, bool) or not isinstance(image, int | str):
            raise SpecError(f"{source}: object {number} is {describe(entry)}; expected image_id, and bbox: left, top, width, height")
        if names is not None:
            if image not in names:
                raise SpecError(f"{source}: object {number} has image_id {describe(image)}, which isn't among the images")
            image = names[image]
        kept = rows.setdefault(image, [])
        if several and entry.get("category_id") != person:
            continue
        left, top, width, height = map(float, box)
        scored = [float(score)] if isinstance(score, int | float) and 0 <= score <= 1 else []
        kept.append([left, top, left + width, top + height, *scored])
    arrays = {image: _even(table) for image, table in rows.items()}
    return BoxFile(
        source=source,
        shared=None,
        by_name={image: table for image, table in arrays.items() if isinstance(image, str)},
        by_number={image: table for image, table in arrays.items() if isinstance(image, int)},
    )


def _even(rows: list[list[float]]) -> Rows:
    """As an array; without scores where not all have one."""
    columns = min(map(len, rows), default=4)
    return np.array([row[:columns] for row in rows], dtype=np.float64).reshape(-1, columns)


def _finite(box: object) -> object:
    """A box whose nulls, which is how most writers of JSON spell NaN, are NaN again."""
    return [np.nan if value is None else value for value in box] if isinstance(box, list) else box


def _is_row(item: object) -> TypeGuard[list[float]]:
    return isinstance(item, list) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in item)


def _place(path: str | Path) -> str:
    """Where an image is; links aren't followed, as their names are what people go by."""
    return os.path.normpath(Path.cwd() / path)


def _split(name: str) -> Parts:
    """The parts of a path, of whatever system, without what only says where it begins."""
    parts = [part for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/") if part not in ("", ".")]
    while parts and parts[0] == "..":
        del parts[0]
    return tuple(parts)


def _some(names: Iterable[str]) -> str:
    shown = [name for _, name in zip(range(6), names, strict=False)]
    return (", ".join(shown[:5]) or "no image at all") + (" and more" if len(shown) > 5 else "")
