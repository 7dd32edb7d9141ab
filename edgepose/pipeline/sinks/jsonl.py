"""JSON lines: one object a frame."""

import json
import sys
from pathlib import Path

from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, describe_result, explain_write_error, prepare_file
from edgepose.pipeline.sinks.text_file import TextFile

__all__ = ["JsonLinesSink"]


class JsonLinesSink:
    """Each line is whole as soon as it is written: a killed process leaves all lines but perhaps the last. ``-`` is standard output."""

    def __init__(self, path: Path, context: SinkContext) -> None:
        self._context = context
        self._file: TextFile | None = None
        if str(path) != "-":
            prepare_file(path, context)
            self._file = TextFile(path)

    def write(self, result: FramePoses | Failure) -> None:
        """Write a line.

        Raises:
            BrokenPipeError: nobody reads standard output any more.
            InputError: it can't be written.
        """
        line = json.dumps(describe_result(result, self._context)) + "\n"
        if self._file is not None:
            self._file.write(line)
            return
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise explain_write_error("-", error) from None

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._file is not None:
            self._file.close()
