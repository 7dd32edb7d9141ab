"""Average precision: ``pycocotools`` says which detections are right, picture by picture; what it says is summed up here.

``COCOeval`` keeps Python objects for every pair of a detection and a person of the whole data set. It is given a few hundred pictures at a
time instead, so that only a few bytes per detection stay. Summing up is done here, as ``COCOeval.accumulate`` does it, because pictures can
have weights then: the bootstrap needs them, and so do subsets of pictures. With weights of one the figures are the same.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.nms import Detections
from edgepose.runtime.packages import import_package

__all__ = ["AREAS", "OKS_50", "OKS_75", "Curve", "Ranking", "Truth", "mean_precision", "mean_recall", "rank", "ten_metrics"]

AREAS = ("all", "medium", "large")
"""COCO's ranges of a person's area: medium is 32² to 96² pixels, large is above."""

OKS_50, OKS_75 = slice(0, 1), slice(5, 6)  # of COCO's ten thresholds 0.50, 0.55 … 0.95
ALL_OKS = slice(None)

_RECALLS = np.linspace(0, 1, 101)
_PICTURES_AT_ONCE = 256

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What is expected to be found, as ``COCOeval`` sees it.

    Attributes:
        keypoints: float64 (N, K, 3): x, y, visibility.
        labelled: int64 (N,), number of labelled keypoints: people with none are ignored, found or not.
        areas: float64 (N,), square pixels.
        sigmas: float64 (K,), OKS constants.
    """

    keypoints: NDArray[np.float64]
    labelled: NDArray[np.int64]
    areas: NDArray[np.float64]
    sigmas: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The detections of one category and range of areas, from the highest score to the lowest, at the T thresholds of OKS.

    Equal scores are in the order of ``COCOeval``: by picture id, and in a picture as they were given.

    Attributes:
        pictures: int64 (D,), index of the picture.
        right: bool (T, D): matches a person who counts.
        wrong: bool (T, D): matches nobody. What matches somebody ignored is neither.
        expected: int64 (I,), number of people who count on each picture.
    """

    pictures: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    expected: NDArray[np.int64]

    def curve(self, weights: NDArray[np.int64] | None = None) -> Curve | None:
        """Return precision (T, R) at COCO's 101 recalls and the highest recall (T,); ``None`` where nobody is expected.

        Args:
            weights: (I,), how often each picture counts; once by default.
        """
        expected = self.expected.sum() if weights is None else self.expected @ weights
        if not expected:
            return None
        thresholds, count = self.right.shape
        if not count:
            return np.zeros((thresholds, len(_RECALLS))), np.zeros(thresholds)
        times = 1.0 if weights is None else weights[self.pictures].astype(np.float64)
        right = np.cumsum(self.right * times, axis=1)
        wrong = np.cumsum(self.wrong * times, axis=1)
        recall = right / expected
        precision = right / (right + wrong + np.spacing(1))
        # The precision at a recall is the best that is reached there or beyond.
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        at_recalls = np.zeros((thresholds, len(_RECALLS)))
        for row, reached, envelope in zip(at_recalls, recall, best, strict=True):
            places = np.searchsorted(reached, _RECALLS, side="left")
            inside = places < count
            row[inside] = envelope[places[inside]]
        return at_recalls, recall[:, -1]


def rank(
    annotations: Annotations, truth: Truth, detections: Detections, *, extents: NDArray[np.float64] | None = None
) -> Mapping[str, tuple[Ranking, ...]]:
    """Match detections with people.

    Args:
        annotations: the pictures, boxes, crowds and categories.
        truth: of the N people of ``annotations``.
        detections: their keypoints are the K of ``truth``.
        extents: (D,), area of each detection in square pixels, which says whether one that matches nobody falls in a range of areas; by
            default that of the box around its keypoints, as ``COCO.loadRes`` has it.

    Returns:
        For each range of areas, a ranking of each annotated category, in the order of their ids.

    Raises:
        MissingDependencyError: pycocotools isn't installed.
    """
    if extents is None:
        extents = np.ptp(detections.keypoints[:, :, :2], axis=1).prod(axis=1)
    categories = [int(category) for category in np.unique(annotations.categories)]
    order = np.argsort(annotations.picture_ids, kind="stable")  # COCOeval goes through the pictures by their ids
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    people_at, found_at = position[annotations.pictures], position[detections.pictures]
    people, found = np.argsort(people_at, kind="stable"), np.argsort(found_at, kind="stable")
    parts: dict[tuple[str, int], list[_Part]] = defaultdict(list)
    for start in range(0, len(order), _PICTURES_AT_ONCE):
        stop = min(start + _PICTURES_AT_ONCE, len(order))
        expected = [_person(annotations, truth, row, int(people_at[row])) for row in _between(people, people_at, start, stop)]
        results = [_result(detections, extents, row, int(found_at[row])) for row in _between(found, found_at, start, stop)]
        judged = _judge(expected, results, categories, list(range(start, stop)), truth.sigmas)
        for number in range(len(categories) * len(AREAS)):
            category, area = divmod(number, len(AREAS))
            parts[AREAS[area], category].append(_shrink(judged[number * (stop - start) : (number + 1) * (stop - start)]))
    return {area: tuple(_join(parts[area, number], order) for number in range(len(categories))) for area in AREAS}


def mean_precision(curves: Sequence[Curve | None], thresholds: slice = ALL_OKS) -> float:
    """Return the precision averaged over thresholds, recalls and those categories where somebody is expected; NaN if there is none."""
    values = [curve[0][thresholds] for curve in curves if curve is not None]
    return float(np.mean(values)) if values else float("nan")


def mean_recall(curves: Sequence[Curve | None], thresholds: slice = ALL_OKS) -> float:
    """Return the recall averaged over thresholds and those categories where somebody is expected; NaN if there is none."""
    values = [curve[1][thresholds] for curve in curves if curve is not None]
    return float(np.mean(values)) if values else float("nan")


def ten_metrics(rankings: Mapping[str, tuple[Ranking, ...]]) -> dict[str, float]:
    """Return COCO's ten figures for keypoints."""
    every, medium, large = ([ranking.curve() for ranking in rankings[area]] for area in AREAS)
    return {
        "AP": mean_precision(every),
        "AP50": mean_precision(every, OKS_50),
        "AP75": mean_precision(every, OKS_75),
        "AP(M)": mean_precision(medium),
        "AP(L)": mean_precision(large),
        "AR": mean_recall(every),
        "AR50": mean_recall(every, OKS_50),
        "AR75": mean_recall(every, OKS_75),
        "AR(M)": mean_recall(medium),
        "AR(L)": mean_recall(large),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The detections of a few pictures, in the order of ``COCOeval``; ``places`` are of the pictures sorted by id."""

    scores: NDArray[np.float64]
    places: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    expected_places: NDArray[np.int64]
    expected: NDArray[np.int64]


def _between(rows: NDArray[np.intp], places: NDArray[np.intp], start: int, stop: int) -> NDArray[np.intp]:
    """Those of ``rows``, which are sorted by their place, whose place is from ``start`` to before ``stop``."""
    first, last = np.searchsorted(places[rows], [start, stop])
    return rows[first:last]


def _person(annotations: Annotations, truth: Truth, row: int, place: int) -> dict[str, Any]:
    return {
        # Own ids: COCOeval takes a match with the id 0 for none.
        "id": int(row) + 1,
        "image_id": place,
        "category_id": int(annotations.categories[row]),
        "iscrowd": int(annotations.crowd[row]),
        "area": float(truth.areas[row]),
        "bbox": annotations.boxes_xywh[row].tolist(),
        "keypoints": truth.keypoints[row].ravel(),
        "num_keypoints": int(truth.labelled[row]),
    }


def _result(detections: Detections, extents: NDArray[np.float64], row: int, place: int) -> dict[str, Any]:
    return {
        "id": int(row) + 1,
        "image_id": place,
        "category_id": int(detections.categories[row]),
        "area": float(extents[row]),
        "score": float(detections.scores[row]),
        "keypoints": detections.keypoints[row].ravel(),
    }


def _judge(
    expected: list[dict[str, Any]], results: list[dict[str, Any]], categories: list[int], places: list[int], sigmas: NDArray[np.float64]
) -> list[dict[str, Any] | None]:
    """Let ``COCOeval`` judge a few pictures; one entry for each category, range of areas and picture, in this order."""
    purpose = "computing average precision"
    coco = import_package("pycocotools.coco", extra="evaluate", purpose=purpose).COCO
    evaluator = import_package("pycocotools.cocoeval", extra="evaluate", purpose=purpose).COCOeval
    # It reports its progress to standard output, which belongs to the results.
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for entries in (expected, results):
            side = coco()
            side.dataset = {
                "images": [{"id": place} for place in places],
                "categories": [{"id": c} for c in categories],
                "annotations": entries,
            }
            side.createIndex()
            sides.append(side)
        evaluation = evaluator(*sides, "keypoints")
        evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
    judged: list[dict[str, Any] | None] = evaluation.evalImgs
    return judged


def _shrink(entries: list[dict[str, Any] | None]) -> _Part:
    present = [entry for entry in entries if entry is not None]
    if not present:
        none, nothing = np.zeros(0, np.int64), np.zeros((0, 0), np.bool_)
        return _Part(scores=np.zeros(0), places=none, right=nothing, wrong=nothing, expected_places=none, expected=none)
    matched = np.concatenate([entry["dtMatches"] for entry in present], axis=1) > 0
    ignored = np.concatenate([entry["dtIgnore"] for entry in present], axis=1) > 0
    places = np.array([entry["image_id"] for entry in present], np.int64)
    return _Part(
        scores=np.concatenate([entry["dtScores"] for entry in present]).astype(np.float64),
        places=np.repeat(places, [len(entry["dtScores"]) for entry in present]),
        right=matched & ~ignored,
        wrong=~matched & ~ignored,
        expected_places=places,
        expected=np.array([np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0) for entry in present], np.int64),
    )


def _join(parts: list[_Part], order: NDArray[np.intp]) -> Ranking:
    expected = np.zeros(len(order), np.int64)
    for part in parts:
        expected[order[part.expected_places]] = part.expected
    filled = [part for part in parts if len(part.scores)]
    if not filled:
        none = np.zeros((10, 0), np.bool_)
        return Ranking(pictures=np.zeros(0, np.int64), right=none, wrong=none, expected=expected)
    # Stable, as COCOeval sorts: equal scores stay in the order of the pictures.
    ranks = np.argsort(-np.concatenate([part.scores for part in filled]), kind="stable")
    return Ranking(
        pictures=order[np.concatenate([part.places for part in filled])[ranks]],
        right=np.concatenate([part.right for part in filled], axis=1)[:, ranks],
        wrong=np.concatenate([part.wrong for part in filled], axis=1)[:, ranks],
        expected=expected,
    )
