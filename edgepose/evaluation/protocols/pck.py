"""PCK, the percentage of correct keypoints: those nearer to the truth than a share of the person's size."""

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.skeleton import Skeleton
from edgepose.spec import ModelSpec

__all__ = ["annotated_rows", "pck", "score_pck", "share_right"]

SHARES = (0.05, 0.1, 0.2)
MAIN_SHARE = 0.2
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
TORSO = ("left_shoulder", "right_hip")


def score_pck(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return PCK at 0.05, 0.1 and 0.2 of the torso (limb keypoints; see ``pck``) and of the box's longer side (all keypoints).

    The primary figure is PCK@0.2 of the torso, or of the box where the skeleton has no torso. People whom the model wasn't run on have no
    correct keypoint. For the arguments see ``score_coco``.

    Raises:
        InputError: the people are detections.
    """
    rows = annotated_rows(people, "PCK")
    found, truth = keypoints[:, :, :2], annotations.keypoints[rows]
    distances = np.linalg.norm(found - truth[:, :, :2], axis=2)
    labelled = truth[:, :, 2] > 0
    sizes = {"(box)": (annotations.boxes_xywh[rows, 2:].max(axis=1), labelled)}
    if set(TORSO) <= set(spec.skeleton.keypoints):
        sizes = {"": _torsos(truth, spec.skeleton)} | sizes
    metrics, tables = {}, {}
    for suffix, (size, counted) in sizes.items():
        for share in SHARES:
            name = f"PCK@{share}{suffix}"
            tables[name] = (distances < share * size[:, None]) & counted, counted
            metrics[name] = share_right(*tables[name])
    primary = f"PCK@{MAIN_SHARE}{next(iter(sizes))}"

    def resample(weights: NDArray[np.int64]) -> float:
        return share_right(*tables[primary], weights[people.pictures])

    counts = {
        "pictures": len(annotations.picture_ids),
        "boxes": len(people),
        "boxes not run": int(np.isnan(found).any(axis=(1, 2)).sum()),
        "keypoints": int(tables[primary][1].sum()),
    }
    return Score(metrics=metrics, primary=primary, resample=resample, counts=counts)


def pck(
    found: NDArray[np.float64], truth: NDArray[np.float32] | NDArray[np.float64], skeleton: Skeleton, *, within: float = MAIN_SHARE
) -> tuple[float, dict[str, float]]:
    """Percentage of correct keypoints: nearer to the truth than ``within`` times the torso, left shoulder to right hip.

    Args:
        found: (N, K, 2) pixels.
        truth: (N, K, 3): x, y and whether there is a label.
        skeleton: names of the keypoints; the twelve of the limbs count.
        within: share of the torso.

    Returns:
        The share over all labelled limb keypoints of people whose torso is labelled, and by keypoint.

    Raises:
        InputError: the skeleton has no such torso.
    """
    names = skeleton.keypoints
    if not set(TORSO) <= set(names):
        raise InputError(f"PCK needs the keypoints {' and '.join(TORSO)}, which {skeleton.name!r} lacks; use validation.metric = 'oks'")
    torso, counted = _torsos(truth, skeleton)
    correct = np.linalg.norm(found - truth[:, :, :2], axis=2) < within * torso[:, None]
    each = {name: float(correct[counted[:, k], k].mean()) for k, name in enumerate(names) if counted[:, k].any()}
    return float(correct[counted].mean()) if counted.any() else 0.0, each


def annotated_rows(people: People, measure: str) -> NDArray[np.int64]:
    """Return each person's row in the annotations, (M,).

    Raises:
        InputError: somebody has none: they are a detector's.
    """
    if (people.annotations < 0).any():
        raise InputError(f"{measure} compares each annotated person with what is found in their own box: it can't be used with detections")
    return people.annotations


def share_right(right: NDArray[np.bool_], counted: NDArray[np.bool_], weights: NDArray[np.int64] | None = None) -> float:
    """Return the share of keypoints (N, K) that are right among those counted, where person i counts ``weights[i]`` times; NaN for none."""
    rights, total = (table.sum(axis=1) for table in (right, counted))
    if weights is not None:
        rights, total = rights * weights, total * weights
    return float(rights.sum() / total.sum()) if total.sum() else float("nan")


def _torsos(
    truth: NDArray[np.float32] | NDArray[np.float64], skeleton: Skeleton
) -> tuple[NDArray[np.float32] | NDArray[np.float64], NDArray[np.bool_]]:
    """Return the length of each torso (N,) in pixels, and which keypoints (N, K) can be measured by it."""
    ends = truth[:, [skeleton.keypoints.index(name) for name in TORSO]]
    torso = np.hypot(*(ends[:, 0, :2] - ends[:, 1, :2]).T)
    measured = (ends[:, :, 2] > 0).all(axis=1) & (torso > 1)
    limbs = np.array([name.endswith(LIMBS) for name in skeleton.keypoints])
    return torso, (truth[:, :, 2] > 0) & measured[:, None] & limbs
