"""A folder of photos without labels: the teacher says where the keypoints are.

A file ``boxes.json`` in the folder, of the form that ``edgepose predict --boxes`` takes, says where people are; without it each photo is
taken for one person.
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from edgepose.boxes import BoxFile, load_boxes
from edgepose.distillation.readers.person import Faults, People, Person
from edgepose.distillation.recipe import Source
from edgepose.errors import InputError
from edgepose.image import SUFFIXES, read_image
from edgepose.skeleton import Skeleton

__all__ = ["read_photos"]

BOXES = "boxes.json"


def read_photos(source: Source, root: Path, skeleton: Skeleton) -> People:
    """Open a folder of photos and all folders in it; see ``read_people``."""
    folder = root / source.path
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not photos:
        raise InputError(f"{str(folder)!r} holds no photo; looked for {', '.join(SUFFIXES)}")
    if source.labels in ("own", "fill"):
        raise InputError(f"source {source.name!r} is a folder of photos, which have no labels of their own: set labels = 'teacher'")
    boxes = load_boxes(folder / BOXES) if (folder / BOXES).is_file() else None
    if boxes is not None:
        boxes.check_names(photos)
    faults = Faults()
    return People(count=len(photos), each=_people(photos, folder, boxes, source, len(skeleton.keypoints), faults), faults=faults)


def _people(photos: list[Path], folder: Path, boxes: BoxFile | None, source: Source, keypoints: int, faults: Faults) -> Iterator[Person]:
    decode = lru_cache(maxsize=4)(read_image)
    for path in photos:
        name = str(path.relative_to(folder))
        found = [None]
        if boxes is not None:
            try:
                found = list(boxes.for_image(path))
            except InputError:
                faults.add("photos without boxes", f"{source.name}: {name}")
                continue
        for number, box in enumerate(found):
            yield Person(
                name=f"{name}#{number}" if len(found) > 1 else name,
                image=partial(decode, path),
                box_xyxy=box,
                keypoints=np.zeros((keypoints, 3), np.float32),
            )
