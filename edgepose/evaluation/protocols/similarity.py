"""What the protocols that measure object keypoint similarity share."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations, People, Score
from edgepose.evaluation.matching import Ranking, Truth, mean_precision, rank, ten_metrics
from edgepose.evaluation.nms import Detections
from edgepose.evaluation.oks import AREA_OF_BOX

__all__ = ["annotated_areas", "box_areas", "count_labels", "leave_out_unfound", "make_score", "resampler", "score_ten", "stated_labels"]


def box_areas(annotations: Annotations) -> NDArray[np.float64]:
    """Return 0.53 of each annotated box, (N,): what data sets without outlines use."""
    areas: NDArray[np.float64] = annotations.boxes_xywh[:, 2] * annotations.boxes_xywh[:, 3] * AREA_OF_BOX
    return areas


def annotated_areas(annotations: Annotations) -> NDArray[np.float64]:
    """Return the areas of the outlines, (N,), and 0.53 of the box where there is none."""
    return np.where(np.isnan(annotations.areas), box_areas(annotations), annotations.areas)


def count_labels(keypoints: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of labelled keypoints (N,) of (N, K, 3)."""
    labelled: NDArray[np.int64] = (keypoints[:, :, 2] > 0).sum(axis=1, dtype=np.int64)
    return labelled


def stated_labels(annotations: Annotations) -> NDArray[np.int64]:
    """Return the number of labelled keypoints (N,), as the file states it where it does."""
    return count_labels(annotations.keypoints) if annotations.stated_keypoints is None else annotations.stated_keypoints


def leave_out_unfound(detections: Detections, part: slice = slice(None)) -> tuple[Detections, NDArray[np.intp]]:
    """Return those with a positively scored keypoint in ``part``, with these keypoints alone, and their rows.

    ``xtcocotools`` (BSD), with which the extended data sets' results are published, skips the others; ``pycocotools`` doesn't.
    """
    rows = np.flatnonzero((detections.keypoints[:, part, 2] > 0).any(axis=1))
    found = replace(
        detections,
        pictures=detections.pictures[rows],
        categories=detections.categories[rows],
        keypoints=detections.keypoints[rows, part],
        scores=detections.scores[rows],
    )
    return found, rows


def resampler(rankings: tuple[Ranking, ...]) -> Callable[[NDArray[np.int64]], float]:
    """Return a function from the pictures' weights (I,) to AP."""

    def resample(weights: NDArray[np.int64]) -> float:
        return mean_precision([ranking.curve(weights) for ranking in rankings])

    return resample


def make_score(
    metrics: Mapping[str, float], rankings: tuple[Ranking, ...], annotations: Annotations, people: People, detections: Detections
) -> Score:
    """Put together what was measured.

    Args:
        metrics: by name; ``AP`` is the primary one.
        rankings: of all areas, by category.
        annotations: what was expected.
        people: whom the model was run on.
        detections: what was scored.
    """
    expected = int(sum(ranking.expected.sum() for ranking in rankings))
    return Score(
        metrics=metrics,
        primary="AP",
        resample=resampler(rankings),
        counts={
            "pictures": len(annotations.picture_ids),
            "people": expected,
            "ignored people": len(annotations.ids) - expected,
            "boxes": len(people),
            "boxes not run": detections.not_run,
            "people found twice": detections.suppressed,
            "detections": len(detections),
        },
    )


def score_ten(annotations: Annotations, people: People, detections: Detections, truth: Truth) -> Score:
    """Return COCO's ten figures.

    Args:
        annotations: what was expected.
        people: whom the model was run on.
        detections: what is scored.
        truth: of the people of ``annotations``.
    """
    rankings = rank(annotations, truth, detections)
    return make_score(ten_metrics(rankings), rankings["all"], annotations, people, detections)
