"""Who is who from frame to frame."""

from edgepose.pipeline.tracking.opening import TRACKERS, open_tracker

__all__ = ["TRACKERS", "open_tracker"]
