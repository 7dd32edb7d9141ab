"""A model's keypoints as labels: photos and boxes in, a COCO keypoint file out, which ``edgepose distill`` trains on."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.boxes import BoxFile, check_form, judge_boxes
from edgepose.errors import InputError
from edgepose.evaluation.dataset import People
from edgepose.evaluation.inference import Found, Pictures
from edgepose.evaluation.oks import AREA_OF_BOX
from edgepose.evaluation.result import Work
from edgepose.evaluation.running import RunOptions, run_model
from edgepose.files import write_text
from edgepose.image import SUFFIXES
from edgepose.pipeline.top_down import check_flip_test
from edgepose.spec import ModelSpec

__all__ = ["Labelled", "label_folder"]

DECIMALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What was written.

    Attributes:
        path: the annotation file.
        pictures: number of photos in it.
        people: number of people in it.
        without_boxes: number of photos that the box file doesn't name, or has nobody on; they aren't in it.
        bad_boxes: reasons why boxes couldn't be used; their people aren't in it.
        unusable: reasons why photos couldn't be used; they aren't in it.
        work: where the model ran.
    """

    path: Path
    pictures: int
    people: int
    without_boxes: int
    bad_boxes: tuple[str, ...]
    unusable: tuple[str, ...]
    work: Work


def label_folder(
    artifact: Artifact,
    folder: Path,
    boxes: BoxFile,
    out: Path,
    run: RunOptions,
    *,
    min_score: float = 0.3,
    flip_test: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Labelled:
    """Label the photos of a folder.

    Args:
        artifact: the model.
        folder: photos, also in folders below.
        boxes: the people in them.
        out: the annotation file to write.
        run: where the model runs.
        min_score: keypoints scored below get no label.
        flip_test: average with mirrored crops.
        progress: is told how many people are done, of how many.

    Raises:
        InputError: no photos, no boxes for them, boxes in another form than pixels, a name in the boxes file that stands for two photos, a
            flip test without flip pairs,
            ``min_score`` is NaN, or the file can't be written.
        EdgePoseError: see ``run_model``.
    """
    if math.isnan(min_score):
        raise InputError("min_score is NaN; expected a number")
    if flip_test:
        check_flip_test(artifact.spec.skeleton)
    photos = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not photos:
        raise InputError(f"no photos in {str(folder)!r}; known suffixes: {', '.join(SUFFIXES)}")
    boxes.check_names(photos)
    names, tables = [], []
    for photo in photos:
        if boxes.find(photo) is not None and len(found := boxes.for_image(photo)):
            names.append(photo.relative_to(folder).as_posix())
            tables.append(found)
    if not names:
        raise InputError(f"{boxes.source} has no boxes for any of the {len(photos)} photos in {str(folder)!r}")
    check_form(np.concatenate(tables))
    counts = [len(table) for table in tables]
    people = People(
        pictures=np.repeat(np.arange(len(names)), counts),
        boxes_xyxy=np.concatenate(tables),
        scores=np.ones(sum(counts)),
        categories=np.ones(sum(counts), np.int64),
        annotations=np.full(sum(counts), -1, np.int64),
        skipped={},
    )
    pictures = Pictures(names=names, sizes=np.zeros((len(names), 2), np.int64))
    keypoints, work = run_model(artifact, pictures, people, folder, run, flip_test=flip_test, progress=progress)
    written = _write(out, artifact.spec, names, people, keypoints, min_score)
    return Labelled(
        path=out,
        pictures=keypoints.pictures,
        people=written,
        without_boxes=len(photos) - len(names),
        bad_boxes=_list_bad_boxes(names, tables, keypoints),
        unusable=tuple(f"{names[index]}: {why}" for index, why in sorted(keypoints.unusable.items())),
        work=work,
    )


def _list_bad_boxes(names: list[str], tables: list[NDArray[np.float64]], found: Found) -> tuple[str, ...]:
    shapes = [(int(height), int(width)) for width, height in found.sizes]
    return tuple(
        f"{name}: {why}"
        for index, (name, table) in enumerate(zip(names, tables, strict=True))
        if index not in found.unusable
        for why in filter(None, judge_boxes(table, shapes[index], form_is_known=True).reasons)
    )


def _write(path: Path, spec: ModelSpec, names: list[str], people: People, found: Found, min_score: float) -> int:
    images = [
        {"id": index, "file_name": name, "width": int(found.sizes[index, 0]), "height": int(found.sizes[index, 1])}
        for index, name in enumerate(names)
        if index not in found.unusable
    ]
    annotations: list[dict[str, object]] = []
    for person in np.flatnonzero(~np.isnan(found.keypoints[:, 0, 0])):
        left, top, right, bottom = people.boxes_xyxy[person].round(DECIMALS).tolist()
        sure = found.keypoints[person, :, 2] >= min_score
        points = np.where(sure[:, None], found.keypoints[person, :, :2].round(DECIMALS), 0.0)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": int(people.pictures[person]),
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [left, top, round(right - left, DECIMALS), round(bottom - top, DECIMALS)],
                "area": round((right - left) * (bottom - top) * AREA_OF_BOX, DECIMALS),
                "num_keypoints": int(sure.sum()),
                "keypoints": np.column_stack([points, 2.0 * sure]).ravel().tolist(),
                "score": round(float(found.keypoints[person, :, 2].mean()), 4),
            }
        )
    skeleton = spec.skeleton
    links = [[start + 1, end + 1] for start, end in skeleton.link_indices]  # COCO counts from 1
    categories = [{"id": 1, "name": "person", "keypoints": list(skeleton.keypoints), "skeleton": links}]
    document = {
        "info": {"description": f"keypoints of {spec.name}"},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    write_text(path, json.dumps(document) + "\n", what="the labels")
    return len(annotations)
