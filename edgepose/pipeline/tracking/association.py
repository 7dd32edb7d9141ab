"""Which detection is which of the people who are followed."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.frame import Frame
from edgepose.pipeline.tracking.similarity import assign, overlaps
from edgepose.pipeline.tracking.tracks import Tracks

__all__ = ["Association", "OverlapAssociation", "pair_by_overlap"]

SAME = 0.25
"""Intersection over union from which a detection may be somebody who is followed."""

# Where somebody who was lost is, is a guess, and a worse one the longer ago they were seen: boxes are compared with a margin, in shares of
# their sides, as C-BIoU does (Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances?", WACV 2023).
_SAME_LOST = 0.2
_MARGIN, _MARGIN_PER_S, _WIDEST_MARGIN = 0.3, 0.3, 0.7
_LIKE_SIZE = 0.5  # ratio of areas from which they may be the same person

Floats = npt.NDArray[np.float64]
Pairs = list[tuple[int, int]]


class Association(Protocol):
    """Assigns detections to people."""

    trusts_poses: bool
    """Whether people who pass each other are told apart by their poses afterwards, too."""

    def pair(self, frame: Frame, time_s: float, tracks: Tracks, boxes: Floats, scores: Floats) -> Pairs:
        """Return rows of tracks (lost ones, too) and of detections that are the same person.

        Args:
            frame: in which they were detected.
            time_s: when, on the tracker's clock, which never goes back.
            tracks: who is followed.
            boxes: (M, 4) of the detections.
            scores: (M,) of them, 0 to 1.
        """
        ...

    def confirm(self, keys: npt.NDArray[np.int64]) -> None:
        """Take note of who each detection of the last ``pair`` was taken for.

        Args:
            keys: (M,) of the tracks, 0 for nobody.
        """
        ...


class OverlapAssociation:
    """By overlap with where people are expected: first those who are followed, then those who were lost."""

    trusts_poses = True

    def pair(self, frame: Frame, time_s: float, tracks: Tracks, boxes: Floats, scores: Floats) -> Pairs:
        """Return who is who; see ``Association``."""
        del frame, scores
        return pair_by_overlap(tracks, time_s, boxes, np.arange(len(tracks)), np.arange(len(boxes)))

    def confirm(self, keys: npt.NDArray[np.int64]) -> None:
        """Nothing is remembered."""


def pair_by_overlap(tracks: Tracks, time_s: float, boxes: Floats, people: npt.NDArray[np.intp], free: npt.NDArray[np.intp]) -> Pairs:
    """Pair some people and some detections: those who are followed, then those who were lost.

    Args:
        tracks: everybody.
        time_s: when the detections are from.
        boxes: (M, 4), of the detections.
        people: rows of ``tracks`` to pair.
        free: rows of ``boxes`` to pair.
    """
    expected = tracks.expect(time_s)
    followed, lost = people[~tracks.lost[people]], people[tracks.lost[people]]
    pairs = _pair(overlaps(expected[followed], boxes[free]), SAME, followed, free)
    free = np.setdiff1d(free, [column for _, column in pairs])
    margins = np.minimum(_MARGIN + _MARGIN_PER_S * (time_s - tracks.times_s[lost]), _WIDEST_MARGIN)
    # They may have walked on, or stood still behind something.
    likeness = np.maximum(
        overlaps(_widen(expected[lost], margins), _widen(boxes[free], _MARGIN)),
        overlaps(_widen(tracks.boxes[lost], margins), _widen(boxes[free], _MARGIN)),
    )
    areas = [np.maximum(np.prod(each[:, 2:] - each[:, :2], axis=1), 1e-9) for each in (tracks.boxes[lost], boxes[free])]
    ratios = areas[0][:, None] / areas[1][None]
    likeness[np.minimum(ratios, 1 / ratios) < _LIKE_SIZE] = 0
    return pairs + _pair(likeness, _SAME_LOST, lost, free)


def _pair(likeness: Floats, least: float, people: npt.NDArray[np.intp], free: npt.NDArray[np.intp]) -> Pairs:
    return [(int(people[row]), int(free[column])) for row, column in assign(likeness, least)]


def _widen(boxes: Floats, margins: "Floats | float") -> Floats:
    """Return boxes with a margin on each side, in shares of it."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2) * np.array([-1, -1, 1, 1])
    result: Floats = boxes + sides * np.broadcast_to(margins, len(boxes))[:, None]
    return result
