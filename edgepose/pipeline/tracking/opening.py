"""Trackers by name."""

from edgepose.errors import InputError
from edgepose.pipeline.protocols import Tracker
from edgepose.pipeline.tracking.pose import PoseTracker

__all__ = ["TRACKERS", "open_tracker"]

TRACKERS = ("pose", "bytetrack", "ocsort", "botsort")


def open_tracker(name: str = "pose", *, max_people: int = 100) -> Tracker:
    """Return a new tracker.

    Args:
        name: ``pose``: by edgepose itself. ``bytetrack``, ``ocsort``, ``botsort``: people are carried on by their poses, too, and the
            package ``trackers`` decides which detection is whom.
        max_people: who are looked at in one frame, see ``PoseTracker``.

    Raises:
        InputError: no such name, or ``max_people`` isn't positive.
        MissingDependencyError: the package isn't installed.
    """
    if name not in TRACKERS:
        raise InputError(f"tracker is {name!r}; allowed: {', '.join(TRACKERS)}")
    if name == "pose":
        return PoseTracker(max_people=max_people)
    from edgepose.pipeline.tracking.library import LibraryAssociation

    return PoseTracker(max_people=max_people, association=LibraryAssociation(name))
