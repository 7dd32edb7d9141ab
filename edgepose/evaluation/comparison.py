"""Two models on the same people: where keypoints moved, what it costs, and whether that is more than chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import InputError
from edgepose.evaluation.dataset import People
from edgepose.evaluation.evaluation import DataSet, Judged, bootstrap
from edgepose.evaluation.oks import AREA_OF_BOX, keypoint_similarities, oks
from edgepose.evaluation.result import Comparison, KeypointShift
from edgepose.skeleton import Skeleton

__all__ = ["Change", "compare", "most_changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A person whose pose has changed.

    Attributes:
        person: index of the person.
        oks_drop: as in ``Comparison``, of this person; NaN where the skeleton has no sigmas.
        shift_px: mean keypoint distance in pixels of the model's input.
    """

    person: int
    oks_drop: float
    shift_px: float


def compare(data: DataSet, judged: Judged, baseline: Judged) -> Comparison:
    """Compare a model with a baseline.

    Args:
        data: what both ran on.
        judged: the model.
        baseline: the baseline.

    Raises:
        InputError: the two have other keypoints, or used other pictures.
    """
    if judged.spec.skeleton.keypoints != baseline.spec.skeleton.keypoints:
        raise InputError(f"{judged.spec.name} and its baseline {baseline.spec.name} have different keypoints: they can't be compared")
    if not np.array_equal(judged.kept, baseline.kept):
        raise InputError("the two models used different pictures; evaluate both again on the same files")
    shifts = _shifts(data.people, judged, baseline)
    ran = ~np.isnan(shifts[:, 0])
    drops = _oks_drops(data, judged, baseline)[ran]
    known = drops[~np.isnan(drops)]
    primary = judged.score.primary
    drop = 100 * (baseline.score.metrics[primary] - judged.score.metrics[primary])
    interval = bootstrap([baseline.score, judged.score], int(judged.kept.sum()), lambda values: 100 * (values[0] - values[1]))
    return Comparison(
        baseline=baseline.evaluation.conditions,
        baseline_work=baseline.evaluation.work,
        baseline_metrics=baseline.evaluation.metrics,
        primary=primary,
        drop=None if np.isnan(drop) else float(drop),
        drop_interval=interval,
        reference="labels" if _labelled(data.people) else "baseline",
        oks_drop=float(known.mean()) if known.size else None,
        oks_drop_p95=float(np.quantile(known, 0.95)) if known.size else None,
        shift_px=float(shifts[ran].mean()),
        shifts=_by_keypoint(shifts[ran], judged.spec.skeleton),
        compared=int(ran.sum()),
    )


def most_changed(data: DataSet, judged: Judged, baseline: Judged, count: int) -> list[Change]:
    """Return the people that changed most: by OKS where there is one, by mean keypoint distance otherwise."""
    shifts = _shifts(data.people, judged, baseline).mean(axis=1)
    drops = _oks_drops(data, judged, baseline)
    rank = np.where(np.isnan(shifts), -np.inf, shifts if np.isnan(drops).all() else np.nan_to_num(np.abs(drops), nan=-1.0))
    order = np.argsort(-rank, kind="stable")[: min(count, int(np.isfinite(rank).sum()))]
    return [Change(person=int(index), oks_drop=float(drops[index]), shift_px=float(shifts[index])) for index in order]


def _shifts(people: People, judged: Judged, baseline: Judged) -> NDArray[np.float64]:
    """Keypoint distances (M, K) in pixels of the model's input; NaN where a picture couldn't be used."""
    spec = judged.spec
    sides = people.boxes_xyxy[:, 2:] - people.boxes_xyxy[:, :2]
    width = np.maximum(sides[:, 0], sides[:, 1] * spec.input.width / spec.input.height) * spec.codec.padding
    distances: NDArray[np.float64] = np.linalg.norm(judged.keypoints[:, :, :2] - baseline.keypoints[:, :, :2], axis=2)
    return distances * (spec.input.width / width)[:, None]


def _labelled(people: People) -> bool:
    return bool(len(people)) and bool((people.annotations >= 0).all())


def _oks_drops(data: DataSet, judged: Judged, baseline: Judged) -> NDArray[np.float64]:
    """How much OKS each person lost (M,), against labels where boxes are annotated, else against the baseline; NaN where unknown."""
    people, annotations, skeleton = data.people, data.annotations, judged.spec.skeleton
    if not skeleton.sigmas:
        return np.full(len(people), np.nan)
    ours, theirs = judged.keypoints[:, :, :2], baseline.keypoints[:, :, :2]
    areas = AREA_OF_BOX * np.prod(people.boxes_xyxy[:, 2:] - people.boxes_xyxy[:, :2], axis=1)
    if not _labelled(people):
        return 1 - _oks(ours, theirs, np.ones(ours.shape[:2], np.bool_), areas, skeleton)
    truth = annotations.keypoints[people.annotations]
    annotated = annotations.areas[people.annotations]
    areas = np.where(np.isnan(annotated), areas, annotated)
    before, after = (_oks(found, truth[..., :2], truth[..., 2] > 0, areas, skeleton) for found in (theirs, ours))
    return before - after


def _oks(
    found: NDArray[np.float64],
    truth: NDArray[np.float64],
    counted: NDArray[np.bool_],
    areas: NDArray[np.float64],
    skeleton: Skeleton,
) -> NDArray[np.float64]:
    return oks(keypoint_similarities(np.square(found - truth).sum(axis=-1), areas, skeleton.sigmas), counted)


def _by_keypoint(shifts: NDArray[np.float64], skeleton: Skeleton) -> tuple[KeypointShift, ...]:
    return tuple(
        KeypointShift(
            keypoint=name,
            mean_px=float(column.mean()),
            median_px=float(np.median(column)),
            p95_px=float(np.quantile(column, 0.95)),
        )
        for name, column in zip(skeleton.keypoints, shifts.T, strict=True)
    )
