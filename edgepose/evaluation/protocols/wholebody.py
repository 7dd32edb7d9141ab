"""COCO-WholeBody: AP and AR of body, feet, face, hands, and of all 133 keypoints together."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import Ranking, Truth, mean_precision, mean_recall, rank, ten_metrics
from edgepose.evaluation.nms import select_people
from edgepose.evaluation.protocols.similarity import annotated_areas, count_labels, leave_out_unfound, make_score
from edgepose.skeleton import get_skeleton
from edgepose.spec import ModelSpec

__all__ = ["score_wholebody"]

BODY = slice(0, 17)
PARTS = {"body": BODY, "foot": slice(17, 23), "face": slice(23, 91), "left hand": slice(91, 112), "right hand": slice(112, 133)}


def score_wholebody(annotations: Annotations, people: People, keypoints: NDArray[np.float64], spec: ModelSpec) -> Score:
    """Return COCO's ten figures over all keypoints, and AP and AR of each part; see ``score_coco``.

    As ``xtcocotools`` (BSD) does: the area is the whole person's, and so is the score; a part is scored for people of whom it has a label,
    and detections that show nothing of it are left out. ``hand`` is the mean of both hands.
    """
    sigmas = np.array(get_skeleton("wholebody").sigmas)
    selected = select_people(people, keypoints, spec, sigmas)
    # The box around the body's keypoints stands for a detection's extent in every part.
    extents = np.ptp(selected.keypoints[:, BODY, :2], axis=1).prod(axis=1)
    areas = annotated_areas(annotations)

    def rank_part(part: slice) -> Mapping[str, tuple[Ranking, ...]]:
        points = annotations.keypoints[:, part]
        truth = Truth(keypoints=points, labelled=count_labels(points), areas=areas, sigmas=sigmas[part])
        detections, rows = leave_out_unfound(selected, part)
        return rank(annotations, truth, detections, extents=extents[rows])

    rankings = rank_part(slice(None))
    metrics = ten_metrics(rankings)
    for name, part in PARTS.items():
        curves = [ranking.curve() for ranking in rank_part(part)["all"]]
        metrics |= {f"AP({name})": mean_precision(curves), f"AR({name})": mean_recall(curves)}
    for figure in ("AP", "AR"):
        metrics[f"{figure}(hand)"] = (metrics[f"{figure}(left hand)"] + metrics[f"{figure}(right hand)"]) / 2
    return make_score(metrics, rankings["all"], annotations, people, leave_out_unfound(selected)[0])
