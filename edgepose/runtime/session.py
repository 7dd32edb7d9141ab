"""``Session``: one checked way to run a model, whatever runtime is behind it.

A thread that is inside a runtime's native code while the model is freed, or while the interpreter goes away, takes the process down with
it. So a session is freed when no call runs in it any more, every open one is closed before the process ends, and a fork, which has
the runtime's memory but not its threads, can't use or free it.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import EdgePoseError, InputError
from edgepose.spec import ModelSpec

__all__ = ["Engine", "Session", "SessionInfo", "loading"]

_LOG = logging.getLogger(__name__)
MAX_BATCH = 64
"""Largest batch that is handed to a runtime at once: bounds the memory of one call."""

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


class Engine(Protocol):
    """What a runtime implements: one loaded model. ``Session`` has checked and cut the batches that it gets."""

    info: SessionInfo

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; safe to call from several threads at once.

        Args:
            batch: (n, 3, H, W), C-contiguous. ``n`` is ``info.batch`` where that is set, else 1 to ``MAX_BATCH``.

        Returns:
            Heatmaps (n, K, h, w) in memory of their own.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Session:
    """A loaded model: normalized crops in, heatmaps out.

    Usable from several threads at once; where the runtime allows only one call at a time, calls wait for each other. A context manager.
    It can't be pickled or copied, and belongs to the process that loaded it: after a fork, the parent's goes on and the child's refuses.

    Attributes:
        spec: the model's spec, as it stands in the file.
        info: runtime, version and the device that really runs.
    """

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        self.spec = spec
        self.info = engine.info
        self._engine: Engine | None = engine
        # Why calls are refused; empty while they aren't.
        self._refusal = _ENDED if _PROCESS.ending else ""
        # A key of its own for each running call → its thread.
        self._running: dict[object, int] = {}
        self._idle = threading.Condition()
        _PROCESS.sessions.add(self)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute heatmaps.

        Args:
            batch: (N, 3, H, W) float32, RGB, normalized as ``spec.input`` says; N may be any number, whatever the file was compiled for.

        Returns:
            (N, K, H/4, W/4) float32 heatmaps.

        Raises:
            InputError: the batch has another shape or dtype, or the session is closed.
            EdgePoseError: the runtime failed, or gave another shape than the spec says.
        """
        call = object()
        # Announced before looking, as close() refuses before looking: one of the two sees the other. Python takes no signal between
        # this line and the next, nor on the way into ``finally``.
        self._running[call] = threading.get_ident()
        try:
            engine = self._engine
            if self._refusal or engine is None:
                raise InputError(self._refusal or _CLOSED)
            return self._run(engine, batch)
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
            "a Session can't be pickled or copied: it is a model in this process's memory. Pass the file's path on, and load it there"
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

    def _run(self, engine: Engine, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._check(batch)
        size = self.info.batch or MAX_BATCH
        if len(batch) == size or (self.info.batch is None and 0 < len(batch) < size):
            return self._infer(engine, batch)
        heatmaps = np.empty((len(batch), *self.spec.heatmap_shape), np.float32)
        for start in range(0, len(batch), size):
            piece = batch[start : start + size]
            heatmaps[start : start + size] = self._infer(engine, self._pad(piece))[: len(piece)]
        return heatmaps

    def _check(self, batch: NDArray[np.float32]) -> None:
        if not isinstance(batch, np.ndarray) or batch.dtype != np.float32:
            kind = batch.dtype if isinstance(batch, np.ndarray) else type(batch).__name__
            raise InputError(
                f"the batch is {kind}; expected a float32 array of normalized crops (edgepose.crop makes them from uint8 images)"
            )
        if batch.ndim != 4 or batch.shape[1:] != self.spec.input_shape:
            expected = ", ".join(map(str, self.spec.input_shape))
            raise InputError(f"the batch has shape {batch.shape}; expected (N, {expected})")

    def _pad(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self.info.batch
        if size is None or len(piece) == size:
            return piece
        padded = np.zeros((size, *self.spec.input_shape), np.float32)
        padded[: len(piece)] = piece
        return padded

    def _infer(self, engine: Engine, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            heatmaps = engine.infer(np.ascontiguousarray(piece))
        except EdgePoseError:
            raise
        except Exception as error:  # each runtime has exception types of its own
            if self._refusal:
                raise InputError("this session was closed while it ran") from error
            raise EdgePoseError(f"{self.info} failed on a batch of shape {piece.shape}: {error}") from error
        if heatmaps.shape != (len(piece), *self.spec.heatmap_shape):
            raise EdgePoseError(
                f"{self.info} gave heatmaps of shape {heatmaps.shape}; the spec says {(len(piece), *self.spec.heatmap_shape)}"
            )
        return heatmaps


class _Process:
    """What of this process's runtimes is in use."""

    def __init__(self) -> None:
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
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
"""Put around what loads a model or runs it without a ``Session``; see ``_Process.loading``."""
