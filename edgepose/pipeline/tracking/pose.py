"""A tracker that follows people by their poses.

Between detections, a person's box is that of the last pose, moved on by the person's velocity, as MediaPipe does it (Bazarevsky et al.,
BlazePose, arXiv 2006.10204, section 2). On frames with detections these are assigned to whom they overlap most. Everything is in seconds
and in shares of a person's size, so that neither frame rate nor resolution matters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.estimator import Poses
from edgepose.pipeline.frame import Detections, Frame

__all__ = ["PoseTracker"]

Box = npt.NDArray[np.float64]

SURE = 0.3
"""Score from which a keypoint helps to say where a person is."""

_FRAME_S = 1 / 30  # between frames of a source without times
_SAME = 0.25  # intersection over union from which a detection may be a person who is known
_SAME_LOST = 0.1  # the same for one who was lost, whose place is guessed
_TWICE = 0.7  # overlap from which two poses may be one person's …
_TWICE_PX = 0.12  # … if their keypoints lie this close, in shares of the person's size
_FADED = 0.3  # mean score below which a pose says little
_FADING_S = 0.4  # how long a pose may say little
_UNSEEN_S = 1.0  # how long a person goes on whom the detector doesn't see
_LOST_S = 2.5  # how long a lost person's number is kept for them
_NEW_SCORE = 0.6  # detections that score less go on with somebody who is known, but don't begin anybody (ByteTrack's idea)
_CERTAIN_SCORE = 0.7  # who scores this much is somebody at once; others when the detector sees them a second time
_JUMP = 0.35  # of a person's size: a pose that lies this far from where the box was expected is another person's
_VELOCITY_S = 0.2  # over which velocities are averaged
_LEAST_POINTS = 4
_MOST_GROWTH = 1.03  # of a box from one frame to the next


@dataclass(slots=True, kw_only=True, eq=False)
class _Person:
    """Somebody who is followed.

    Attributes:
        id: number, from 1; 0 before there was a pose.
        box: where they were last, (4,).
        time_s: when.
        velocity: of their box, (2,) pixels per second.
        keypoints: (K, 2), the last ones; ``None`` before there were any.
        sure: (K,), which of them count.
        seen_s: when the detector saw them last.
        clear_s: when a pose was last clear.
        score: the detector's last.
        certain: whether they are somebody: they have a number then.
    """

    id: int
    box: Box
    time_s: float
    velocity: npt.NDArray[np.float64]
    keypoints: npt.NDArray[np.float64] | None
    sure: npt.NDArray[np.bool_]
    seen_s: float
    clear_s: float
    score: float
    certain: bool

    def expect(self, time_s: float) -> Box:
        """Return the box in which they should be."""
        return self.box + np.tile(self.velocity * (time_s - self.time_s), 2)


class PoseTracker:
    """Follows people by their poses; see ``edgepose.pipeline.protocols.Tracker``."""

    def __init__(self) -> None:
        self._people: list[_Person] = []
        self._lost: list[_Person] = []
        self._looked_at: list[_Person] = []
        self._boxes: Box = np.empty((0, 4))
        self._next = 1

    def carry(self, frame: Frame) -> Detections:
        """Return where the people of the frame before are expected; see ``Tracker``."""
        time_s = _time(frame)
        return self._look(self._people, [person.expect(time_s) for person in self._people])

    def match(self, frame: Frame, detections: Detections) -> Detections:
        """Return the detections, and the people whom the detector missed; see ``Tracker``."""
        time_s = _time(frame)
        boxes = detections.boxes_xyxy.astype(np.float64)
        scores = np.ones(len(boxes)) if detections.scores is None else detections.scores
        people, places = [], []
        taken: dict[int, _Person] = {}
        for candidates, least in ((self._people, _SAME), (self._lost, _SAME_LOST)):
            free = [index for index in range(len(boxes)) if index not in taken]
            expected = np.array([person.expect(time_s) for person in candidates]).reshape(-1, 4)
            for row, column in _assign(_overlaps(expected, boxes[free]), least):
                taken[free[column]] = candidates[row]
        for index, box in enumerate(boxes):
            if index not in taken and scores[index] < _NEW_SCORE:
                continue
            person = taken.get(index) or _Person(
                id=0,
                box=box,
                time_s=time_s,
                velocity=np.zeros(2),
                keypoints=None,
                sure=np.zeros(0, np.bool_),
                seen_s=time_s,
                clear_s=time_s,
                score=1.0,
                certain=False,
            )
            person.seen_s, person.score = time_s, float(scores[index])
            person.certain = person.certain or index in taken or person.score >= _CERTAIN_SCORE
            people.append(person)
            places.append(box)
        missed = [person for person in self._people if not any(person is each for each in taken.values())]
        return self._look(people + missed, places + [person.expect(time_s) for person in missed])

    def update(self, frame: Frame, poses: Poses) -> tuple[Poses, npt.NDArray[np.int64]]:
        """Take note of the poses; see ``Tracker``."""
        time_s = _time(frame)
        followed: list[tuple[int, _Person]] = []
        for row, (person, box) in enumerate(zip(self._looked_at, self._boxes, strict=True)):
            if poses.usable[row] and self._note(person, box, poses, row, time_s):
                followed.append((row, person))
            elif person.id and person.keypoints is not None:
                self._lose(person)
        kept = _drop_twins(followed)
        for _, person in followed:
            if person.id and not any(person is each for _, each in kept):
                self._lose(person)
        for _, person in kept:
            if not person.id and person.certain:
                person.id, self._next = self._next, self._next + 1
        self._people = [person for _, person in kept]
        self._lost = [
            person for person in self._lost if time_s - person.time_s <= _LOST_S and not any(person is each for each in self._people)
        ]
        named = [(row, person.id) for row, person in kept if person.id]
        return poses.select(np.array([row for row, _ in named], np.intp)), np.array([number for _, number in named], np.int64)

    def _look(self, people: list[_Person], places: list[Box]) -> Detections:
        self._looked_at = list(people)
        self._boxes = np.array(places, np.float64).reshape(-1, 4)
        return Detections(boxes_xyxy=self._boxes.astype(np.float32), scores=np.array([person.score for person in people], np.float32))

    def _lose(self, person: _Person) -> None:
        if not any(person is each for each in self._lost):
            self._lost.append(person)

    def _note(self, person: _Person, box: Box, poses: Poses, row: int, time_s: float) -> bool:
        """Take a pose for a person; returns whether they are still there."""
        keypoints, scores = poses.keypoints_xy[row].astype(np.float64), poses.scores[row]
        sure = scores >= SURE
        clear = int(sure.sum()) >= min(_LEAST_POINTS, len(sure)) and float(scores.mean()) >= _FADED
        if clear and person.seen_s != time_s and self._jumps(person, keypoints, sure, box):
            clear = False
        if clear:
            person.clear_s = time_s
            shift, scale = self._move(person, keypoints, sure, time_s)
            if person.seen_s != time_s:
                # Not the keypoints' own outline: an arm that is found for a moment would move the box, and the next pose with it.
                middle, half = (person.box[:2] + person.box[2:]) / 2 + shift, (person.box[2:] - person.box[:2]) / 2 * scale
                box = np.concatenate([middle - half, middle + half])
            person.box, person.time_s = box, time_s
        return time_s - person.clear_s <= _FADING_S and time_s - person.seen_s <= _UNSEEN_S

    @staticmethod
    def _jumps(person: _Person, keypoints: npt.NDArray[np.float64], sure: npt.NDArray[np.bool_], box: Box) -> bool:
        """Whether a pose in a carried box is somebody else's, who has come in front."""
        both = sure & person.sure if person.keypoints is not None else np.zeros(0, np.bool_)
        if person.keypoints is None or not both.any():
            return False
        expected = np.median(person.keypoints[both], axis=0) + (box[:2] + box[2:] - person.box[:2] - person.box[2:]) / 2
        size = float(np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 1.0))))
        return bool(np.linalg.norm(np.median(keypoints[both], axis=0) - expected) > _JUMP * size)

    @staticmethod
    def _move(
        person: _Person, keypoints: npt.NDArray[np.float64], sure: npt.NDArray[np.bool_], time_s: float
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Return how far the keypoints that are sure in both frames have moved, and by how much the person grew; update the velocity."""
        shift, scale = np.zeros(2), 1.0
        both = sure & person.sure if person.keypoints is not None else np.zeros(0, np.bool_)
        if person.keypoints is not None and both.any() and time_s > person.time_s:
            before, now = person.keypoints[both], keypoints[both]
            shift = np.median(now - before, axis=0)
            spreads = [float(np.median(np.abs(points - np.median(points, axis=0)).sum(axis=1))) for points in (before, now)]
            if min(spreads) > 1:
                scale = float(np.clip(spreads[1] / spreads[0], 1 / _MOST_GROWTH, _MOST_GROWTH))
            gap_s = time_s - person.time_s
            person.velocity = person.velocity + min(1.0, gap_s / _VELOCITY_S) * (shift / gap_s - person.velocity)
        person.keypoints, person.sure = keypoints, sure
        return shift, scale


def _time(frame: Frame) -> float:
    return frame.index * _FRAME_S if frame.time_s is None else frame.time_s


def _overlaps(some: Box, others: Box) -> npt.NDArray[np.float64]:
    """Intersection over union, (N, M)."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (some, others)]
    result: npt.NDArray[np.float64] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
    return result


def _assign(likeness: npt.NDArray[np.float64], least: float) -> list[tuple[int, int]]:
    """Pair rows and columns, the likest first. The best pairing as a whole differs only where three boxes overlap alike."""
    pairs = []
    likeness = likeness.copy()
    while likeness.size and (best := float(likeness.max())) >= least:
        row, column = (int(each) for each in np.unravel_index(likeness.argmax(), likeness.shape))
        pairs.append((row, column))
        likeness[row], likeness[:, column] = -1.0, -1.0
        if best < 0:
            break
    return pairs


def _drop_twins(followed: list[tuple[int, _Person]]) -> list[tuple[int, _Person]]:
    """Where two boxes have come to the same body, the person who has been known longer stays."""
    if len(followed) < 2:
        return followed
    boxes = np.array([person.box for _, person in followed])
    overlaps = np.triu(_overlaps(boxes, boxes), 1)
    gone: set[int] = set()
    for first, second in zip(*np.nonzero(overlaps >= _TWICE), strict=True):
        one, other = followed[first][1], followed[second][1]
        if first in gone or second in gone or one.keypoints is None or other.keypoints is None:
            continue
        both = one.sure & other.sure
        size = float(np.sqrt(np.prod(np.maximum(one.box[2:] - one.box[:2], 1.0))))
        if both.any() and float(np.median(np.linalg.norm(one.keypoints[both] - other.keypoints[both], axis=1))) < _TWICE_PX * size:
            gone.add(int(second if (one.id or np.inf) <= (other.id or np.inf) else first))
    return [each for index, each in enumerate(followed) if index not in gone]
