"""A network of any kind on a runtime: arrays in, arrays out. ``Session`` is that of a pose model; a detector's is this."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from edgepose.errors import DeviceError, EdgePoseError, MissingDependencyError
from edgepose.runtime.lifetime import Loaded, SessionInfo, loading
from edgepose.runtime.ports import Port
from edgepose.runtime.request import DeviceRequest

__all__ = ["Network", "NetworkEngine", "NetworkRuntime", "open_network"]

_RUNTIMES: Mapping[str, Sequence[str]] = MappingProxyType(
    {"onnx": ("onnxruntime", "openvino"), "openvino": ("openvino",), "litert": ("litert",), "coreml": ("coreml", "mil")}
)
"""Format → runtimes that open it, the preferred one first."""


class NetworkEngine(Protocol):
    """What a runtime implements: one loaded network of one input.

    Attributes:
        info: what really runs.
        inputs: names, dtypes and shapes.
        outputs: names, dtypes and shapes.
    """

    info: SessionInfo
    inputs: Sequence[Port]
    outputs: Sequence[Port]

    def run(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute all outputs; safe to call from several threads at once.

        Args:
            values: the input, C-contiguous.

        Returns:
            The outputs in the order of ``outputs``, in memory of their own.
        """
        ...

    def close(self) -> None:
        """Free it."""
        ...


@runtime_checkable
class NetworkRuntime(Protocol):
    """A runtime that opens networks of any kind."""

    def version(self) -> str:
        """Version of the installed package; see ``Runtime``."""
        ...

    def open_network(self, path: Path, request: DeviceRequest) -> NetworkEngine:
        """Load a network.

        Raises:
            DeviceError: the device isn't there.
            ArtifactError: the runtime rejects the file.
            InputError: an option that the runtime doesn't know.
        """
        ...


class Network(Loaded[NetworkEngine]):
    """A loaded network, closed and freed as a ``Session`` is.

    Attributes:
        info: what really runs.
        inputs: names, dtypes and shapes.
        outputs: names, dtypes and shapes.
    """

    def __init__(self, engine: NetworkEngine) -> None:
        super().__init__(engine)
        self.inputs = tuple(engine.inputs)
        self.outputs = tuple(engine.outputs)

    def run(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute all outputs.

        Args:
            values: the input, C-contiguous, of the dtype and shape that ``inputs`` says.

        Raises:
            InputError: it is closed.
            EdgePoseError: the runtime failed.
        """
        return self._call(self._run, values)

    def _run(self, engine: NetworkEngine, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        try:
            return engine.run(values)
        except EdgePoseError:
            raise
        except Exception as error:  # each runtime has exception types of its own
            raise EdgePoseError(f"{self.info} failed on an input of shape {values.shape}: {error}") from error


def open_network(path: Path, form: str, request: DeviceRequest) -> Network:
    """Open a network's file on a runtime: that which the request names, or the first that is installed.

    Args:
        path: the file, or the package folder.
        form: ``onnx``, ``openvino``, ``litert`` or ``coreml``.
        request: where it should run.

    Raises:
        ArtifactError: the runtime rejects the file.
        DeviceError: the runtime isn't installed, doesn't open such files, or lacks the device.
    """
    names = _RUNTIMES.get(form, ())
    if request.runtime is not None:
        if request.runtime not in names:
            raise DeviceError(f"runtime {request.runtime!r} doesn't open {path.name}; it runs on: {', '.join(names) or 'none'}")
        names = (request.runtime,)
    missing: MissingDependencyError | None = None
    reasons = []
    for name in names:
        runtime = importlib.import_module(f"edgepose.runtime.{name}").RUNTIME
        if not isinstance(runtime, NetworkRuntime):
            raise DeviceError(f"runtime {name!r} opens pose models alone")
        try:
            runtime.version()
        except MissingDependencyError as error:
            missing = missing or error
        except DeviceError as error:  # not on this operating system
            reasons.append(str(error))
        else:
            with loading():
                return Network(runtime.open_network(path, request))
    raise missing or DeviceError(f"no runtime on this machine opens {path.name}: {'; '.join(reasons) or 'none reads such files'}")
