"""``edgepose predict``: poses in pictures, videos and cameras, drawn and as data."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.isolation import add_untrusted_option
from edgepose.cli.options import add_device_options, add_json_option, score
from edgepose.cli.prediction import Report
from edgepose.cli.progress import Progress
from edgepose.cli.streaming import (
    add_people_options,
    add_source_options,
    open_detector_of,
    open_source_of,
    open_stream_of,
    split_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgepose.pipeline.protocols import Sink
    from edgepose.pipeline.sinks import SinkContext
    from edgepose.pipeline.stream import PoseStream

__all__ = ["add_parser", "run"]

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
    add_people_options(parser)
    add_source_options(parser)
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
    parser.set_defaults(usage_error=parser.error, source_is_optional=False)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.pipeline.sinks import SinkContext
    from edgepose.runtime import load

    model, names = split_model(options)
    source = open_source_of(names, options)
    with contextlib.ExitStack() as stack:
        stack.callback(source.close)
        detector = open_detector_of(source, options)
        stack.callback(detector.close)
        session = stack.enter_context(load(model, options.device, options.threads, dict(options.option), untrusted=options.untrusted))
        looked_for = f"people: {detector.description}"
        context = SinkContext(
            info=source.info,
            skeleton=session.spec.skeleton,
            looked_for=looked_for,
            min_score=options.min_score,
            find_image_id=_read_image_ids(options) if source.info.kind == "pictures" else None,
        )
        stream = stack.enter_context(open_stream_of(source, session, detector, options))
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


def _read_image_ids(options: argparse.Namespace) -> "Callable[[str], int | None] | None":
    """Return what numbers pictures as the annotations given with ``--boxes`` do, where COCO results are written."""
    from edgepose.boxes import load_boxes

    if options.boxes is None or not any(place.lower().endswith(".json") for place in options.out or ()):
        return None
    boxes = load_boxes(options.boxes)
    return boxes.find_image_id if boxes.image_ids else None


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
