"""From what a model found to what is scored: person scores, and suppression of people found twice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgepose.crop import pad_boxes
from edgepose.evaluation.dataset import People
from edgepose.evaluation.oks import keypoint_similarities
from edgepose.spec import ModelSpec

__all__ = ["Detections", "person_scores", "select_people", "suppress"]

LEAST_SCORE = 0.2
"""Keypoints scored at or below this say nothing about the person (mmpose's ``vis_thr``)."""

SAME_PERSON = 0.9
"""Two people more similar than this are one (mmpose's ``oks_thr``)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """The D people that a data set's protocol sees; those of a picture from the highest score to the lowest.

    Attributes:
        pictures: int64 (D,), index of the picture in ``Annotations``.
        categories: int64 (D,).
        keypoints: float64 (D, K, 3): x, y, score.
        scores: float64 (D,), of the person.
        not_run: number of people whose keypoints are NaN.
        suppressed: number of people found twice.
    """

    pictures: NDArray[np.int64]
    categories: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    scores: NDArray[np.float64]
    not_run: int
    suppressed: int

    def __len__(self) -> int:
        return len(self.pictures)


def person_scores(keypoint_scores: NDArray[np.float64], box_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return box score × mean of the keypoint scores above 0.2, and 0 where none is.

    Args:
        keypoint_scores: (M, K).
        box_scores: (M,).
    """
    counted = keypoint_scores > LEAST_SCORE
    total = np.where(counted, keypoint_scores, 0.0).sum(axis=1)
    scores: NDArray[np.float64] = box_scores * total / np.maximum(counted.sum(axis=1), 1)
    return scores


def suppress(
    keypoints_xy: NDArray[np.float64], scores: NDArray[np.float64], areas: NDArray[np.float64], sigmas: ArrayLike
) -> NDArray[np.intp]:
    """Return who stays of the people of one picture, from the highest score to the lowest.

    OKS-NMS at 0.9, as mmpose 0.x (Apache-2.0) has it: the best person stays and whoever is more similar to them goes, and so on. Of equal
    scores the later person is taken first; there the order of equal scores is left to NumPy's unstable sort.

    Args:
        keypoints_xy: (P, K, 2) pixels.
        scores: (P,).
        areas: (P,), of the padded boxes; two people are compared at the mean of theirs.
        sigmas: (K,), OKS constants.
    """
    order = np.argsort(scores, kind="stable")[::-1]
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        squared = np.square(keypoints_xy[order] - keypoints_xy[best]).sum(axis=2)
        similarity = keypoint_similarities(squared, (areas[best] + areas[order]) / 2, sigmas).mean(axis=1)
        order = order[similarity <= SAME_PERSON]
    return np.array(kept, np.intp)


def select_people(people: People, keypoints: NDArray[np.float64], spec: ModelSpec, sigmas: ArrayLike) -> Detections:
    """Score people and leave out those found twice.

    Args:
        people: whom the model was run on.
        keypoints: (M, K, 3): x, y, score; NaN where it wasn't run.
        spec: of the model: its padded boxes are the areas at which people are compared.
        sigmas: (K,), OKS constants.
    """
    run = np.flatnonzero(np.isfinite(keypoints).all(axis=(1, 2)))
    run = run[np.argsort(people.pictures[run], kind="stable")]
    scores = person_scores(keypoints[run, :, 2], people.scores[run])
    areas = pad_boxes(people.boxes_xyxy[run], spec.input, spec.codec)[1].prod(axis=1)
    by_picture = np.split(np.arange(len(run)), np.flatnonzero(np.diff(people.pictures[run])) + 1)
    chosen = np.concatenate([group[suppress(keypoints[run[group], :, :2], scores[group], areas[group], sigmas)] for group in by_picture])
    rows = run[chosen]
    return Detections(
        pictures=people.pictures[rows],
        categories=people.categories[rows],
        keypoints=keypoints[rows],
        scores=scores[chosen],
        not_run=len(keypoints) - len(run),
        suppressed=len(run) - len(rows),
    )
