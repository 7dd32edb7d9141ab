"""Several calls at once, and the profilers, of the runtimes that have them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from artifacts import TinyArtifacts, largest_difference, make_crops

from edgepose.errors import DeviceError, InputError
from edgepose.runtime import Session, coreml, load
from edgepose.runtime.registry import profile


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert", "safetensors"])
def test_streams_take_calls_from_threads(kind: str, artifacts: TinyArtifacts) -> None:
    crops = make_crops(8)
    with load(artifacts.path(kind), "cpu", threads=2, streams=2) as session:
        assert session.info.streams == 2
        with ThreadPoolExecutor(4) as pool:
            given = np.concatenate(list(pool.map(session.run, (crops[index : index + 1] for index in range(8)))))
        assert largest_difference(given, artifacts.heatmaps(crops)) < 1e-4


def test_litert_divides_its_threads_among_its_interpreters(artifacts: TinyArtifacts) -> None:
    with load(artifacts.path("litert"), threads=4, streams=2) as session:
        assert session.info.details == {"threads": "2 for each of 2 interpreters"}
    with load(artifacts.path("litert"), threads=1, streams=3) as session:
        assert session.info.details == {"threads": "1 for each of 3 interpreters"}


def test_streams_that_cannot_be_had(artifacts: TinyArtifacts) -> None:
    with pytest.raises(InputError, match="streams is 0"):
        load(artifacts.path("onnx"), streams=0)
    with pytest.raises(DeviceError, match=r"runs 1 call\(s\) at a time; 2 streams"):
        load(artifacts.path("coreml"), "mil:auto", streams=2)
    # Left to the runtime, every runtime says what it chose.
    for kind in ("openvino", "onnx", "litert"):
        with load(artifacts.path(kind), streams=None) as session:
            assert session.info.streams >= 1


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert"])
def test_sessions_are_closed_while_they_run(kind: str, artifacts: TinyArtifacts) -> None:
    """Again and again: calls that are under way end with heatmaps or with a clear error, and never take the process with them."""
    crops = make_crops(1)
    wanted = artifacts.heatmaps(crops)

    def call(session: Session) -> int:
        answered = 0
        while True:
            try:
                assert largest_difference(session.run(crops), wanted) < 1e-4
            except InputError as error:
                if "closed" not in str(error):
                    raise
                return answered
            answered += 1

    for _ in range(12):
        session = load(artifacts.path(kind), "cpu", threads=2, streams=2)
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(call, session) for _ in range(3)]
            session.run(crops)
            session.close()
        assert all(each.result() >= 0 for each in calls)


@pytest.mark.parametrize(
    ("kind", "source"), [("openvino", "OpenVINO PERF_COUNT"), ("onnx", "ONNX Runtime profiler"), ("litert", "LiteRT profiler")]
)
def test_a_profile_names_every_operator_that_ran(kind: str, source: str, artifacts: TinyArtifacts) -> None:
    found = profile(artifacts.path(kind), make_crops(1), calls=3, device="cpu", threads=1)
    assert found.source == source
    assert len(found.operators) > 10
    assert sum(operator.share for operator in found.operators) == pytest.approx(1)
    assert all(operator.seconds is not None and 0 <= operator.seconds < 1 for operator in found.operators)
    kinds = " ".join(operator.kind for operator in found.operators).lower()
    assert "conv" in kinds
    assert "matmul" in kinds or "fullyconnected" in kinds or "fully connected" in kinds
    # A profile is of one call, not of all of them.
    with load(artifacts.path(kind), "cpu", threads=1) as session:
        session.run(make_crops(1))
    total = sum(operator.seconds or 0.0 for operator in found.operators)
    assert total < 0.5


def test_runtimes_without_a_profiler_say_so(artifacts: TinyArtifacts) -> None:
    with pytest.raises(DeviceError, match=r"no profiler"):
        profile(artifacts.path("safetensors"), make_crops(1))


def test_core_mls_plan_is_read(artifacts: TinyArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the parts of coremltools that macOS alone has; its classes are named as the real ones."""
    MLCPUComputeDevice = type("MLCPUComputeDevice", (), {})
    MLNeuralEngineComputeDevice = type("MLNeuralEngineComputeDevice", (), {})
    devices = {"linear": MLNeuralEngineComputeDevice(), "softmax": MLCPUComputeDevice(), "const": None}
    weights = {"linear": 0.9, "softmax": 0.1, "const": None}

    class Plan:
        def __init__(self) -> None:
            operations = [SimpleNamespace(operator_name=name, outputs=[SimpleNamespace(name=f"{name}_0")]) for name in devices]
            main = SimpleNamespace(block=SimpleNamespace(operations=operations))
            self.model_structure = SimpleNamespace(program=SimpleNamespace(functions={"main": main}))

        def get_compute_device_usage_for_mlprogram_operation(self, operation):
            device = devices[operation.operator_name]
            return None if device is None else SimpleNamespace(preferred_compute_device=device)

        def get_estimated_cost_for_mlprogram_operation(self, operation):
            weight = weights[operation.operator_name]
            return None if weight is None else SimpleNamespace(weight=weight)

    class MLComputePlan:
        @staticmethod
        def load_from_path(path, compute_units):
            assert (path, compute_units) == ("compiled", "CPU_AND_NE")
            return Plan()

    class MLModel:
        def __init__(self, path, compute_units):
            assert compute_units == "CPU_AND_NE"

        def get_compiled_model_path(self):
            return "compiled"

    plans = ModuleType("coremltools.models.compute_plan")
    plans.MLComputePlan = MLComputePlan
    package = ModuleType("coremltools")
    package.ComputeUnit = {"CPU_AND_NE": "CPU_AND_NE"}
    package.models = SimpleNamespace(MLModel=MLModel)
    monkeypatch.setitem(sys.modules, "coremltools", package)
    monkeypatch.setitem(sys.modules, "coremltools.models.compute_plan", plans)
    monkeypatch.setattr(coreml.CoreMLRuntime, "version", lambda self: "9.0")
    found = profile(artifacts.path("coreml"), make_crops(1), device="coreml:ne")
    assert [(operator.kind, operator.device, operator.share) for operator in found.operators] == [
        ("linear", "NeuralEngine", 0.9),
        ("softmax", "CPU", 0.1),
    ]
    assert all(operator.seconds is None for operator in found.operators)
