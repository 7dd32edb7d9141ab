"""A progress bar on standard error, when that is a terminal.

Written out here, in few lines, because a device installs numpy, OpenCV and one runtime, and nothing else.
"""

import shutil
import sys
import time
from types import TracebackType
from typing import Self

from edgepose.printable import printable

__all__ = ["Progress"]

_BAR_WIDTH = 20


class Progress:
    """``[█████···············] 1/4 12 s vitpose-s-fp16.onnx: writing``, redrawn in place. A context manager.

    Args:
        total: number of steps.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._note = ""
        self._start = time.monotonic()
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._write("")

    def note(self, text: str) -> None:
        """Say what is being done."""
        self._note = printable(text)
        self._draw()

    def step(self) -> None:
        """Count one more step as done."""
        self._done += 1
        self._draw()

    def move(self, done: int, total: int, note: str) -> None:
        """Say how far it is, of how much, and what is being done."""
        self._done, self._total, self._note = done, total, printable(note)
        self._draw()

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._write("")
        print(printable(text, continuation="  "), file=sys.stderr)
        self._draw()

    def _draw(self) -> None:
        filled = _BAR_WIDTH * self._done // max(1, self._total)
        bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
        self._write(f"[{bar}] {self._done}/{self._total} {time.monotonic() - self._start:.0f} s {self._note}")

    def _write(self, line: str) -> None:
        if self._shown:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\x1b[K" + line[:width])
            sys.stderr.flush()
