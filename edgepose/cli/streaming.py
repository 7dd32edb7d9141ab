"""Options of the commands that run a stream, and the parts that they stand for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.cli.options import MAX_THREADS, add_max_pixels_option, real_number, score, size_in_pixels, whole_number

if TYPE_CHECKING:
    from edgepose.pipeline.protocols import Detector, Source
    from edgepose.pipeline.stream import PoseStream

__all__ = ["add_people_options", "add_source_options", "open_detector_of", "open_source_of", "open_stream_of", "split_model"]

_MODELS = (".xml", ".onnx", ".tflite", ".mlpackage", ".safetensors")


def add_people_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who is looked for, and how."""
    people = parser.add_argument_group("who is looked for")
    people.add_argument("--detector", metavar="NAME|FILE", help="yolox-nano, rtmdet-nano, a file of one, or none (default: yolox-nano)")
    people.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="boxes instead: [[x1, y1, x2, y2], …], {picture: [[…], …]}, COCO annotations or detections; boxes may have a score and a "
        "class, of which 0 are people",
    )
    people.add_argument("--whole", action="store_true", help="each frame is one person, as large as the picture")
    people.add_argument("--box-score", type=score, metavar="S", help="detections that score less aren't people (default: the detector's)")
    people.add_argument("--pose-score", type=score, default=0.0, metavar="S", help="nor are people whose keypoints score less on average")
    people.add_argument("--max-people", type=whole_number(1, 10_000), default=100, metavar="N", help="of one frame (default: 100)")
    people.add_argument("--track", action="store_true", help="people keep a number, boxes are carried on, keypoints are smoothed")
    people.add_argument(
        "--tracker",
        default="pose",
        metavar="NAME",
        help="with --track: pose, or of the package trackers: bytetrack, ocsort, botsort (default: pose)",
    )
    people.add_argument("--no-smooth", action="store_true", help="with --track: keypoints as the model gives them")
    people.add_argument(
        "--detect-every", type=whole_number(1, 100_000), metavar="N", help="frames from one detection to the next (default: 5 with --track)"
    )
    people.add_argument("--detector-device", default="auto", metavar="[RUNTIME:]DEVICE", help="of the detector (default: auto)")
    people.add_argument("--detector-threads", type=whole_number(1, MAX_THREADS), metavar="N", help="of the detector")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how frames are read."""
    source = parser.add_argument_group("how frames are read")
    source.add_argument("--size", type=size_in_pixels, metavar="WxH", help="of raw frames on standard input, or asked of a camera")
    source.add_argument(
        "--pixel-format", default="rgb24", metavar="NAME", help="of raw frames: rgb24, bgr24, gray, nv12, … (default: rgb24)"
    )
    source.add_argument(
        "--rate", type=real_number(0, 100_000, above=True), metavar="HZ", help="frames per second of raw frames, or of a camera"
    )
    source.add_argument(
        "--reader", choices=("auto", "pyav", "opencv"), default="auto", help="of videos (default: PyAV where it is installed)"
    )
    source.add_argument("--hardware", metavar="NAME", help="decode with cuda, vaapi, videotoolbox, …")
    source.add_argument(
        "--timeout",
        type=real_number(0, 86_400, above=True),
        default=10.0,
        metavar="S",
        help="of an address that is silent (default: 10)",
    )
    source.add_argument("--reconnect", type=whole_number(0, 1_000_000), default=0, metavar="N", help="try a lost stream again (default: 0)")
    add_max_pixels_option(source)


def split_model(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """Tell the model from the sources."""
    from edgepose.assets import DEFAULT_MODEL

    words: list[str] = options.sources
    if words and Path(words[0]).suffix.lower() in _MODELS:
        if len(words) == 1 and not options.source_is_optional:
            options.usage_error(f"{words[0]!r} is a model; name what it shall look at, too: a picture, a folder, a video, a camera …")
        return Path(words[0]), words[1:]
    return DEFAULT_MODEL, words


def open_source_of(names: list[str], options: argparse.Namespace) -> "Source":
    """Open the sources that were named."""
    from edgepose.pipeline.sources import SourceOptions, open_source

    return open_source(
        names,
        SourceOptions(
            size=options.size,
            pixel_format=options.pixel_format,
            rate_hz=options.rate,
            reader=options.reader,
            hardware=options.hardware,
            timeout_s=options.timeout,
            reconnect=options.reconnect,
            max_pixels=options.max_pixels,
        ),
    )


def open_detector_of(source: "Source | None", options: argparse.Namespace) -> "Detector":
    """Open whoever looks for people; the names of pictures are looked up in a file of boxes before any is used."""
    from edgepose.boxes import load_boxes
    from edgepose.pipeline.detection import choose_detector
    from edgepose.pipeline.sources.pictures import PictureSource

    boxes = load_boxes(options.boxes) if options.boxes else None
    if boxes is not None and isinstance(source, PictureSource):
        boxes.check_names(source.paths)
    return choose_detector(
        options.detector or "auto",
        boxes=boxes,
        whole=options.whole,
        min_score=options.box_score,
        device=options.detector_device,
        threads=options.detector_threads,
        moving=source is not None and source.info.kind != "pictures",
    )


def open_stream_of(source: "Source", session: Any, detector: "Detector", options: argparse.Namespace) -> "PoseStream":
    """Put the parts together as the options say."""
    from edgepose.pipeline.opening import DETECT_EVERY
    from edgepose.pipeline.options import StreamOptions
    from edgepose.pipeline.smoothing import OneEuroSmoother
    from edgepose.pipeline.stream import PoseStream
    from edgepose.pipeline.tracking import open_tracker

    every = options.detect_every or (DETECT_EVERY if options.track else 1)
    return PoseStream(
        source,
        session,
        detector,
        tracker=open_tracker(options.tracker, max_people=options.max_people) if options.track else None,
        smoother=OneEuroSmoother() if options.track and not options.no_smooth else None,
        options=StreamOptions(
            detect_every=every, max_people=options.max_people, min_pose_score=options.pose_score, flip_test=options.flip_test
        ),
    )
