"""Labels and a keypoint teacher's opinion become training labels.

Crowd-sourced labels have faults that a teacher sees: people whose left and right are exchanged, and joints that sit elsewhere. A teacher
also knows keypoints that a data set doesn't label. Where both are sure and near each other, their mean is better than either.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.distillation.recipe import LabelRules, Labels
from edgepose.skeleton import Skeleton

__all__ = ["Merged", "merge_labels"]

MIN_COMPARED = 4  # keypoints that must be seen by both before left and right are judged
SWAP_MARGIN = 0.1  # by how much (in torsos) the exchanged labels must fit better
DOUBTED_WEIGHT = 0.3  # of a label that a fairly sure teacher contradicts
OVERRULED_WEIGHT = 0.5  # of a point that a very sure teacher puts in a label's place


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """Training labels.

    Attributes:
        keypoints: (K, 3) float32: x, y and weight.
        swapped: whether left and right were exchanged.
        overruled: number of labels that the teacher replaced.
    """

    keypoints: npt.NDArray[np.float32]
    swapped: bool = False
    overruled: int = 0


def merge_labels(
    own: npt.NDArray[np.float32],
    teacher: npt.NDArray[np.float32] | None,
    *,
    mode: Labels,
    rules: LabelRules,
    skeleton: Skeleton,
    box_xyxy: npt.NDArray[np.float64],
) -> Merged:
    """Join a person's labels with the teacher's.

    Args:
        own: (K, 3): x, y, weight.
        teacher: (K, 3): x, y, score; ``None``: nobody asked it.
        mode: what to do; see ``Source.labels``.
        rules: when the teacher's word counts.
        skeleton: names of the keypoints.
        box_xyxy: (4,) the person's box, for the scale where the torso isn't labelled.
    """
    if teacher is None or mode == "own":
        return Merged(keypoints=own.astype(np.float32))
    points = np.zeros_like(own, dtype=np.float32) if mode == "teacher" else own.astype(np.float32)
    swapped, overruled = False, 0
    if mode == "merge":
        torso = _torso(points, skeleton, box_xyxy)
        points, swapped = _unswap(points, teacher, skeleton, torso, rules)
        points, overruled = _reconcile(points, teacher, torso, rules)
    missing = (points[:, 2] == 0) & (teacher[:, 2] >= rules.fill_score)
    points[missing, :2] = teacher[missing, :2]
    points[missing, 2] = 1.0 if mode == "teacher" else rules.fill_weight
    return Merged(keypoints=points, swapped=swapped, overruled=overruled)


def _torso(points: npt.NDArray[np.float32], skeleton: Skeleton, box_xyxy: npt.NDArray[np.float64]) -> float:
    """Left shoulder to right hip in pixels, but no less than a quarter of the box: people are also seen from above."""
    floor = 0.25 * float(np.max(box_xyxy[2:] - box_xyxy[:2]))
    names = skeleton.keypoints
    if "left_shoulder" not in names or "right_hip" not in names:
        return floor
    shoulder, hip = points[names.index("left_shoulder")], points[names.index("right_hip")]
    if not (shoulder[2] and hip[2]):
        return floor
    return max(floor, float(np.hypot(*(shoulder - hip)[:2])))


def _distances(points: npt.NDArray[np.float32], teacher: npt.NDArray[np.float32], torso: float) -> npt.NDArray[np.float32]:
    distances: npt.NDArray[np.float32] = np.hypot(*(points - teacher)[:, :2].T) / np.float32(max(torso, 1.0))
    return distances


def _unswap(
    points: npt.NDArray[np.float32], teacher: npt.NDArray[np.float32], skeleton: Skeleton, torso: float, rules: LabelRules
) -> tuple[npt.NDArray[np.float32], bool]:
    """Exchange left and right where that fits the teacher clearly better."""
    exchanged = points[list(skeleton.flip_order)]
    seen = (points[:, 2] > 0) & (exchanged[:, 2] > 0) & (teacher[:, 2] >= rules.fill_score)
    if seen.sum() < MIN_COMPARED:
        return points, False
    # Cut off, so that one joint far away doesn't decide.
    as_it_is = np.minimum(_distances(points, teacher, torso)[seen], 1).mean()
    other = _distances(exchanged, teacher, torso)[seen]
    if as_it_is > np.minimum(other, 1).mean() + SWAP_MARGIN and (other < rules.far).mean() > 0.5:
        return exchanged, True
    return points, False


def _reconcile(
    points: npt.NDArray[np.float32], teacher: npt.NDArray[np.float32], torso: float, rules: LabelRules
) -> tuple[npt.NDArray[np.float32], int]:
    """Average what agrees; doubt or replace what doesn't."""
    sure = (points[:, 2] > 0) & (teacher[:, 2] >= rules.trust_score)
    far = _distances(points, teacher, torso) > rules.far
    near = sure & ~far
    overruled = sure & far & (teacher[:, 2] >= rules.overrule_score)
    result = points.copy()
    result[near, :2] = (points[near, :2] + teacher[near, :2]) / 2
    result[sure & far, 2] = DOUBTED_WEIGHT
    result[overruled, :2] = teacher[overruled, :2]
    result[overruled, 2] = OVERRULED_WEIGHT
    return result, int(overruled.sum())
