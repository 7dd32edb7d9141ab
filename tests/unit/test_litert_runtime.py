import concurrent.futures
import platform
import sys
import types

import numpy as np
import pytest
from artifacts import largest_difference, make_crops

from edgepose.artifact import embed_spec, open_artifact
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime import litert, litert_gpu, load
from edgepose.runtime.request import DeviceRequest


def test_litert_on_the_cpu_has_no_options(artifacts):
    with pytest.raises(InputError, match=r"no options on the CPU.*delegate"):
        load(artifacts.path("litert"), "litert:cpu", options={"delegate": "xnnpack"})


def test_litert_says_how_many_threads_it_takes(artifacts):
    with load(artifacts.path("litert"), threads=3) as session:
        assert (session.info.threads, session.info.details["threads"]) == (3, "3")
    with load(artifacts.path("litert")) as session:
        assert session.info.threads is None
        assert 1 <= int(session.info.details["threads"]) <= 4


def test_litert_falls_back_on_its_predecessor_where_only_that_is_installed(artifacts, monkeypatch, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    package = types.ModuleType("tflite_runtime")
    package.interpreter = types.ModuleType("tflite_runtime.interpreter")
    package.interpreter.Interpreter = Interpreter
    package.interpreter.OpResolverType = OpResolverType
    package.__spec__ = types.SimpleNamespace()
    (tmp_path / "tflite_runtime-2.14.0.dist-info").mkdir()
    (tmp_path / "tflite_runtime-2.14.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", package.interpreter)
    assert litert.RUNTIME.version().startswith("ai-edge-litert ")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr(np, "__version__", "2.0.0")
    with pytest.raises(DeviceError, match=r"tflite-runtime 2\.14\.0 was built for NumPy 1"):
        litert.RUNTIME.version()
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert litert.RUNTIME.version() == "tflite-runtime 2.14.0"
    assert litert.RUNTIME.devices() == ("cpu", "builtin", "reference")
    with load(artifacts.path("litert")) as session:
        assert str(session.info) == "litert tflite-runtime 2.14.0 (cpu)"
        session.run(make_crops(1))


@pytest.fixture
def forgetful(monkeypatch):
    """Look for the GPU anew, and forget what was found."""
    litert_gpu.find_adapter.cache_clear()
    yield monkeypatch
    litert_gpu.find_adapter.cache_clear()


def test_litert_has_no_gpu_without_a_driver(artifacts, forgetful, tmp_path):
    forgetful.setenv("VK_DRIVER_FILES", str(tmp_path / "none.json"))
    forgetful.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))
    if platform.system() != "Linux":
        pytest.skip("elsewhere the GPU isn't reached through Vulkan, and can't be hidden")
    assert litert.RUNTIME.devices() == ("cpu", "builtin", "reference")
    with pytest.raises(DeviceError, match="litert has no device 'gpu' on this machine; it has: cpu, builtin, reference"):
        load(artifacts.path("litert"), "gpu")


def test_a_driver_that_crashes_costs_the_probe_only(forgetful, tmp_path, caplog):
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho dying >&2\nkill -SEGV $$\n")
    crash.chmod(0o755)
    forgetful.setattr(sys, "executable", str(crash))
    assert litert_gpu.find_adapter() is None
    assert "crashed while it was tried" in caplog.text
    assert "dying" in caplog.text


def test_the_probe_is_a_model():
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=litert_gpu.PROBE_MODEL)
    interpreter.allocate_tensors()
    values = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 2, 2, 4)
    interpreter.set_tensor(0, values)
    interpreter.invoke()
    assert (interpreter.get_tensor(1) == values.clip(0)).all()


def test_litert_on_the_gpu(artifacts):
    if litert_gpu.find_adapter() is None:
        pytest.skip("no GPU driver (a software Vulkan driver will do)")
    crops = make_crops(3)
    wanted = artifacts.heatmaps(crops)
    with load(artifacts.path("litert"), "litert:gpu", options={"enforce_f32": "true"}) as session:
        heatmaps = session.run(crops)
        assert session.info.device.startswith("gpu")
        assert session.info.details["inference_precision"] == "f32"
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert all((given == heatmaps).all() for given in pool.map(session.run, [crops] * 4))
    assert largest_difference(heatmaps, wanted) < 1e-4
    with load(artifacts.path("litert"), "litert:gpu") as session:
        assert largest_difference(session.run(crops), wanted) < 1e-2


class GpuModel:
    """What the GPU engine needs of a compiled model."""

    def create_input_buffers(self, signature):
        return []

    create_output_buffers = create_input_buffers


@pytest.mark.parametrize("whole", [True, False])
def test_litert_tells_whether_the_gpu_takes_the_whole_model(artifacts, monkeypatch, whole):
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    def compile_for(artifact, accelerators, options):
        if accelerators == HardwareAccelerator.GPU and not whole:
            raise RuntimeError("Some ops are not accelerated")
        return GpuModel()

    monkeypatch.setattr(litert_gpu, "find_adapter", lambda: "Some Device")
    monkeypatch.setattr(litert_gpu, "_compile", compile_for)
    info = litert.RUNTIME.open(open_artifact(artifacts.path("litert")), DeviceRequest.parse("gpu")).info
    assert info.device == ("gpu (Some Device)" if whole else "gpu (Some Device) + cpu")
    assert ("all operators" in info.details["accelerated"]) is whole


def test_a_broken_file_does_not_reach_the_gpu(artifacts, monkeypatch, tmp_path):
    """Its loader crashes on files that are cut short, which the seal can't prevent if they were sealed so."""
    path = artifacts.copy("litert", tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    embed_spec(path, artifacts.spec)
    monkeypatch.setattr(litert_gpu, "find_adapter", lambda: "Some Device")
    monkeypatch.setattr(litert_gpu, "_compile", lambda *args: pytest.fail("the file has reached the GPU"))
    with pytest.raises(ArtifactError, match=r"tiny\.tflite: damaged, or cut short"):
        load(path, "gpu")


@pytest.mark.parametrize(
    ("options", "told"),
    [({"enforce_f64": "true"}, "no option 'enforce_f64'; it has: enforce_f32"), ({"enforce_f32": "1"}, "is '1'; allowed: true")],
)
def test_litert_gpu_options_that_do_not_exist_are_named(artifacts, monkeypatch, options, told):
    monkeypatch.setattr(litert_gpu, "find_adapter", lambda: "Some Device")
    with pytest.raises(InputError, match=told):
        load(artifacts.path("litert"), "gpu", options=options)


def test_the_predecessor_says_that_numpy_is_too_new(monkeypatch):
    monkeypatch.setattr(litert, "_package", lambda: "tflite_runtime")
    monkeypatch.setattr(litert, "find_version", lambda *_, **__: "2.14.0")
    with pytest.raises(DeviceError, match=r"tflite-runtime 2\.14\.0 was built for NumPy 1 .* pip install 'edgepose\[tflite\]'"):
        litert.LiteRTRuntime().version()
