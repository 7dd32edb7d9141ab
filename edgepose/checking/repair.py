"""A repaired copy of an annotation file: what the reader mends with certainty is written as it reads it, everything else stays as it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgepose.checking.annotations import count_keypoints
from edgepose.checking.recognition import Recognised, recognise
from edgepose.checking.report import Question
from edgepose.errors import InputError
from edgepose.evaluation import kinds
from edgepose.evaluation.annotations import Repeated, read_annotations
from edgepose.evaluation.categories import Form, find_form, list_categories
from edgepose.evaluation.coco_file import Entry, list_entries, read_number
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.identities import Identities, plain_id
from edgepose.evaluation.person_rows import read_box, read_crowd, read_keypoints, read_label_count
from edgepose.evaluation.picture_files import locate_pictures
from edgepose.files import write_text
from edgepose.findings import Findings, Kind

__all__ = ["write_repaired"]

_LIST_REPAIRS = (kinds.NESTED, kinds.KEYPOINTS_AS_TEXT, kinds.UNLABELLED_PLACE)

_Changed = dict[str, object]


def write_repaired(path: Path, out: Path, question: Question) -> None:
    """Write a copy of an annotation file in which nothing is left to repair; whole or not at all.

    Ids of images that had to be numbered are new: detections that refer to the old ones don't fit the copy. Categories of other keypoints
    than the model's are left out of it, with their annotations.

    Args:
        path: the annotation file.
        out: where to; another file.
        question: the model's keypoints, and the folder of the pictures, by which names are mended.

    Raises:
        InputError: it is no annotation file in COCO's form, is refused as it is, or the copy can't be written.
        SpecError: it is refused as it is.
    """
    if out.exists() and path.exists() and out.samefile(path):
        raise InputError(f"{out} is the file that is checked: write the repaired copy to another one")
    recognised = recognise(path)
    if recognised.form != "annotations" or not isinstance(recognised.document, dict):
        raise InputError(f"{path}: only annotations in COCO's form can be repaired; it is {recognised.why}")
    write_text(out, json.dumps(_repair(path, recognised, question)) + "\n", what="the repaired annotations")


def _repair(path: Path, recognised: Recognised, question: Question) -> _Changed:
    document = cast("dict[str, object]", recognised.document)
    keypoints = count_keypoints(document, question.skeleton)
    names = question.skeleton.keypoints if question.skeleton else ()
    annotations = read_annotations(document, path, recognised.sha256, keypoints=keypoints, names=names, findings=Findings())
    images, entries = list_entries(document, path, "images"), list_entries(document, path, "annotations")
    categories = list_categories(document, path, Findings())
    form = find_form(entries, categories, path, keypoints, names, Findings())
    copy = _Copy(
        path=path, form=form, annotations=annotations, identities=_identify(images, annotations), dropped=_foreign_ids(categories, form)
    )
    return (
        document
        | {"images": _repair_images(images, annotations, question.images), "annotations": copy.repair_entries(entries)}
        | ({"categories": _repair_categories(categories, form)} if categories else {})
    )


def _identify(images: Sequence[Entry], annotations: Annotations) -> Identities:
    return Identities([image.get("file_name") if image.get("id") is None else image["id"] for image in images], annotations.file_names)


def _foreign_ids(categories: Sequence[Entry], form: Form) -> set[str | None]:
    """Categories with keypoints of their own that aren't the model's."""
    if not form.categories:
        return set()
    others = [each for each in categories if isinstance(each.get("keypoints"), list) and each["keypoints"]]
    return {plain_id(each.get("id")) for each in others} - set(form.categories)


def _repair_images(images: Sequence[Entry], annotations: Annotations, folder: Path | None) -> list[_Changed]:
    names = annotations.file_names
    if folder is not None:
        names, _ = locate_pictures(folder, names, np.ones(len(names), np.bool_), Findings())
    repaired = []
    for place, image in enumerate(images):
        sizes = dict(zip(("width", "height"), annotations.picture_sizes[place].tolist(), strict=True))
        stated = {key: size for key, size in sizes.items() if image.get(key) is not None}
        repaired.append(dict(image) | {"id": int(annotations.picture_ids[place]), "file_name": names[place]} | stated)
    return repaired


def _repair_categories(categories: Sequence[Entry], form: Form) -> list[_Changed]:
    foreign = _foreign_ids(categories, form)
    count = form.parts["keypoints"]
    kept = [dict(category) for category in categories if plain_id(category.get("id")) not in foreign]
    for category in kept:
        names = category.get("keypoints")
        if isinstance(names, list) and len(form.parts) == 1:
            category["keypoints"] = names[:count]
    return kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Copy:
    """What is needed to repair each annotation.

    Attributes:
        path: the file.
        form: what each annotation has to look like.
        annotations: what the reader made of the file.
        identities: finds pictures by their ids.
        dropped: categories that are left out.
    """

    path: Path
    form: Form
    annotations: Annotations
    identities: Identities
    dropped: set[str | None]

    def repair_entries(self, entries: Sequence[Entry]) -> list[_Changed]:
        kept = [entry for entry in entries if plain_id(entry.get("category_id")) not in self.dropped]
        ids = [plain_id(entry.get("id")) for entry in kept]
        repeated = Repeated()
        renumber = None in ids or len(set(ids)) < len(ids)
        if renumber:
            # A copy of another annotation, id and all, counts once; with an id of its own it would count twice.
            kept = [entry for entry in kept if repeated.look(entry) is None]
        repaired = []
        for number, entry in enumerate(kept, start=1):
            changed = self._repair(entry, f"annotation {number - 1}")
            if changed is not None:
                repaired.append(changed | ({"id": number} if renumber else {}))
        return repaired

    def _repair(self, entry: Entry, where: str) -> _Changed | None:
        """Return an annotation as the reader reads it; ``None`` where its id would become that of a picture it isn't on."""
        changed = dict(entry)
        picture = self._find_picture(entry.get("image_id"))
        if picture >= 0:
            changed["image_id"] = int(self.annotations.picture_ids[picture])
        elif self.annotations.stated_ids:
            return None
        category = plain_id(entry.get("category_id"))
        if category is None and self.form.only is not None:
            category = self.form.only
        if category not in self.form.categories and self.form.categories:
            return changed  # of another kind: not read at all
        if category is not None and self.form.categories:
            changed["category_id"] = self.form.categories[category]
        changed |= {name: points for name, count in self.form.parts.items() if (points := _repair_points(entry, name, count, where))}
        return changed | self._repair_numbers(changed, entry, where)

    def _find_picture(self, stated: object) -> int:
        picture = self.identities.find(stated)
        by_name = picture < 0 and isinstance(stated, str) and not stated.strip().isdigit()
        return self.identities.find_by_name(stated) if by_name else picture

    def _repair_numbers(self, changed: Mapping[str, object], entry: Entry, where: str) -> _Changed:
        numbers: _Changed = {}
        if "iscrowd" in entry:
            numbers["iscrowd"] = int(read_crowd(entry, f"{self.path}: {where}", Findings()))
        box = read_box(entry, where, Findings())
        if box is not None:
            numbers["bbox"] = list(box)
        area = entry.get("area")
        if isinstance(area, str) and (number := read_number(area)) is not None and number > 0:
            numbers["area"] = number
        visibilities = _read_visibilities(changed, self.form.parts, where)
        found = Findings()
        if visibilities is not None:
            count = read_label_count(changed, visibilities, where, found)
            if kinds.COUNT_OTHERWISE in found or kinds.COUNT_ZERO in found:
                numbers["num_keypoints"] = count
        return numbers


def _read_visibilities(entry: Entry, parts: Mapping[str, int], where: str) -> NDArray[np.float64] | None:
    """Visibilities of all lists, as the reader reads them; ``None`` where it can't."""
    found = []
    for name, count in parts.items():
        listed = bool(entry.get(name))
        points = read_keypoints(entry[name], count, where, Findings(), scored=name != "keypoints") if listed else np.zeros((count, 3))
        if isinstance(points, Kind):
            return None
        found.append(points[:, 2])
    return np.concatenate(found)


def _repair_points(entry: Entry, name: str, count: int, where: str) -> list[object]:
    """Return a list of keypoints that has to be written otherwise; empty where it is right, or can't be read.

    A labelled keypoint without a place isn't repaired: its place stays unknown.
    """
    found = Findings()
    stated = entry.get(name)
    if not isinstance(stated, list) or not stated:
        return []
    points = read_keypoints(stated, count, where, found, scored=name != "keypoints")
    if isinstance(points, Kind) or not any(kind in found for kind in _LIST_REPAIRS):
        return []
    flat = [value for each in stated for value in (each if isinstance(each, list) else [each])]
    repaired: list[object] = []
    for x, y, visibility in (map(read_number, flat[start : start + 3]) for start in range(0, 3 * count, 3)):
        placed = x is not None and y is not None
        repaired += [x, y, visibility] if placed else [None, None, visibility] if visibility and visibility > 0 else [0, 0, 0]
    return repaired
