"""Core ML through a stand-in: the real coremltools reads the package; ``predict``, which needs macOS, is the torch model."""

import platform

import pytest
from artifacts import largest_difference, make_crops

from edgepose.artifact import embed_spec
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime import coreml, load
from edgepose.spec import ExportRecord


@pytest.fixture
def mac(monkeypatch, artifacts):
    import coremltools
    import torch as pytorch

    # Converted before the stand-in takes coremltools' place.
    for batch in (1, None):
        artifacts.path("coreml", batch)
    loaded = []

    class MLModel:
        def __init__(self, path, compute_units):
            loaded.append(compute_units.name)
            self._spec = coremltools.models.utils.load_spec(path)

        def get_spec(self):
            return self._spec

        def predict(self, inputs):
            assert list(inputs) == ["input"]
            return {"heatmaps": artifacts.model(pytorch.tensor(inputs["input"])).numpy()}

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    monkeypatch.setattr(coremltools.models, "MLModel", MLModel)
    return loaded


@pytest.mark.parametrize(
    ("device", "units"),
    [("auto", "ALL"), ("all", "ALL"), ("cpu", "CPU_ONLY"), ("gpu", "CPU_AND_GPU"), ("ne", "CPU_AND_NE"), ("npu", "CPU_AND_NE")],
)
def test_coreml_devices_are_compute_units(artifacts, mac, device, units):
    crops = make_crops(3)
    with load(artifacts.path("coreml"), f"coreml:{device}") as session:
        info = session.info
        assert (info.runtime, info.device, info.batch, info.details) == ("coreml", units, 1, {"macos": "15.1"})
        assert largest_difference(session.run(crops), artifacts.heatmaps(crops)) < 1e-5
    assert mac == [units]


def test_coreml_knows_a_dynamic_batch(artifacts, mac):
    with load(artifacts.path("coreml", None)) as session:
        assert (session.info.runtime, session.info.batch) == ("coreml", None)


def test_coreml_checks_the_package_against_its_spec(artifacts, mac, tmp_path):
    path = artifacts.copy("coreml", tmp_path)
    embed_spec(path, artifacts.spec.replace_export(ExportRecord(target="coreml", precision="fp32", batch=7)))
    with pytest.raises(ArtifactError, match="compiled for batch size 1, but its spec says 7"):
        load(path)


def test_coreml_errors(artifacts, mac, monkeypatch):
    path = artifacts.path("coreml")
    with pytest.raises(DeviceError, match=r"coreml has no device 'tpu' .* it has: all, cpu, gpu, ne"):
        load(path, "coreml:tpu")
    with pytest.raises(InputError, match="Core ML has no options"):
        load(path, options={"a": "b"})
    monkeypatch.setattr("coremltools.models.MLModel", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ArtifactError, match=r"tiny\.mlpackage: Core ML can't load the model: division"):
        load(path)


def test_off_a_mac_core_ml_names_the_evaluator(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(DeviceError, match=r"Core ML runs on macOS; .*mil:auto"):
        coreml.RUNTIME.version()
