"""CrowdPose: AP without outlines, and by how crowded the pictures are."""

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import OKS_50, OKS_75, Truth, mean_precision, mean_recall, rank
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.similarity import box_areas, leave_out_unfound, make_score, stated_labels
from edgepose.skeleton import get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["score_crowdpose"]

EASY, HARD = 0.2, 0.8
"""Bounds of the crowd index: easy below, hard from there. The paper (arXiv 1812.00324) says 0.1; its code, and so all figures, 0.2."""


def score_crowdpose(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return CrowdPose's nine figures, as its own evaluation and ``xtcocotools`` (BSD) compute them; see ``score_coco``.

    A person's area is 0.53 of the box; people without a *visible* keypoint are ignored, because its files count only these.
    """
    sigmas = np.array(get_skeleton("crowdpose").sigmas)
    selected = select_people(people, keypoints, spec, sigmas)
    detections, _ = leave_out_unfound(selected)
    truth = Truth(keypoints=annotations.keypoints, labelled=stated_labels(annotations), areas=box_areas(annotations), sigmas=sigmas)
    rankings = rank(annotations, truth, detections)["all"]
    curves = [ranking.curve() for ranking in rankings]
    metrics = {
        "AP": mean_precision(curves),
        "AP50": mean_precision(curves, OKS_50),
        "AP75": mean_precision(curves, OKS_75),
        "AR": mean_recall(curves),
        "AR50": mean_recall(curves, OKS_50),
        "AR75": mean_recall(curves, OKS_75),
    }
    crowding = np.full(len(annotations.picture_ids), np.nan) if annotations.crowd_index is None else annotations.crowd_index
    levels = {"AP(E)": crowding < EASY, "AP(M)": (crowding >= EASY) & (crowding < HARD), "AP(H)": crowding >= HARD}
    for name, pictures in levels.items():
        metrics[name] = mean_precision([ranking.curve(pictures.astype(np.int64)) for ranking in rankings])
    return make_score(metrics, rankings, annotations, people, detections)
