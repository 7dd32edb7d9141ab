"""Annotation files: COCO's form, which COCO, COCO-WholeBody, AIC, CrowdPose and AP-10K share, and MPII's as mmpose publishes it."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.document import parse_json
from edgepose.errors import InputError, SpecError
from edgepose.evaluation.coco_file import LARGEST, Entry, list_entries, picture_name, to_numbers, whole_number
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.mpii_file import read_mpii
from edgepose.skeleton import get_skeleton, list_skeletons

__all__ = ["WHOLEBODY_PARTS", "load_annotations"]

WHOLEBODY_PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
"""COCO-WholeBody's lists of keypoints, in the order of a model's 133 heatmaps, and how many each holds."""


def load_annotations(path: str | Path, *, keypoints: int) -> Annotations:
    """Read an annotation file.

    A JSON object is taken for COCO's form; for a model of 133 keypoints, COCO-WholeBody's lists are joined. A JSON list is taken for MPII's
    ``mpii_val.json``, beside which ``mpii_gt_val.mat`` must lie.

    People whose numbers can't be used are left out and counted in ``skipped``. People without labels stay: COCO's evaluation forgives
    detections of them.

    Args:
        path: the file.
        keypoints: of the model.

    Raises:
        InputError: the file can't be read, or annotates another number of keypoints.
        SpecError: its content isn't one of these forms, nobody in it has a labelled keypoint, an id is there twice, or the name of a
            picture leads out of its folder.
        MissingDependencyError: MPII needs SciPy, which isn't installed.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read the annotations {str(path)!r}: {error.strerror or error}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    document = parse_json(content, where=str(path))
    del content
    if isinstance(document, list):
        _check_count(16, keypoints, get_skeleton("mpii").keypoints, path)
        return read_mpii(document, path, sha256)
    return _read_coco(document, path, sha256, keypoints)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pictures:
    """The columns of ``images``, and where each id stands."""

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    crowd_index: NDArray[np.float64] | None
    place: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Form:
    """What each annotation has to look like.

    Attributes:
        categories: ids of those that have keypoints; empty where the file doesn't say.
        names: of the keypoints, or empty.
        parts: name of each list of keypoints → number of keypoints.
    """

    categories: frozenset[int]
    names: tuple[str, ...]
    parts: dict[str, int]


def _read_coco(document: object, path: Path, sha256: str, keypoints: int) -> Annotations:
    images, entries, categories = (list_entries(document, path, key) for key in ("images", "annotations", "categories"))
    pictures = _read_pictures(images, path)
    form = _find_form(entries, categories, path, keypoints)
    skipped: Counter[str] = Counter()
    points = np.zeros((len(entries), keypoints, 3))
    boxes = np.zeros((len(entries), 4))
    areas = np.full(len(entries), np.nan)
    facts = np.zeros((len(entries), 5), np.int64)  # id, picture, category, crowd, number of keypoints
    kept = 0
    seen: set[int] = set()
    for number, entry in enumerate(entries):
        where = f"{path}: annotation {number}"
        identity = whole_number(entry, "id", where)
        if identity in seen:
            raise SpecError(f"{where} has the id {identity}, which an earlier one has; ids must be unique")
        seen.add(identity)
        category = whole_number(entry, "category_id", where)
        picture = pictures.place.get(whole_number(entry, "image_id", where), -1)
        fault = _fill(entry, form, picture, category, points[kept], boxes[kept : kept + 1], areas[kept : kept + 1])
        if fault:
            skipped[fault] += 1
            points[kept] = 0  # a row that is filled in part
            continue
        stated = entry.get("num_keypoints")
        labelled = int((points[kept, :, 2] > 0).sum()) if stated is None else whole_number(entry, "num_keypoints", where)
        facts[kept] = identity, picture, category, _is_crowd(entry, where), labelled
        kept += 1
    points = points if kept == len(points) else points[:kept].copy()
    if not (points[:, :, 2] > 0).any():
        left_out = f" (left out: {', '.join(f'{count} {why}' for why, count in skipped.items())})" if skipped else ""
        raise SpecError(f"{path}: none of its {len(entries)} annotations has a labelled keypoint{left_out}; expected a keypoint file")
    return Annotations(
        source=path.name,
        sha256=sha256,
        keypoint_names=form.names if len(form.names) == keypoints else (),
        picture_ids=pictures.ids,
        file_names=pictures.names,
        picture_sizes=pictures.sizes,
        ids=facts[:kept, 0].copy(),
        pictures=facts[:kept, 1].copy(),
        categories=facts[:kept, 2].copy(),
        boxes_xywh=boxes[:kept].copy(),
        areas=areas[:kept].copy(),
        crowd=facts[:kept, 3] > 0,
        keypoints=points,
        crowd_index=pictures.crowd_index,
        stated_keypoints=facts[:kept, 4].copy(),
        skipped=dict(skipped),
    )


def _read_pictures(images: list[Entry], path: Path) -> _Pictures:
    if not images:
        raise SpecError(f"{path}: its list 'images' is empty; expected the pictures that were annotated")
    ids = [whole_number(image, "id", f"{path}: image {number}") for number, image in enumerate(images)]
    place = {identity: number for number, identity in enumerate(ids)}
    if len(place) != len(ids):
        twice = next(identity for identity, count in Counter(ids).items() if count > 1)
        raise SpecError(f"{path}: two images have the id {twice}; ids must be unique")
    crowding = [image["crowdIndex"] for image in images if "crowdIndex" in image]
    if crowding and (len(crowding) != len(images) or to_numbers(crowding) is None):
        raise SpecError(f"{path}: crowdIndex must be a number and stand at each image; {len(crowding)} of {len(images)} have one")
    return _Pictures(
        ids=np.array(ids, np.int64),
        names=tuple(picture_name(image.get("file_name"), f"{path}: image {image['id']}") for image in images),
        sizes=np.array([[_side(image, key, path) for key in ("width", "height")] for image in images], np.int64),
        crowd_index=np.array(crowding, np.float64) if crowding else None,
        place=place,
    )


def _side(image: Entry, key: str, path: Path) -> int:
    if image.get(key) is None:
        return 0
    side = whole_number(image, key, f"{path}: image {image['id']}")
    if not 0 <= side < LARGEST:
        raise SpecError(f"{path}: image {image['id']}: {key!r} is {side}; expected pixels")
    return side


def _find_form(entries: list[Entry], categories: list[Entry], path: Path, keypoints: int) -> _Form:
    named = [category for category in categories if isinstance(category.get("keypoints"), list)]
    stated = {tuple(map(str, names)) for category in named if isinstance(names := category["keypoints"], list)}
    if len(stated) > 1:
        raise SpecError(f"{path}: its categories name {len(stated)} different sets of keypoints; expected one")
    names = next(iter(stated), ())
    # Where the categories don't say how many keypoints there are, the first annotation does.
    count = len(names) or next((len(points) // 3 for entry in entries if isinstance(points := entry.get("keypoints"), list)), 0)
    if not count:
        raise SpecError(f"{path}: neither its categories nor its annotations have keypoints; expected a COCO keypoint file")
    wholebody = keypoints == sum(WHOLEBODY_PARTS.values()) and any("face_kpts" in entry for entry in entries)
    if not (wholebody and count == WHOLEBODY_PARTS["keypoints"]):
        _check_count(count, keypoints, names, path)
    return _Form(
        categories=frozenset(whole_number(category, "id", f"{path}: category") for category in named),
        names=names,
        parts=WHOLEBODY_PARTS if wholebody else {"keypoints": count},
    )


def _check_count(count: int, keypoints: int, names: tuple[str, ...], path: Path) -> None:
    if count == keypoints:
        return
    like = [name for name in list_skeletons() if len(get_skeleton(name).keypoints) == count]
    listed = f" ({', '.join(names[:3])} …)" if names else ""
    raise InputError(
        f"{path} annotates {count} keypoints{listed}, but the model finds {keypoints}: take the annotations of the model's own data set, "
        f"or a model of {count} keypoints" + (f", whose skeleton is {' or '.join(like)}" if like else "")
    )


def _fill(
    entry: Entry,
    form: _Form,
    picture: int,
    category: int,
    points: NDArray[np.float64],
    box: NDArray[np.float64],
    area: NDArray[np.float64],
) -> str:
    """Write an annotation's numbers to its rows; returns why it can't be used, or nothing."""
    if form.categories and category not in form.categories:
        return "annotations of categories without keypoints"
    if picture < 0:
        return "annotations of unknown pictures"
    numbers = to_numbers(entry.get("bbox"), 4)
    if numbers is None or min(numbers[2:]) < 0:
        return "annotations without a usable box"
    box[0] = numbers
    if entry.get("area") is not None:
        size = to_numbers([entry["area"]])
        if size is None:
            return "annotations with an unusable area"
        area[0] = size[0]
    else:
        area[0] = np.nan
    start = 0
    for part, count in form.parts.items():
        # A person without the list is one whom nobody labelled.
        if part in entry:
            row = to_numbers(entry[part])
            if row is None:
                return "annotations with keypoints that aren't finite numbers"
            if len(row) != 3 * count:
                return "annotations with another number of keypoints than the others"
            points[start : start + count] = np.reshape(row, (count, 3))
        start += count
    return ""


def _is_crowd(entry: Entry, where: str) -> bool:
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise SpecError(f"{where}: 'iscrowd' is {crowd!r}; expected 0 or 1")
    return bool(crowd)
