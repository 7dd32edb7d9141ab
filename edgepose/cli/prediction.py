"""What ``edgepose predict`` says at the end: a table for people, a document for programs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgepose.cli.table import format_table
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.protocols import Sink
from edgepose.pipeline.sinks import SinkContext
from edgepose.pipeline.sinks.context import describe_result
from edgepose.pipeline.sinks.pictures import PictureSink
from edgepose.pipeline.sinks.video import OpenCVVideoSink, PyAVVideoSink
from edgepose.pipeline.stream import PoseStream

__all__ = ["Report"]

_SHOWN = 3
_MAX_PICTURES = 10_000
"""Pictures that are listed one by one: bounds memory."""


class Report:
    """A sink that takes note of what was found. Of pictures each is listed, of anything that moves the totals.

    Attributes:
        sinks: those that write files; each has written a result before the report sees it.
        say: how a line for people is printed.
    """

    def __init__(self, stream: PoseStream, context: SinkContext, *, artifact: str) -> None:
        self.sinks: Sequence[Sink] = ()
        self.say: Callable[[str], None] = lambda _line: None
        self._stream = stream
        self._context = context
        self._artifact = artifact
        self._pictures: list[dict[str, Any]] = []
        self._without_pose = 0

    def write(self, result: FramePoses | Failure) -> None:
        """Take note of a result."""
        if isinstance(result, Failure):
            return
        reasons = [reason for reason in result.poses.reasons if reason]
        if reasons:
            self._without_pose += len(reasons) == len(result.poses)
            more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
            self.say(
                f"edgepose predict: {result.name}: {len(reasons)} of {len(result.poses)} boxes can't be used and have no pose: "
                f"{'; '.join(reasons[:_SHOWN])}{more}"
            )
        if self._context.info.kind == "pictures" and len(self._pictures) < _MAX_PICTURES:
            written = next((sink for sink in self.sinks if isinstance(sink, PictureSink)), None)
            files = {} if written is None else {"drawing": str(written.drawing), "keypoints": str(written.document)}
            document = describe_result(result, self._context)
            self._pictures.append({"image": result.name} | document | {"seconds": result.latency_s} | files)

    def close(self) -> None:
        """Nothing is open."""

    @property
    def exit_code(self) -> int:
        """1 where a frame failed, or no box of one could be used."""
        return int(self._stream.totals.failures > 0 or self._without_pose > 0)

    def document(self, runtime: str) -> dict[str, Any]:
        """Return what was found as JSON values."""
        totals = self._stream.totals
        facts = {
            "artifact": self._artifact,
            "runtime": runtime,
            "source": self._context.info.name,
            "reader": self._context.info.reader,
            "looked_for": self._context.looked_for,
            "frames": totals.frames,
            "people": totals.people,
            "failures": totals.failures,
            "dropped": totals.dropped,
            "left_out": totals.left_out,
            "seconds": totals.seconds,
            "busy_seconds": totals.busy_s,
        }
        videos = [sink.description for sink in self.sinks if isinstance(sink, PyAVVideoSink | OpenCVVideoSink)]
        facts |= {"video": ", ".join(videos)} if videos else {}
        return facts | ({"images": self._pictures} if self._context.info.kind == "pictures" else {})

    def table(self, runtime: str) -> str:
        """Return what was found as a table for people."""
        totals = self._stream.totals
        lines = []
        if self._context.info.kind == "pictures":
            rows = [
                [each["image"], _count(each["people"]), f"{each['seconds'] * 1e3:.0f} ms", each.get("drawing", "")]
                for each in self._pictures
            ]
            if rows:
                lines.append(format_table(["image", "people", "time", "drawing"], rows, right=(1, 2)))
            hidden = totals.frames - len(rows)
            lines += [f"and {hidden} more pictures"] if hidden else []
        else:
            rate = totals.frames / totals.seconds if totals.seconds else 0.0
            people = totals.people / totals.frames if totals.frames else 0.0
            row = [
                Path(self._context.info.name).name,
                str(totals.frames),
                f"{people:.2f}",
                f"{rate:.1f}",
                str(totals.dropped),
                str(totals.failures),
            ]
            lines.append(
                format_table(["source", "frames", "people per frame", "frames/s", "dropped", "failed"], [row], right=(1, 2, 3, 4, 5))
            )
        if totals.left_out:
            lines.append(f"{totals.left_out} people beyond --max-people were left out")
        lines += [f"video: {sink.description}" for sink in self.sinks if isinstance(sink, PyAVVideoSink | OpenCVVideoSink)]
        lines.append(f"looked for {self._context.looked_for}; poses on {runtime}")
        return "\n".join(lines)


def _count(people: list[dict[str, Any]]) -> str:
    without = sum("status" in person for person in people)
    return f"{len(people) - without} (+{without} without a pose)" if without else str(len(people))
