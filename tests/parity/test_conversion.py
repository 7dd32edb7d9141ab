"""Each target writes a file that computes what the model computes, and nothing else gets a name."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from artifacts import make_crops
from checkpoints import make_spec, random_model
from torch import nn

import edgepose
from edgepose.artifact import open_artifact
from edgepose.errors import InputError, VerificationError
from edgepose.heatmap import encode
from edgepose.models import Checkpoint
from edgepose.precision import get_precision
from edgepose_converters import TARGETS, convert, tolerance, verification, verify
from edgepose_converters.targets import get_target

HEIGHT, WIDTH = 64, 48


@pytest.fixture(scope="module")
def classic() -> Checkpoint:
    model = random_model(dim=48, depth=1, heads=3, head="classic", keypoints=17, height=HEIGHT, width=WIDTH)
    return Checkpoint(model=model, spec=make_spec(model, name="tiny-classic"))


@pytest.fixture(scope="module")
def simple() -> Checkpoint:
    model = random_model(dim=48, depth=1, heads=3, head="simple", keypoints=5, height=HEIGHT, width=WIDTH, seed=3)
    return Checkpoint(model=model, spec=make_spec(model, name="tiny-simple"))


def heatmaps(model: nn.Module, crops: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(crops)).numpy()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", TARGETS)
def test_each_file_computes_what_the_model_computes(target: str, precision: str, classic: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(classic, targets=[target], precisions=[precision], out=tmp_path)
    assert outcome.error == ""
    crops = make_crops(3)
    expected = heatmaps(classic.model, crops)
    with edgepose.load(outcome.path) as session:
        difference = np.abs(session.run(crops) - expected).max() / np.abs(expected).max()
    assert difference <= tolerance(get_precision(precision), target).relative
    # fp16 files that are as exact as fp32 would be fp32 under another name.
    assert precision == "fp32" or difference > 1e-5
    parities = open_artifact(outcome.path).spec.export.parity
    assert parities == outcome.parity
    assert len(parities) == (3 if target == "litert" else 1)
    assert all(parity.compared + parity.undecided == parity.crops * 17 for parity in parities)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("target", TARGETS)
def test_fp16_halves_the_file(target: str, classic: Checkpoint, tmp_path: Path) -> None:
    # On a network whose weights outweigh its graph.
    model = random_model(dim=192, depth=2, heads=3, head="simple", height=HEIGHT, width=WIDTH)
    checkpoint = Checkpoint(model=model, spec=make_spec(model, name="wide"))
    weights = sum(tensor.numel() for tensor in model.state_dict().values())
    (outcome,) = convert(checkpoint, targets=[target], precisions=["fp16"], out=tmp_path)
    assert 2 * weights <= outcome.size_bytes < 2.3 * weights


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_files_have_the_oldest_form_that_holds_their_operators(precision: str, simple: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(simple, targets=["onnx"], precisions=[precision], out=tmp_path)
    written = onnx.load(outcome.path)
    # ONNX Runtime 1.17, the first with opset 20, refuses anything newer.
    assert (written.ir_version, written.opset_import[0].version) == (9, 20)


@pytest.mark.parametrize("target", [name for name in TARGETS if get_target(name).dynamic_batch])
def test_dynamic_batch(target: str, simple: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(simple, targets=[target], precisions=["fp32"], out=tmp_path, batch=None)
    assert outcome.error == ""
    assert "-dynamic-" in outcome.path.name
    with edgepose.load(outcome.path) as session:
        assert session.info.batch is None
        for count in (1, 3, 5):
            crops = make_crops(count)
            np.testing.assert_allclose(session.run(crops), heatmaps(simple.model, crops), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
def test_static_batch_of_two(target: str, simple: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(simple, targets=[target], precisions=["fp32"], out=tmp_path, batch=2)
    assert outcome.path.name.startswith("tiny-simple-64x48-batch2-fp32.")
    with edgepose.load(outcome.path) as session:
        assert session.info.batch == 2
        crops = make_crops(3)
        np.testing.assert_allclose(session.run(crops), heatmaps(simple.model, crops), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_is_said_before_anything_is_written(simple: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"litert files have a static batch size; give --batch a number"):
        list(convert(simple, targets=["onnx", "litert"], precisions=["fp32"], out=tmp_path, batch=None))
    with pytest.raises(InputError, match="no precision is called 'int3'; allowed: fp32, fp16, int8"):
        list(convert(simple, targets=["onnx"], precisions=["int3"], out=tmp_path))
    assert list(tmp_path.iterdir()) == []


class Wrapped:
    """The ONNX target with another ``write``."""

    def __init__(self, write: object) -> None:
        self._target = get_target("onnx")
        self.write = write

    def __getattr__(self, name: str) -> object:
        return getattr(self._target, name)


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    def install(write: object) -> None:
        original = get_target
        monkeypatch.setattr("edgepose_converters.conversion.get_target", lambda name: Wrapped(write) if name == "onnx" else original(name))

    return install


class Altered(nn.Module):
    """A model that is a little off: by more than fp32 may be."""

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module = module
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # A factor for each pixel: a single one is found when the file is read back.
        heatmaps = self.module(x)
        return heatmaps * torch.full(heatmaps.shape[-2:], self.factor)


@pytest.mark.parametrize(("factor", "message"), [(1.001, "differ from the torch model"), (float("nan"), "hold NaN")])
def test_a_wrong_file_is_not_left_behind(factor: float, message: str, simple: Checkpoint, sabotage: object, tmp_path: Path) -> None:
    onnx = get_target("onnx")
    sabotage(lambda source, *rest, **options: onnx.write(replace(source, module=Altered(source.module, factor)), *rest, **options))
    wrong, right = convert(simple, targets=["onnx", "openvino"], precisions=["fp32"], out=tmp_path)
    assert wrong.path is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(wrong.error)
    assert right.error == ""
    assert {file.suffix for file in tmp_path.iterdir()} == {".xml", ".bin"}


def test_a_failing_tool_is_named_with_its_words(simple: Checkpoint, sabotage: object, tmp_path: Path) -> None:
    def write(*_: object, **__: object) -> None:
        os.write(1, b"the tool's last words")
        raise RuntimeError("unsupported operator")

    sabotage(write)
    (outcome,) = convert(simple, targets=["onnx"], precisions=["fp32"], out=tmp_path)
    assert "the onnx converter failed: RuntimeError: unsupported operator" in outcome.error
    assert "the tool's last words" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(simple: Checkpoint, sabotage: object, tmp_path: Path) -> None:
    def write(source: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half a model")
        raise KeyboardInterrupt

    sabotage(write)
    with pytest.raises(KeyboardInterrupt):
        list(convert(simple, targets=["onnx"], precisions=["fp32"], out=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room(simple: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    (outcome,) = convert(simple, targets=["onnx"], precisions=["fp32"], out=tmp_path)
    assert "no room in" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failure_and_is_replaced_by_success(simple: Checkpoint, sabotage: object, tmp_path: Path) -> None:
    old = tmp_path / "tiny-simple-64x48-fp32.onnx"
    old.write_bytes(b"old")

    def write(*_: object, **__: object) -> None:
        raise RuntimeError

    sabotage(write)
    list(convert(simple, targets=["onnx"], precisions=["fp32"], out=tmp_path))
    assert old.read_bytes() == b"old"


def test_verify_tells_another_model(simple: Checkpoint, classic: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(simple, targets=["openvino"], precisions=["fp32"], out=tmp_path)
    assert verify(outcome.path, simple).parities[0].relative < 1e-5
    other = random_model(dim=48, depth=1, heads=3, head="simple", keypoints=5, height=HEIGHT, width=WIDTH, seed=4)
    with pytest.raises(VerificationError, match="backbone.patch_embed, channel 0: the file holds the weight"):
        verify(outcome.path, Checkpoint(model=other, spec=simple.spec))
    with pytest.raises(InputError, match="aren't the same model"):
        verify(outcome.path, classic)


def test_no_runtime_to_verify_with_is_a_failure(simple: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(get_target("openvino")), "verifiers", ("openvino:gpu.7",))
    (outcome,) = convert(simple, targets=["openvino"], precisions=["fp32"], out=tmp_path)
    assert "can't be executed here" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_two_peaks_within_the_tolerance_decide_nothing() -> None:
    maps = np.zeros((1, 2, 16, 12), np.float32)
    maps[0, :, 3, 3] = 1.0
    maps[0, 0, 10, 8] = 0.995
    maps[0, 1, 10, 8] = 0.5
    np.testing.assert_array_equal(verification._has_one_peak(maps, margin=0.02), [[False, True]])


def test_a_trained_peak_stays_and_a_flat_one_does_not(simple: Checkpoint) -> None:
    maps, _ = encode(np.array([[[21.3, 34.6], [21.3, 34.6]]]), np.ones((1, 2)), simple.spec.input, simple.spec.codec)
    maps[0, 1] *= 0.004
    stays = verification._stays(maps, 0.01, 0.2, simple.spec)
    np.testing.assert_array_equal(stays, [[True, False]])
