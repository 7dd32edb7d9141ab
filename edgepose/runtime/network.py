"""A network of any kind on a runtime: arrays in, arrays out. ``Session`` is that of a pose model; a detector's is this."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from edgepose.errors import ArtifactError, DeviceError, MissingDependencyError
from edgepose.runtime.ports import Port
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo, loading

__all__ = ["Network", "NetworkRuntime", "open_network"]

# Suffix → runtimes that open it, the preferred one first.
_RUNTIMES = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}


class Network(Protocol):
    """A loaded network.

    Attributes:
        info: what really runs.
        inputs: names, dtypes and shapes.
        outputs: names, dtypes and shapes.
    """

    info: SessionInfo
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def run(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute all outputs of a network with one input; safe to call from several threads at once."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


@runtime_checkable
class NetworkRuntime(Protocol):
    """A runtime that opens networks of any kind."""

    def version(self) -> str:
        """Version of the installed package."""
        ...

    def open_network(self, path: Path, request: DeviceRequest) -> Network:
        """Load a network.

        Raises:
            DeviceError: the device isn't there.
            ArtifactError: the runtime rejects the file.
        """
        ...


def open_network(path: Path, request: DeviceRequest) -> Network:
    """Open a network's file on a runtime: that which the request names, or the first that is installed.

    Raises:
        ArtifactError: no such file, or one that no runtime opens.
        DeviceError: the runtime isn't installed, doesn't open such files, or lacks the device.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    names = _RUNTIMES.get(path.suffix.lower())
    if names is None:
        raise ArtifactError(f"{path}: its suffix is {path.suffix!r}; allowed: {', '.join(_RUNTIMES)}")
    if request.runtime is not None:
        if request.runtime not in names:
            raise DeviceError(f"runtime {request.runtime!r} doesn't open {path.name}; it runs on: {', '.join(names)}")
        names = (request.runtime,)
    missing: MissingDependencyError | None = None
    for name in names:
        runtime = importlib.import_module(f"edgepose.runtime.{name}").RUNTIME
        if not isinstance(runtime, NetworkRuntime):
            raise DeviceError(f"runtime {name!r} opens pose models alone")
        try:
            runtime.version()
        except MissingDependencyError as error:
            missing = missing or error
            continue
        with loading():
            return runtime.open_network(path, request)
    raise missing or DeviceError(f"no runtime on this machine opens {path.name}")
