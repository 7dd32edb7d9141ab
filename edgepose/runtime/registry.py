"""Which runtimes there are, which formats they open, and ``load``."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact, open_artifact
from edgepose.errors import DeviceError, MissingDependencyError
from edgepose.runtime.profile import Profile, ProfilingRuntime
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import Engine, Session, loading
from edgepose.runtime.untrusted import UntrustedLimits, load_untrusted

__all__ = ["RUNTIMES", "Runtime", "RuntimeEntry", "RuntimeReport", "list_runtimes", "load", "profile"]


class Runtime(Protocol):
    """One runtime: the object ``RUNTIME`` in ``edgepose.runtime.NAME``. Its methods import the runtime's package, the module doesn't."""

    def version(self) -> str:
        """Version of the installed package.

        Raises:
            MissingDependencyError: it isn't installed.
            DeviceError: it can't run on this operating system.
        """
        ...

    def devices(self) -> tuple[str, ...]:
        """Names of the devices on this machine, as ``load`` takes them after the colon."""
        ...

    def open(self, artifact: Artifact, request: DeviceRequest) -> Engine:
        """Load a model.

        Raises:
            DeviceError: the device isn't there.
            ArtifactError: the runtime rejects the file.
            InputError: an option that the runtime doesn't know.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEntry:
    """A line of the table below."""

    name: str
    formats: tuple[str, ...]

    def get(self) -> Runtime:
        """Import the runtime's module."""
        runtime: Runtime = importlib.import_module(f"edgepose.runtime.{self.name}").RUNTIME
        return runtime


# For each format, the first runtime that is installed opens it, unless the device string names one.
RUNTIMES = (
    RuntimeEntry(name="openvino", formats=("openvino",)),
    RuntimeEntry(name="onnxruntime", formats=("onnx",)),
    RuntimeEntry(name="litert", formats=("litert",)),
    RuntimeEntry(name="coreml", formats=("coreml",)),
    RuntimeEntry(name="mil", formats=("coreml",)),
    RuntimeEntry(name="torch", formats=("safetensors",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeReport:
    """What ``edgepose devices`` shows of a runtime.

    Attributes:
        name: as used in device strings.
        formats: the artifact formats it opens.
        version: of the installed package, or ``None``.
        devices: names of its devices here.
        reason: why it can't be used, or empty.
    """

    name: str
    formats: tuple[str, ...]
    version: str | None
    devices: tuple[str, ...] = ()
    reason: str = ""


def list_runtimes() -> tuple[RuntimeReport, ...]:
    """Look at every runtime on this machine."""
    return tuple(_report(entry) for entry in RUNTIMES)


def load(
    path: str | Path,
    device: str = "auto",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
    streams: int | None = 1,
    *,
    untrusted: bool | UntrustedLimits = False,
) -> Session:
    """Open a model file on a runtime.

    The file is recognised by its content, and its content hash is checked before the runtime sees it.

    Args:
        path: an OpenVINO ``.xml``, ONNX, TFLite, Core ML ``.mlpackage`` or edgepose ``.safetensors`` file.
        device: ``[runtime:]device``, such as ``auto``, ``cpu``, ``gpu``, ``npu``, ``openvino:gpu.1`` or ``onnxruntime:cuda``.
        threads: CPU threads; ``None`` leaves it to the runtime.
        options: settings passed to the runtime as they are, such as ``{"PERFORMANCE_HINT": "THROUGHPUT"}`` for OpenVINO.
        streams: calls that should run at the same time, sharing the threads; 1 gives the lowest latency, ``None`` leaves it to the
            runtime, for throughput. ``info.streams`` says what it became.
        untrusted: open and run the file in a process of its own, with limits on memory, time and files, without network; on Linux, on the
            CPU. ``True`` takes the default limits. See SECURITY.md.

    Raises:
        ArtifactError: the file can't be used; see ``open_artifact``. Or its own process died, or took too long.
        DeviceError: the runtime or device isn't on this machine, or runs fewer calls at once; the message names what there is.
        InputError: a malformed device string, or an option that the runtime doesn't know.
    """
    request = DeviceRequest.parse(device, threads=threads, options=options, streams=streams)
    if untrusted:
        return load_untrusted(path, request, untrusted if isinstance(untrusted, UntrustedLimits) else None)
    artifact = open_artifact(path)
    with loading():
        session = Session(_choose(artifact, request).open(artifact, request), artifact.spec)
    if streams is not None and session.info.streams < streams:
        session.close()
        raise DeviceError(f"{session.info} runs {session.info.streams} call(s) at a time; {streams} streams were asked for")
    return session


def profile(
    path: str | Path,
    batch: NDArray[np.float32],
    *,
    calls: int = 10,
    device: str = "auto",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Profile:
    """Load a model with the runtime's own profiler switched on and run it.

    Args:
        path: as for ``load``.
        batch: what one call gets: (N, 3, H, W) float32, with N the batch size that the file is compiled for.
        calls: how many calls to average over.
        device: as for ``load``.
        threads: as for ``load``.
        options: as for ``load``.

    Raises:
        ArtifactError: see ``load``.
        DeviceError: see ``load``; or the runtime has no profiler.
        InputError: see ``load``.
    """
    request = DeviceRequest.parse(device, threads=threads, options=options)
    artifact = open_artifact(path)
    runtime = _choose(artifact, request)
    if not isinstance(runtime, ProfilingRuntime):
        raise DeviceError(f"the runtime that opens {artifact.path.name} has no profiler for its operators")
    with loading():
        return runtime.profile(artifact, request, batch, calls)


def _choose(artifact: Artifact, request: DeviceRequest) -> Runtime:
    entries = [entry for entry in RUNTIMES if artifact.format in entry.formats]
    if request.runtime is not None:
        named = [entry for entry in entries if entry.name == request.runtime]
        if not named:
            allowed = ", ".join(entry.name for entry in entries)
            raise DeviceError(f"runtime {request.runtime!r} doesn't open {artifact.format} files; {artifact.path.name} runs on: {allowed}")
        entries = named
    reasons = []
    for entry in entries:
        runtime = entry.get()
        try:
            runtime.version()
        except MissingDependencyError:
            if len(entries) == 1:
                raise
            reasons.append(f"{entry.name}: not installed")
        except DeviceError as error:
            reasons.append(str(error))
        else:
            return runtime
    raise DeviceError(f"no runtime on this machine opens {artifact.path.name}: " + "; ".join(reasons))


def _report(entry: RuntimeEntry) -> RuntimeReport:
    runtime = entry.get()
    try:
        return RuntimeReport(name=entry.name, formats=entry.formats, version=runtime.version(), devices=runtime.devices())
    except DeviceError as error:
        return RuntimeReport(name=entry.name, formats=entry.formats, version=None, reason=str(error))
