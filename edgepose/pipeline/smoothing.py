"""Keypoints without jitter: the One-Euro filter (Casiez, Roussel and Vogel, CHI 2012), for each keypoint of each person.

Coordinates are divided by the person's size and times are seconds, so that the same parameters hold for any resolution and frame rate.
What a keypoint contributes is weighed by its score, so that one that vanishes fades where it was on the body instead of jumping about.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.estimator import Poses

__all__ = ["OneEuroSmoother"]

Floats = npt.NDArray[np.float64]

_GAP_S = 0.5  # after which an earlier place says nothing
_SCORE_S = 0.1  # over which scores are averaged
_SIZE_HZ = 1.0  # cut-off of people's sizes
_UNSEEN, _SURE = 0.1, 0.3  # scores up to which a keypoint doesn't count, and from which it counts in full


@dataclass(slots=True, kw_only=True, eq=False)
class _States:
    """What is remembered, one row for each person.

    Attributes:
        ids: (N,), ascending.
        times_s: (N,), of the last frame.
        places: (N, K, 2), smoothed, pixels.
        speeds: (N, K, 2), smoothed, sizes per second.
        scores: (N, K), smoothed.
        sizes: (N,), of the people, smoothed, pixels.
    """

    ids: npt.NDArray[np.int64]
    times_s: Floats
    places: Floats
    speeds: Floats
    scores: Floats
    sizes: Floats

    @classmethod
    def begin(cls, ids: npt.NDArray[np.int64], time_s: float, places: Floats, scores: Floats, sizes: Floats) -> "_States":
        """Return people as they are first seen."""
        times_s = np.full(len(ids), time_s)
        return cls(ids=ids, times_s=times_s, places=places, speeds=np.zeros_like(places), scores=scores, sizes=sizes)

    def select(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "_States":
        return _States(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})

    def join(self, other: "_States") -> "_States":
        """Return both's rows in order of the ids; of an id that both have, the other's."""
        ids = np.concatenate([other.ids, self.ids])
        _, first = np.unique(ids, return_index=True)
        return _States(
            **{column.name: np.concatenate([getattr(other, column.name), getattr(self, column.name)])[first] for column in fields(self)}
        )


class OneEuroSmoother:
    """Smooths keypoints by id; see ``edgepose.pipeline.protocols.Smoother``.

    The defaults leave less than half of the jitter of small people who stand, a tenth of that of large ones, and lag less than a frame of
    1/30 s behind somebody who runs: ``edgepose_benchmarks.smoothing``.

    Args:
        min_cutoff_hz: of a keypoint that rests: lower is calmer, and slower.
        beta: how much faster the filter becomes with speed, in Hz for each person's size per second: higher lags less. A person's size is
            the square root of their box's area.
        derivative_cutoff_hz: of the speeds.

    Raises:
        InputError: a parameter that isn't positive.
    """

    def __init__(self, *, min_cutoff_hz: float = 0.6, beta: float = 6.0, derivative_cutoff_hz: float = 2.0) -> None:
        for name, value in (("min_cutoff_hz", min_cutoff_hz), ("beta", beta), ("derivative_cutoff_hz", derivative_cutoff_hz)):
            if not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; allowed: above zero")
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._derivative_cutoff_hz = derivative_cutoff_hz
        self._states: _States | None = None

    def smooth(self, time_s: float, poses: Poses, ids: npt.NDArray[np.int64]) -> Poses:
        """Return the poses with smoothed keypoints and scores; see ``Smoother``.

        Raises:
            InputError: not as many ids as poses.
        """
        if len(ids) != len(poses):
            raise InputError(f"{len(ids)} ids for {len(poses)} poses; each needs one")
        rows = np.flatnonzero(poses.usable)
        sides = np.maximum(poses.boxes_xyxy[rows, 2:] - poses.boxes_xyxy[rows, :2], 1.0).astype(np.float64)
        given = _States.begin(
            ids[rows].astype(np.int64),
            time_s,
            poses.keypoints_xy[rows].astype(np.float64),
            np.clip(poses.scores[rows].astype(np.float64), 0, None),
            np.sqrt(np.prod(sides, axis=1)),
        )
        states = self._remembered(time_s, given.places.shape[1])
        found = np.searchsorted(states.ids, given.ids)
        known = np.flatnonzero(np.isin(given.ids, states.ids))
        stepped = self._step(states.select(found[known]), given.select(known), time_s)
        keypoints_xy, scores = poses.keypoints_xy.copy(), poses.scores.copy()
        keypoints_xy[rows], scores[rows] = given.places, given.scores
        keypoints_xy[rows[known]], scores[rows[known]] = stepped.places, stepped.scores
        self._states = states.join(given.select(np.setdiff1d(np.arange(len(given.ids)), known))).join(stepped)
        return replace(poses, keypoints_xy=keypoints_xy, scores=scores)

    def _remembered(self, time_s: float, keypoints: int) -> _States:
        """Return the states that still say something; the others are forgotten."""
        states = self._states
        if states is None or states.scores.shape[1] != keypoints:
            none = np.zeros((0, keypoints))
            return _States.begin(np.zeros(0, np.int64), time_s, np.zeros((0, keypoints, 2)), none, np.zeros(0))
        gaps_s = time_s - states.times_s
        return states.select((gaps_s >= 0) & (gaps_s <= _GAP_S))

    def _step(self, before: _States, given: _States, time_s: float) -> _States:
        """Return the states after a frame in which ``given`` was found."""
        gaps_s = (time_s - before.times_s)[:, None]
        sizes = before.sizes + _share(_SIZE_HZ, gaps_s[:, 0]) * (given.sizes - before.sizes)
        weights = np.clip((given.scores - _UNSEEN) / (_SURE - _UNSEEN), 0.0, 1.0) ** 2
        moved = given.places - before.places
        # Two frames of the same time say nothing about speed, and the filter stands still.
        speeds = moved / sizes[:, None, None] / np.where(gaps_s > 0, gaps_s, np.inf)[..., None]
        speeds = before.speeds + (weights * _share(self._derivative_cutoff_hz, gaps_s))[..., None] * (speeds - before.speeds)
        cutoffs = self._min_cutoff_hz + self._beta * weights * np.linalg.norm(speeds, axis=2)
        # A keypoint that appears is where it is seen; what it was before says nothing.
        appears = (before.scores < _SURE / 2) & (given.scores >= _SURE)
        steps = np.where(appears, 1.0, weights * _share(cutoffs, gaps_s))[..., None] * moved
        # Keypoints that aren't seen go along with the body.
        sure = (weights >= 1) & ~appears
        body = (steps * sure[..., None]).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)[:, None]
        steps = np.where(appears[..., None], steps, steps + ((1 - weights)[..., None] * body[:, None]))
        return _States(
            ids=given.ids,
            times_s=given.times_s,
            places=before.places + steps,
            speeds=np.where(appears[..., None], 0.0, speeds),
            scores=before.scores + -np.expm1(-gaps_s / _SCORE_S) * (given.scores - before.scores),
            sizes=sizes,
        )


def _share(cutoff_hz: float | Floats, gaps_s: Floats) -> Floats:
    """How much of the way to a new value a low-pass filter of first order goes: α of the paper."""
    turns: Floats = 2 * math.pi * cutoff_hz * gaps_s
    result: Floats = turns / (turns + 1)
    return result
