"""This machine, in processes of its own."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgepose_benchmarks.job import Job
from edgepose_benchmarks.link import WorkerLink
from edgepose_benchmarks.measurement import measure_case
from edgepose_benchmarks.protocol import Describe, Described
from edgepose_benchmarks.result import BenchmarkResult, Machine

__all__ = ["WORKER_COMMAND", "LocalTarget"]

WORKER_COMMAND = (sys.executable, "-m", "edgepose_benchmarks.worker")
_SOON_S = 60.0


class LocalTarget:
    """This machine.

    Args:
        name: what to call it; ``None`` takes the host name.
        command: runs the worker; a self-check puts its own here.
    """

    def __init__(self, name: str | None = None, command: Sequence[str] = WORKER_COMMAND) -> None:
        self._name = name
        self._command = command
        self._machine: Machine | None = None

    def machine(self) -> Machine:
        """Describe it, as its worker sees it."""
        if self._machine is None:
            with self.start() as link:
                self._machine = link.ask(Describe(name=self._name), Described, timeout_s=_SOON_S).machine
        return self._machine

    def start(self, environment: Mapping[str, str] | None = None) -> WorkerLink:
        """Start a worker."""
        return WorkerLink(self._command, environment=environment)

    def place(self, path: Path) -> str:
        """Return the path itself: everything is here."""
        return str(path)

    def measure(self, job: Job) -> BenchmarkResult:
        """Measure one case."""
        return measure_case(self, self.machine(), job)

    def close(self) -> None:
        """Do nothing: nothing was brought anywhere."""
