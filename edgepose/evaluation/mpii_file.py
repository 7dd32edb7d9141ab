"""MPII's validation people as mmpose publishes them: ``mpii_val.json``, and ``mpii_gt_val.mat`` with what PCKh is measured against."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError, SpecError
from edgepose.evaluation.coco_file import Entry, picture_name, to_numbers
from edgepose.evaluation.dataset import Annotations
from edgepose.runtime.packages import import_package

__all__ = ["read_mpii"]

TRUTH = "mpii_gt_val.mat"
KEYPOINTS = 16
HEAD_SHARE = 0.6  # of the head box's diagonal: MPII's own evaluation calls it SC_BIAS
PERSON_HEIGHT = 200.0  # pixels of a person of scale 1
DOWN = 15.0  # pixels at scale 1 by which the published evaluation moves centres, so that no feet are cut off


def read_mpii(document: list[object], path: Path, sha256: str) -> Annotations:
    """Read MPII's people.

    Their boxes are squares of 200 pixels × scale around the centre, moved down by 15 pixels × scale, as mmpose's ``TopDownMpiiDataset``
    (Apache-2.0) makes them before its padding of 1.25. MATLAB's coordinates begin at 1, those returned at 0.

    Args:
        document: the parsed ``mpii_val.json``: a list of objects with ``image``, ``center`` and ``scale``.
        path: where it was read from; ``mpii_gt_val.mat`` lies beside it.
        sha256: of its bytes.

    Raises:
        InputError: ``mpii_gt_val.mat`` can't be read.
        SpecError: one of the two has other content, or they speak of different numbers of people.
        MissingDependencyError: SciPy isn't installed.
    """
    if not document:
        raise SpecError(f"{path}: its list is empty; expected MPII's people")
    names: dict[str, int] = {}
    pictures = np.zeros(len(document), np.int64)
    boxes = np.zeros((len(document), 4))
    for number, entry in enumerate(document):
        where = f"{path}: person {number}"
        if not isinstance(entry, dict):
            raise SpecError(f"{where} is {str(entry)[:60]!r}; expected an object with image, center and scale (a COCO file is one object)")
        pictures[number] = names.setdefault(picture_name(entry.get("image"), where), len(names))
        boxes[number] = _square(entry, where)
    points, heads = _read_truth(path.with_name(TRUTH), len(document))
    return Annotations(
        source=path.name,
        sha256=sha256,
        keypoint_names=(),
        picture_ids=np.arange(len(names)),
        file_names=tuple(names),
        picture_sizes=np.zeros((len(names), 2), np.int64),
        ids=np.arange(len(document)),
        pictures=pictures,
        categories=np.ones(len(document), np.int64),
        boxes_xywh=boxes,
        areas=np.full(len(document), np.nan),
        crowd=np.zeros(len(document), np.bool_),
        keypoints=points,
        head_sizes=heads,
        skipped={},
    )


def _square(entry: Entry, where: str) -> tuple[float, float, float, float]:
    centre, scale = to_numbers(entry.get("center"), 2), to_numbers([entry.get("scale")])
    if centre is None or scale is None or scale[0] <= 0:
        raise SpecError(
            f"{where}: center is {entry.get('center')!r} and scale {entry.get('scale')!r}; expected two numbers and one above 0"
        )
    x, y = centre
    side = PERSON_HEIGHT * scale[0]
    if x != -1:  # -1 says that nobody marked the centre
        y += DOWN * scale[0]
    return x - 1 - side / 2, y - 1 - side / 2, side, side


def _read_truth(path: Path, people: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the keypoints (N, 16, 3) and the sizes of the heads (N,) in pixels."""
    loadmat = import_package("scipy.io", extra="evaluate", purpose="reading MPII's annotations").loadmat
    if not path.is_file():
        raise InputError(f"no file {str(path)!r}: PCKh is measured against it, and it must lie beside the JSON file; mmpose publishes both")
    try:
        content: dict[str, Any] = loadmat(path, variable_names=["pos_gt_src", "jnt_missing", "headboxes_src"])
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        raise SpecError(f"{path} isn't a MATLAB file that SciPy can read: {error}") from None
    places = _array(content, "pos_gt_src", (KEYPOINTS, 2, people), path).transpose(2, 0, 1)
    missing = _array(content, "jnt_missing", (KEYPOINTS, people), path).T
    corners = _array(content, "headboxes_src", (2, 2, people), path)
    heads = np.linalg.norm(corners[1] - corners[0], axis=0) * HEAD_SHARE
    if not (heads > 0).all():
        raise SpecError(f"{path}: the head of person {int((heads <= 0).argmax())} has no size")
    points = np.concatenate([places - 1, np.where(missing[..., None] > 0, 0.0, 2.0)], axis=2)
    return points, heads


def _array(content: dict[str, Any], key: str, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    found = content.get(key)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "buif":
        raise SpecError(f"{path}: has no numbers {key!r}; expected the file that mmpose publishes")
    if found.shape != shape:
        raise SpecError(f"{path}: {key} has shape {found.shape}; expected {shape}, for the people of the JSON file")
    numbers = found.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise SpecError(f"{path}: {key} holds numbers that aren't finite")
    return numbers
