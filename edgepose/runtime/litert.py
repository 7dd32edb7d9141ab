"""LiteRT: TFLite files on the CPU (XNNPACK), and on the GPU where the installed package has an accelerator for it.

``builtin`` and ``reference`` are the CPU too, by LiteRT's other two sets of kernels: its own without XNNPACK, which a build without that
delegate runs, and the plain ones written to be read, which say what an operator means. They are slow, and for comparing.

The package is ``ai-edge-litert``, or its predecessor ``tflite-runtime`` where only that is installed; the version says which.
"""

import importlib.util
import os
import queue
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime import litert_gpu, litert_profile
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.profile import Profile
from edgepose.runtime.request import AUTO, DeviceRequest
from edgepose.runtime.session import Engine, SessionInfo

__all__ = ["RUNTIME", "InterpreterEngine", "InterpreterNetwork", "LiteRTRuntime"]

_EXTRA = "litert"
_PURPOSE = "running a TFLite file"
_CPU, _GPU = "cpu", "gpu"
_KERNELS = {_CPU: "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
"""Device → LiteRT's name for the kernels it runs on the CPU."""

_PREDECESSOR = "tflite_runtime"
_DEFAULT_THREADS = 4
_TOO_NEW_NUMPY = 2


class LiteRTRuntime:
    """The ``ai_edge_litert`` or ``tflite_runtime`` package."""

    def version(self) -> str:
        """Name and version of the package."""
        package = _package()
        name = package.replace("_", "-")
        version = find_version(package, extra=_EXTRA, purpose=_PURPOSE, distributions=(name,))
        if package == _PREDECESSOR and int(np.__version__.split(".")[0]) >= _TOO_NEW_NUMPY:
            # It would fail in the middle of loading a model, with pages of traceback.
            raise DeviceError(
                f"{name} {version} was built for NumPy 1 and can't run with NumPy {np.__version__}. Try: pip install 'edgepose[tflite]', "
                "which brings an older NumPy, or 'edgepose[litert]', its successor"
            )
        return f"{name} {version}"

    def devices(self) -> tuple[str, ...]:
        """The CPU by each set of kernels, and the GPU if its accelerator starts on this machine."""
        return (*_KERNELS, _GPU) if self._adapter() is not None else tuple(_KERNELS)

    def open(self, artifact: Artifact, request: DeviceRequest) -> Engine:
        """Load a model on the CPU or the GPU; ``auto`` is the CPU, where every model runs at the precision it was verified with."""
        device, interpreters, info = self._open(artifact.path, request)
        batch = _check(artifact, interpreters[0])
        if device == _GPU:
            return litert_gpu.open_gpu(artifact, request, version=self.version(), adapter=self._adapter() or "", batch=batch)
        return InterpreterEngine(interpreters, replace(info, batch=batch))

    def open_network(self, path: Path, request: DeviceRequest) -> "InterpreterNetwork":
        """Load a network on the CPU."""
        device, interpreters, info = self._open(path, request)
        if device == _GPU:
            raise DeviceError(f"{path.name}: LiteRT's GPU accelerator is for pose models here; a detector runs on litert:cpu")
        return InterpreterNetwork(interpreters, info)

    def _open(self, path: Path, request: DeviceRequest) -> tuple[str, list[Any], SessionInfo]:
        """Return the device, an interpreter for each stream (one for the GPU), and what is known of them."""
        # Looking for a GPU takes half a second: only where one is asked for.
        available = tuple(_KERNELS) if request.device in (*_KERNELS, AUTO) else self.devices()
        device = request.choose(available, runtime="litert", preferred=_CPU)
        # For the GPU too: the interpreter checks the file's structure, without which the accelerator may crash on a broken one.
        streams = 1 if device == _GPU else request.streams or 1
        threads = max(1, (request.threads or _count_threads()) // streams)
        if device != _GPU and request.options:
            raise InputError(f"LiteRT has no options on the CPU, but these were given: {', '.join(request.options)}")
        info = SessionInfo(
            runtime="litert",
            version=self.version(),
            requested=request.text,
            device=device,
            threads=request.threads,
            batch=None,
            details={"threads": str(threads)} if streams == 1 else {"threads": f"{threads} for each of {streams} interpreters"},
            streams=streams,
        )
        return device, [_read(path, threads, device) for _ in range(streams)], info

    def profile(self, artifact: Artifact, request: DeviceRequest, batch: NDArray[np.float32], calls: int) -> Profile:
        """LiteRT's own profiler, on the CPU: the GPU's accelerator reports no operators."""
        if request.device not in (_CPU, AUTO):
            raise DeviceError(f"LiteRT's profiler tells operators apart on the CPU; the device asked for is {request.device!r}")
        version = find_version(_package(), extra=_EXTRA, purpose=_PURPOSE, distributions=(_package().replace("_", "-"),))
        spec = importlib.util.find_spec("ai_edge_litert")
        if spec is None or spec.origin is None:
            raise DeviceError(
                f"tflite-runtime {version} has no profiler of operators; its successor has one: pip install 'edgepose[litert]'"
            )
        threads = request.threads or _count_threads()
        interpreter = _read(artifact.path, threads, _CPU)
        _check(artifact, interpreter)
        levels = _quantize(batch, interpreter.get_input_details()[0])
        return litert_profile.profile_cpu(artifact.path, Path(spec.origin).parent, version, levels, threads=threads, calls=calls)

    def _adapter(self) -> str | None:
        return None if _package() == _PREDECESSOR else litert_gpu.find_adapter()


class InterpreterNetwork:
    """Interpreters on the CPU, one for each stream. Each runs one call at a time, on all its threads; further calls wait for one."""

    def __init__(self, interpreters: Sequence[Any], info: SessionInfo) -> None:
        self.info = info
        self._input = interpreters[0].get_input_details()[0]
        self._outputs = interpreters[0].get_output_details()
        self.inputs = _describe(interpreters[0].get_input_details())
        self.outputs = _describe(self._outputs)
        self._count = len(interpreters)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._idle.put(interpreter)

    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Compute all outputs; they and the input are copied."""
        interpreter = self._idle.get()
        try:
            interpreter.set_tensor(self._input["index"], _quantize(values, self._input))
            interpreter.invoke()
            outputs = tuple(_dequantize(interpreter.get_tensor(output["index"]), output) for output in self._outputs)
        finally:
            self._idle.put(interpreter)
        return outputs

    def close(self) -> None:
        """Free the interpreters, after the calls that are running."""
        for _ in range(self._count):
            self._idle.get()
        # Calls that come later fail instead of waiting for ever.
        self._idle.put(None)


class InterpreterEngine(InterpreterNetwork):
    """The network of a pose model."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        return self.run(batch)[0]


def _read(path: Path, threads: int, device: str) -> Any:
    module = import_package(f"{_package()}.interpreter", extra=_EXTRA, purpose=_PURPOSE)
    # The GPU's model is read on the CPU first.
    kernels = getattr(module.OpResolverType, _KERNELS.get(device, "AUTO"))
    try:
        interpreter = module.Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path}: LiteRT can't load the model: {error}") from None
    if device == "reference" and (name := _find_blocks(interpreter)):
        raise DeviceError(
            f"litert:reference can't run {path.name}: LiteRT's reference kernels take no notice of weights with scales of blocks, "
            f"such as {name}, and would compute something else without a word; use litert:cpu or litert:builtin"
        )
    return interpreter


def _find_blocks(interpreter: Any) -> str:
    """Return the name of a tensor whose values share scales in blocks, or an empty one."""
    tensors = interpreter.get_tensor_details()
    return next((tensor["name"] for tensor in tensors if tensor["quantization_parameters"].get("block_size")), "")


def _check(artifact: Artifact, interpreter: Any) -> int:
    batch = check_ports(artifact, _describe(interpreter.get_input_details()), _describe(interpreter.get_output_details()))
    if batch is None:
        raise ArtifactError(f"{artifact.path}: the model has no batch size of its own; LiteRT runs files that are compiled for one")
    return batch


def _package() -> str:
    if importlib.util.find_spec("ai_edge_litert") is None and importlib.util.find_spec(_PREDECESSOR) is not None:
        return _PREDECESSOR
    return "ai_edge_litert"


def _count_threads() -> int:
    """LiteRT itself would take one thread. More than four reach the slow cores of a phone, which hold the fast ones up."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, _DEFAULT_THREADS)


def _quantize(values: NDArray[np.float32], tensor: Mapping[str, Any]) -> NDArray[Any]:
    """Round to the levels of an integer input; a float one takes the values as they are."""
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    levels: NDArray[Any] = np.clip(np.rint(values / np.float32(scale)) + zero_point, limits.min, limits.max).astype(tensor["dtype"])
    return levels


def _dequantize(levels: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] == np.float32:
        return levels
    scale, zero_point = tensor["quantization"]
    values: NDArray[np.float32] = (levels.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return values


def _describe(tensors: Sequence[Mapping[str, Any]]) -> list[Port]:
    return [
        Port(
            name=tensor["name"],
            # The integers of a fully quantized file stand for real numbers; the engine converts them.
            dtype="float32" if tensor["quantization"][0] > 0 else np.dtype(tensor["dtype"]).name,
            shape=tuple(None if side < 0 else int(side) for side in tensor["shape_signature"]),
        )
        for tensor in tensors
    ]


RUNTIME = LiteRTRuntime()
