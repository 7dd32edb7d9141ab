"""Opening and running a file from somebody else in a process of its own: ``load(path, untrusted=True)``.

``open_artifact`` refuses what isn't a ViTPose of edgepose, but behind it stand parsers and kernels of millions of lines in C++. Here those
run in a child (``sandbox``) that can't write a file, start a program or open a socket, and is ended when it takes too long; the parent
reads nothing from it but numbers and text.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose import errors
from edgepose.artifact import Artifact
from edgepose.document import from_document, parse_json
from edgepose.errors import ArtifactError, DeviceError, EdgePoseError, InputError
from edgepose.runtime import frames
from edgepose.runtime.request import AUTO, DeviceRequest
from edgepose.runtime.session import Session, SessionInfo
from edgepose.spec import ModelSpec

__all__ = ["UntrustedEngine", "UntrustedLimits", "inspect_untrusted", "load_untrusted"]

_CPU = "cpu"
_STARTUP_SECONDS = 120.0
_MAX_FILES = 64
_RAISED = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, EdgePoseError) and kind is not errors.MissingDependencyError
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UntrustedLimits:
    """What the child may take.

    Attributes:
        memory_bytes: of data; ``None``: 2 GiB, and six times the size of the file, which covers every ViTPose on every runtime.
        open_seconds: for starting, checking the file and loading it.
        call_seconds: for one call, on the clock; the same for each processor, in processor time.
    """

    memory_bytes: int | None = None
    open_seconds: float = 60.0
    call_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.memory_bytes is not None and self.memory_bytes < 1 << 26:
            raise InputError(f"memory_bytes is {self.memory_bytes}; allowed: {1 << 26} and more")
        if min(self.open_seconds, self.call_seconds) <= 0:
            raise InputError(f"open_seconds is {self.open_seconds} and call_seconds {self.call_seconds}; both must be above zero")


def load_untrusted(path: str | Path, request: DeviceRequest, limits: UntrustedLimits | None = None) -> Session:
    """Open a file in a child and return a session that runs it there.

    Raises:
        ArtifactError: see ``load``; or the child died, or took too long.
        DeviceError: not on Linux, or another device than the CPU was asked for.
        InputError: several streams were asked for.
    """
    if request.device not in (AUTO, _CPU):
        raise DeviceError(f"an untrusted file runs on the CPU alone, where no driver reads it; the device asked for is {request.device!r}")
    if request.streams not in (None, 1):
        raise InputError(f"an untrusted file runs one call at a time; {request.streams} streams were asked for")
    child = _Child(Path(path), limits or UntrustedLimits())
    try:
        facts = child.open(
            {"run": True, "device": request.text, "threads": request.threads, "options": dict(request.options)},
        )
        spec = _read_spec(facts, path)
        info = from_document(SessionInfo, facts.get("info"), where="the session's facts")
    except BaseException:
        child.end()
        raise
    info = replace(info, details=info.details | {"untrusted": str(facts.get("taken", ""))}, streams=1)
    return Session(UntrustedEngine(child, info, spec), spec)


def inspect_untrusted(path: str | Path, limits: UntrustedLimits | None = None) -> Artifact:
    """Do what ``open_artifact`` does, in a child.

    Raises:
        ArtifactError: see ``open_artifact``; or the child died, or took too long.
        DeviceError: not on Linux.
    """
    child = _Child(Path(path), limits or UntrustedLimits())
    try:
        facts = child.open({"run": False, "device": AUTO, "threads": None, "options": {}})
        spec = _read_spec(facts, path)
    finally:
        child.end()
    files = facts.get("files")
    if not isinstance(files, list) or len(files) > _MAX_FILES or not all(isinstance(file, str) for file in files):
        raise ArtifactError(f"{path}: the process that opened it gave no list of files")
    return Artifact(
        path=Path(path), format=str(facts.get("format")), spec=spec, files=tuple(map(Path, files)), sha256=str(facts.get("sha256"))
    )


class UntrustedEngine:
    """A model in a child. One call at a time; others wait."""

    def __init__(self, child: "_Child", info: SessionInfo, spec: ModelSpec) -> None:
        self.info = info
        self._child = child
        self._shape = spec.heatmap_shape

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        return self._child.run(batch, (len(batch), *self._shape))

    def close(self) -> None:
        """End the child."""
        self._child.end()


class _Child:
    """The process, and the two pipes to it."""

    def __init__(self, path: Path, limits: UntrustedLimits) -> None:
        if not sys.platform.startswith("linux"):
            raise DeviceError(
                f"untrusted files are opened in isolation on Linux alone; this is {sys.platform}. Open the file in a container"
            )
        self._path = path
        self._limits = limits
        self._lock = threading.Lock()
        self._ended = ""
        self._memory_bytes = 0
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # The child finds the packages where this process finds them, and nothing else of its surroundings.
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "OMP_NUM_THREADS", "ORT_DISABLE_TELEMETRY")
        surroundings = {name: os.environ[name] for name in kept if name in os.environ}
        surroundings |= {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path), "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: PTH109  # an entry as Python means it
        try:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter and a module of ours
                [sys.executable, "-m", "edgepose.runtime.sandbox", str(theirs_in), str(theirs_out)],
                pass_fds=(theirs_in, theirs_out),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=surroundings,
            )
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have the file opened; return what the child says of it."""
        size = _size(self._path)
        self._memory_bytes = self._limits.memory_bytes or (2 << 30) + 6 * size
        request |= {"path": str(self._path), "memory_bytes": self._memory_bytes, "call_seconds": self._limits.call_seconds}
        seconds = self._limits.open_seconds
        letter, content = self._ask(b"O", (json.dumps(request).encode(),), {b"I": frames.MAX_JSON_BYTES}, seconds, "opened")
        if letter == b"E":
            raise self._error(content)
        facts = parse_json(bytes(content), where="the child's answer")
        if not isinstance(facts, dict):
            raise ArtifactError(f"{self._path}: the process that opened it gave no facts")
        return facts

    def run(self, batch: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Have one batch run."""
        limits = {b"H": 16 + 4 * int(np.prod(shape, dtype=np.int64))}
        with self._lock:
            letter, content = self._ask(b"R", frames.pack_array(batch), limits, self._limits.call_seconds, "run")
        if letter == b"E":
            raise self._error(content)
        try:
            heatmaps = frames.unpack_array(content)
        except frames.ChannelClosedError:
            raise self._gone("run") from None
        return heatmaps

    def end(self) -> None:
        """Kill the child and close the pipes."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for descriptor in (self._to, self._from):
            if descriptor >= 0:
                os.close(descriptor)
        self._to = self._from = -1
        self._ended = self._ended or "closed"

    def _ask(
        self, letter: bytes, parts: tuple[bytes | memoryview, ...], limits: Mapping[bytes, int], seconds: float, what: str
    ) -> tuple[bytes, bytearray]:
        if self._ended:
            raise EdgePoseError(f"{self._path}: the process that ran it is gone ({self._ended}); load the file again")
        try:
            frames.send(self._to, letter, *parts, seconds=seconds)
            return frames.receive(self._from, {**limits, b"E": frames.MAX_JSON_BYTES}, seconds=seconds)
        except frames.ChannelTimeoutError:
            self._process.kill()
            self._ended = f"it took more than {seconds:g} s"
            raise ArtifactError(f"{self._path}: took more than {seconds:g} s to be {what}; its process was ended") from None
        except frames.ChannelClosedError:
            raise self._gone(what) from None

    def _gone(self, what: str) -> EdgePoseError:
        """Say how the child ended."""
        self._process.kill() if self._process.poll() is None and not self._wait() else None
        code = self._process.wait()
        reason = "it broke off"
        if code == -signal.SIGXCPU:
            reason = f"it computed for more than {self._limits.call_seconds:g} s on every processor"
        elif code < 0:
            reason = f"signal {signal.Signals(-code).name}: a crash, or its limit of memory"
        elif code:
            reason = f"exit code {code}: it couldn't be started, or ran out of memory"
        self._ended = reason
        return ArtifactError(f"{self._path}: the process in which it was {what} ended: {reason}")

    def _wait(self) -> bool:
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _error(self, content: bytearray) -> EdgePoseError:
        """Make the child's error one of ours."""
        document = parse_json(bytes(content), where="the child's error")
        fields = document if isinstance(document, dict) else {}
        message = str(fields.get("message", ""))
        kind = _RAISED.get(str(fields.get("type")))
        if kind is not None:
            return kind(message)
        if fields.get("type") == "MemoryError":
            return ArtifactError(f"{self._path}: needs more memory than its process may have ({self._memory_bytes >> 20} MiB)")
        if fields.get("type") == "MissingDependencyError":
            return DeviceError(message)
        return ArtifactError(f"{self._path}: failed in its process: {fields.get('type')}: {message}")


def _read_spec(facts: Mapping[str, Any], path: str | Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(str(facts.get("spec")), where="the embedded spec")
    except errors.SpecError as error:
        raise ArtifactError(f"{path}: {error}") from None


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            return sum(file.stat().st_size for _, file in zip(range(_MAX_FILES), path.rglob("*"), strict=False) if file.is_file())
        neighbours = (path, path.with_suffix(".bin"), path.with_name(path.name + ".data"))
        return sum(file.stat().st_size for file in neighbours if file.is_file())
    except OSError:
        return 0
