"""MPII: PCKh, the percentage of keypoints nearer to the truth than a share of the head's length."""

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.protocols.pck import annotated_rows, share_right
from edgepose.skeleton import get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["score_mpii"]

GROUPS = {
    "Head": ("head_top",),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
NOT_COUNTED = ("pelvis", "thorax")  # in the means, as published


def score_mpii(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return PCKh, as mmpose's ``TopDownMpiiDataset`` (Apache-2.0) computes it: at 0.5 by group and in all, and at 0.1.

    A group of two keypoints is the mean of both shares; the whole is the share of all labelled keypoints but pelvis and thorax. Heads are
    measured as 0.6 of their box's diagonal. People whom the model wasn't run on have no correct keypoint. For the arguments see
    ``score_coco``.

    Raises:
        InputError: the people are detections, or the annotations have no sizes of heads.
    """
    del spec  # part of the common signature: MPII states its keypoints itself
    if annotations.head_sizes is None:
        raise InputError(f"PCKh needs the sizes of the heads, which {annotations.source} lacks: it takes mpii_val.json and mpii_gt_val.mat")
    rows = annotated_rows(people, "PCKh")
    truth = annotations.keypoints[rows]
    distances = np.linalg.norm(keypoints[:, :, :2] - truth[:, :, :2], axis=2) / annotations.head_sizes[rows, None]
    labelled = truth[:, :, 2] > 0
    right = (distances <= 0.5) & labelled
    names = get_skeleton("mpii").keypoints
    counted = labelled & ~np.isin(names, NOT_COUNTED)
    metrics = {
        group: float(np.mean([share_right(right[:, [k]], labelled[:, [k]]) for k in map(names.index, members)]))
        for group, members in GROUPS.items()
    }
    metrics["PCKh@0.5"] = share_right(right & counted, counted)
    metrics["PCKh@0.1"] = share_right((distances <= 0.1) & counted, counted)

    def resample(weights: NDArray[np.int64]) -> float:
        return share_right(right & counted, counted, weights[people.pictures])

    counts = {
        "pictures": len(annotations.picture_ids),
        "boxes": len(people),
        "boxes not run": int(np.isnan(distances).all(axis=1).sum()),
        "keypoints": int(counted.sum()),
    }
    return Score(metrics=metrics, primary="PCKh@0.5", resample=resample, counts=counts)
