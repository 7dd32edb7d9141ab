"""AI Challenger (AIC): COCO's figures without outlines."""

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import Truth
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.similarity import box_areas, count_labels, leave_out_unfound, score_ten
from edgepose.skeleton import get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["score_aic"]


def score_aic(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return COCO's ten figures with 0.53 of the box for a person's area, as mmpose publishes AIC; see ``score_coco``."""
    sigmas = np.array(get_skeleton("aic").sigmas)
    detections, _ = leave_out_unfound(select_people(people, keypoints, spec, sigmas))
    labelled = count_labels(annotations.keypoints)
    truth = Truth(keypoints=annotations.keypoints, labelled=labelled, areas=box_areas(annotations), sigmas=sigmas)
    return score_ten(annotations, people, detections, truth)
