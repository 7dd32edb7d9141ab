"""Association by the package ``trackers`` (Roboflow, Apache-2.0): ByteTrack, OC-SORT and BoT-SORT.

The library sees the detections, and in their place the boxes of people whom the detector missed but whose pose goes on. It gives each a
number of its own, which stands for the person whom it first stood for.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.pipeline.frame import Frame
from edgepose.pipeline.tracking.association import SAME, pair_by_overlap
from edgepose.pipeline.tracking.similarity import overlaps
from edgepose.pipeline.tracking.tracks import Tracks
from edgepose.runtime.packages import import_package

__all__ = ["LIBRARY_TRACKERS", "LibraryAssociation"]

Floats = npt.NDArray[np.float64]

LIBRARY_TRACKERS: Mapping[str, str] = MappingProxyType(
    {"bytetrack": "ByteTrackTracker", "ocsort": "OCSORTTracker", "botsort": "BoTSORTTracker"}
)
"""Name → class of the package ``trackers``."""

_RATE_HZ = 30.0  # the unit of the library's filters; it is told the time
_LOST_FRAMES = 75  # of that rate: as long as edgepose remembers who was lost
_NEAR = 0.05  # overlap below which the library's word isn't taken for somebody whose pose is followed


class LibraryAssociation:
    """Assigns detections as a tracker of the package ``trackers`` does.

    Args:
        name: one of ``LIBRARY_TRACKERS``.

    Raises:
        MissingDependencyError: the package isn't installed.
        DeviceError: it is, but can't be imported.
    """

    trusts_poses = False

    def __init__(self, name: str) -> None:
        purpose = f"the tracker {name!r}"
        library = import_package("trackers", extra="track", purpose=purpose)
        self._detections: Callable[..., Any] = import_package("supervision", extra="track", purpose=purpose).Detections
        # Who is somebody, and when, is edgepose's decision: the library gives numbers at once.
        self._tracker: Any = getattr(library, LIBRARY_TRACKERS[name])(
            frame_rate=_RATE_HZ, lost_track_buffer=_LOST_FRAMES, minimum_consecutive_frames=1
        )
        self._looks = name == "botsort"
        self._keys: dict[int, int] = {}
        self._last = np.zeros(0, np.int64)

    def pair(self, frame: Frame, time_s: float, tracks: Tracks, boxes: Floats, scores: Floats) -> list[tuple[int, int]]:
        """Return who is who; see ``Association``."""
        expected = tracks.expect(time_s)
        people = np.arange(len(tracks))
        covered = overlaps(expected, boxes).max(axis=1, initial=0.0) >= SAME
        missed = np.flatnonzero(~tracks.lost & ~covered)
        numbers = self._ask(frame, time_s, np.concatenate([boxes, expected[missed]]), np.concatenate([scores, tracks.scores[missed]]))
        self._last = numbers[: len(boxes)]
        self._bind(numbers[len(boxes) :], tracks.keys[missed])
        rows = {int(key): row for row, key in enumerate(tracks.keys)}
        likeness = overlaps(expected, boxes)
        pairs = []
        for column, number in enumerate(self._last.tolist()):
            row = rows.get(self._keys.get(number, 0))
            if row is not None and (tracks.lost[row] or likeness[row, column] >= _NEAR):
                pairs.append((row, column))
        free = np.setdiff1d(np.arange(len(boxes)), [column for _, column in pairs])
        people = np.setdiff1d(people, [row for row, _ in pairs])
        # What the library has no opinion of yet: it numbers people the second time it sees them.
        return pairs + pair_by_overlap(tracks, time_s, boxes, people, free)

    def confirm(self, keys: npt.NDArray[np.int64]) -> None:
        """Take note of who each detection was taken for; see ``Association``."""
        self._bind(self._last, keys)

    def _ask(self, frame: Frame, time_s: float, boxes: Floats, scores: Floats) -> npt.NDArray[np.int64]:
        """Return the library's number of each box, -1 for none."""
        rows = np.arange(len(boxes))
        given = self._detections(xyxy=boxes, confidence=scores, data={"row": rows})
        # BoT-SORT looks at the picture, too, to see how the camera moves; in OpenCV's order of colours.
        image = np.ascontiguousarray(frame.image[..., ::-1]) if self._looks else None
        found = self._tracker.update(given, frame=image, timestamp=time_s)
        numbers = np.full(len(boxes), -1, np.int64)
        if len(found):
            numbers[found.data["row"]] = found.tracker_id
        return numbers

    def _bind(self, numbers: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> None:
        for number, key in zip(numbers.tolist(), keys.tolist(), strict=True):
            if number >= 0 and key:
                self._keys[number] = key
        alive = {int(track.tracker_id) for track in self._tracker.tracks}
        self._keys = {number: key for number, key in self._keys.items() if number in alive}
