"""Annotation files: COCO's form, which COCO, COCO-WholeBody, AIC, CrowdPose and AP-10K share, and MPII's as mmpose publishes it."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgepose.document import parse_json, read_bytes
from edgepose.errors import SpecError
from edgepose.evaluation import kinds
from edgepose.evaluation.categories import WHOLEBODY_PARTS, Form, check_count, find_form, list_categories
from edgepose.evaluation.coco_file import LARGEST, MAX_FILE_BYTES, Entry, list_entries, picture_name, read_whole, shown, to_numbers
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.identities import Identities, number_ids, plain_id
from edgepose.evaluation.mpii_file import read_mpii
from edgepose.evaluation.person_rows import read_area, read_box, read_crowd, read_keypoints, read_label_count
from edgepose.evaluation.plausibility import check_annotations
from edgepose.findings import Findings, Kind
from edgepose.skeleton import get_skeleton

__all__ = ["WHOLEBODY_PARTS", "Repeated", "load_annotations", "read_annotations"]


def load_annotations(
    path: str | Path, *, keypoints: int | None, names: Sequence[str] = (), findings: Findings | None = None
) -> Annotations:
    """Read an annotation file.

    A JSON object is taken for COCO's form; for a model of 133 keypoints, COCO-WholeBody's lists are joined. A JSON list is taken for MPII's
    ``mpii_val.json``, beside which ``mpii_gt_val.mat`` must lie.

    What is written unusually but can only mean one thing is read and noted in ``findings``; what may mean several is refused. People whose
    numbers can't be used are left out and counted in ``skipped``. People without labels stay: COCO's evaluation forgives detections of
    them.

    Args:
        path: the file.
        keypoints: of the model; ``None`` takes what the file annotates.
        names: of the model's keypoints, by which one of several sets in the file is chosen; empty where nobody stated them.
        findings: is told what is odd about the file, also where an error is raised in the end.

    Raises:
        InputError: the file can't be read, annotates another number of keypoints, or can't mean what it says: normalised coordinates, boxes
            that are left, top, right and bottom.
        SpecError: its content isn't one of these forms, or nobody in it has a labelled keypoint.
        MissingDependencyError: MPII needs SciPy, which isn't installed.
    """
    path = Path(path)
    content = read_bytes(path, what="the annotations", max_bytes=MAX_FILE_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    document = parse_json(content, where=str(path))
    del content
    return read_annotations(document, path, sha256, keypoints=keypoints, names=names, findings=findings)


def read_annotations(
    document: object,
    path: Path,
    sha256: str,
    *,
    keypoints: int | None,
    names: Sequence[str] = (),
    findings: Findings | None = None,
) -> Annotations:
    """Read a parsed annotation file, as ``load_annotations`` does; ``sha256`` is of its bytes.

    Raises:
        InputError: see ``load_annotations``.
        SpecError: see ``load_annotations``.
        MissingDependencyError: see ``load_annotations``.
    """
    findings = Findings() if findings is None else findings
    if isinstance(document, list):
        if document and isinstance(document[0], dict) and ("image_id" in document[0] or "keypoints" in document[0]):
            raise SpecError(
                f"{path} is a list of {len(document)} annotations or results; expected a COCO keypoint file, an object with images, "
                "annotations and categories"
            )
        if keypoints is not None:
            check_count(16, keypoints, get_skeleton("mpii").keypoints, path)
        return read_mpii(document, path, sha256)
    annotations = _read_coco(document, path, sha256, keypoints, names, findings)
    check_annotations(annotations, path, findings)
    return annotations


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pictures:
    """The columns of ``images``, and what finds them by their ids."""

    ids: list[str]
    stated: tuple[object, ...]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    crowd_index: NDArray[np.float64] | None
    identities: Identities


class _Table:
    """The columns of ``annotations`` while they are filled."""

    def __init__(self, rows: int, keypoints: int) -> None:
        self.points = np.zeros((rows, keypoints, 3))
        self.boxes = np.zeros((rows, 4))
        self.areas = np.full(rows, np.nan)
        self.facts = np.zeros((rows, 3), np.int64)  # picture, crowd, number of keypoints
        self.ids: list[str | None] = []
        self.categories: list[str] = []

    def __len__(self) -> int:
        return len(self.ids)

    def clear(self) -> None:
        """Forget a row that is filled in part."""
        if len(self) < len(self.points):
            self.points[len(self)] = 0
            self.boxes[len(self)] = 0
            self.areas[len(self)] = np.nan


def _read_coco(document: object, path: Path, sha256: str, keypoints: int | None, names: Sequence[str], findings: Findings) -> Annotations:
    images, entries = (list_entries(document, path, key) for key in ("images", "annotations"))
    categories = list_categories(document, path, findings)
    pictures = _read_pictures(images, path, findings)
    form = find_form(entries, categories, path, keypoints, names, findings)
    keypoints = sum(form.parts.values())
    listed = {plain_id(category.get("id")) for category in categories}
    table = _Table(len(entries), keypoints)
    skipped: Counter[str] = Counter()
    repeated = Repeated()
    for number, entry in enumerate(entries):
        where = f"annotation {number}"
        fault = repeated.look(entry) or _fill(table, entry, form, pictures, listed, where, path, findings)
        if fault is not None:
            skipped[fault.message] += 1
            findings.add(fault, where)
            table.clear()
    kept = len(table)
    labelled = (table.points[:kept, :, 2] > 0).any(axis=1)
    if not labelled.any():
        left_out = f" (left out: {', '.join(f'{count} {why}' for why, count in skipped.items())})" if skipped else ""
        form_of_lists = f": x, y and visibility of {keypoints} keypoints in each list" if kinds.OTHER_COUNT in findings else ""
        raise SpecError(
            f"{path}: none of its {len(entries)} annotations has a labelled keypoint{left_out}; expected a keypoint file{form_of_lists}"
        )
    picture_ids, category_ids = number_ids(pictures.ids), number_ids(table.categories)
    numbered = any(str(number) != text for number, text in zip(picture_ids, pictures.ids, strict=True))
    stated = dict(zip(category_ids, table.categories, strict=True))
    return Annotations(
        source=path.name,
        sha256=sha256,
        keypoint_names=form.names,
        picture_ids=np.array(picture_ids, np.int64),
        stated_ids=pictures.stated if numbered or any(type(identity) is not int for identity in pictures.stated) else (),
        file_names=pictures.names,
        picture_sizes=pictures.sizes,
        ids=np.array(_number_annotations(table.ids, findings), np.int64),
        pictures=table.facts[:kept, 0].copy(),
        categories=np.array(category_ids, np.int64),
        stated_categories={
            number: form.categories.get(text, text)
            for number, text in stated.items()
            if str(number) != text or form.categories.get(text, number) != number
        },
        boxes_xywh=table.boxes[:kept].copy(),
        areas=table.areas[:kept].copy(),
        crowd=table.facts[:kept, 1] > 0,
        keypoints=table.points if kept == len(entries) else table.points[:kept].copy(),
        crowd_index=pictures.crowd_index,
        stated_keypoints=table.facts[:kept, 2].copy(),
        skipped=dict(skipped),
    )


def _read_pictures(images: list[Entry], path: Path, findings: Findings) -> _Pictures:
    if not images:
        raise SpecError(f"{path}: its list 'images' is empty; expected the pictures that were annotated")
    ids: list[str] = []
    originals: list[object] = []
    for number, image in enumerate(images):
        stated = image.get("id")
        name = image.get("file_name")
        if stated is None and isinstance(name, str):
            findings.add(kinds.NO_IMAGE_ID, f"image {number}: {shown(name)}")
            stated = name
        identity = plain_id(stated)
        if identity is None:
            raise SpecError(f"{path}: image {number}: 'id' is {shown(stated)}; expected a whole number or text, which annotations refer to")
        if stated is not name and (not isinstance(stated, int) or not -(2**63) <= stated < 2**63):
            findings.add(kinds.ID_NOT_INTEGER, f"image {number}: {shown(stated)}")
        ids.append(identity)
        originals.append(stated)
    if len(set(ids)) != len(ids):
        twice = next(identity for identity, count in Counter(ids).items() if count > 1)
        raise SpecError(f"{path}: two images have the id {shown(twice) if not twice.isdigit() else twice}; ids must be unique")
    crowding = [image["crowdIndex"] for image in images if "crowdIndex" in image]
    if crowding and (len(crowding) != len(images) or to_numbers(crowding) is None):
        raise SpecError(f"{path}: crowdIndex must be a number and stand at each image; {len(crowding)} of {len(images)} have one")
    names = tuple(_name(image, f"{path}: image {number}", findings) for number, image in enumerate(images))
    for name, count in Counter(names).items():
        if count > 1:
            findings.add(kinds.PICTURE_TWICE, shown(name), count=count - 1)
    return _Pictures(
        ids=ids,
        stated=tuple(originals),
        names=names,
        sizes=np.array(
            [[_side(image, key, f"image {number}", path, findings) for key in ("width", "height")] for number, image in enumerate(images)],
            np.int64,
        ),
        crowd_index=np.array(crowding, np.float64) if crowding else None,
        identities=Identities(originals, names),
    )


def _name(image: Entry, where: str, findings: Findings) -> str:
    stated = image.get("file_name")
    if stated is None:
        for key in ("coco_url", "flickr_url", "url", "path"):
            address = image.get(key)
            if isinstance(address, str) and PurePosixPath(address).suffix:
                findings.add(kinds.NAME_FROM_URL, f"{where}: {key}")
                return picture_name(address, where)
    return picture_name(stated, where)


def _side(image: Entry, key: str, where: str, path: Path, findings: Findings) -> int:
    stated = image.get(key)
    if stated is None:
        return 0
    side = read_whole(stated)
    if side is None or not 0 <= side < LARGEST:
        raise SpecError(f"{path}: {where}: {key!r} is {shown(stated)}; expected pixels, a whole number")
    if type(stated) is not int:
        findings.add(kinds.SIZE_OTHERWISE, f"{where}: {key} {shown(stated)}")
    return side


def _fill(
    table: _Table, entry: Entry, form: Form, pictures: _Pictures, listed: set[str | None], where: str, path: Path, findings: Findings
) -> Kind | None:
    """Write an annotation's numbers to the next row of the table; returns why it can't be used, or nothing."""
    category = _category(entry, form, listed, where, path, findings)
    if isinstance(category, Kind):
        return category
    picture = _picture(entry, pictures, where, path, findings)
    if picture < 0:
        return kinds.UNKNOWN_PICTURE
    row = len(table)
    start = 0
    for part, count in form.parts.items():
        # A person without the list is one whom nobody labelled; so is one whose list is empty.
        if entry.get(part) is not None and entry[part] != []:
            # COCO-WholeBody's lists of feet, faces and hands have scores in the place of visibilities.
            points = read_keypoints(entry[part], count, where, findings, scored=part != "keypoints")
            if isinstance(points, Kind):
                return points
            table.points[row, start : start + count] = points
        start += count
    crowd = read_crowd(entry, f"{path}: {where}", findings)
    labelled = read_label_count(entry, table.points[row, :, 2], where, findings)
    box = read_box(entry, where, findings)
    judged = bool(labelled) and not crowd
    if judged:
        table.areas[row] = read_area(entry, box, where, findings)
    elif (area := to_numbers([entry.get("area")])) is not None:
        table.areas[row] = area[0]  # as pycocotools takes it: nobody is expected to find them
    if box is not None:
        table.boxes[row] = box
    elif not judged or np.isnan(table.areas[row]):
        return kinds.NO_BOX
    else:
        findings.add(kinds.NO_BOX_LABELLED, where)
    table.facts[row] = picture, crowd, labelled
    table.ids.append(plain_id(entry.get("id")))
    table.categories.append(category)
    return None


def _category(entry: Entry, form: Form, listed: set[str | None], where: str, path: Path, findings: Findings) -> str | Kind:
    stated = entry.get("category_id")
    category = plain_id(stated)
    if category is None:
        if stated is None and (form.only is not None or not form.categories):
            if form.categories or listed:
                findings.add(kinds.NO_CATEGORY, where)
            return form.only or "1"
        raise SpecError(f"{path}: {where}: 'category_id' is {shown(stated)}; expected the id of a category")
    if form.categories and category not in form.categories:
        return kinds.OTHER_CATEGORY if category in listed else kinds.UNKNOWN_CATEGORY
    if form.categories and type(stated) is not type(form.categories[category]):
        findings.add(kinds.ID_OTHERWISE, f"{where}: category {shown(stated)}")
    return category


def _picture(entry: Entry, pictures: _Pictures, where: str, path: Path, findings: Findings) -> int:
    stated = entry.get("image_id")
    if stated is not None and plain_id(stated) is None:
        raise SpecError(f"{path}: {where}: 'image_id' is {shown(stated)}; expected the id of an image")
    picture = pictures.identities.find(stated)
    if picture >= 0:
        if type(stated) is not type(pictures.stated[picture]):
            findings.add(kinds.ID_OTHERWISE, f"{where}: {shown(stated)} for {shown(pictures.stated[picture])}")
    elif isinstance(stated, str) and not stated.strip().isdigit():
        picture = pictures.identities.find_by_name(stated)
        if picture >= 0:
            findings.add(kinds.ID_BY_NAME, f"{where}: {shown(stated)}")
    return picture


class Repeated:
    """Finds annotations that are there twice, id and all."""

    def __init__(self) -> None:
        self._seen: dict[str, Entry] = {}

    def look(self, entry: Entry) -> Kind | None:
        """Return ``ANNOTATION_TWICE`` where an earlier annotation has the same id and the same content."""
        identity = plain_id(entry.get("id"))
        if identity is None:
            return None
        first = self._seen.setdefault(identity, entry)
        same = first is not entry and all(first.get(key) == entry.get(key) for key in ("image_id", "category_id", "bbox", "keypoints"))
        return kinds.ANNOTATION_TWICE if same else None


def _number_annotations(ids: list[str | None], findings: Findings) -> list[int]:
    """Return a number for each annotation: its id where all have different ones of 64 bits, else its place."""
    known = [identity for identity in ids if identity is not None]
    numbers = number_ids(known)
    if len(known) < len(ids):
        findings.add(kinds.NO_ANNOTATION_ID, count=len(ids) - len(known))
    if len(set(known)) < len(known):
        twice = next(identity for identity, count in Counter(known).items() if count > 1)
        findings.add(kinds.ANNOTATION_ID_TWICE, shown(twice), count=len(known) - len(set(known)))
    return numbers if len(set(numbers)) == len(ids) else list(range(1, len(ids) + 1))
