"""JSON lines: one object a frame."""

import json
import sys
from pathlib import Path
from typing import TextIO

from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, describe_result, explain_write_error, prepare_file

__all__ = ["JsonLinesSink"]


class JsonLinesSink:
    """Each line is whole as soon as it is written: a killed process leaves all lines but perhaps the last. ``-`` is standard output."""

    def __init__(self, path: Path, context: SinkContext) -> None:
        self._context = context
        self._path = path
        self._file: TextIO
        if str(path) == "-":
            self._file = sys.stdout
            return
        prepare_file(path, context)
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise explain_write_error(path, error) from None

    def write(self, result: FramePoses | Failure) -> None:
        """Write a line."""
        try:
            self._file.write(json.dumps(describe_result(result, self._context)) + "\n")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise explain_write_error(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not sys.stdout:
            _close(self._file, self._path)


def _close(file: TextIO, path: Path) -> None:
    try:
        file.close()
    except OSError as error:
        raise explain_write_error(path, error) from None
