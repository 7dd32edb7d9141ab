"""OpenVINO: IR files on Intel and Arm CPUs, Intel GPUs and NPUs.

Devices carry OpenVINO's own names (``CPU``, ``GPU``, ``GPU.1``, ``NPU``); ``auto`` is the CPU where there is nothing else, and OpenVINO's
AUTO device where there is a choice. Two of OpenVINO's defaults are overruled, because they trade the model's outputs or the meaning of
``info.device`` for speed: CPUs compute in float32 even where they have bfloat16, and AUTO neither starts on another device than the one it
has chosen nor moves to another one later. ``options`` overrule that in turn.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, InputError
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.profile import Profile
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo
from edgepose.runtime.signal_stack import kept_signal_stack
from edgepose.telemetry import without_intel_telemetry

__all__ = ["RUNTIME", "OpenVINOEngine", "OpenVINONetwork", "OpenVINORuntime", "import_openvino"]

_EXTRA = "openvino"
_PURPOSE = "running an OpenVINO file"
_CPU, _AUTO = "CPU", "AUTO"
# With several GPUs OpenVINO numbers them; its own name for the first is then both GPU and GPU.0.
_ALIASES = {"gpu": ("GPU.0",), "npu": ("NPU.0",)}


class OpenVINORuntime:
    """The ``openvino`` package."""

    def version(self) -> str:
        """Version of the package."""
        return find_version("openvino", extra=_EXTRA, purpose=_PURPOSE)

    @kept_signal_stack()
    def devices(self) -> tuple[str, ...]:
        """OpenVINO's devices, and AUTO, which chooses among them."""
        return _list_devices(import_openvino().Core())

    @kept_signal_stack()
    def open(self, artifact: Artifact, request: DeviceRequest) -> "OpenVINOEngine":
        """Load a model and compile it for a device."""
        model, compiled, info = self._open(artifact.path, request)
        inputs, outputs = _describe(model.inputs), _describe(model.outputs)
        return OpenVINOEngine(compiled, replace(info, batch=check_ports(artifact, inputs, outputs)), inputs, outputs)

    @kept_signal_stack()
    def open_network(self, path: Path, request: DeviceRequest) -> "OpenVINONetwork":
        """Load a network and compile it for a device."""
        model, compiled, info = self._open(path, request)
        return OpenVINONetwork(compiled, info, _describe(model.inputs), _describe(model.outputs))

    def _open(self, path: Path, request: DeviceRequest) -> tuple[Any, Any, SessionInfo]:
        core = import_openvino().Core()
        devices = _list_devices(core)
        preferred = _CPU if devices == (_CPU, _AUTO) else _AUTO
        device = request.choose(devices, runtime="openvino", preferred=preferred, aliases=_ALIASES)
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise ArtifactError(f"{path}: OpenVINO can't read the model: {_reason(error)}") from None
        compiled = _compile(core, model, device, path, request)
        info = SessionInfo(
            runtime="openvino",
            version=self.version(),
            requested=request.text,
            device=", ".join(compiled.get_property("EXECUTION_DEVICES")),
            threads=request.threads if device in (_CPU, _AUTO) else None,
            batch=None,
            details=_details(compiled, device),
            streams=max(1, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if request.streams != 1 else 1,
        )
        return model, compiled, info

    def profile(self, artifact: Artifact, request: DeviceRequest, batch: NDArray[np.float32], calls: int) -> Profile:
        """OpenVINO's own counters, which its compiler adds to the model (``PERF_COUNT``)."""
        engine = self.open(artifact, replace(request, options={**request.options, "PERF_COUNT": "YES"}))
        engine.infer(batch)
        times: dict[str, tuple[str, str, float]] = {}
        for _ in range(calls):
            for node in engine.infer_profiled(batch):
                kind = node.node_type if node.exec_type in ("", "undef") else f"{node.node_type} ({node.exec_type})"
                before = times.get(node.node_name, (kind, engine.info.device, 0.0))[2]
                times[node.node_name] = (kind, engine.info.device, before + node.real_time.total_seconds() / calls)
        engine.close()
        return Profile.from_times("OpenVINO PERF_COUNT", times)


class OpenVINONetwork:
    """A compiled network, and as many infer requests as threads have called it at once: OpenVINO runs those on its streams."""

    def __init__(self, compiled: Any, info: SessionInfo, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        self.info = info
        self.inputs = inputs
        self.outputs = outputs
        self._compiled = compiled
        self._idle: list[Any] = []

    def run(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute all outputs. The input is used where it lies; the outputs are copied out of the request."""
        # Popping from and appending to a list are atomic. A request whose call failed isn't used again.
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        found = request.infer([values], share_inputs=True)
        outputs = tuple(found[index] for index in range(len(self.outputs)))
        self._idle.append(request)
        return outputs

    def close(self) -> None:
        """Free the network and its requests."""
        self._idle.clear()
        self._compiled = None


class OpenVINOEngine(OpenVINONetwork):
    """The network of a pose model."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        heatmaps: NDArray[np.float32] = self.run(batch)[0]
        return heatmaps

    def infer_profiled(self, batch: NDArray[np.float32]) -> list[Any]:
        """Run one batch; return OpenVINO's ``ProfilingInfo`` of each operator that ran. Needs the option ``PERF_COUNT``."""
        request = self._compiled.create_infer_request()
        request.infer([batch], share_inputs=True)
        return [node for node in request.profiling_info if node.status.name == "EXECUTED"]


def import_openvino() -> Any:
    """Import ``openvino`` without its telemetry."""
    with without_intel_telemetry():
        return import_package("openvino", extra=_EXTRA, purpose=_PURPOSE)


def _list_devices(core: Any) -> tuple[str, ...]:
    return (*core.available_devices, _AUTO)


def _describe(ports: Sequence[Any]) -> list[Port]:
    return [
        Port(name=port.any_name if port.names else "", dtype=np.dtype(port.element_type.to_dtype()).name, shape=_shape(port.partial_shape))
        for port in ports
    ]


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.rank.is_dynamic else tuple(None if side.is_dynamic else side.get_length() for side in shape)


def _compile(core: Any, model: Any, device: str, path: Path, request: DeviceRequest) -> Any:
    for_cpu: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if request.threads is not None:
        for_cpu["INFERENCE_NUM_THREADS"] = request.threads
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT" if request.streams is None else "LATENCY"}
    if device != _AUTO and request.streams not in (None, 1):
        settings["NUM_STREAMS"] = request.streams
    if device == _CPU:
        settings |= for_cpu
    elif device == _AUTO:
        settings |= {"ENABLE_STARTUP_FALLBACK": False, "ENABLE_RUNTIME_FALLBACK": False, "DEVICE_PROPERTIES": {_CPU: for_cpu}}
    try:
        return core.compile_model(model, device, settings | dict(request.options))
    except RuntimeError as error:
        _blame_options(core, device, request, error)
        raise ArtifactError(f"{path}: OpenVINO can't compile the model for {device}: {_reason(error)}") from None


def _blame_options(core: Any, device: str, request: DeviceRequest, error: RuntimeError) -> None:
    """Raise InputError if an option is why a compilation failed: OpenVINO names the property it stumbled over."""
    named = [name for name in request.options if name in str(error)]
    if named:
        supported = core.get_property(device, "SUPPORTED_PROPERTIES")
        settable = sorted(name for name, access in supported.items() if access == "RW")
        given = ", ".join(f"{name}={request.options[name]}" for name in named)
        raise InputError(f"OpenVINO's {device} rejects the option {given}: {_reason(error)}; it supports: {', '.join(settable)}") from None


def _reason(error: RuntimeError) -> str:
    """OpenVINO's message without the source lines it passed through."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(told) or str(error)


def _details(compiled: Any, device: str) -> dict[str, str]:
    properties: dict[str, Any]
    if device == _AUTO:
        properties = next(iter(compiled.get_property("DEVICE_PROPERTIES").values()), {})
    else:
        properties = {name: compiled.get_property(name) for name in compiled.get_property("SUPPORTED_PROPERTIES")}
    details = {}
    if "INFERENCE_PRECISION_HINT" in properties:
        details["inference_precision"] = properties["INFERENCE_PRECISION_HINT"].get_type_name()
    for key, name in (("streams", "NUM_STREAMS"), ("threads", "INFERENCE_NUM_THREADS")):
        if name in properties:
            details[key] = str(properties[name])
    return details


RUNTIME = OpenVINORuntime()
