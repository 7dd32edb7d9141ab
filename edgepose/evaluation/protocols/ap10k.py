"""AP-10K: animals of many species; each figure is the mean over the species."""

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import Truth
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.similarity import annotated_areas, count_labels, leave_out_unfound, score_ten
from edgepose.skeleton import get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["score_ap10k"]


def score_ap10k(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return COCO's ten figures, averaged over categories with annotated animals, as mmpose publishes AP-10K; see ``score_coco``.

    Animals of all species on a picture are compared with each other when those found twice are left out.
    """
    sigmas = np.array(get_skeleton("ap10k").sigmas)
    detections, _ = leave_out_unfound(select_people(people, keypoints, spec, sigmas))
    labelled = count_labels(annotations.keypoints)
    truth = Truth(keypoints=annotations.keypoints, labelled=labelled, areas=annotated_areas(annotations), sigmas=sigmas)
    return score_ten(annotations, people, detections, truth)
