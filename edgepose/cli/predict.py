"""``edgepose predict``: poses in pictures, videos and cameras, drawn and as data."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepose.cli.isolation import add_untrusted_option
from edgepose.cli.options import (
    MAX_THREADS,
    add_device_options,
    add_json_option,
    add_max_pixels_option,
    real_number,
    score,
    size_in_pixels,
    whole_number,
)
from edgepose.cli.prediction import Report
from edgepose.cli.progress import Progress

if TYPE_CHECKING:
    from edgepose.pipeline.protocols import Detector, Sink, Source
    from edgepose.pipeline.sinks import SinkContext
    from edgepose.pipeline.stream import PoseStream

__all__ = ["add_parser", "run"]

_MODELS = (".xml", ".onnx", ".tflite", ".mlpackage", ".safetensors")
_FOLDER = Path("poses")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="find poses in pictures, videos and cameras with a device file",
        description="Find the poses of the people in anything that gives frames. Of pictures, NAME-pose.jpg, a drawing, and "
        "NAME-pose.json, the keypoints, are written; of a video, camera or address NAME-pose.mp4 and NAME-pose.jsonl, unless --out says "
        "otherwise. What can't be used is said, and the rest goes on; the exit code is then 1.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="[MODEL] SOURCE",
        help="a file that `edgepose convert` wrote (default: the model in the package), and pictures, folders, patterns, a video, a camera "
        "(0), an address (rtsp://…, http://…) or - for standard input",
    )
    _add_people(parser)
    _add_source(parser)
    out = parser.add_argument_group("what is written")
    out.add_argument(
        "--out",
        action="append",
        metavar="PLACE",
        help="folder of drawings and documents; or a file: .mp4, .mkv, .avi (video), .jsonl, .csv, .json (COCO results), - (JSON lines on "
        "standard output); may be repeated (default: poses)",
    )
    out.add_argument("--show", action="store_true", help="show the frames in a window; q ends")
    out.add_argument("--min-score", type=score, default=0.3, metavar="S", help="draw keypoints from this score on (default: 0.3)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image: slower, a little more accurate")
    add_device_options(parser)
    add_untrusted_option(parser)
    add_json_option(parser)
    parser.set_defaults(usage_error=parser.error)
    return parser


def _add_people(parser: argparse.ArgumentParser) -> None:
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
    people.add_argument("--no-smooth", action="store_true", help="with --track: keypoints as the model gives them")
    people.add_argument(
        "--detect-every", type=whole_number(1, 100_000), metavar="N", help="frames from one detection to the next (default: 5 with --track)"
    )
    people.add_argument("--detector-device", default="auto", metavar="[RUNTIME:]DEVICE", help="of the detector (default: auto)")
    people.add_argument("--detector-threads", type=whole_number(1, MAX_THREADS), metavar="N", help="of the detector")


def _add_source(parser: argparse.ArgumentParser) -> None:
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


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.pipeline.sinks import SinkContext
    from edgepose.runtime import load

    model, names = _split(options)
    source = _open_source(names, options)
    with contextlib.ExitStack() as stack:
        stack.callback(source.close)
        detector = _open_detector(source, options)
        stack.callback(detector.close)
        session = stack.enter_context(load(model, options.device, options.threads, dict(options.option), untrusted=options.untrusted))
        looked_for = f"people: {detector.description}"
        context = SinkContext(info=source.info, skeleton=session.spec.skeleton, looked_for=looked_for, min_score=options.min_score)
        stream = stack.enter_context(_open_stream(source, session, detector, options))
        report = Report(stream, context, artifact=str(model))
        _follow(stream, report, context, names, options)
        runtime = str(session.info)
    if options.json:
        json.dump(report.document(runtime), sys.stdout, indent=2)
        print()
    elif "-" not in (options.out or ()):
        print(report.table(runtime))
    return report.exit_code


def _follow(stream: "PoseStream", report: Report, context: "SinkContext", names: list[str], options: argparse.Namespace) -> None:
    """Write what the stream gives, until it ends."""
    from edgepose.pipeline.frame import Failure
    from edgepose.pipeline.sinks import SinkThread
    from edgepose.pipeline.sinks.window import WindowClosed, WindowSink

    window = WindowSink(context) if options.show else None
    sinks = _open_sinks(context, names, options)
    report.sinks = sinks
    writer = SinkThread([*sinks, report])
    try:
        with Progress(context.info.frames or 0) as progress, contextlib.suppress(WindowClosed, BrokenPipeError):
            report.say = progress.print
            for result in stream.results():
                if context.info.frames:
                    progress.move(result.index + 1, context.info.frames, Path(result.name).name)
                if isinstance(result, Failure):
                    progress.print(f"edgepose predict: {result.reason}")
                elif window is not None:
                    window.write(result)
                writer.write(result)
    finally:
        with contextlib.suppress(BrokenPipeError):
            writer.close()
        if window is not None:
            window.close()


def _split(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """Tell the model from the sources."""
    from edgepose.assets import DEFAULT_MODEL

    words: list[str] = options.sources
    if Path(words[0]).suffix.lower() in _MODELS:
        if len(words) == 1:
            options.usage_error(f"{words[0]!r} is a model; name what it shall look at, too: a picture, a folder, a video, a camera …")
        return Path(words[0]), words[1:]
    return DEFAULT_MODEL, words


def _open_source(names: list[str], options: argparse.Namespace) -> "Source":
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


def _open_detector(source: "Source", options: argparse.Namespace) -> "Detector":
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
    )


def _open_stream(source: "Source", session: Any, detector: "Detector", options: argparse.Namespace) -> "PoseStream":
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
        tracker=open_tracker() if options.track else None,
        smoother=OneEuroSmoother() if options.track and not options.no_smooth else None,
        options=StreamOptions(
            detect_every=every, max_people=options.max_people, min_pose_score=options.pose_score, flip_test=options.flip_test
        ),
    )


def _open_sinks(context: "SinkContext", names: list[str], options: argparse.Namespace) -> list["Sink"]:
    from edgepose.pipeline.sinks import open_sink

    places = options.out
    if places is None:
        if context.info.kind == "pictures":
            places = [f"{_FOLDER}/"]
        else:
            stem = Path(names[0].rpartition("/")[2] or "frames").stem or "frames"
            stem = "frames" if names[0] == "-" else f"camera{stem}" if stem.isdecimal() and context.info.kind == "camera" else stem
            places = [str(_FOLDER / f"{stem}-pose.mp4"), str(_FOLDER / f"{stem}-pose.jsonl")]
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        for place in places:
            sinks.append(open_sink(place, context))
            stack.callback(sinks[-1].close)
        stack.pop_all()
    return sinks
