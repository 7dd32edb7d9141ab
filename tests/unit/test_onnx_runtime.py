import types

import pytest

from edgepose.artifact import open_artifact
from edgepose.errors import DeviceError, InputError
from edgepose.runtime import load, onnxruntime
from edgepose.runtime.packages import import_package
from edgepose.runtime.request import DeviceRequest


@pytest.fixture
def providers(monkeypatch):
    """Let ONNX Runtime claim providers that this machine doesn't have."""
    ort = import_package("onnxruntime", extra="onnx", purpose="a test")

    def claim(*names):
        monkeypatch.setattr(
            ort, "get_available_providers", lambda: [*(f"{name}ExecutionProvider" for name in names), "CPUExecutionProvider"]
        )

    return claim


def test_onnxruntime_devices_are_its_providers(providers):
    providers("Tensorrt", "CUDA", "Dml", "VitisAI", "Azure")
    assert onnxruntime.RUNTIME.devices() == ("cpu", "tensorrt", "cuda", "dml", "vitisai")


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize(("device", "provider"), [("gpu", "CUDA"), ("cuda", "CUDA"), ("npu", "QNN")])
def test_a_provider_that_cannot_be_loaded_is_no_reason_to_run_on_the_cpu(artifacts, providers, device, provider):
    providers("QNN", "Dml", "CUDA")
    with pytest.raises(DeviceError, match=rf"{provider}ExecutionProvider .*couldn't be loaded"):
        load(artifacts.path("onnx", None), device)


def test_onnxruntime_auto_is_the_cpu(artifacts, providers):
    providers("CUDA")
    with load(artifacts.path("onnx", None)) as session:
        assert session.info.device == "CPUExecutionProvider"


class HalfSession:
    """A session of which a provider took some operators."""

    def __init__(self, taken):
        self.taken = taken

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_inputs(self):
        return [types.SimpleNamespace(name="input", type="tensor(float)", shape=["batch", 3, 64, 48])]

    def get_outputs(self):
        return [types.SimpleNamespace(name="heatmaps", type="tensor(float)", shape=["batch", 17, 16, 12])]

    def get_provider_graph_assignment_info(self):
        counts = {"CPUExecutionProvider": 5, "CUDAExecutionProvider": self.taken}
        return [types.SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [None] * count) for name, count in counts.items()]


@pytest.mark.parametrize("taken", [30, 0])
def test_onnxruntime_says_how_much_a_provider_takes(artifacts, providers, monkeypatch, taken):
    ort = import_package("onnxruntime", extra="onnx", purpose="a test")

    providers("CUDA")
    monkeypatch.setattr(ort, "InferenceSession", lambda *args, **kwargs: HalfSession(taken))
    artifact, request = open_artifact(artifacts.path("onnx", None)), DeviceRequest.parse("onnxruntime:cuda", options={"device_id": "1"})
    if not taken:
        with pytest.raises(DeviceError, match="takes none of the 5 operators"):
            onnxruntime.RUNTIME.open(artifact, request)
        return
    info = onnxruntime.RUNTIME.open(artifact, request).info
    assert info.device == "CUDAExecutionProvider + CPUExecutionProvider"
    assert info.details == {"device_id": "1", "operators": "CPUExecutionProvider 5, CUDAExecutionProvider 30"}


def test_onnxruntime_options_reach_it(artifacts, monkeypatch):
    ort = import_package("onnxruntime", extra="onnx", purpose="a test")

    seen = []

    class InferenceSession(ort.InferenceSession):
        def __init__(self, path, options, **kwargs):
            seen.append((options, kwargs))
            super().__init__(path, options, **kwargs)

    monkeypatch.setattr(ort, "InferenceSession", InferenceSession)
    wanted = {"graph_optimization_level": "ORT_ENABLE_BASIC", "enable_mem_pattern": "false", "session.intra_op.allow_spinning": "0"}
    load(artifacts.path("onnx", None), threads=3, options=wanted).close()
    ((options, kwargs),) = seen
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.enable_mem_pattern is False
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.intra_op_num_threads == 3
    assert kwargs == {"providers": ["CPUExecutionProvider"], "provider_options": [{}], "enable_fallback": 0}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"graph_optimization_level": "fast"}, "graph_optimization_level is 'fast'; allowed: ORT_DISABLE_ALL, .*ORT_ENABLE_ALL"),
        ({"inter_op_num_threads": "many"}, "inter_op_num_threads is 'many'; allowed: a number"),
        ({"enable_mem_pattern": "maybe"}, "enable_mem_pattern is 'maybe'; allowed: true, false"),
        ({"device_id": "0"}, "CPU has no option 'device_id'; it has graph_optimization_level"),
    ],
)
def test_onnxruntime_options_that_do_not_exist_are_named(artifacts, option, told):
    with pytest.raises(InputError, match=told):
        load(artifacts.path("onnx", None), options=option)


@pytest.mark.parametrize(
    ("error", "kind"),
    [("Unknown provider option: device_ix", InputError), ("libcudart.so.12: cannot open shared object file", DeviceError)],
)
def test_onnxruntime_provider_options_are_blamed_only_when_named(artifacts, providers, monkeypatch, error, kind):
    ort = import_package("onnxruntime", extra="onnx", purpose="a test")

    def fail(*args, **kwargs):
        raise RuntimeError(error)

    providers("CUDA")
    monkeypatch.setattr(ort, "InferenceSession", fail)
    with pytest.raises(kind, match=error):
        load(artifacts.path("onnx", None), "onnxruntime:cuda", options={"device_ix": "0"})
