"""Trackers by name."""

from edgepose.errors import InputError
from edgepose.pipeline.protocols import Tracker
from edgepose.pipeline.tracking.pose import PoseTracker

__all__ = ["TRACKERS", "open_tracker"]

TRACKERS = {"pose": PoseTracker}


def open_tracker(name: str = "pose") -> Tracker:
    """Return a new tracker.

    Raises:
        InputError: no such name.
    """
    if name not in TRACKERS:
        raise InputError(f"tracker is {name!r}; allowed: {', '.join(TRACKERS)}")
    return TRACKERS[name]()
