"""``edgepose convert`` to quantized precisions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkpoints import make_spec, random_model

from edgepose.artifact import open_artifact
from edgepose.cli import main
from edgepose.models import Checkpoint, save_checkpoint

pytestmark = pytest.mark.xdist_group("quantization")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model, name="tiny")), path)
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(20):
        cv2.imwrite(str(folder / f"{number:02}.png"), generator.integers(0, 256, (80, 60, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def converted(checkpoint: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["convert", checkpoint, "--precision", "int8", "--calibration", str(photos), "--to", "onnx", "--out", str(out)]) == 0
    return out


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 1
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    return errors


def test_the_table_shows_both_comparisons(checkpoint: str, converted: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    arguments = ["--precision", "int8,int8-full", "--calibration", str(photos), "--to", "litert", "--out", str(converted)]
    assert main(["convert", checkpoint, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "simulated" in printed
    assert "float" in printed
    # The decision of the first conversion, in the same folder, is taken up again.
    assert "taken from" in printed
    assert "skipped broken.jpg" in printed
    assert "most sensitive" in printed
    assert {path.name for path in converted.iterdir()} == {
        "tiny-int8.quantization.json",
        "tiny-64x48-int8.onnx",
        "tiny-64x48-int8.tflite",
        "tiny-64x48-int8-full.tflite",
    }


def test_a_recipe_replays_the_decision_without_photos(checkpoint: str, converted: Path, tmp_path: Path) -> None:
    recipe = str(converted / "tiny-int8.quantization.json")
    assert main(["convert", checkpoint, "--precision", "int8", "--recipe", recipe, "--to", "onnx", "--out", str(tmp_path)]) == 0
    ours, theirs = (open_artifact(folder / "tiny-64x48-int8.onnx").spec.export.quantization for folder in (tmp_path, converted))
    assert ours == theirs
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-64x48-int8.onnx"]


def test_verify_takes_the_decision(checkpoint: str, converted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, recipe = str(converted / "tiny-64x48-int8.onnx"), str(converted / "tiny-int8.quantization.json")
    assert main(["verify", path, "--against", checkpoint]) == 0
    printed = capsys.readouterr().out
    assert "heatmap error of allowed" in printed
    assert "not checked: corrections of biases and ranges of activations" in printed
    assert main(["verify", path, "--against", checkpoint, "--recipe", recipe]) == 0
    printed = capsys.readouterr().out
    assert "stored numbers against the decision" in printed
    assert "not checked" not in printed
    assert main(["verify", path, "--against", checkpoint, "--recipe", recipe, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parity"]["relative_rms"] <= document["tolerance"]["relative_rms"] == document["parity"]["allowed_rms"]
    assert document["numbers"] > 100_000


def test_info_and_json_know_the_quantization(checkpoint: str, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(converted / "tiny-int8.quantization.json")
    assert main(["convert", checkpoint, "--precision", "int8", "--recipe", recipe, "--to", "onnx", "--out", str(tmp_path), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert [parity["reference"] for parity in document["parity"]] == ["simulated", "float"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["recipe"].update(colour="red"), "unknown field(s) colour"),
        (lambda document: document.update(weights_sha256="0" * 64), "was made for other weights"),
        (lambda document: document["recipe"]["float_layers"].append("head.last"), "'head.last', which the model doesn't have"),
        (lambda document: document.pop("edgepose_quantization"), "isn't an edgepose quantization recipe"),
    ],
)
def test_a_bad_recipe_is_refused(
    change, message: str, checkpoint: str, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((converted / "tiny-int8.quantization.json").read_text())
    change(document)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(document))
    out = tmp_path / "out"
    assert message in fails(capsys, "convert", checkpoint, "--precision", "int8", "--recipe", str(path), "--to", "onnx", "--out", str(out))
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int8"], "int8 needs photos to calibrate on"),
        (["--precision", "int8", "--calibration", "nowhere"], "doesn't exist"),
        (["--precision", "int8-full", "--to", "onnx"], "onnx files can't hold precision 'int8-full'; they hold: fp32"),
        (["--precision", "int9"], "no precision is called 'int9'; allowed: fp32, fp16, int8"),
    ],
)
def test_what_cannot_be_asked_for(
    arguments: list[str], message: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "convert", checkpoint, "--out", str(tmp_path / "out"), *arguments)


def test_a_recipe_for_another_precision(checkpoint: str, converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(converted / "tiny-int8.quantization.json")
    assert "is a recipe for int8" in fails(capsys, "convert", checkpoint, "--precision", "int4", "--recipe", recipe, "--out", str(tmp_path))
