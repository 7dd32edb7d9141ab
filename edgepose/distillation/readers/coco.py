"""COCO keypoint annotations: one JSON file and a folder of pictures; ids, names and numbers are read as evaluations read them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepose.boxes import check_boxes
from edgepose.distillation.readers.person import Faults, People, Person, map_keypoints
from edgepose.distillation.recipe import Source
from edgepose.document import read_json
from edgepose.errors import InputError, SpecError
from edgepose.evaluation import kinds
from edgepose.evaluation.categories import collect_keypoint_sets, count_listed, list_categories
from edgepose.evaluation.coco_file import MAX_FILE_BYTES, Entry, list_entries, picture_name, shown
from edgepose.evaluation.identities import Identities, plain_id
from edgepose.evaluation.keypoint_names import same_keypoint
from edgepose.evaluation.person_rows import read_box, read_crowd, read_keypoints
from edgepose.evaluation.picture_files import PictureFolder, locate_pictures
from edgepose.evaluation.plausibility import check_people
from edgepose.findings import Findings, Kind
from edgepose.image import MAX_SIDE_PX, read_image
from edgepose.skeleton import Skeleton

__all__ = ["read_coco"]

_CHECKED = 5000  # people whose boxes and keypoints show whether they are in pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _File:
    """What an annotation file holds.

    Attributes:
        images: pictures.
        names: of their files, as stated; empty where there is none.
        keypoints: names of the annotated keypoints, spelled as the student's where they are the same.
        people: annotations of each picture.
    """

    images: list[Entry]
    names: list[str]
    keypoints: tuple[str, ...]
    people: list[list[Entry]]


def read_coco(source: Source, root: Path, skeleton: Skeleton) -> People:
    """Open a COCO data set; see ``read_people``."""
    path = root / source.path
    document = read_json(path, what="the annotations", max_bytes=MAX_FILE_BYTES)
    faults, findings = Faults(), Findings()
    images, annotations = (list_entries(document, path, key) for key in ("images", "annotations"))
    keypoints, categories = _find_keypoints(list_categories(document, path, findings), annotations, skeleton, path, findings)
    names = [name if isinstance(name := image.get("file_name"), str) else "" for image in images]
    file = _File(images=images, names=names, keypoints=keypoints, people=[[] for _ in images])
    _sort(annotations, file, categories, path, source, faults, findings)
    _check(file, path, findings)
    folder = _find_folder(source, root, path, names)
    return People(count=len(annotations), each=_people(file, folder, source, skeleton, faults, findings), faults=faults, findings=findings)


def _find_keypoints(
    categories: list[Entry], annotations: list[Entry], skeleton: Skeleton, path: Path, findings: Findings
) -> tuple[tuple[str, ...], dict[str, object]]:
    """Return the names of the keypoints, spelled as the student's, and the categories that have them.

    Of several sets, that which has most in common with the student's.
    """
    sets = collect_keypoint_sets(categories, path)
    if not sets:
        raise SpecError(f"{path}: none of its categories names keypoints; the student's are found by their names")
    spelled = {names: tuple(_spell(name, skeleton) for name in names) for names in sets}
    common = {names: len(set(spelled[names]) & set(skeleton.keypoints)) for names in sets}
    best = [names for names in sets if common[names] == max(common.values())]
    if not common[best[0]]:
        listed = ", ".join(name if name.isprintable() else shown(name) for name in best[0][:4])[:160]
        raise InputError(f"{path}: its keypoints ({listed} …) have none in common with the student's, {skeleton.name!r}")
    if len(best) > 1:
        raise SpecError(f"{path}: {len(best)} of its sets of keypoints have as much in common with the student's; leave one in the file")
    if len(sets) > 1:
        findings.add(kinds.OTHER_KEYPOINTS, count=sum(map(len, sets.values())) - len(sets[best[0]]))
    listed_count = count_listed(annotations, sets[best[0]])
    names = spelled[best[0]]
    if 0 < listed_count < len(names):
        findings.add(kinds.MORE_NAMES, f"{len(names)} names, {listed_count} keypoints in each list", count=len(names) - listed_count)
        names = names[:listed_count]
    return names, sets[best[0]]


def _spell(name: str, skeleton: Skeleton) -> str:
    if name in skeleton.keypoints:
        return name
    return next((own for own in skeleton.keypoints if same_keypoint(own, name)), name)


def _sort(
    annotations: list[Entry],
    file: _File,
    categories: dict[str, object],
    path: Path,
    source: Source,
    faults: Faults,
    findings: Findings,
) -> None:
    """Put annotations to their pictures."""
    ids = [image.get("id") if image.get("id") is not None else name for image, name in zip(file.images, file.names, strict=True)]
    known = [identity for each in ids if (identity := plain_id(each)) is not None]
    if len(set(known)) < len(known):
        twice = next(identity for identity, count in Counter(known).items() if count > 1)
        raise SpecError(f"{path}: two images have the id {shown(twice)}; ids must be unique")
    identities = Identities(ids, file.names)
    for number, annotation in enumerate(annotations):
        where = f"{source.name}: annotation {number}"
        category, image = annotation.get("category_id"), annotation.get("image_id")
        if category is not None and plain_id(category) not in categories:
            faults.add("people of other categories", f"{where}: {shown(category)}")
            continue
        picture = identities.find(image)
        if picture < 0 and isinstance(image, str) and not image.strip().isdigit():
            picture = identities.find_by_name(image)
        if picture < 0:
            faults.add("people of unknown pictures", f"{where}: {shown(image)}")
            continue
        if type(image) is not type(ids[picture]):
            findings.add(kinds.ID_OTHERWISE, f"{where}: {shown(image)} for {shown(ids[picture])}")
        file.people[picture].append(annotation)


def _check(file: _File, path: Path, findings: Findings) -> None:
    """Look whether boxes and keypoints can be pixels; what is odd in single ones is told when they are read."""
    boxes, points = [], []
    for annotation in (each for people in file.people for each in people):
        box, rows = read_box(annotation, "", Findings()), read_keypoints(annotation.get("keypoints"), len(file.keypoints), "", Findings())
        if box is not None and not isinstance(rows, Kind) and (rows[:, 2] > 0).any() and not annotation.get("iscrowd"):
            boxes.append(box)
            points.append(rows)
        if len(boxes) >= _CHECKED:
            break
    if boxes:
        check_people(np.array(boxes, np.float64), np.stack(points), np.zeros((len(boxes), 2), np.int64), path, findings)


def _find_folder(source: Source, root: Path, path: Path, names: Sequence[str]) -> Path:
    """Return the folder of the pictures: the one stated, else one beside or above the annotations that holds the first pictures."""
    if source.images:
        if not (root / source.images).is_dir():
            raise InputError(f"source {source.name!r}: no folder {str(root / source.images)!r}")
        return root / source.images
    first = names[:20]
    beside = [path.parent, path.parent.parent]
    folders = [*beside, *(each for parent in beside for each in sorted(parent.iterdir()) if each.is_dir())]
    for holds in (PictureFolder.holds, PictureFolder.find_end):
        for folder in folders:
            place = PictureFolder(folder)
            if any(name and holds(place, name) for name in first):
                return folder
    raise InputError(
        f"{path}: found none of its first pictures ({', '.join(map(shown, first[:2]))} …) near it; name their folder: images = '…'"
    )


def _people(file: _File, folder: Path, source: Source, skeleton: Skeleton, faults: Faults, findings: Findings) -> Iterator[Person]:
    decode = lru_cache(maxsize=4)(read_image)  # several people share a picture
    wanted = np.array([bool(people) and _is_name(name) for people, name in zip(file.people, file.names, strict=True)], np.bool_)
    located, missing = locate_pictures(folder, file.names, wanted, findings)
    for name, there, people in zip(located, wanted & ~missing, file.people, strict=True):
        if people and not there:
            faults.add("missing pictures", f"{source.name}: {shown(name)}")
            continue
        for number, annotation in enumerate(people):
            where = f"{name}#{number}" if len(people) > 1 else name
            fault, person = _read(annotation, where, len(file.keypoints), findings)
            if person is None:
                faults.add(fault, f"{source.name}: {where}: {shown(annotation.get('bbox'))}")
                continue
            box, points = person
            mapped = map_keypoints(points, file.keypoints, skeleton)
            yield Person(name=where, image=partial(decode, folder / name), box_xyxy=box, keypoints=mapped)


def _is_name(name: str) -> bool:
    try:
        return bool(picture_name(name, ""))
    except SpecError:
        return False


def _read(
    annotation: Entry, where: str, count: int, findings: Findings
) -> tuple[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]] | None]:
    """Return why an annotation can't be used, or box and keypoints."""
    try:
        if read_crowd(annotation, where, findings):
            return "crowds", None
    except SpecError:
        return "people of whom iscrowd says neither yes nor no", None
    box = _box(annotation, where, findings)
    if box is None:
        return "people with an unusable box", None
    if annotation.get("keypoints") in (None, []):
        return "", (box, np.zeros((count, 3), np.float32))
    points = read_keypoints(annotation["keypoints"], count, where, findings)
    if isinstance(points, Kind):
        return "people with unusable keypoints", None
    labelled = points.astype(np.float32)
    labelled[:, 2] = labelled[:, 2] > 0
    return "", (box, labelled)


def _box(annotation: Entry, where: str, findings: Findings) -> npt.NDArray[np.float64] | None:
    numbers = read_box(annotation, where, findings)
    if numbers is None:
        return None
    left, top, width, height = numbers
    box = np.array([left, top, left + width, top + height])
    try:
        # Whether it lies in the picture is looked at when that is decoded: its size here isn't to be trusted.
        return check_boxes(box[None], (MAX_SIDE_PX, MAX_SIDE_PX)).reshape(4)
    except InputError:
        return None
