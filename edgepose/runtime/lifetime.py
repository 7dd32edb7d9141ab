"""What is loaded is freed once, when nobody runs it any more.

A thread that is inside a runtime's native code while the model is freed, or while the interpreter goes away, takes the process down with
it. So a model is freed when no call runs in it any more, every open one is closed before the process ends, and a fork, which has
the runtime's memory but not its threads, can't use or free it.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar

from edgepose.errors import InputError

__all__ = ["Loaded", "SessionInfo", "loading"]

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.05
_CLOSED = "this session is closed; load the model again"
_ENDED = "the process is ending: no model is loaded or run any more"
_FORKED = (
    "this session was loaded before the process forked: only the parent can use it. Load the model in the child, and start that with "
    "multiprocessing's 'spawn' or 'forkserver' method: a forked one lacks the runtime's threads"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What really runs.

    Attributes:
        runtime: name of the runtime, as in ``edgepose devices``.
        version: version of its package.
        requested: the device string that was asked for.
        device: the device that runs, in the runtime's own words.
        threads: CPU threads asked for, or ``None`` where the runtime decides.
        batch: the batch size that the file is compiled for, or ``None`` where any runs.
        details: more that the runtime says of itself, e.g. the inference precision.
        streams: calls that run at the same time; more of them wait for each other.
    """

    runtime: str
    version: str
    requested: str
    device: str
    threads: int | None
    batch: int | None
    details: dict[str, str] = field(default_factory=dict)
    streams: int = 1

    def __str__(self) -> str:
        return f"{self.runtime} {self.version} ({self.device})"


class _Freeable(Protocol):
    info: SessionInfo

    def close(self) -> None: ...


_Engine = TypeVar("_Engine", bound=_Freeable)
_Value = TypeVar("_Value")
_Result = TypeVar("_Result")


class Loaded(Generic[_Engine]):
    """A model that a runtime has loaded, from then until it is freed.

    Usable from several threads at once. A context manager. It can't be pickled or copied, and belongs to the process that loaded it: after
    a fork, the parent's goes on and the child's refuses.

    Args:
        engine: what the runtime gave; its ``info`` says what really runs.
    """

    def __init__(self, engine: _Engine) -> None:
        self.info = engine.info
        self._engine: _Engine | None = engine
        # Why calls are refused; empty while they aren't.
        self._refusal = _ENDED if _PROCESS.ending else ""
        # A key of its own for each running call → its thread.
        self._running: dict[object, int] = {}
        self._idle = threading.Condition()
        _PROCESS.sessions.add(self)

    def _call(self, work: Callable[[_Engine, _Value], _Result], value: _Value) -> _Result:
        """Run ``work`` while the model isn't freed.

        Raises:
            InputError: it is closed.
        """
        call = object()
        # Announced before looking, as close() refuses before looking: one of the two sees the other. Python takes no signal between
        # this line and the next, nor on the way into ``finally``.
        self._running[call] = threading.get_ident()
        try:
            engine = self._engine
            if self._refusal or engine is None:
                raise InputError(self._refusal or _CLOSED)
            return work(engine, value)
        finally:
            del self._running[call]
            if self._refusal:
                self._free()

    def close(self) -> None:
        """Free the model, after the calls that are running. New ones are refused. Closing twice is allowed.

        Called from within a running call (by a signal handler, say), it doesn't wait: the model is freed when that call ends.
        """
        self._refuse(_CLOSED)
        me = threading.get_ident()
        with self._idle:
            while any(thread != me for thread in list(self._running.values())):
                self._idle.wait(_LOOK_AGAIN_S)
        self._free()

    def __reduce__(self) -> NoReturn:
        raise InputError(
            f"a {type(self).__name__} can't be pickled or copied: it is a model in this process's memory. Pass the file's path on, and "
            "load it there"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why

    def _free(self) -> None:
        """Free the model unless a call runs, which then does it. Freeing counts as a call: who closes waits for it, too."""
        call = object()
        with self._idle:
            if not self._running and self._engine is not None:
                self._running[call] = threading.get_ident()
                try:
                    self._engine.close()
                finally:
                    self._engine = None
                    del self._running[call]
            self._idle.notify_all()

    def _abandon(self) -> None:
        """In a fork: refuse, and leave the model to lie."""
        self._refusal = _FORKED
        self._running.clear()
        self._idle = threading.Condition()
        engine, self._engine = self._engine, None
        if engine is not None:
            # Its destructor would wait for threads that only the parent has: one reference more than there are keeps it from running.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


class _Process:
    """What of this process's runtimes is in use."""

    def __init__(self) -> None:
        self.sessions: weakref.WeakSet[Loaded[Any]] = weakref.WeakSet()
        self.ending = False
        self._loading: dict[object, int] = {}
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_fork)

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Keep the process from ending while a model is read and compiled, and refuse to begin once it is ending.

        Raises:
            InputError: it is ending.
        """
        call = object()
        self._loading[call] = threading.get_ident()
        try:
            if self.ending:
                raise InputError(_ENDED)
            yield
        finally:
            del self._loading[call]

    def _end(self) -> None:
        """Close what is open. Of other threads only daemons are left here, and those may be anywhere."""
        self.ending = True
        for session in list(self.sessions):
            session._refuse(_ENDED)
        me, waiting = threading.get_ident(), threading.Event()
        while any(thread != me for thread in list(self._loading.values())):
            waiting.wait(_LOOK_AGAIN_S)
        for session in list(self.sessions):
            try:
                session.close()
            except Exception:  # each runtime has exception types of its own, and the others are to be closed too
                _LOG.exception("closing %s failed", session.info)

    def _begin_fork(self) -> None:
        self._loading.clear()
        for session in list(self.sessions):
            session._abandon()


_PROCESS = _Process()
loading = _PROCESS.loading
"""Put around what loads a model or runs it without a ``Loaded``; see ``_Process.loading``."""
