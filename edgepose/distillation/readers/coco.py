"""COCO keypoint annotations: one JSON file and a folder of pictures."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgepose.boxes import check_boxes
from edgepose.distillation.readers.person import Faults, People, Person, map_keypoints
from edgepose.distillation.recipe import Source
from edgepose.document import read_json
from edgepose.errors import InputError, SpecError
from edgepose.evaluation.coco_file import Entry, list_entries, to_numbers
from edgepose.image import MAX_SIDE_PX, read_image
from edgepose.skeleton import Skeleton

__all__ = ["read_coco"]

MAX_BYTES = 4 << 30


def read_coco(source: Source, root: Path, skeleton: Skeleton) -> People:
    """Open a COCO data set; see ``read_people``."""
    path = root / source.path
    document = read_json(path, what="the annotations", max_bytes=MAX_BYTES)
    images, annotations, categories = (list_entries(document, path, key) for key in ("images", "annotations", "categories"))
    names = _keypoint_names(categories, path)
    if not set(names) & set(skeleton.keypoints):
        raise InputError(f"{path}: its keypoints ({', '.join(names[:4])} …) have none in common with the student's, {skeleton.name!r}")
    folder = _find_folder(source, root, path, images)
    by_image: dict[object, list[Entry]] = {}
    for annotation in annotations:
        by_image.setdefault(annotation.get("image_id"), []).append(annotation)
    faults = Faults()
    return People(count=len(annotations), each=_people(images, by_image, names, folder, source, skeleton, faults), faults=faults)


def _keypoint_names(categories: list[Entry], path: Path) -> tuple[str, ...]:
    found = [names for category in categories if isinstance(names := category.get("keypoints"), list)]
    if len(found) != 1:
        raise SpecError(f"{path}: {len(found)} of its categories have keypoints; expected one")
    return tuple(map(str, found[0]))


def _find_folder(source: Source, root: Path, path: Path, images: list[Entry]) -> Path:
    """Return the folder of the pictures: the one stated, else one beside or above the annotations that holds the first pictures."""
    if source.images:
        if not (root / source.images).is_dir():
            raise InputError(f"source {source.name!r}: no folder {str(root / source.images)!r}")
        return root / source.images
    first = [str(image.get("file_name")) for image in images[:20]]
    beside = [path.parent, path.parent.parent]
    for folder in [*beside, *(each for parent in beside for each in sorted(parent.iterdir()) if each.is_dir())]:
        if any((folder / name).is_file() for name in first):
            return folder
    raise InputError(f"{path}: found none of its first pictures ({', '.join(first[:2])} …) near it; name their folder: images = '…'")


def _people(
    images: list[Entry],
    by_image: dict[object, list[Entry]],
    names: tuple[str, ...],
    folder: Path,
    source: Source,
    skeleton: Skeleton,
    faults: Faults,
) -> Iterator[Person]:
    decode = lru_cache(maxsize=4)(read_image)  # several people share a picture
    for image in images:
        name = str(image.get("file_name"))
        people = by_image.get(image.get("id"), [])
        if not people:
            continue
        # A name comes from outside: it may not lead out of the folder.
        if not (folder / name).resolve().is_relative_to(folder.resolve()) or not (folder / name).is_file():
            faults.add("missing pictures", f"{source.name}: {name}")
            continue
        for number, annotation in enumerate(people):
            where = f"{name}#{number}" if len(people) > 1 else name
            if annotation.get("iscrowd"):
                faults.add("crowds", f"{source.name}: {where}")
                continue
            box = _box(annotation)
            if box is None:
                faults.add("people with an unusable box", f"{source.name}: {where}: {annotation.get('bbox')!r}")
                continue
            points = _points(annotation, len(names))
            if points is None:
                faults.add("people with unusable keypoints", f"{source.name}: {where}")
                continue
            yield Person(name=where, image=partial(decode, folder / name), box_xyxy=box, keypoints=map_keypoints(points, names, skeleton))


def _box(annotation: Entry) -> npt.NDArray[np.float64] | None:
    numbers = to_numbers(annotation.get("bbox"), 4)
    if numbers is None:
        return None
    left, top, width, height = numbers
    box = np.array([left, top, left + width, top + height])
    try:
        # Whether it lies in the picture is looked at when that is decoded: its size here isn't to be trusted.
        return check_boxes(box[None], (MAX_SIDE_PX, MAX_SIDE_PX)).reshape(4)
    except InputError:
        return None


def _points(annotation: Entry, count: int) -> npt.NDArray[np.float32] | None:
    if "keypoints" not in annotation:
        return np.zeros((count, 3), np.float32)
    numbers = to_numbers(annotation["keypoints"], 3 * count)
    if numbers is None:
        return None
    points = np.array(numbers, np.float32).reshape(count, 3)
    points[:, 2] = points[:, 2] > 0
    return points
