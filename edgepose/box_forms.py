"""Files of person boxes: for every image, by image name, by frame, or in COCO's forms."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgepose.box_file import BoxFile
from edgepose.box_rows import split_rows
from edgepose.document import describe, parse_json, read_bytes
from edgepose.errors import InputError, SpecError

__all__ = ["load_boxes"]

MAX_BYTES = 1 << 30
FORMS = (
    '[[left, top, right, bottom], …], {"folder/image.jpg": [[…], …], …}, {"people": [{"box_xyxy": […]}, …]}, lines of such objects with '
    "index or name, or COCO's lists of objects with image_id and bbox"
)
COCO_PERSON = 1
_MAX_LINE_BYTES = 16 << 20

Rows = npt.NDArray[np.float64]


def load_boxes(path: str | Path) -> BoxFile:
    """Read a JSON file of boxes in one of these forms, in image pixels.

    - ``[[left, top, right, bottom], …]``: the same for every image;
    - ``{"image.jpg": [[left, top, right, bottom], …], …}``: by image name, with as much of its folder as is needed to tell images apart;
    - ``{"people": [{"box_xyxy": [left, top, right, bottom], …}, …]}``: the same for every image; what else a person holds is ignored;
    - JSON lines, each ``{"index": 0, "name": "image.jpg", "people": [{"box_xyxy": …, "box_score": 0.9}, …]}``, as ``edgepose predict``
      writes them: by frame, and by name where each line has another one; lines with ``failure`` say nothing about their frame;
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
    content = read_bytes(path, what="the boxes file", max_bytes=MAX_BYTES)
    if _is_lines(content):
        return _read_lines(content, source)
    document = parse_json(content, where=source)
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


def _is_lines(content: bytes) -> bool:
    """Whether the first line is an object of its own that describes a frame, which no other form's is."""
    first = content.lstrip()[:_MAX_LINE_BYTES].split(b"\n", 1)[0]
    try:
        document = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "index" in document and ("people" in document or "failure" in document)


def _read_lines(content: bytes, source: str) -> BoxFile:
    by_frame: dict[int, Rows] = {}
    by_name: dict[str, Rows] = {}
    names: set[str] = set()
    lines = 0
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{source}: line {number}"
        document = parse_json(line, where=where)
        if not isinstance(document, dict) or type(document.get("index")) is not int or document["index"] < 0:
            raise SpecError(f"{where} is {describe(document)}; expected an object with index, from 0, and people")
        if document["index"] in by_frame:
            raise SpecError(f"{where} describes frame {document['index']} a second time")
        lines += 1
        name = document.get("name")
        names |= {name} if isinstance(name, str) else set()
        if "failure" in document:
            continue
        rows = _read_people(document.get("people"), where)
        by_frame[document["index"]] = rows
        if isinstance(name, str):
            by_name[name] = rows
    # The frames of a video have one name, pictures each their own.
    return BoxFile(source=source, shared=None, by_name=by_name if len(names) == lines else {}, by_frame=by_frame)


def _read_people(people: object, where: str) -> Rows:
    """Read ``box_xyxy``, and ``box_score`` where each person has one."""
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise SpecError(f"{where} has people {describe(people)}; expected a list of objects with box_xyxy")
    boxes, scores = [person.get("box_xyxy") for person in people], [person.get("box_score") for person in people]
    if all(isinstance(score, int | float) for score in scores):
        boxes = [[*box, score] if isinstance(box, list) else box for box, score in zip(boxes, scores, strict=True)]
    return _parse(boxes, f"{where}: people")


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
    by_name = dict.fromkeys(names.values(), np.empty((0, 4))) | dict(found.by_name)
    return BoxFile(
        source=source, shared=None, by_name=by_name, image_ids={name: key for key, name in names.items() if isinstance(key, int)}
    )


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
