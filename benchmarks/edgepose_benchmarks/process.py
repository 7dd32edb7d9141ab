"""Run a command and measure it from outside: seconds and the peak memory of its process."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ProcessRun", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRun:
    """What one run of a command took.

    Attributes:
        seconds: wall time, from start to exit.
        peak_bytes: largest resident size of the process.
    """

    seconds: float
    peak_bytes: int


def measure(command: Sequence[str]) -> ProcessRun:
    """Run a command to its end.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603  our own commands
        assert process.stderr is not None  # noqa: S101  for the type checker
        words = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=words.decode(errors="replace"))
    return ProcessRun(seconds=seconds, peak_bytes=usage.ru_maxrss * 1024)
