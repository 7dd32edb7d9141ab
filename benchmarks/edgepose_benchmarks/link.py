"""A worker process at the other end of a pipe: starting it, asking it, and saying what became of it when it dies."""

import contextlib
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from edgepose.errors import DeviceError, EdgePoseError, SpecError
from edgepose_benchmarks.protocol import Answer, Failed, Message, decode, encode

__all__ = ["WorkerDiedError", "WorkerLink", "describe_exit"]

_Wanted = TypeVar("_Wanted", bound=Answer)

GRACE_S = 5.0
_TAIL = 400
_KILLED = "killed, most likely because the machine ran out of memory"


class WorkerDiedError(EdgePoseError):
    """The process that measured ended before it answered, or never answered."""


class WorkerLink:
    """Starts a worker. A context manager, which ends it, whatever happens.

    Args:
        command: runs ``edgepose_benchmarks.worker``, here or at the other end of SSH.
        environment: variables to set besides those of this process.
        where: what to call the place in errors.
    """

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, where: str = "") -> None:
        self._where = where
        # A file, not a pipe: a runtime that writes much there would wait for ever for a reader.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._waiting = False
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own worker
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=os.environ | dict(environment or {}),
                # Ctrl-C is the harness's to handle: it ends the worker itself.
                start_new_session=True,
            )
        except OSError as error:
            self._words.close()
            raise DeviceError(f"can't start {command[0]!r}: {error.strerror or error}") from None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def ask(self, message: Message, wanted: type[_Wanted], *, timeout_s: float) -> _Wanted:
        """Send a message and wait for its answer.

        Raises:
            DeviceError: the worker says that it doesn't work.
            WorkerDiedError: it died, or didn't answer in time.
        """
        self._waiting = True
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(encode(message) + "\n")
                self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            self.close()
            raise WorkerDiedError(f"{self._place()}no answer within {timeout_s:.0f} s (--timeout); the process was ended") from None
        if not line:
            raise self._died()
        self._waiting = False
        try:
            answer = decode(line)
        except SpecError as error:
            raise WorkerDiedError(f"{self._place()}{error}; is another version of edgepose installed there?") from None
        if isinstance(answer, Failed):
            raise DeviceError(answer.error)
        if not isinstance(answer, wanted):
            raise WorkerDiedError(f"{self._place()}answered {type(answer).__name__}; expected {wanted.__name__}")
        return answer

    def close(self) -> None:
        """End the worker, gently at first. Closing twice is allowed."""
        if self._waiting:
            self._process.kill()
        if self._process.stdin is not None:
            # What is still in the buffer of a dead worker's pipe is of no interest.
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._words.close()

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _place(self) -> str:
        return f"{self._where}: " if self._where else ""

    def _died(self) -> WorkerDiedError:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._words.seek(0)
        lines = [line.strip() for line in self._words.read().decode("utf-8", "replace").splitlines() if line.strip()]
        said = lines[-1][-_TAIL:] if lines else "it said nothing"
        return WorkerDiedError(f"{self._place()}the process that measured died ({describe_exit(code)}): {said}")


def describe_exit(code: int) -> str:
    """Say what an exit code means."""
    if code >= 0:
        return f"exit code {code}"
    if -code == signal.SIGKILL:
        return _KILLED
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
