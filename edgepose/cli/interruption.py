"""Ctrl-C and SIGTERM: whenever they strike, the command ends soon, with exit code 1 and nothing half-written.

The first one raises an exception in the main thread, so that everything is tidied up on the way out. But Python handles signals between
two of its own steps: a native library may keep the main thread for minutes, and some catch what is raised in a callback of theirs, or in a
destructor. So a thread watches the signals, too, by the file descriptor that Python's own C handler writes them to: where the main thread
hasn't ended within ``GRACE_S``, or at the second signal, it removes what is half-made and ends the process.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edgepose.files import is_publishing, remove_staged

__all__ = ["InterruptionError", "format_interruption", "interruptible", "tidying"]

GRACE_S = 1.5
_LOOK_AGAIN_S = 0.1
_PUBLISHING_S = 0.5
_EXIT_FAILED = 1
_END = b"\0"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptionError(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt: once that passes through ``exec``, Python ends the process by the signal itself."""


class _Watch:
    """One command, and the thread that watches over its end."""

    def __init__(self, command: str) -> None:
        self._command = command
        self.struck = False
        self.grace_s = GRACE_S
        # The terminal's, wherever ``quiet`` leads the process's own meanwhile.
        self._errors = os.dup(2)
        # A socket because on Windows Python writes to nothing else.
        self._inlet, self._outlet = socket.socketpair()
        self._inlet.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._inlet.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="edgepose-interruption", daemon=True)
        self._thread.start()

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Raise in the main thread; the second time, end."""
        again, self.struck = self.struck, True
        # Files that belong together get their names first; the command ends behind them, or by the watching thread.
        if is_publishing():
            return
        if again:
            self._end()
        raise InterruptionError

    def close(self) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        with contextlib.suppress(OSError):
            self._inlet.send(_END)
        self._thread.join()
        self._inlet.close()
        self._outlet.close()
        os.close(self._errors)

    def _watch(self) -> None:
        strikes, first = 0, 0.0
        while True:
            left = first + self.grace_s - time.monotonic()
            if strikes and left <= 0:
                self._end()
            self._outlet.settimeout(min(left, _LOOK_AGAIN_S) if strikes else None)
            try:
                received = self._outlet.recv(1)
            except TimeoutError:
                continue
            if received in (b"", _END):
                return
            if received[0] in _SIGNALS:
                strikes += 1
                first = first or time.monotonic()
            if strikes > 1:
                self._end()

    def _end(self) -> None:
        remove_staged(_PUBLISHING_S)
        with contextlib.suppress(OSError):
            os.write(self._errors, format_interruption(self._command).encode() + b"\n")
        os._exit(_EXIT_FAILED)


_watches: list[_Watch] = []
"""Of the commands under way: one, but for tests."""


def format_interruption(command: str) -> str:
    """What the user reads."""
    return f"\nedgepose{command and ' '}{command}: interrupted; nothing half-written is left behind"


@contextmanager
def tidying(seconds: float) -> Iterator[None]:
    """Give a command more time to end after the first interruption: one that ends other processes, say, and tidies up a remote device."""
    for watch in _watches:
        watch.grace_s = seconds
    try:
        yield
    finally:
        for watch in _watches:
            watch.grace_s = GRACE_S


@contextmanager
def interruptible(command: str, *, last: bool) -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, and see to it that either ends the command.

    Args:
        command: its name, for the message.
        last: whether the process does nothing but end behind it; then signals that come so late are ignored.

    Raises:
        InterruptionError: one of them came, even where something else has caught what it raised then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    watch = _Watch(command)
    _watches.append(watch)
    previous = {number: signal.signal(number, watch.handle) for number in _SIGNALS}
    try:
        yield
        if watch.struck:
            raise InterruptionError
    except Exception:
        if watch.struck:  # what became of it on its way through a library
            raise InterruptionError from None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if last else handler)
        _watches.remove(watch)
        watch.close()
