"""What every runtime does, for real, on a tiny model."""

import concurrent.futures

import numpy as np
import pytest
from artifacts import largest_difference, make_crops

from edgepose.artifact import embed_spec
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime import load, torch
from edgepose.spec import ExportRecord

# Kind of file, batch size it is compiled for, device string, and what info.device then says.
CASES = [
    ("openvino", None, "openvino:cpu", "CPU"),
    ("openvino", 2, "auto", "CPU"),
    ("onnx", None, "onnxruntime:cpu", "CPUExecutionProvider"),
    ("litert", 1, "litert:cpu", "cpu"),
    ("litert", 1, "litert:builtin", "builtin"),
    ("litert", 1, "litert:reference", "reference"),
    ("safetensors", None, "torch:cpu", "cpu"),
]
IDS = [f"{kind}-{batch or 'any'}-{actual}" for kind, batch, _, actual in CASES]


@pytest.fixture(params=CASES, ids=IDS)
def case(request, artifacts):
    kind, batch, device, actual = request.param
    return artifacts.path(kind, batch), batch, device, actual


def test_heatmaps_are_the_torch_models(case, artifacts):
    path, _, device, _ = case
    crops = make_crops(5)
    before = crops.copy()
    with load(path, device) as session:
        heatmaps = session.run(crops)
        again = session.run(crops[3:])
    assert largest_difference(heatmaps, artifacts.heatmaps(crops)) < 1e-4
    assert largest_difference(again, heatmaps[3:]) < 1e-4
    assert (crops == before).all()


def test_info_says_what_runs(case):
    path, batch, device, actual = case
    with load(path, device, threads=1) as session:
        info = session.info
    assert (info.batch, info.requested, info.device, info.threads) == (batch, device, actual, 1)
    assert any(letter.isdigit() for letter in info.version)


def test_results_keep_their_values_and_can_be_changed(case):
    path, _, device, _ = case
    crops = make_crops(4)
    with load(path, device) as session:
        first = session.run(crops[:2])
        kept = first.copy()
        session.run(crops[2:])
        assert (first == kept).all()
        first[:] = 0
        assert (session.run(crops[:2]) == kept).all()
        last = session.run(crops[:2])
    assert (last == kept).all()


def test_read_only_crops_are_taken(case):
    path, batch, device, _ = case
    crops = make_crops(batch or 1)
    with load(path, device) as session:
        wanted = session.run(crops)
        crops.flags.writeable = False
        assert (session.run(crops) == wanted).all()


def test_eight_threads_at_once_give_what_one_gives(case):
    path, _, device, _ = case
    batches = [make_crops(2, seed=seed) for seed in range(8)]
    with load(path, device) as session, concurrent.futures.ThreadPoolExecutor(len(batches)) as pool:
        serial = [session.run(batch) for batch in batches]
        for _ in range(4):
            for wanted, given in zip(serial, pool.map(session.run, batches), strict=True):
                np.testing.assert_array_equal(given, wanted)


def test_closing_waits_for_nothing_and_refuses_later_calls(case):
    path, batch, device, _ = case
    session = load(path, device)
    session.run(make_crops(batch or 1))
    session.close()
    with pytest.raises(InputError, match="closed"):
        session.run(make_crops(1))


def test_a_device_that_is_not_there_names_those_that_are(case):
    path, _, _, _ = case
    with pytest.raises(DeviceError, match=r"(?i)(openvino|onnxruntime|litert|torch) has no device 'tpu' on this machine; it has: .*cpu"):
        load(path, "tpu")


# What the file says and what its spec says


@pytest.mark.parametrize(("kind", "batch"), [("openvino", 2), ("onnx", None), ("litert", 1)])
def test_a_spec_of_another_batch_size_is_refused(artifacts, tmp_path, kind, batch):
    path = artifacts.copy(kind, tmp_path, batch)
    embed_spec(path, artifacts.spec.replace_export(ExportRecord(target=kind, precision="fp32", batch=7)))
    with pytest.raises(ArtifactError, match="7"):
        load(path)


def test_a_file_without_an_export_record_says_its_batch_size_itself(artifacts, tmp_path):
    path = artifacts.copy("openvino", tmp_path, 2)
    embed_spec(path, artifacts.spec)
    with load(path) as session:
        assert session.info.batch == 2


JUNK = np.random.default_rng(0).bytes(5000)


def seal_garbage(artifacts, folder, kind):
    """Write a file that is recognised as ``kind`` and carries a valid seal over garbage."""
    paths = {"openvino": "junk.xml", "onnx": "junk.onnx", "litert": "junk.tflite", "safetensors": "junk.safetensors"}
    if kind == "coreml":
        path = artifacts.copy("coreml", folder)
        (path / "Data/com.apple.CoreML/model.mlmodel").write_bytes(b"\x08\x08\xb2\x1f\x88\x27" + JUNK)
    else:
        path = folder / paths[kind]
        path.write_bytes(
            {
                "openvino": b'<?xml version="1.0"?><net name="m" version="11">' + JUNK + b"</net>",
                "onnx": b"\x08\x0a\x3a\x88\x27" + JUNK,
                "litert": b"\x1c\0\0\0TFL3" + JUNK,
                "safetensors": (24).to_bytes(8, "little") + b'{"__metadata__":{}}     ' + JUNK,
            }[kind]
        )
        (folder / "junk.bin").write_bytes(JUNK)
    embed_spec(path, artifacts.spec)
    return path


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert", "coreml", "safetensors"])
def test_sealed_garbage_is_an_artifact_error_that_names_the_file(artifacts, tmp_path, kind):
    path = seal_garbage(artifacts, tmp_path, kind)
    with pytest.raises(ArtifactError) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("left", [0, 1000])
def test_openvino_weights_that_are_too_short_are_refused(artifacts, tmp_path, left):
    path = artifacts.copy("openvino", tmp_path, 2)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:left])
    embed_spec(path, artifacts.spec)
    with pytest.raises(ArtifactError, match=r"tiny\.xml: .*the weights have .*cut short"):
        load(path)


@pytest.mark.parametrize(
    ("cuda", "mps", "devices"),
    [
        (0, False, ("cpu",)),
        (1, False, ("cpu", "cuda")),
        (2, False, ("cpu", "cuda.0", "cuda.1")),
        (0, True, ("cpu", "mps")),
    ],
)
def test_torch_devices(monkeypatch, cuda, mps, devices):
    import torch as pytorch

    monkeypatch.setattr(pytorch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(pytorch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(pytorch.backends.mps, "is_available", lambda: mps)
    assert torch.RUNTIME.devices() == devices


def test_torch_has_no_options(artifacts):
    with pytest.raises(InputError, match="torch has no options"):
        load(artifacts.path("safetensors"), options={"a": "b"})
