"""Which sink a name means."""

from pathlib import Path

from edgepose.errors import InputError
from edgepose.pipeline.protocols import Sink
from edgepose.pipeline.sinks import video
from edgepose.pipeline.sinks.coco_results import CocoResultsSink
from edgepose.pipeline.sinks.context import SinkContext
from edgepose.pipeline.sinks.csv import CsvSink
from edgepose.pipeline.sinks.jsonl import JsonLinesSink
from edgepose.pipeline.sinks.pictures import PictureSink

__all__ = ["SinkContext", "open_sink"]


def open_sink(path: str | Path, context: SinkContext) -> Sink:
    """Open what results are written to, by its suffix.

    ``.mp4``, ``.mkv``, ``.mov``, ``.avi``: annotated video; ``.jsonl`` or ``-``: JSON lines; ``.csv``: a table; ``.json``: COCO's keypoint
    results; no suffix, or a slash at the end: a folder of drawings and documents.

    Raises:
        InputError: an unknown suffix, or a place that can't be written to.
        MissingDependencyError: the format needs PyAV.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if str(path) == "-" or suffix == ".jsonl":
        return JsonLinesSink(target, context)
    if not suffix or str(path).endswith("/") or target.is_dir():
        return PictureSink(target, context)
    if suffix in video.SUFFIXES:
        return video.open_video_sink(target, context)
    if suffix == ".csv":
        return CsvSink(target, context)
    if suffix == ".json":
        return CocoResultsSink(target, context)
    raise InputError(
        f"can't write {str(path)!r}: the suffix is {target.suffix!r}; allowed: {', '.join(video.SUFFIXES)} (video), .jsonl, .csv, .json "
        "(COCO results), or none (a folder)"
    )
