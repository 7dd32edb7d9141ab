import subprocess
import sys
import types

import pytest
from artifacts import largest_difference, make_crops

from edgepose.errors import InputError
from edgepose.runtime import load, openvino


@pytest.fixture
def compilations(monkeypatch):
    """Device and settings of each model that OpenVINO compiles."""
    ov = openvino.import_openvino()

    seen = []

    class Core(ov.Core):
        def compile_model(self, model, device, config):
            seen.append((device, config))
            return super().compile_model(model, device, config)

    monkeypatch.setattr(ov, "Core", Core)
    return seen


def test_openvino_computes_in_float32_with_low_latency_unless_told_otherwise(artifacts, compilations):
    path = artifacts.path("openvino", 2)
    with load(path, "cpu", threads=1) as session:
        assert session.info.details == {"inference_precision": "f32", "streams": "1", "threads": "1"}
    load(path, "cpu", options={"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "2"}).close()
    (device, settings), (_, overruled) = compilations
    assert device == "CPU"
    assert settings == {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    assert overruled == {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": "2"}


def test_openvino_auto_chooses_where_there_is_a_choice(artifacts, compilations, monkeypatch):
    monkeypatch.setattr(openvino, "_list_devices", lambda core: ("CPU", "GPU.0", "GPU.1", "AUTO"))
    crops = make_crops(2)
    with load(artifacts.path("openvino", 2), "auto", threads=1) as session:
        assert session.info.device == "CPU"
        assert session.info.details["inference_precision"] == "f32"
        assert session.info.details["threads"] == "1"
        assert largest_difference(session.run(crops), artifacts.heatmaps(crops)) < 1e-4
    ((device, settings),) = compilations
    assert device == "AUTO"
    assert settings["ENABLE_STARTUP_FALLBACK"] is settings["ENABLE_RUNTIME_FALLBACK"] is False
    assert settings["DEVICE_PROPERTIES"] == {"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}}


def test_openvino_auto_is_the_cpu_where_there_is_nothing_else(artifacts, compilations, monkeypatch):
    monkeypatch.setattr(openvino, "_list_devices", lambda core: ("CPU", "AUTO"))
    load(artifacts.path("openvino", 2)).close()
    assert compilations[0][0] == "CPU"


def test_openvino_leaves_other_devices_their_own_precision(artifacts, monkeypatch):
    monkeypatch.setattr(openvino, "_list_devices", lambda core: ("CPU", "GPU.0", "GPU.1", "AUTO"))
    seen = []

    class Compiled:
        properties = types.SimpleNamespace(get_type_name=lambda: "f16")

        def get_property(self, name):
            return {"EXECUTION_DEVICES": ["GPU.0"], "SUPPORTED_PROPERTIES": ["INFERENCE_PRECISION_HINT"]}.get(name, self.properties)

    ov = openvino.import_openvino()

    class Core(ov.Core):
        def compile_model(self, model, device, config):
            seen.append((device, config))
            return Compiled()

    monkeypatch.setattr(ov, "Core", Core)
    with load(artifacts.path("openvino", 2), "gpu", threads=4) as session:
        assert (session.info.device, session.info.threads) == ("GPU.0", None)
        assert session.info.details == {"inference_precision": "f16"}
    assert seen == [("GPU.0", {"PERFORMANCE_HINT": "LATENCY"})]


@pytest.mark.parametrize("option", [{"NUM_STREEMS": "2"}, {"INFERENCE_PRECISION_HINT": "f8"}])
def test_openvino_options_that_it_rejects_are_named(artifacts, option):
    (name, value), *_ = option.items()
    with pytest.raises(InputError, match=rf"CPU rejects the option {name}={value}: .*it supports: .*NUM_STREAMS"):
        load(artifacts.path("openvino", 2), "cpu", options=option)


def test_openvino_takes_core_options_too(artifacts, tmp_path):
    load(artifacts.path("openvino", 2), "cpu", options={"CACHE_DIR": str(tmp_path / "cache")}).close()
    assert list((tmp_path / "cache").iterdir())


SIGNAL_AFTER_MODELS = """
import faulthandler, os, signal, sys
faulthandler.enable()  # gives this thread a signal stack, as pytest and many programs do
import edgepose
first, second = (edgepose.load(sys.argv[1], "openvino:cpu") for _ in range(2))
first.close()
second.close()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenVINO changes the signal stack on Linux")
def test_a_signal_can_be_handled_after_models_were_closed_in_the_order_of_loading(artifacts):
    command = [sys.executable, "-c", SIGNAL_AFTER_MODELS, str(artifacts.path("openvino"))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr
