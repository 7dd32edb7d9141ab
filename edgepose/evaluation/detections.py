"""Whom a model is run on: what a detector found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.document import parse_json, read_bytes
from edgepose.errors import InputError, SpecError
from edgepose.evaluation import kinds
from edgepose.evaluation.coco_file import MAX_FILE_BYTES, Entry, read_number, read_numbers, shown, to_numbers
from edgepose.evaluation.dataset import Annotations, People
from edgepose.evaluation.identities import Identities, describe_ids, plain_id
from edgepose.evaluation.people import usable_boxes
from edgepose.evaluation.plausibility import check_detections, check_scores
from edgepose.findings import Findings, Kind

__all__ = ["detected_people"]

_FORM = "image_id, category_id, bbox (x, y, w, h), score"
_NAMED_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_NAMED_SIDES = (("left", "top", "width", "height"),)


def detected_people(path: str | Path, annotations: Annotations, *, min_score: float = 0.0, findings: Findings | None = None) -> People:
    """Read a detector's results in COCO's form: a JSON list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height), ``score``.

    What can't be used, or isn't of a category that has annotated keypoints, is left out and counted in ``skipped``. What is written
    unusually but can only mean one thing is read and noted in ``findings``.

    Args:
        path: the file.
        annotations: the pictures, and which categories have keypoints.
        min_score: detections below are left out.
        findings: is told what is odd about the file, also where an error is raised in the end.

    Raises:
        InputError: the file can't be read, no detection in it can be used, or its boxes can't mean what they say.
        SpecError: its content isn't of that form.
    """
    path = Path(path)
    findings = Findings() if findings is None else findings
    content = read_bytes(path, what="the detections", max_bytes=MAX_FILE_BYTES)
    entries = _list_detections(content, path, findings)
    del content
    if not entries:
        raise InputError(f"{path} holds no detection at all: its list is empty")
    places, named = _find_pictures(entries, annotations, path, findings)
    categories = _find_categories(entries, annotations, path, findings)
    rows = np.zeros((len(entries), 5))  # box as given, score
    skipped: Counter[str] = Counter()
    kept = []
    for number, (entry, picture, category) in enumerate(zip(entries, places, categories, strict=True)):
        fault = _read_detection(entry, picture, category, f"detection {number}", rows[number], findings)
        if fault is None:
            kept.append(number)
        else:
            skipped[fault.message] += 1
            findings.add(fault, f"detection {number}")
    chosen, scores = np.array(kept, np.intp), rows[kept, 4]
    pictures = np.array(places, np.int64)[chosen]
    check_scores(scores, path, findings, min_score=min_score)
    by_name = None if named is None else np.array(named, np.int64)[chosen]
    check_detections(rows[chosen, :4], pictures, scores, annotations, path, findings, by_name=by_name)
    boxes = np.concatenate([rows[chosen, :2], rows[chosen, :2] + rows[chosen, 2:4]], axis=1)
    usable = usable_boxes(boxes, annotations.picture_sizes[pictures])
    for kind, left_out in ((kinds.LOW_SCORE, scores < min_score), (kinds.BAD_DETECTION_BOX, ~usable & (scores >= min_score))):
        if left_out.any():
            skipped[kind.message] += int(left_out.sum())
            findings.add(kind, f"detection {chosen[int(left_out.argmax())]}", count=int(left_out.sum()))
    order = np.flatnonzero(usable & (scores >= min_score))
    if not len(order):
        raise InputError(_nothing_left(path, entries, annotations, skipped))
    order = order[np.argsort(pictures[order], kind="stable")]
    return People(
        pictures=pictures[order],
        boxes_xyxy=boxes[order],
        scores=scores[order],
        categories=np.array([categories[number] or 0 for number in chosen[order]], np.int64),
        annotations=np.full(len(order), -1, np.int64),
        skipped=dict(skipped),
    )


def _list_detections(content: bytes, path: Path, findings: Findings) -> list[Entry]:
    """Return the list of detections: the document itself, the only such list in an object, or one detection a line."""
    document = _parse(content, path, findings)
    if isinstance(document, dict):
        lists = [
            value
            for value in document.values()
            if isinstance(value, list) and value and all(isinstance(each, dict) and "image_id" in each and "bbox" in each for each in value)
        ]
        if len(lists) == 1:
            findings.add(kinds.WRAPPED, count=0)
            return lists[0]
    if isinstance(document, list) and all(isinstance(entry, dict) for entry in document):
        return document
    by_image = isinstance(document, dict) and document and all(isinstance(value, list) for value in document.values())
    hint = "; boxes by image have no scores, which AP needs" if by_image else ""
    raise SpecError(f"{path} isn't a list of objects; expected COCO detections: {_FORM}{hint}")


def _parse(content: bytes, path: Path, findings: Findings) -> object:
    try:
        return parse_json(content, where=str(path))
    except SpecError:
        lines = [line for line in content.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
            raise
    findings.add(kinds.JSON_LINES, count=0)
    return [parse_json(line, where=f"{path}: line {number}") for number, line in enumerate(lines, start=1)]


@dataclass(frozen=True, slots=True)
class _Match:
    """A way to find the pictures of detections: their places, and how many were found."""

    places: list[int]
    found: int


def _find_pictures(
    entries: Sequence[Entry], annotations: Annotations, path: Path, findings: Findings
) -> tuple[list[int], list[int] | None]:
    """Return the place of each detection's picture, or -1; and where ids could as well be other pictures' file names, these.

    By ids, or for the whole file by file names where these find more: numbers alone don't say which of the two is meant.
    """
    stated = annotations.stated_ids or tuple(annotations.picture_ids.tolist())
    identities = Identities(stated, annotations.file_names)
    ids = [entry.get("image_id") for entry in entries]
    for number, identity in enumerate(ids):
        if plain_id(identity) is None:
            raise SpecError(
                f"{path}: detection {number}: 'image_id' is {shown(identity)}; expected the id of a picture, a whole number or text"
            )
    matches = []
    for find in (identities.find, identities.find_by_name):
        known: dict[object, int] = {}
        places = [known[each] if each in known else known.setdefault(each, find(each)) for each in ids]
        matches.append(_Match(places, sum(place >= 0 for place in places)))
    by_id, by_name = matches
    if by_name.found > by_id.found:
        findings.add(
            kinds.ID_BY_NAME, shown(next(each for each, place in zip(ids, by_name.places, strict=True) if place >= 0)), count=by_name.found
        )
        return by_name.places, None
    otherwise = [each for each, place in zip(ids, by_id.places, strict=True) if place >= 0 and type(each) is not type(stated[place])]
    if otherwise:
        findings.add(kinds.ID_OTHERWISE, f"detections' image_id {shown(otherwise[0])}", count=len(otherwise))
    return by_id.places, by_name.places if by_name.found == len(ids) and by_name.places != by_id.places else None


def _find_categories(entries: Sequence[Entry], annotations: Annotations, path: Path, findings: Findings) -> list[int | None]:
    """Return each detection's category as the annotations number it; ``None`` for one that isn't annotated."""
    known = {str(plain_id(annotations.stated_category(number))): number for number in map(int, np.unique(annotations.categories))}
    only = next(iter(known.values())) if len(known) == 1 else None
    stated = [entry.get("category_id") for entry in entries]
    texts = [plain_id(each) for each in stated]
    for number, (each, text) in enumerate(zip(stated, texts, strict=True)):
        if text is None and each is not None:
            raise SpecError(f"{path}: detection {number}: 'category_id' is {shown(each)}; expected the id of a category")
    different = set(texts)
    if None in different:
        if different != {None} or only is None:
            number = texts.index(None)
            raise SpecError(
                f"{path}: detection {number}: 'category_id' is None; expected the id of a category (it may be left out of all detections "
                "where one category is annotated)"
            )
        findings.add(kinds.DETECTION_NO_CATEGORY, count=len(entries))
        return [only] * len(entries)
    if "0" in different and "0" not in known:
        # Detectors count classes from 0, COCO from 1: category 1 of such a file is the second class.
        if different != {"0"} or only is None:
            raise InputError(
                f"{path}: its categories ({', '.join(sorted(map(str, different))[:5])} …) begin with 0, those of {annotations.source} are "
                f"{', '.join(list(known)[:5])}: they look like class numbers, which begin with 0; write the categories of the annotations"
            )
        findings.add(kinds.DETECTION_CATEGORY_ZERO, count=len(entries))
        return [only] * len(entries)
    return [known.get(str(text)) for text in texts]


def _read_detection(
    entry: Mapping[str, object], picture: int, category: int | None, where: str, row: NDArray[np.float64], findings: Findings
) -> Kind | None:
    """Write a detection's box and score to ``row``; returns why it can't be used, or nothing."""
    if category is None:
        return kinds.OTHER_DETECTION
    if picture < 0:
        return kinds.UNKNOWN_DETECTION
    score = _read_score(entry.get("score"), where, findings)
    box = to_numbers(entry.get("bbox"), 4)
    if box is None:
        box, score = _read_odd_box(entry.get("bbox"), score, where, findings)
    if box is None or min(box[2:]) < 0:
        return kinds.BAD_DETECTION_BOX
    if score is None or score < 0:
        return kinds.BAD_SCORE
    row[:] = *box, score
    return None


def _read_score(value: object, where: str, findings: Findings) -> float | None:
    plain = to_numbers([value])
    if plain is not None:
        return plain[0]
    score = read_number(value[0] if isinstance(value, list) and len(value) == 1 else value)
    if score is not None:
        findings.add(kinds.SCORE_OTHERWISE, f"{where}: {shown(value)}")
    return score


def _read_odd_box(value: object, score: float | None, where: str, findings: Findings) -> tuple[Sequence[float] | None, float | None]:
    """Read a box of text, one with its score, or one whose numbers are named."""
    if isinstance(value, dict):
        for names in (*_NAMED_CORNERS, *_NAMED_SIDES):
            if set(names) <= set(value) and (numbers := read_numbers([value[name] for name in names])) is not None:
                findings.add(kinds.BOX_BY_NAME, f"{where}: {', '.join(names)}")
                left, top, right, bottom = numbers
                return ([left, top, right - left, bottom - top] if names in _NAMED_CORNERS else numbers), score
        return None, score
    numbers = read_numbers(value)
    if numbers is None:
        return None, score
    if len(numbers) == 5 and (score is None or abs(numbers[4] - score) <= 1e-6):
        findings.add(kinds.SCORE_IN_BOX, where)
        return numbers[:4], numbers[4]
    if len(numbers) == 4:
        findings.add(kinds.BOX_AS_TEXT, where)
        return numbers, score
    return None, score


def _nothing_left(path: Path, entries: Sequence[Entry], annotations: Annotations, skipped: Mapping[str, int]) -> str:
    hint = ""
    if skipped.get(kinds.UNKNOWN_DETECTION.message):
        ids = describe_ids([entry["image_id"] for entry in entries[:3]])
        known = describe_ids([annotations.stated_id(number) for number in range(min(3, len(annotations.picture_ids)))])
        hint = f": its image ids begin {ids}, those of {annotations.source} {known}; is it of another data set?"
    elif skipped.get(kinds.OTHER_DETECTION.message):
        theirs = describe_ids([entry.get("category_id") for entry in entries[:3]])
        ours = describe_ids([annotations.stated_category(int(each)) for each in np.unique(annotations.categories)])
        hint = f": its categories begin {theirs}, those of {annotations.source} {ours}"
    elif skipped.get(kinds.BAD_DETECTION_BOX.message):
        hint = f": the first box is {shown(entries[0].get('bbox'))}; expected [left, top, width, height] in pixels"
    elif skipped.get(kinds.BAD_SCORE.message) == len(entries):
        hint = ": AP needs the order of the detections; write a score to each"
    return f"none of the {len(entries)} detections in {path} can be used ({', '.join(f'{n} {why}' for why, n in skipped.items())}){hint}"
