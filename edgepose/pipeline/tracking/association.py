"""Which detection is which of the people who are followed."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.frame import Frame
from edgepose.pipeline.tracking.similarity import assign, overlaps
from edgepose.pipeline.tracking.tracks import Tracks

__all__ = ["Association", "OverlapAssociation"]

SAME = 0.25
"""Intersection over union from which a detection may be somebody who is followed."""

_SAME_LOST = 0.1  # the same for somebody who was lost, whose place is guessed

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
        return pair_by_overlap(tracks, tracks.expect(time_s), boxes, np.arange(len(tracks)), np.arange(len(boxes)))

    def confirm(self, keys: npt.NDArray[np.int64]) -> None:
        """Nothing is remembered."""


def pair_by_overlap(tracks: Tracks, expected: Floats, boxes: Floats, people: npt.NDArray[np.intp], free: npt.NDArray[np.intp]) -> Pairs:
    """Pair some people and some detections: those who are followed, then those who were lost.

    Args:
        tracks: everybody.
        expected: (N, 4), where they should be.
        boxes: (M, 4), of the detections.
        people: rows of ``tracks`` to pair.
        free: rows of ``boxes`` to pair.
    """
    pairs: Pairs = []
    for lost, least in ((False, SAME), (True, _SAME_LOST)):
        candidates = people[tracks.lost[people] == lost]
        likeness = overlaps(expected[candidates], boxes[free])
        new = [(int(candidates[row]), int(free[column])) for row, column in assign(likeness, least)]
        pairs += new
        free = np.setdiff1d(free, [column for _, column in new])
    return pairs
