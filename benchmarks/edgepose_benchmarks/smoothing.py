"""What smoothing takes from jitter, and what it costs in lag.

    python -m edgepose_benchmarks.smoothing MODEL --standing VIDEO --moving VIDEO [--detector rtmdet-nano]

*Jitter* of a keypoint is the root mean square of its second differences over time (a steady movement has none), in thousandths of the
person's size, the square root of their box's area; the median over keypoints with a score of 0.3 and more. People who stand are the sample
photo's, under the noise of a camera (σ = 4 grey levels) and shaken by a quarter of a pixel, and in the video those who move by less than a
tenth of their size in a second. *Lag* is where smoothed and raw positions of a keypoint fit best against each other, by their correlation
over windows of two seconds, to a fraction of a frame; those of the fastest quarter of keypoints in the moving video, whose frames are also
taken every other one. In all cases people are followed with detection on every fifth frame.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import edgepose
from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.boxes import judge_boxes, load_boxes
from edgepose.cli.table import format_table
from edgepose.estimator import PoseEstimator, Poses
from edgepose.pipeline.detection import open_detector
from edgepose.pipeline.frame import Detections, Frame
from edgepose.pipeline.smoothing import OneEuroSmoother
from edgepose.pipeline.tracking import open_tracker
from edgepose_benchmarks.tracking import read

__all__ = ["Course", "find_courses", "find_jitter", "find_lags", "main", "shake", "smooth_courses"]

Floats = npt.NDArray[np.float64]
Find = Callable[[Frame], Detections]
Estimate = Callable[[Frame, npt.NDArray[np.floating]], Poses]

_EVERY = 5
_SURE = 0.3
_STANDS = 0.1  # sizes per second
_WINDOW_S = 1.0
_NOISE = 4.0
_SHAKE_PX = 0.25
_LAG_WINDOW_S = 2.0
_MOST_LAG = 4  # frames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """One person over consecutive frames.

    Attributes:
        times_s: (T,).
        rows: T poses of one person.
    """

    times_s: Floats
    rows: tuple[Poses, ...]

    @property
    def places(self) -> Floats:
        """(T, K, 2), pixels."""
        return np.stack([row.keypoints_xy[0] for row in self.rows]).astype(np.float64)

    @property
    def scores(self) -> Floats:
        """(T, K)."""
        return np.stack([row.scores[0] for row in self.rows]).astype(np.float64)

    @property
    def size(self) -> float:
        """Of the person, pixels: the median over the frames."""
        boxes = np.stack([row.boxes_xyxy[0] for row in self.rows]).astype(np.float64)
        return float(np.median(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))))


def find_courses(frames: Iterator[Frame], find: Find, estimate: Estimate) -> list[Course]:
    """Follow people; returns each one's stretches without a gap that last two seconds and more."""
    tracker = open_tracker()
    open_courses: dict[int, list[tuple[float, Poses]]] = {}
    closed: list[list[tuple[float, Poses]]] = []
    for count, frame in enumerate(frames):
        looked_at = tracker.carry(frame) if count % _EVERY else tracker.match(frame, find(frame))
        kept, ids = tracker.update(frame, estimate(frame, looked_at.boxes_xyxy))
        closed += [open_courses.pop(number) for number in set(open_courses) - set(ids.tolist())]
        for row, number in enumerate(ids.tolist()):
            pose = kept.select(np.array([row]))
            if pose.usable[0]:
                open_courses.setdefault(number, []).append((frame.time_s or 0.0, pose))
    courses = [
        Course(times_s=np.array([time_s for time_s, _ in each]), rows=tuple(pose for _, pose in each))
        for each in [*closed, *open_courses.values()]
    ]
    return [course for course in courses if course.times_s[-1] - course.times_s[0] >= _LAG_WINDOW_S]


def smooth_courses(courses: Sequence[Course], **parameters: float) -> list[Course]:
    """Return what a ``OneEuroSmoother`` makes of them."""
    smoothed = []
    for course in courses:
        smoother = OneEuroSmoother(**parameters)
        rows = tuple(smoother.smooth(time_s, row, np.array([1])) for time_s, row in zip(course.times_s.tolist(), course.rows, strict=True))
        smoothed.append(Course(times_s=course.times_s, rows=rows))
    return smoothed


def find_jitter(course: Course, raw: Course) -> Floats:
    """Return the jitter of each keypoint over the windows in which the person stands, in sizes, (windows × keypoints that count,)."""
    found = []
    for window in _windows(raw):
        places, scores = raw.places[window], raw.scores[window]
        sure = (scores >= _SURE).all(axis=0)
        if sure.sum() < 4:
            continue
        middles = np.median(places[:, sure], axis=1)
        span_s = raw.times_s[window][-1] - raw.times_s[window][0]
        third = max(1, len(middles) // 3)
        drift = np.linalg.norm(np.median(middles[-third:], axis=0) - np.median(middles[:third], axis=0)) / raw.size
        if drift > _STANDS * span_s * 2 / 3:
            continue
        second = np.diff(course.places[window][:, sure], n=2, axis=0)
        found.append(np.sqrt(np.square(second).sum(axis=2).mean(axis=0)) / raw.size)
    return np.concatenate(found) if found else np.zeros(0)


def find_lags(course: Course, raw: Course) -> Floats:
    """Return the lag in frames of the fastest quarter of keypoints over all windows."""
    speeds, lags = [], []
    for window in _windows(raw, _LAG_WINDOW_S):
        for keypoint in np.flatnonzero((raw.scores[window] >= _SURE).all(axis=0)):
            given, smooth = raw.places[window][:, keypoint], course.places[window][:, keypoint]
            speeds.append(float(np.linalg.norm(np.diff(given, axis=0), axis=1).mean()) / raw.size)
            lags.append(_lag(given, smooth))
    if not lags:
        return np.zeros(0)
    fast = np.array(speeds) >= np.quantile(speeds, 0.75)
    return np.array(lags)[fast]


def shake(seconds: float, rate_hz: float = 30.0) -> Iterator[Frame]:
    """Yield frames of the sample photo, as a camera on a tripod gives them."""
    image = edgepose.read_image(SAMPLE_IMAGE)
    random = np.random.default_rng(0)
    for index in range(round(seconds * rate_hz)):
        x, y = random.normal(0, _SHAKE_PX, 2)
        moved = cv2.warpAffine(
            image, np.array([[1, 0, x], [0, 1, y]]), image.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        noisy = np.clip(moved + random.normal(0, _NOISE, image.shape), 0, 255).round().astype(np.uint8)
        yield Frame(image=noisy, index=index, time_s=index / rate_hz, name="sample photo")


def _windows(course: Course, seconds: float = _WINDOW_S) -> Iterator[slice]:
    begin = 0
    while begin < len(course.times_s):
        end = int(np.searchsorted(course.times_s, course.times_s[begin] + seconds))
        if end >= len(course.times_s):
            return
        yield slice(begin, end + 1)
        begin = end + 1


def _lag(given: Floats, smooth: Floats) -> float:
    """Return by how many frames ``smooth`` (T, 2) comes after ``given`` (T, 2): where they correlate best, between frames a parabola."""
    steps = np.arange(-_MOST_LAG, _MOST_LAG + 1)
    inner = slice(_MOST_LAG, len(given) - _MOST_LAG)
    here = smooth[inner] - smooth[inner].mean(axis=0)
    likeness = []
    for step in steps:
        there = given[inner.start - step : inner.stop - step]
        there = there - there.mean(axis=0)
        likeness.append(float((here * there).sum() / max(np.linalg.norm(here) * np.linalg.norm(there), 1e-12)))
    best = int(np.clip(np.argmax(likeness), 1, len(steps) - 2))
    before, peak, after = likeness[best - 1 : best + 2]
    bend = before - 2 * peak + after
    return float(steps[best] + (0.5 * (before - after) / bend if bend < 0 else 0.0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description="What smoothing takes from jitter, and what it costs in lag.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file")
    parser.add_argument("--standing", type=Path, required=True, metavar="VIDEO", help="in which people stand")
    parser.add_argument("--moving", type=Path, required=True, metavar="VIDEO", help="in which people move fast")
    parser.add_argument("--detector", default="rtmdet-nano", help="name or file (default: rtmdet-nano)")
    options = parser.parse_args(arguments)
    detector = open_detector(options.detector)
    sample = load_boxes(SAMPLE_BOXES).for_image(SAMPLE_IMAGE).astype(np.float32)
    with edgepose.load(options.model) as session:
        estimator = PoseEstimator(session)

        def estimate(frame: Frame, boxes: npt.NDArray[np.float32]) -> Poses:
            return estimator.estimate(frame.image, judge_boxes(boxes, frame.image.shape, form_is_known=True))

        still = find_courses(shake(5.0), lambda _: Detections(boxes_xyxy=sample, scores=None), estimate)
        standing = find_courses(read(options.standing), detector.find, estimate)
        moving = find_courses(read(options.moving), detector.find, estimate)
        halved = find_courses((frame for frame in read(options.moving) if frame.index % 2 == 0), detector.find, estimate)
    print_tables(
        {"sample photo": still, options.standing.name: standing},
        {options.moving.name: moving, f"{options.moving.name}, every other frame": halved},
    )


def print_tables(standing: dict[str, list[Course]], moving: dict[str, list[Course]], **parameters: float) -> None:
    """Print the figures of people who stand and who move."""
    rows = []
    for name, courses in standing.items():
        smoothed = smooth_courses(courses, **parameters)
        raw = np.concatenate([find_jitter(each, each) for each in courses])
        left = np.concatenate([find_jitter(each, before) for each, before in zip(smoothed, courses, strict=True)])
        rows.append(
            [
                name,
                str(len(raw)),
                f"{1e3 * np.median(raw):.1f}",
                f"{1e3 * np.median(left):.1f}",
                f"{np.median(left / np.maximum(raw, 1e-9)):.2f}",
            ]
        )
    print(format_table(["people who stand", "keypoints × seconds", "jitter, raw", "smoothed", "ratio"], rows, right=(1, 2, 3, 4)))
    print()
    rows = []
    for name, courses in moving.items():
        smoothed = smooth_courses(courses, **parameters)
        lags = np.concatenate([find_lags(each, before) for each, before in zip(smoothed, courses, strict=True)])
        rows.append([name, str(len(lags)), f"{np.median(lags):.2f}", f"{np.quantile(lags, 0.9):.2f}"])
    print(format_table(["people who move", "keypoints × seconds", "lag, frames", "of the slowest tenth"], rows, right=(1, 2, 3)))


if __name__ == "__main__":
    main()
