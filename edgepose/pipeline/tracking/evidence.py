"""What the poses of a frame say about who is where."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.estimator import Poses
from edgepose.pipeline.tracking.similarity import assign, masked_median, overlaps, pose_similarities
from edgepose.pipeline.tracking.tracks import Tracks

__all__ = ["SURE", "Evidence", "find_twins", "settle"]

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

SURE = 0.3
"""Score from which a keypoint helps to say where a person is."""

_LEAST_POINTS = 4
_FADED = 0.2  # mean score below which a pose says little
_JUMP = 0.35  # of a person's size: a pose that lies this far from where it was expected is another person's
_MEETING = 0.1  # overlap from which two people may be taken for each other …
_EXCHANGE = 0.3  # … if their poses are this much more alike the other way round
_TWICE = 0.4  # overlap from which two poses may be one person's …
_TWICE_ALIKE = 0.75  # … if they are this much alike
_BETTER = 0.2  # by which a pose fits one of two people better


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Poses, seen by a tracker.

    Attributes:
        keypoints: (R, K, 2), pixels, finite.
        sure: (R, K), which of them say where the person is.
        clear: (R,), whether a pose says who is there.
        usable: (R,), whether there was a pose.
    """

    keypoints: Floats
    sure: Booleans
    clear: Booleans
    usable: Booleans

    @classmethod
    def of(cls, poses: Poses) -> "Evidence":
        """Weigh poses."""
        usable = poses.usable
        finite: Booleans = np.all(np.isfinite(poses.keypoints_xy), axis=2)
        sure = (poses.scores >= SURE) & finite & usable[:, None]
        clear = (sure.sum(axis=1) >= min(_LEAST_POINTS, sure.shape[1])) & (poses.scores.mean(axis=1) >= _FADED)
        keypoints = np.where(finite[..., None], poses.keypoints_xy, 0).astype(np.float64)
        return cls(keypoints=keypoints, sure=sure, clear=clear, usable=usable)

    def fit(self, tracks: Tracks, rows: Rows, now_s: float) -> Floats:
        """Return how alike each pose is to what was expected of the person, (R,), 0 to 1; 0 where nothing was."""
        both = self.sure & tracks.sure[rows]
        return np.nan_to_num(pose_similarities(_expect(tracks, rows, now_s), self.keypoints, both, tracks.sizes[rows]))

    def jumps(self, tracks: Tracks, rows: Rows, now_s: float) -> Booleans:
        """Return whether each pose is somebody else's, who has come in front, bool (R,)."""
        both = self.sure & tracks.sure[rows]
        away = masked_median(self.keypoints, both) - masked_median(_expect(tracks, rows, now_s), both)
        result: Booleans = both.any(axis=1) & (np.linalg.norm(away, axis=1) > _JUMP * tracks.sizes[rows])
        return result

    def movement(self, tracks: Tracks, rows: Rows) -> tuple[Floats, Floats, Booleans]:
        """Compare with people's last clear poses, by the keypoints that are sure in both.

        Returns:
            Shifts (R, 2) in pixels, factors by which people grew (R,), and whether there was something to compare (R,).
        """
        both = self.sure & tracks.sure[rows]
        before, now = tracks.keypoints[rows], self.keypoints
        shifts = masked_median(now - before, both)
        spreads = []
        for points in (before, now):
            away = np.abs(points - masked_median(points, both)[:, None]).sum(axis=2)
            spreads.append(masked_median(away, both))
        known = both.sum(axis=1) >= _LEAST_POINTS
        wide = known & (np.minimum(*spreads) > 0.02 * tracks.sizes[rows])
        scales = np.divide(spreads[1], spreads[0], out=np.ones(len(rows)), where=wide)
        comparable: Booleans = both.sum(axis=1) > 0
        return shifts, scales, comparable


def settle(tracks: Tracks, rows: Rows, evidence: Evidence, looked_at: Floats, now_s: float) -> Rows:
    """Exchange people who passed each other and whose boxes went to the other one, by their poses.

    Args:
        tracks: everybody.
        rows: (R,), whose box each pose was found in.
        evidence: the poses.
        looked_at: (R, 4), the boxes.
        now_s: the time.

    Returns:
        (R,), whose pose each is.
    """
    first, second = _meetings(looked_at, _MEETING)
    if not len(first):
        return rows
    expected, sizes = _expect(tracks, rows, now_s), tracks.sizes[rows]

    def alike(people: Rows, poses: Rows) -> Floats:
        both = tracks.sure[rows[people]] & evidence.sure[poses]
        return np.nan_to_num(pose_similarities(expected[people], evidence.keypoints[poses], both, sizes[people]))

    gain = alike(first, second) + alike(second, first) - alike(first, first) - alike(second, second)
    gains = np.zeros((len(rows), len(rows)))
    gains[first, second] = gain
    settled = rows.copy()
    exchanged: set[int] = set()
    for one, other in assign(gains, _EXCHANGE):
        if not exchanged & {one, other}:
            settled[one], settled[other] = rows[other], rows[one]
            exchanged |= {one, other}
    return settled


def find_twins(tracks: Tracks, rows: Rows, evidence: Evidence, fits: Floats) -> Rows:
    """Return which of ``rows`` are looking at a body that is somebody else's.

    Where two boxes have come to one body, the person stays whose pose was expected there; if that is true of both, who has been known
    longer.
    """
    first, second = _meetings(tracks.boxes[rows], _TWICE)
    both = evidence.sure[first] & evidence.sure[second]
    sizes = np.minimum(tracks.sizes[rows[first]], tracks.sizes[rows[second]])
    alike = pose_similarities(evidence.keypoints[first], evidence.keypoints[second], both, sizes)
    twins = np.nan_to_num(alike) >= _TWICE_ALIKE
    gone: set[int] = set()
    for one, other in zip(first[twins].tolist(), second[twins].tolist(), strict=True):
        if one in gone or other in gone:
            continue
        older, younger = (one, other) if _seniority(tracks, rows[one]) < _seniority(tracks, rows[other]) else (other, one)
        gone.add(older if fits[younger] > fits[older] + _BETTER else younger)
    return np.array(sorted(gone), np.intp)


def _seniority(tracks: Tracks, row: int) -> tuple[bool, int]:
    return bool(tracks.numbers[row] == 0), int(tracks.keys[row])


def _meetings(boxes: Floats, least: float) -> tuple[Rows, Rows]:
    """Return the pairs of boxes that overlap at least so much, each pair once."""
    first, second = np.nonzero(np.triu(overlaps(boxes, boxes), 1) >= least)
    return first, second


def _expect(tracks: Tracks, rows: Rows, now_s: float) -> Floats:
    """Return people's last clear poses, moved on by their velocity, (R, K, 2)."""
    moved = tracks.expect(now_s)[rows, :2] - tracks.boxes[rows, :2]
    result: Floats = tracks.keypoints[rows] + moved[:, None]
    return result
