"""A tracker that follows people by their poses.

Between detections, a person's box is that of the last pose, moved on by the person's velocity, as MediaPipe does it (Bazarevsky et al.,
BlazePose, arXiv 2006.10204, section 2). On frames with detections these are assigned to people (see ``association``), and those whom the
detector missed go on as long as their pose is clear. Everything is in seconds and in shares of a person's size, so that neither frame
rate nor resolution matters.
"""

import logging

import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.pipeline.frame import Detections, Frame
from edgepose.pipeline.tracking.association import Association, OverlapAssociation
from edgepose.pipeline.tracking.evidence import Evidence, find_twins, settle
from edgepose.pipeline.tracking.tracks import Tracks

__all__ = ["PoseTracker"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_LOG = logging.getLogger(__name__)

_FRAME_S = 1 / 30  # between frames of a source without times
_FADING_S = 0.4  # how long a pose may say little
_UNSEEN_S = 2.0  # how long a person goes on whom the detector doesn't see
_LOST_S = 2.5  # how long a lost person's number is kept for them
_NEW_SCORE = 0.6  # detections that score less go on with somebody who is known, but don't begin anybody (ByteTrack's idea)
_CERTAIN_SCORE = 0.7  # who scores this much is somebody at once; others when the detector sees them a second time
_VELOCITY_S = 0.2  # over which velocities are averaged
_GROWTH_PER_S = 2.4  # at most, of a box that is carried on


class PoseTracker:
    """Follows people by their poses; see ``edgepose.pipeline.protocols.Tracker``.

    Args:
        max_people: who are looked at in one frame: detections with the highest scores first, then people whom the detector missed, longest
            known first. As many again are remembered who were lost.
        association: who decides which detection is whom.

    Raises:
        InputError: ``max_people`` isn't positive.
    """

    def __init__(self, *, max_people: int = 100, association: Association | None = None) -> None:
        if max_people < 1:
            raise InputError(f"max_people is {max_people}; allowed: 1 and more")
        self._max_people = max_people
        self._association = OverlapAssociation() if association is None else association
        self._tracks = Tracks()
        self._rows: Rows = np.zeros(0, np.intp)
        self._looked_at: Floats = np.zeros((0, 4))
        self._next_key = self._next_number = 1
        self._now_s = 0.0
        self._frame_s: float | None = None
        self._warned = False

    def carry(self, frame: Frame) -> Detections:
        """Return where the people of the frame before are expected; see ``Tracker``."""
        self._advance(frame)
        rows = np.flatnonzero(~self._tracks.lost)
        return self._look(rows, self._tracks.expect(self._now_s)[rows])

    def match(self, frame: Frame, detections: Detections) -> Detections:
        """Return the detections, and the people whom the detector missed; see ``Tracker``."""
        self._advance(frame)
        boxes, scores = self._limit(detections)
        pairs = self._association.pair(frame, self._now_s, self._tracks, boxes, scores)
        known = len(self._tracks)
        people = np.full(len(boxes), -1, np.intp)
        people[[column for _, column in pairs]] = [row for row, _ in pairs]
        seen = np.flatnonzero(people >= 0)
        tracks = self._tracks
        tracks.seen_s[people[seen]], tracks.scores[people[seen]] = self._now_s, scores[seen]
        tracks.certain[people[seen]], tracks.lost[people[seen]] = True, False
        new = np.flatnonzero((people < 0) & (scores >= _NEW_SCORE))
        people[new] = known + np.arange(len(new))
        tracks = self._tracks = tracks.add(self._next_key, boxes[new], scores[new], scores[new] >= _CERTAIN_SCORE, self._now_s)
        self._next_key += len(new)
        self._association.confirm(np.where(people >= 0, tracks.keys[people], 0) if len(tracks) else np.zeros(len(boxes), np.int64))
        used = np.flatnonzero(people >= 0)
        missed = np.setdiff1d(np.flatnonzero(~tracks.lost), people[used])
        tracks.lost[missed[max(0, self._max_people - len(used)) :]] = True
        missed = missed[: max(0, self._max_people - len(used))]
        return self._look(np.concatenate([people[used], missed]), np.concatenate([boxes[used], tracks.expect(self._now_s)[missed]]))

    def update(self, frame: Frame, poses: Poses) -> tuple[Poses, npt.NDArray[np.int64]]:
        """Take note of the poses; see ``Tracker``.

        Raises:
            InputError: not as many poses as boxes were given for this frame.
        """
        if len(poses) != len(self._rows):
            raise InputError(f"frame {frame.index}: {len(poses)} poses for {len(self._rows)} boxes; a tracker needs one for each, in order")
        tracks, now_s = self._tracks, self._now_s
        tracks.set_keypoints(poses.keypoints_xy.shape[1])
        evidence = Evidence.of(poses)
        if self._association.trusts_poses:
            self._rows = settle(tracks, self._rows, evidence, self._looked_at, now_s)
        rows = self._rows
        fits = evidence.fit(tracks, rows, now_s)
        seen = tracks.seen_s[rows] == now_s
        clear = evidence.clear & (seen | ~evidence.jumps(tracks, rows, now_s))
        self._move(rows, evidence, clear, seen)
        there = evidence.usable & (now_s - tracks.clear_s[rows] <= _FADING_S) & (now_s - tracks.seen_s[rows] <= _UNSEEN_S)
        there[find_twins(tracks, rows, evidence, np.where(there, fits, -1.0))] = False
        named = there & tracks.certain[rows]
        new = rows[named & (tracks.numbers[rows] == 0)]
        tracks.numbers[new] = self._next_number + np.arange(len(new))
        self._next_number += len(new)
        numbers = tracks.numbers[rows[named]]
        self._forget(rows[there])
        return poses.select(named), numbers

    def _advance(self, frame: Frame) -> None:
        """Set the clock, which doesn't go back where a source's does: it then goes on by a frame."""
        time_s = frame.index * _FRAME_S if frame.time_s is None else frame.time_s
        step_s = 0.0 if self._frame_s is None else time_s - self._frame_s
        self._now_s += step_s if 0 <= step_s < np.inf else _FRAME_S
        self._frame_s = time_s

    def _limit(self, detections: Detections) -> tuple[Floats, Floats]:
        boxes = detections.boxes_xyxy.astype(np.float64).reshape(-1, 4)
        scores = np.ones(len(boxes)) if detections.scores is None else detections.scores.astype(np.float64)
        if len(boxes) <= self._max_people:
            return boxes, scores
        if not self._warned:
            _LOG.warning("%d people at once: %d are followed (max_people)", len(boxes), self._max_people)
            self._warned = True
        kept = np.sort(np.argsort(-scores, kind="stable")[: self._max_people])
        return boxes[kept], scores[kept]

    def _look(self, rows: Rows, boxes: Floats) -> Detections:
        self._rows, self._looked_at = rows, boxes
        return Detections(boxes_xyxy=boxes.astype(np.float32), scores=self._tracks.scores[rows].astype(np.float32))

    def _move(self, rows: Rows, evidence: Evidence, clear: npt.NDArray[np.bool_], seen: npt.NDArray[np.bool_]) -> None:
        """Bring the tracks of ``rows`` to where they are now."""
        tracks, now_s = self._tracks, self._now_s
        gaps_s = now_s - tracks.times_s[rows]
        shifts, scales, moved = evidence.movement(tracks, rows)
        moved &= clear & (gaps_s > 0)
        scales = np.where(moved, np.clip(scales, _GROWTH_PER_S**-gaps_s, _GROWTH_PER_S**gaps_s), 1.0)[:, None]
        # Not the keypoints' own outline: an arm that is found for a moment would move the box, and the next pose with it.
        boxes = tracks.boxes[rows]
        middles, halves = (boxes[:, :2] + boxes[:, 2:]) / 2 + shifts, (boxes[:, 2:] - boxes[:, :2]) / 2 * scales
        carried = np.where(moved[:, None], np.concatenate([middles - halves, middles + halves], axis=1), self._looked_at)
        placed = clear | seen
        # The first velocities count in full: averaging begins from nothing, not from rest.
        watched_s = tracks.moved_s[rows] + gaps_s
        shares = np.expm1(-gaps_s / _VELOCITY_S) / np.minimum(np.expm1(-watched_s / _VELOCITY_S), -1e-9)
        velocities = tracks.velocities[rows]
        velocities = velocities + shares[:, None] * (shifts / np.maximum(gaps_s, 1e-9)[:, None] - velocities)
        tracks.velocities[rows[moved]], tracks.moved_s[rows[moved]] = velocities[moved], watched_s[moved]
        tracks.boxes[rows[placed]] = np.where(seen[:, None], self._looked_at, carried)[placed]
        tracks.times_s[rows[placed]] = now_s
        tracks.clear_s[rows[clear]] = now_s
        tracks.keypoints[rows[clear]], tracks.sure[rows[clear]] = evidence.keypoints[clear], evidence.sure[clear]

    def _forget(self, there: Rows) -> None:
        """Keep who is there, and for a while those who were lost and have a number, so that it can be theirs again."""
        tracks = self._tracks
        lost = np.ones(len(tracks), np.bool_)
        lost[there] = False
        tracks.lost = lost
        remembered = np.flatnonzero(lost & (tracks.numbers > 0) & (self._now_s - tracks.times_s <= _LOST_S))
        latest = remembered[np.argsort(-tracks.times_s[remembered], kind="stable")[: self._max_people]]
        self._tracks = tracks.select(np.sort(np.concatenate([there, latest])))
        self._rows = np.zeros(0, np.intp)
        self._looked_at = np.zeros((0, 4))
