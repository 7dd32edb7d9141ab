"""Core ML: ``.mlpackage`` files on macOS, through coremltools.

A device is a set of compute units that Core ML may use: ``all``, ``cpu``, ``gpu`` (and CPU) or ``ne`` (Neural Engine and CPU). Core ML
decides within the set, operator by operator, and doesn't say how; ``info.device`` is therefore the set.
"""

import platform
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.profile import OperatorTime, Profile
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["RUNTIME", "CoreMLEngine", "CoreMLNetwork", "CoreMLRuntime"]

_EXTRA = "coreml"
_PURPOSE = "running a Core ML package"
_ALL = "all"
_COMPUTE_UNITS = {_ALL: "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ne": "CPU_AND_NE"}
_ALIASES = {"npu": ("ne",)}


class CoreMLRuntime:
    """The ``coremltools`` package and the Core ML framework of macOS."""

    def version(self) -> str:
        """Version of coremltools."""
        if platform.system() != "Darwin":
            raise DeviceError("Core ML runs on macOS; elsewhere 'mil:auto' evaluates a Core ML package, slowly")
        return find_version("coremltools", extra=_EXTRA, purpose=_PURPOSE)

    def devices(self) -> tuple[str, ...]:
        """The sets of compute units."""
        return tuple(_COMPUTE_UNITS)

    def open(self, artifact: Artifact, request: DeviceRequest) -> "CoreMLEngine":
        """Compile and load a package."""
        model, inputs, outputs, info = self._open(artifact.path, request)
        return CoreMLEngine(model, replace(info, batch=check_ports(artifact, inputs, outputs)), inputs, outputs)

    def open_network(self, path: Path, request: DeviceRequest) -> "CoreMLNetwork":
        """Compile and load a network's package."""
        model, inputs, outputs, info = self._open(path, request)
        return CoreMLNetwork(model, info, inputs, outputs)

    def _open(self, path: Path, request: DeviceRequest) -> tuple[Any, list[Port], list[Port], SessionInfo]:
        version = self.version()
        device = request.choose(self.devices(), runtime="coreml", preferred=_ALL, aliases=_ALIASES)
        if request.options:
            raise InputError(f"Core ML has no options, but these were given: {', '.join(request.options)}")
        coremltools = import_package("coremltools", extra=_EXTRA, purpose=_PURPOSE)
        units = _COMPUTE_UNITS[device]
        try:
            model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit[units])
            description = model.get_spec().description
        except Exception as error:  # Core ML's errors come through as several types
            raise ArtifactError(f"{path}: Core ML can't load the model: {error}") from None
        info = SessionInfo(
            runtime="coreml",
            version=version,
            requested=request.text,
            device=units,
            threads=None,
            batch=None,
            details={"macos": platform.mac_ver()[0]},
        )
        return model, _describe(description.input), _describe(description.output), info

    def profile(self, artifact: Artifact, request: DeviceRequest, batch: NDArray[np.float32], calls: int) -> Profile:
        """Core ML's compute plan: the device that each operator prefers, and its estimated share of the cost. Nothing is run."""
        del batch, calls
        self.version()
        device = request.choose(self.devices(), runtime="coreml", preferred=_ALL, aliases=_ALIASES)
        coremltools = import_package("coremltools", extra=_EXTRA, purpose=_PURPOSE)
        plans = import_package("coremltools.models.compute_plan", extra=_EXTRA, purpose="Core ML's compute plan")
        units = coremltools.ComputeUnit[_COMPUTE_UNITS[device]]
        model = coremltools.models.MLModel(str(artifact.path), compute_units=units)
        plan = plans.MLComputePlan.load_from_path(path=model.get_compiled_model_path(), compute_units=units)
        return Profile(source="Core ML compute plan", operators=tuple(_read_plan(plan)))


class CoreMLNetwork:
    """A loaded package. Core ML wants one call at a time on a model; calls from several threads wait for each other."""

    def __init__(self, model: Any, info: SessionInfo, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        self.info = info
        self.inputs = inputs
        self.outputs = outputs
        self._model = model
        self._lock = threading.Lock()

    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Compute all outputs."""
        with self._lock:
            found = self._model.predict({self.inputs[0].name: values})
        return tuple(np.array(found[port.name], np.float32) for port in self.outputs)

    def close(self) -> None:
        """Free the model, after the call that is running."""
        with self._lock:
            self._model = None


class CoreMLEngine(CoreMLNetwork):
    """The network of a pose model."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        return self.run(batch)[0]


def _read_plan(plan: Any) -> Iterator[OperatorTime]:
    """The operators that take time; constants have no device."""
    for operation in plan.model_structure.program.functions["main"].block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        if usage is not None and cost is not None:
            yield OperatorTime(
                name=operation.outputs[0].name,
                kind=operation.operator_name,
                # MLCPUComputeDevice, MLGPUComputeDevice or MLNeuralEngineComputeDevice.
                device=type(usage.preferred_compute_device).__name__.removeprefix("ML").removesuffix("ComputeDevice"),
                seconds=None,
                share=cost.weight,
            )


def _describe(features: Any) -> list[Port]:
    """Read ``FeatureDescription`` messages of the model's protobuf specification."""
    ports = []
    for feature in features:
        array = feature.type.multiArrayType
        kind = array.ArrayDataType.Name(array.dataType).lower() if feature.type.WhichOneof("Type") == "multiArrayType" else "no array"
        shape: list[int | None] = list(array.shape)
        # A flexible dimension is a range whose upper bound is -1 (none) or above the lower one; ``shape`` then holds an example.
        for index, size in enumerate(array.shapeRange.sizeRanges):
            if size.upperBound != size.lowerBound:
                shape[index] = None
        # The output of a flexible model is described without a shape.
        ports.append(Port(name=feature.name, dtype=kind, shape=tuple(shape) or None))
    return ports


RUNTIME = CoreMLRuntime()
