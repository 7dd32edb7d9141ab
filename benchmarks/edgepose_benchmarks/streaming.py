"""Video from end to end: frames per second, against the slowest stage alone and against ``rtmlib``'s PoseTracker; latency; memory.

    python -m edgepose_benchmarks.streaming MODEL.xml VIDEO… [--rival MODEL.onnx] [--frames 300]

Each figure is the median of ``--rounds`` runs in one process, taken in turns. People are looked for with the same detector every
``--every`` frames, boxes are carried on in between. Nothing is drawn or written. ``rtmlib`` reads the video with OpenCV, as its own
examples do, runs on ONNX Runtime, and carries boxes on without numbers, because its numbering stops with an IndexError on one of our
videos. A stage alone: reading all frames; the detector on every n-th; the pose model on all boxes that the stream looked at, also
those of people of whom the tracker isn't certain yet.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose import PoseEstimator, Poses, load
from edgepose.boxes import judge_boxes
from edgepose.cli.table import format_table
from edgepose.pipeline.detection import open_detector
from edgepose.pipeline.frame import Detections, Failure, Frame
from edgepose.pipeline.options import StreamOptions
from edgepose.pipeline.protocols import Source, SourceInfo, Tracker
from edgepose.pipeline.smoothing import OneEuroSmoother
from edgepose.pipeline.sources import open_source
from edgepose.pipeline.stream import PoseStream
from edgepose.pipeline.tracking import open_tracker
from edgepose.runtime import Session
from edgepose.weights import find_weights

__all__ = ["main"]

_RESIDENT = "VmRSS:"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description="Video from end to end.")
    parser.add_argument("model")
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--rival", metavar="MODEL.onnx", help="what rtmlib runs")
    parser.add_argument("--detector", default="rtmdet-nano")
    parser.add_argument("--detector-device", default="auto")
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--synthetic", type=int, default=100_000, help="frames of the memory measurement; 0 leaves it out")
    options = parser.parse_args(arguments)
    for video in options.videos:
        _measure_video(video, options)
    _measure_latency()
    if options.synthetic:
        _measure_memory(options.synthetic)


def _measure_video(video: str, options: argparse.Namespace) -> None:
    frames = [frame for frame in _take(open_source(video), options.frames) if isinstance(frame, Frame)]
    print(f"\n{Path(video).name}, {len(frames)} frames of {frames[0].image.shape[1]}×{frames[0].image.shape[0]}:")
    looked_at: list[Detections] = []
    contenders: dict[str, Callable[[], int]] = {}
    session = load(options.model, "auto", options.threads)
    detector = open_detector(options.detector, device=options.detector_device, threads=options.threads)

    def whole() -> int:
        tracker = _Noting(open_tracker())
        running = PoseStream(
            _First(open_source(video), len(frames)),
            session,
            detector,
            tracker=tracker,
            smoother=OneEuroSmoother(),
            options=StreamOptions(detect_every=options.every),
        )
        count = sum(1 for _ in running)
        looked_at[:] = tracker.looked_at
        return count

    whole()
    contenders["edgepose.stream"] = whole
    contenders["  reading alone"] = lambda: sum(1 for _ in _take(open_source(video), len(frames)))
    contenders["  detector alone"] = lambda: _detect(detector, frames, options.every)
    contenders["  pose model alone"] = lambda: _estimate(session, frames, looked_at)
    if options.rival:
        contenders["rtmlib PoseTracker"] = _rtmlib(video, options, len(frames))
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            count = run()
            rates[name].append(count / (time.perf_counter() - begin))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    slowest = min(rate for name, rate in medians.items() if name.startswith("  "))
    rows = [[name, f"{rate:.1f}", f"{min(rates[name]):.1f} to {max(rates[name]):.1f}"] for name, rate in medians.items()]
    print(format_table(["what", "frames/s, median", "rounds"], rows, right=(1, 2)))
    people = sum(map(len, looked_at)) / len(frames)
    print(f"{people:.2f} people a frame; {medians['edgepose.stream'] / slowest:.0%} of what the slowest stage allows alone")
    if options.rival:
        print(f"{medians['edgepose.stream'] / medians['rtmlib PoseTracker']:.2f}× rtmlib")
    detector.close()
    session.close()


def _take(items, count: int) -> Iterator:  # type: ignore[no-untyped-def,type-arg]  # of whatever they are
    for _, item in zip(range(count), items, strict=False):
        yield item


def _detect(detector, frames: list[Frame], every: int) -> int:  # type: ignore[no-untyped-def]  # a NetworkDetector
    for frame in frames[::every]:
        detector.find(frame)
    return len(frames)


def _estimate(session: Session, frames: list[Frame], looked_at: list[Detections]) -> int:
    estimator = PoseEstimator(session)
    for frame, found in zip(frames, looked_at, strict=True):
        estimator.estimate(frame.image, judge_boxes(found.boxes_xyxy, frame.image.shape, form_is_known=True))
    return len(frames)


def _rtmlib(video: str, options: argparse.Namespace, count: int) -> Callable[[], int]:
    from functools import partial

    import cv2
    from rtmlib import Custom, PoseTracker

    solution = partial(
        Custom,
        det_class="RTMDet" if "rtmdet" in options.detector else "YOLOX",
        det=str(find_weights(options.detector)),
        det_input_size=(320, 320) if "rtmdet" in options.detector else (416, 416),
        pose_class="ViTPose",
        pose=options.rival,
        pose_input_size=(192, 256),
    )

    def run() -> int:
        tracker = PoseTracker(solution, det_frequency=options.every, tracking=False, backend="onnxruntime", device="cpu")
        capture = cv2.VideoCapture(video)
        for _ in range(count):
            done, image = capture.read()
            if not done:
                break
            tracker(image)
        return count

    return run


class _First:
    """The first frames of a source: the stream ends with them, instead of having begun others when it is left."""

    def __init__(self, source: Source, count: int) -> None:
        self.info = source.info
        self._source = source
        self._count = count

    def __iter__(self) -> Iterator[Frame | Failure]:
        return islice(self._source, self._count)

    def close(self) -> None:
        self._source.close()


class _Noting:
    """A tracker that keeps note of what it had looked at."""

    def __init__(self, tracker: Tracker) -> None:
        self.looked_at: list[Detections] = []
        self._tracker = tracker

    def carry(self, frame: Frame) -> Detections:
        self.looked_at.append(self._tracker.carry(frame))
        return self.looked_at[-1]

    def match(self, frame: Frame, detections: Detections) -> Detections:
        self.looked_at.append(self._tracker.match(frame, detections))
        return self.looked_at[-1]

    def update(self, frame: Frame, poses: Poses) -> tuple[Poses, NDArray[np.int64]]:
        return self._tracker.update(frame, poses)


class _Synthetic:
    """Frames without end, made at no cost."""

    def __init__(self, count: int, gap_s: float = 0.0) -> None:
        self.info = SourceInfo(
            name="synthetic", kind="iterable", live=gap_s > 0, frames=None, rate_hz=None, size=(320, 240), reader="synthetic"
        )
        self._count = count
        self._gap_s = gap_s

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            time.sleep(self._gap_s)
            yield Frame(image=np.full((240, 320, 3), index % 251, np.uint8), index=index, time_s=index / 30, name="synthetic")

    def close(self) -> None:
        pass


class _Person:
    """A detector that always sees one."""

    description = "synthetic"
    images_only = True

    def find(self, _frame: Frame) -> Detections:
        return Detections(boxes_xyxy=np.array([[100, 40, 180, 220]], np.float32), scores=np.array([0.9], np.float32))

    def close(self) -> None:
        pass


class _Instant:
    """A model that answers at once, so that everything else is measured."""

    def __init__(self, session: Session) -> None:
        self.spec, self.info = session.spec, session.info
        self._heatmaps = np.zeros((1, *session.spec.heatmap_shape), np.float32)
        self._heatmaps[:, :, 20, 20] = 1.0

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(self._heatmaps, len(batch), axis=0)


def _instant() -> "_Instant":
    from edgepose.assets import DEFAULT_MODEL

    with load(DEFAULT_MODEL, "torch:cpu") as session:
        return _Instant(session)


def _synthetic_stream(source: _Synthetic, model: _Instant) -> PoseStream:
    tracker = open_tracker()
    return PoseStream(source, model, _Person(), tracker=tracker, options=StreamOptions(detect_every=5))  # type: ignore[arg-type]


def _measure_latency() -> None:
    """What the queues and threads add to a frame: its latency, less the time in which a stage worked on it."""
    running = _synthetic_stream(_Synthetic(300, gap_s=0.02), _instant())
    latencies = [result.latency_s for result in running]
    busy = running.totals.busy_s
    worked = sum(busy[stage] for stage in ("detect", "pose", "track")) / running.totals.frames
    added = (statistics.mean(latencies) - worked) * 1e3
    print(f"\nadded latency, live source of 50 frames/s: {added:.2f} ms a frame (latency less work; {worked * 1e3:.2f} ms of work)")


def _measure_memory(frames: int) -> None:
    running = _synthetic_stream(_Synthetic(frames), _instant())
    levels: list[tuple[int, float]] = []
    begin = time.perf_counter()
    for result in running:
        if result.index in (frames // 10, frames // 2, frames - 1):
            gc.collect()
            levels.append((result.index + 1, _resident_mb()))
    shown = ", ".join(f"{level:.1f} MB after {count:,}" for count, level in levels)
    print(f"memory over {frames:,} frames: {shown} ({frames / (time.perf_counter() - begin):.0f} frames/s)")


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(_RESIDENT)) / 1024


if __name__ == "__main__":
    main()
