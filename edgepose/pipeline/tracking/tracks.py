"""The people who are followed, as columns, so that 200 of them take no longer than numpy needs."""

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

__all__ = ["Tracks"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_FORESIGHT_S = 1.0  # people don't walk on in a straight line for longer


def _floats(*shape: int) -> Floats:
    return np.zeros((0, *shape))


def _booleans(*shape: int) -> Booleans:
    return np.zeros((0, *shape), np.bool_)


def _integers() -> Integers:
    return np.zeros(0, np.int64)


@dataclass(slots=True, kw_only=True, eq=False)
class Tracks:
    """One row for each person, longest known first.

    Attributes:
        keys: (N,), who they are to the tracker: ascending, never used again.
        numbers: (N,), who they are to others, from 1; 0: nobody has been told of them.
        boxes: (N, 4), where they were last, pixels.
        times_s: (N,), when.
        velocities: (N, 2), of their boxes, pixels per second.
        moved_s: (N,), how long they have been watched moving.
        keypoints: (N, K, 2), of the last clear pose, pixels.
        sure: (N, K), which of them count: none before there was a pose.
        seen_s: (N,), when the detector saw them last.
        clear_s: (N,), when their pose was last clear.
        scores: (N,), the detector's last, 0 to 1.
        certain: (N,), whether they are somebody, not something that the detector took for a person once.
        lost: (N,), whether they are remembered only, not looked at.
    """

    keys: Integers = field(default_factory=_integers)
    numbers: Integers = field(default_factory=_integers)
    boxes: Floats = field(default_factory=lambda: _floats(4))
    times_s: Floats = field(default_factory=_floats)
    velocities: Floats = field(default_factory=lambda: _floats(2))
    moved_s: Floats = field(default_factory=_floats)
    keypoints: Floats = field(default_factory=lambda: _floats(0, 2))
    sure: Booleans = field(default_factory=lambda: _booleans(0))
    seen_s: Floats = field(default_factory=_floats)
    clear_s: Floats = field(default_factory=_floats)
    scores: Floats = field(default_factory=_floats)
    certain: Booleans = field(default_factory=_booleans)
    lost: Booleans = field(default_factory=_booleans)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sizes(self) -> Floats:
        """Square roots of the boxes' areas, (N,), pixels; above zero."""
        result: Floats = np.sqrt(np.prod(np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1e-3), axis=1))
        return result

    def expect(self, time_s: float) -> Floats:
        """Return the boxes in which they should be at a time, (N, 4)."""
        gaps_s = np.clip(time_s - self.times_s, 0.0, _FORESIGHT_S)
        result: Floats = self.boxes + np.tile(self.velocities * gaps_s[:, None], 2)
        return result

    def select(self, rows: npt.NDArray[np.intp] | Booleans) -> "Tracks":
        """Return some of the rows: their indices, or bool (N,)."""
        return Tracks(**{column.name: getattr(self, column.name)[rows] for column in fields(self)})

    def add(self, first_key: int, boxes: Floats, scores: Floats, certain: Booleans, time_s: float) -> "Tracks":
        """Return the rows, and new ones for people whom the detector has just seen."""
        count = len(boxes)
        now = np.full(count, time_s)
        new = Tracks(
            keys=np.arange(first_key, first_key + count),
            numbers=np.zeros(count, np.int64),
            boxes=boxes,
            times_s=now,
            velocities=np.zeros((count, 2)),
            moved_s=np.zeros(count),
            keypoints=np.zeros((count, *self.keypoints.shape[1:])),
            sure=np.zeros((count, self.sure.shape[1]), np.bool_),
            seen_s=now.copy(),
            clear_s=now.copy(),
            scores=scores,
            certain=certain,
            lost=np.zeros(count, np.bool_),
        )
        return Tracks(**{column.name: np.concatenate([getattr(self, column.name), getattr(new, column.name)]) for column in fields(self)})

    def set_keypoints(self, count: int) -> None:
        """Make room for poses of so many keypoints; known poses of another number are forgotten."""
        if self.sure.shape[1] != count:
            self.keypoints = np.zeros((len(self), count, 2))
            self.sure = np.zeros((len(self), count), np.bool_)
