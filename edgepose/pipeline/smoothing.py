"""Keypoints without jitter: the One-Euro filter (Casiez, Roussel and Vogel, CHI 2012), for each keypoint of each person.

Coordinates are divided by the person's size and times are seconds, so that the same parameters hold for any resolution and frame rate.
What a keypoint contributes is weighed by its score, so that one that vanishes stays where it was and fades instead of jumping about.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.estimator import Poses

__all__ = ["OneEuroSmoother"]

_GAP_S = 0.5  # after which an earlier place says nothing
_SCORE_S = 0.1  # over which scores are averaged
_SURE = 0.3  # score from which a keypoint counts in full
_LEAST_WEIGHT = 0.02  # of a keypoint that isn't seen: it may drift back slowly


@dataclass(slots=True, kw_only=True, eq=False)
class _State:
    """What is remembered of one person.

    Attributes:
        time_s: of the last frame.
        places: (K, 2) smoothed, pixels.
        speeds: (K, 2) smoothed, sizes per second.
        scores: (K,) smoothed.
        size: of the person, smoothed, pixels.
    """

    time_s: float
    places: npt.NDArray[np.float64]
    speeds: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    size: float


class OneEuroSmoother:
    """Smooths keypoints by id; see ``edgepose.pipeline.protocols.Smoother``.

    Args:
        min_cutoff_hz: of a keypoint that rests: lower is calmer, and slower.
        beta: how much faster the filter becomes with speed, in Hz for each person's size per second: higher lags less.
        derivative_cutoff_hz: of the speeds.

    Raises:
        InputError: a parameter that isn't positive.
    """

    def __init__(self, *, min_cutoff_hz: float = 1.2, beta: float = 12.0, derivative_cutoff_hz: float = 2.0) -> None:
        for name, value in (("min_cutoff_hz", min_cutoff_hz), ("beta", beta), ("derivative_cutoff_hz", derivative_cutoff_hz)):
            if not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; allowed: above zero")
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._derivative_cutoff_hz = derivative_cutoff_hz
        self._states: dict[int, _State] = {}

    def smooth(self, time_s: float, poses: Poses, ids: npt.NDArray[np.int64]) -> Poses:
        """Return the poses with smoothed keypoints and scores; see ``Smoother``."""
        keypoints_xy, scores = poses.keypoints_xy.copy(), poses.scores.copy()
        for row in np.flatnonzero(poses.usable):
            state = self._step(self._states.get(int(ids[row])), time_s, poses, int(row))
            self._states[int(ids[row])] = state
            keypoints_xy[row], scores[row] = state.places, state.scores
        self._states = {known: state for known, state in self._states.items() if 0 <= time_s - state.time_s <= _GAP_S}
        return replace(poses, keypoints_xy=keypoints_xy, scores=scores)

    def _step(self, state: _State | None, time_s: float, poses: Poses, row: int) -> _State:
        given = poses.keypoints_xy[row].astype(np.float64)
        scores = np.clip(poses.scores[row].astype(np.float64), 0, None)
        box = poses.boxes_xyxy[row].astype(np.float64)
        size = float(np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 1.0))))
        if state is None or not 0 < time_s - state.time_s <= _GAP_S:
            return _State(time_s=time_s, places=given, speeds=np.zeros_like(given), scores=scores, size=size)
        gap_s = time_s - state.time_s
        size = state.size + float(_share(1.0, gap_s)) * (size - state.size)
        weights = np.clip((scores / _SURE) ** 2, _LEAST_WEIGHT, 1.0)[:, None]
        moved = (given - state.places) / size
        speeds = state.speeds + weights * _share(self._derivative_cutoff_hz, gap_s) * (moved / gap_s - state.speeds)
        cutoffs = self._min_cutoff_hz + self._beta * weights * np.linalg.norm(speeds, axis=1, keepdims=True)
        # A keypoint that appears is where it is seen; what it was before says nothing.
        appears = (state.scores < _SURE / 2) & (scores >= _SURE)
        shares = np.where(appears[:, None], 1.0, weights * _share(cutoffs, gap_s))
        return _State(
            time_s=time_s,
            places=state.places + shares * (given - state.places),
            speeds=np.where(appears[:, None], 0.0, speeds),
            scores=state.scores + (1 - math.exp(-gap_s / _SCORE_S)) * (scores - state.scores),
            size=size,
        )


def _share(cutoff_hz: "float | npt.NDArray[np.float64]", gap_s: float) -> "npt.NDArray[np.float64]":
    """How much of the way to a new value a low-pass filter of first order goes: α of the paper."""
    turn = 2 * math.pi * np.asarray(cutoff_hz) * gap_s
    result: npt.NDArray[np.float64] = turn / (turn + 1)
    return result
