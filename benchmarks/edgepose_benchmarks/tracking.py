"""How often people's numbers change: edgepose's trackers on every n-th frame's detections against plain ByteTrack on every frame's.

    python -m edgepose_benchmarks.tracking MODEL VIDEO… [--detector rtmdet-nano] [--every 5] [--tracker pose,bytetrack,…]

The videos have no ground truth, so two things are counted that a perfect tracker keeps low, and what one could gain by leaving people
out. *Numbers*: how many were given, in all and for each minute of video and person in view; one person who is lost and begun anew adds one.
*Changes*: boxes of consecutive frames are paired by overlap (0.5 and more, the greatest first), and pairs whose numbers differ are counted.
*People*: the mean number of boxes with a number in a frame. *Carried*: mean overlap of the boxes on frames without detection with what
the detector finds there, for those that it finds. ByteTrack is that of the package ``trackers`` with its default options.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import edgepose
from edgepose.boxes import judge_boxes
from edgepose.cli.table import format_table
from edgepose.estimator import PoseEstimator, Poses
from edgepose.pipeline.detection import open_detector
from edgepose.pipeline.frame import Detections, Frame
from edgepose.pipeline.protocols import Tracker
from edgepose.pipeline.sources import open_source
from edgepose.pipeline.tracking import open_tracker
from edgepose.pipeline.tracking.similarity import assign, overlaps
from edgepose.runtime.packages import import_package

__all__ = ["Followed", "Seen", "follow", "follow_plainly", "look", "main", "read"]

_SAME = 0.5

Estimate = Callable[[Frame, npt.NDArray[np.floating]], Poses]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What the detector found on each frame of a video.

    Attributes:
        name: of the video.
        seconds: its duration.
        detections: one a frame.
    """

    name: str
    seconds: float
    detections: tuple[Detections, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """What a tracker made of a video.

    Attributes:
        boxes: for each frame, (N, 4).
        ids: for each frame, (N,).
        carried: overlaps of the boxes on frames without detection with those of the detector.
        poses: for each frame, the poses, or none.
        track_s: seconds in the tracker, of each frame.
    """

    boxes: tuple[npt.NDArray[np.float32], ...]
    ids: tuple[npt.NDArray[np.int64], ...]
    carried: tuple[float, ...] = ()
    poses: tuple[Poses, ...] = ()
    track_s: tuple[float, ...] = ()

    @property
    def people(self) -> float:
        """Mean number of boxes in a frame."""
        return float(np.mean([len(ids) for ids in self.ids]))

    @property
    def numbers(self) -> int:
        """How many numbers were given."""
        return len({int(number) for ids in self.ids for number in ids})

    @property
    def changes(self) -> int:
        """How often a box's number isn't that of the box that it overlaps most in the frame before."""
        count = 0
        for index in range(1, len(self.ids)):
            pairs = assign(overlaps(self.boxes[index - 1], self.boxes[index]), _SAME)
            count += sum(self.ids[index - 1][before] != self.ids[index][now] for before, now in pairs)
        return count


def read(path: str | Path) -> Iterator[Frame]:
    """Yield a video's frames."""
    source = open_source(path)
    try:
        yield from (item for item in source if isinstance(item, Frame))
    finally:
        source.close()


def look(path: str | Path, detector: str) -> Seen:
    """Find the people on all frames."""
    finder = open_detector(detector)
    times, found = [0.0], []
    for frame in read(path):
        times.append(frame.time_s or 0.0)
        found.append(finder.find(frame))
    finder.close()
    return Seen(name=Path(path).name, seconds=times[-1], detections=tuple(found))


def follow(path: str | Path, seen: Seen, tracker: Tracker, estimate: Estimate, every: int) -> Followed:
    """Run one of edgepose's trackers, with detections on each ``every``-th frame."""
    boxes, ids, carried, poses, track_s = [], [], [], [], []
    for frame, found in zip(read(path), seen.detections, strict=True):
        begin = time.perf_counter()
        looked_at = tracker.carry(frame) if frame.index % every else tracker.match(frame, found)
        between = time.perf_counter()
        estimated = estimate(frame, looked_at.boxes_xyxy)
        again = time.perf_counter()
        kept, numbers = tracker.update(frame, estimated)
        track_s.append(time.perf_counter() - again + between - begin)
        boxes.append(kept.boxes_xyxy)
        ids.append(numbers)
        poses.append(kept)
        if frame.index % every:
            likeness = overlaps(kept.boxes_xyxy, found.boxes_xyxy)
            carried += [float(likeness[pair]) for pair in assign(likeness, 0.2)]
    return Followed(boxes=tuple(boxes), ids=tuple(ids), carried=tuple(carried), poses=tuple(poses), track_s=tuple(track_s))


def follow_plainly(seen: Seen) -> Followed:
    """Run ByteTrack on the detections of every frame.

    Raises:
        MissingDependencyError: the package isn't installed.
    """
    library: Any = import_package("trackers", extra="track", purpose="plain ByteTrack")
    supervision: Any = import_package("supervision", extra="track", purpose="plain ByteTrack")
    plain = library.ByteTrackTracker(frame_rate=len(seen.detections) / seen.seconds)
    boxes, ids = [], []
    for found in seen.detections:
        scores = np.ones(len(found), np.float32) if found.scores is None else found.scores
        rows = supervision.Detections(xyxy=found.boxes_xyxy.astype(np.float64), confidence=scores.astype(np.float64))
        rows = plain.update(rows)
        named = rows.tracker_id >= 0
        boxes.append(rows.xyxy[named].astype(np.float32))
        ids.append(rows.tracker_id[named].astype(np.int64))
    return Followed(boxes=tuple(boxes), ids=tuple(ids))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="How often people's numbers change.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file")
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="video files")
    parser.add_argument("--detector", default="rtmdet-nano", help="name or file (default: rtmdet-nano)")
    parser.add_argument("--every", type=int, default=5, metavar="N", help="frames from one detection to the next (default: 5)")
    parser.add_argument("--tracker", default="pose", metavar="NAMES", help="separated by commas (default: pose)")
    options = parser.parse_args(arguments)
    rows: list[list[str]] = []
    with edgepose.load(options.model) as session:
        estimator = PoseEstimator(session)

        def estimate(frame: Frame, boxes: npt.NDArray[np.float32]) -> Poses:
            return estimator.estimate(frame.image, judge_boxes(boxes, frame.image.shape, form_is_known=True))

        for path in options.videos:
            seen = look(path, options.detector)
            rows.append(_row(seen, "plain ByteTrack", 1, follow_plainly(seen)))
            for name in options.tracker.split(","):
                followed = follow(path, seen, open_tracker(name), estimate, options.every)
                rows.append(_row(seen, name, options.every, followed))
    titles = ["video", "tracker", "detection every", "people", "numbers", "per minute and person", "changes", "carried", "ms a frame"]
    print(format_table(titles, rows, right=tuple(range(2, len(titles)))))


def _row(seen: Seen, name: str, every: int, followed: Followed) -> list[str]:
    return [
        seen.name,
        name,
        f"{every} frames" if every > 1 else "frame",
        f"{followed.people:.2f}",
        str(followed.numbers),
        f"{followed.numbers / (seen.seconds / 60) / max(followed.people, 1e-9):.1f}",
        str(followed.changes),
        f"{np.mean(followed.carried):.2f}" if followed.carried else "",
        f"{1e3 * np.mean(followed.track_s):.2f}" if followed.track_s else "",
    ]


if __name__ == "__main__":
    main()
