"""ONNX Runtime: ONNX files on whatever execution providers the installed package was built with.

A device is a provider: ``CUDAExecutionProvider`` is ``cuda``, ``DmlExecutionProvider`` is ``dml``, and so on; ``gpu`` and ``npu`` mean the
first of several. ONNX Runtime lists the providers it was *built* with, and learns only on loading whether the machine has the driver, so
``auto`` is the CPU: an accelerator is used when it is asked for. ONNX Runtime would then quietly carry on without it if it can't be
loaded; here that is an error, and operators that the provider leaves to the CPU are counted in ``info``. Some providers choose among
devices in turn, by an option of theirs: OpenVINO's ``device_type`` is the CPU unless it is given.

Options are ``session.…`` and the other dotted keys of ONNX Runtime's session configuration, the attributes of ``SessionOptions`` in
``_SESSION_ATTRIBUTES``, and, for devices other than the CPU, the provider's own options, which ``info.details`` repeats. ONNX Runtime
ignores dotted keys that it doesn't know, and so do some providers with theirs.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, EdgePoseError, InputError
from edgepose.files import temporary_folder
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.profile import Profile
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["RUNTIME", "OnnxRuntime", "OnnxRuntimeEngine", "OnnxRuntimeNetwork"]

_EXTRA = "onnx"
_PURPOSE = "running an ONNX file"
# One import package, published in several builds.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-silicon",
)
_SUFFIX = "ExecutionProvider"
_CPU = "cpu"
_CPU_PROVIDER = "CPUExecutionProvider"
_NOT_A_DEVICE = "azure"
_ALIASES = {
    "gpu": ("cuda", "rocm", "migraphx", "dml", "webgpu"),
    "npu": ("qnn", "vitisai"),
}
_ERRORS_ONLY = 3
_SESSION_ATTRIBUTES = (
    "graph_optimization_level",
    "execution_mode",
    "inter_op_num_threads",
    "enable_cpu_mem_arena",
    "enable_mem_pattern",
    "use_deterministic_compute",
)


class OnnxRuntime:
    """The ``onnxruntime`` package."""

    def version(self) -> str:
        """Version of the package."""
        return find_version("onnxruntime", extra=_EXTRA, purpose=_PURPOSE, distributions=_DISTRIBUTIONS)

    def devices(self) -> tuple[str, ...]:
        """The execution providers that the package was built with, by their short names."""
        return tuple(_list_providers(_import()))

    def open(self, artifact: Artifact, request: DeviceRequest) -> "OnnxRuntimeEngine":
        """Load a model on an execution provider."""
        session, info = self._open(artifact.path, request)
        batch = check_ports(artifact, _describe(session.get_inputs()), _describe(session.get_outputs()))
        return OnnxRuntimeEngine(session, replace(info, batch=batch))

    def open_network(self, path: Path, request: DeviceRequest) -> "OnnxRuntimeNetwork":
        """Load a network on an execution provider."""
        return OnnxRuntimeNetwork(*self._open(path, request))

    def _open(self, path: Path, request: DeviceRequest) -> tuple[Any, SessionInfo]:
        ort = _import()
        providers = _list_providers(ort)
        device = request.choose(tuple(providers), runtime="onnxruntime", preferred=_CPU, aliases=_ALIASES)
        provider = providers[device]
        options, provider_options = _session_options(ort, device, request)
        try:
            session = ort.InferenceSession(path, options, providers=[provider], provider_options=[provider_options], enable_fallback=0)
        except Exception as error:  # its exception types have no base but Exception
            raise _explain(error, path, provider, provider_options) from None
        if session.get_providers()[0] != provider:
            raise DeviceError(
                f"{provider} is part of the installed ONNX Runtime, but couldn't be loaded: a driver, a library or the device that its "
                f"options name is missing; ONNX Runtime's own message on stderr says which. Without it this machine has: {_CPU}"
            )
        operators = _count_operators(session)
        if operators and not operators[provider]:
            raise DeviceError(f"{provider} takes none of the {operators.total()} operators of {path.name}; use another device")
        info = SessionInfo(
            runtime="onnxruntime",
            version=self.version(),
            requested=request.text,
            device=" + ".join([provider, *(name for name in operators if name != provider)]),
            threads=request.threads,
            batch=None,
            details=provider_options | _tell_operators(operators),
            streams=request.streams or 1,
        )
        return session, info

    def profile(self, artifact: Artifact, request: DeviceRequest, batch: NDArray[np.float32], calls: int) -> Profile:
        """ONNX Runtime's profiler, which writes a trace file when it ends."""
        # open() checks the file and the device, and says what is wrong with them; the profiler needs a session of its own.
        self.open(artifact, request).close()
        ort = _import()
        providers = _list_providers(ort)
        device = request.choose(tuple(providers), runtime="onnxruntime", preferred=_CPU, aliases=_ALIASES)
        options, provider_options = _session_options(ort, device, request)
        options.enable_profiling = True
        with temporary_folder() as folder:
            options.profile_file_prefix = str(folder / "trace")
            session = ort.InferenceSession(artifact.path, options, providers=[providers[device]], provider_options=[provider_options])
            for _ in range(1 + calls):
                session.run(None, {session.get_inputs()[0].name: batch})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return Profile.from_times("ONNX Runtime profiler", _kernel_times(events, calls))


class OnnxRuntimeNetwork:
    """An inference session, which allows any number of calls at once."""

    def __init__(self, session: Any, info: SessionInfo) -> None:
        self.info = info
        self.inputs = _describe(session.get_inputs())
        self.outputs = _describe(session.get_outputs())
        self._session = session

    def run(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Compute all outputs."""
        return tuple(self._session.run(None, {self.inputs[0].name: values}))

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntimeEngine(OnnxRuntimeNetwork):
    """The network of a pose model."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        heatmaps: NDArray[np.float32] = self.run(batch)[0]
        return heatmaps


def _import() -> Any:
    return import_package("onnxruntime", extra=_EXTRA, purpose=_PURPOSE)


def _list_providers(ort: Any) -> dict[str, str]:
    """Short name → ONNX Runtime's name; the CPU first, since ``edgepose devices`` shows them in this order."""
    short = {name.removesuffix(_SUFFIX).lower(): name for name in ort.get_available_providers()}
    return {name: short[name] for name in sorted(short, key=lambda name: name != _CPU) if name != _NOT_A_DEVICE}


def _describe(ports: Sequence[Any]) -> list[Port]:
    return [
        Port(
            name=port.name,
            dtype={"tensor(float)": "float32"}.get(port.type, port.type),
            shape=tuple(side if isinstance(side, int) else None for side in port.shape),
        )
        for port in ports
    ]


def _session_options(ort: Any, device: str, request: DeviceRequest) -> tuple[Any, dict[str, str]]:
    """Sort ``request.options`` into ONNX Runtime's session options and those of the provider."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if request.threads is not None:
        options.intra_op_num_threads = request.threads
    provider_options = {}
    for name, value in request.options.items():
        if name in _SESSION_ATTRIBUTES:
            setattr(options, name, _parse(name, value, getattr(options, name)))
        elif "." in name:
            options.add_session_config_entry(name, value)
        elif device != _CPU:
            provider_options[name] = value
        else:
            known = ", ".join(_SESSION_ATTRIBUTES)
            raise InputError(f"ONNX Runtime's CPU has no option {name!r}; it has {known}, and the configuration keys session.…")
    return options, provider_options


def _parse(name: str, value: str, default: Any) -> Any:
    """Read the value of a session attribute as the type that its default has: a bool, an int or an enumeration."""
    if isinstance(default, bool):
        values: dict[str, Any] = {"true": True, "false": False, "1": True, "0": False}
    elif isinstance(default, int):
        values = {value: int(value)} if value.isdecimal() else {"a number": 0}
    else:
        values = dict(type(default).__members__)
    if value not in values:
        raise InputError(f"ONNX Runtime's option {name} is {value!r}; allowed: {', '.join(values)}")
    return values[value]


def _explain(error: Exception, path: Path, provider: str, provider_options: dict[str, str]) -> EdgePoseError:
    """Say whose fault it is that a session couldn't be made."""
    named = [name for name in provider_options if name in str(error)]
    if named:
        given = ", ".join(f"{name}={provider_options[name]}" for name in named)
        return InputError(f"{provider} rejects the option {given}: {error}")
    if provider == _CPU_PROVIDER:
        return ArtifactError(f"{path}: ONNX Runtime can't load the model: {error}")
    return DeviceError(f"{path.name} can't be loaded on {provider}: {error}")


def _count_operators(session: Any) -> Counter[str]:
    """How many operators each provider runs; empty where ONNX Runtime is too old to tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return Counter()
    return Counter(part.ep_name for part in session.get_provider_graph_assignment_info() for _ in part.get_nodes())


def _kernel_times(events: Sequence[Mapping[str, Any]], calls: int) -> dict[str, tuple[str, str, float]]:
    """Mean seconds of each node over the last ``calls`` runs: the first run of each warms up."""
    runs: dict[str, list[float]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            kinds[name] = event["args"]["op_name"], event["args"]["provider"]
            runs.setdefault(name, []).append(event["dur"] * 1e-6)
    return {name: (*kinds[name], sum(seconds[-calls:]) / calls) for name, seconds in runs.items()}


def _tell_operators(operators: Counter[str]) -> dict[str, str]:
    return {"operators": ", ".join(f"{name} {count}" for name, count in operators.items())} if operators else {}


RUNTIME = OnnxRuntime()
