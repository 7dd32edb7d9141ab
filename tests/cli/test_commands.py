"""The commands as a user runs them, on tiny models."""

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from artifacts import SUFFIXES, TinyArtifacts
from checkpoints import make_spec, random_model

from edgepose.artifact import embed_spec, open_artifact
from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.cli import main
from edgepose.models import Checkpoint, save_checkpoint
from edgepose.skeleton import get_skeleton
from edgepose.spec import Codec, InputSpec


@pytest.fixture
def model(artifacts: TinyArtifacts) -> str:
    return str(artifacts.path("onnx"))


@pytest.fixture
def checkpoint(artifacts: TinyArtifacts) -> str:
    return str(artifacts.path("safetensors"))


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with exit code 1; return its one line on standard error."""
    capsys.readouterr()  # what making the fixtures printed
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    return captured.err


def test_convert_then_predict(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "models"
    assert main(["convert", checkpoint, "--to", "onnx,openvino", "--precision", "fp32", "--out", str(out)]) == 0
    table = capsys.readouterr().out
    assert "tiny-64x48-fp32.onnx" in table
    assert sorted(file.name for file in out.iterdir()) == ["tiny-64x48-fp32.bin", "tiny-64x48-fp32.onnx", "tiny-64x48-fp32.xml"]
    poses = tmp_path / "poses"
    command = ["predict", str(out / "tiny-64x48-fp32.xml"), str(SAMPLE_IMAGE), "--boxes", str(SAMPLE_BOXES), "--out", str(poses)]
    assert main(command) == 0
    document = json.loads((poses / "sample-pose.json").read_text())
    assert len(document["people"]) == 4
    drawing = cv2.imread(str(poses / "sample-pose.jpg"))
    assert drawing.shape == (document["height"], document["width"], 3)


def test_convert_prints_json(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", checkpoint, "--to", "openvino", "--precision", "fp16", "--out", str(tmp_path), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["target"] == "openvino"
    assert document["parity"][0]["relative"] < 1e-2
    assert Path(document["path"]).is_file()


def test_predict_prints_json(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "predict",
                model,
                str(SAMPLE_IMAGE),
                "--whole",
                "--out",
                str(tmp_path),
                "--json",
                "--device",
                "onnxruntime:cpu",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    (image,) = document["images"]
    assert len(image["people"]) == 1, "the whole image is one box"
    assert set(image["people"][0]["keypoints"]) >= {"nose", "left_wrist"}


def test_predict_goes_on_after_a_bad_image(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    out = tmp_path / "poses"
    assert main(["predict", model, str(empty), str(SAMPLE_IMAGE), "--whole", "--out", str(out)]) == 1
    assert "empty.jpg" in capsys.readouterr().err
    assert sorted(file.name for file in out.iterdir()) == ["sample-pose.jpg", "sample-pose.json"]


def test_images_of_one_name_do_not_overwrite_each_other(model: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = shutil.copy(SAMPLE_IMAGE, tmp_path / "other")
    out = tmp_path / "poses"
    assert main(["predict", model, str(SAMPLE_IMAGE), str(other), "--whole", "--out", str(out)]) == 0
    assert sorted(file.name for file in out.glob("*.json")) == ["sample-2-pose.json", "sample-pose.json"]


def test_one_bad_box_loses_nobody(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"sample.jpg": [[165, 179, 376, 578, 0.9], [2000, 50, 2100, 90, 0.5]]}), "utf-8-sig")
    command = ["predict", model, str(SAMPLE_IMAGE), "--boxes", str(boxes), "--out", str(tmp_path)]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 (+1 without a pose)" in captured.out
    assert "1 of 2 boxes can't be used and have no pose: box 1 is [2000.0" in captured.err
    first, second = json.loads((tmp_path / "sample-pose.json").read_text())["people"]
    assert first["box_score"] == 0.9
    assert first["keypoints"]["nose"][0] is not None
    assert (second["status"], second["score"], second["keypoints"]["nose"]) == ("outside", 0, [None, None, 0])
    assert main([*command, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"][0]["people"]) == 2


def test_images_of_one_name_are_told_apart(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [tmp_path / folder / "0001.jpg" for folder in ("cam1", "cam2")]
    for image in images:
        image.parent.mkdir()
        shutil.copy(SAMPLE_IMAGE, image)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"cam1/0001.jpg": [[165, 179, 376, 578]], "cam2\\0001.jpg": [[100, 100, 300, 500]]}))
    command = ["predict", model, *map(str, images), "--boxes", str(boxes), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    found = [json.loads((tmp_path / "out" / name).read_text())["people"][0]["box_xyxy"] for name in ("0001-pose.json", "0001-2-pose.json")]
    assert found == [[165, 179, 376, 578], [100, 100, 300, 500]]
    boxes.write_text(json.dumps({"0001.jpg": [[165, 179, 376, 578]]}))
    shutil.rmtree(tmp_path / "out")
    assert "'0001.jpg' stands for both" in fails(capsys, *command)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no pictures in the folder" in fails(capsys, "predict", model, str(tmp_path), "--whole", "--out", str(tmp_path / "out"))


def test_names_that_the_terminal_cannot_show(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "caf\udce9.jpg"  # Latin-1, as Python sees it
    shutil.copy(SAMPLE_IMAGE, image)
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["predict", model, str(image), "--whole", "--out", str(tmp_path)]) == 0
    assert rb"caf\udce9.jpg" in shown.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO
    assert len(list(tmp_path.glob("caf*-pose.json"))) == 1


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert", "coreml", "safetensors"])
def test_info(kind: str, artifacts: TinyArtifacts, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(artifacts.path(kind))]) == 0
    text = capsys.readouterr().out
    assert f"({kind}, " in text
    assert "(checked)" in text
    assert main(["info", str(artifacts.path(kind)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["name"] == "tiny"


def test_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    assert "onnxruntime:cpu" in capsys.readouterr().out
    assert main(["devices", "--json"]) == 0
    names = {report["name"] for report in json.loads(capsys.readouterr().out)}
    assert names == {"openvino", "onnxruntime", "litert", "coreml", "mil", "torch"}


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "usyd-community/vitpose-plus-small" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["embedded"]["name"].startswith("vitpose-ti")


def test_verify(model: str, checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", model, "--against", checkpoint]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    assert main(["verify", model, "--against", checkpoint, "--photos", str(SAMPLE_IMAGE), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parity"]["crops"] == 1
    assert document["parity"]["relative"] <= document["tolerance"]["relative"]


def test_verify_fails_on_another_model(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48, seed=9)
    save_checkpoint(Checkpoint(model=other, spec=make_spec(other)), tmp_path / "other.safetensors")
    assert "backbone.patch_embed, channel 0: the file holds the weight" in fails(
        capsys, "verify", model, "--against", str(tmp_path / "other.safetensors")
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input": InputSpec(height=64, width=48, mean=(0.5, 0.456, 0.406))}, "normalization"),
        ({"codec": Codec(padding=1.3)}, "codec"),
        ({"skeleton": replace(get_skeleton("coco"), keypoints=get_skeleton("coco").keypoints[::-1])}, "keypoints"),
        ({"skeleton": replace(get_skeleton("coco"), flip_pairs=get_skeleton("coco").flip_pairs[1:])}, "flip pairs"),
    ],
)
def test_verify_compares_what_the_spec_says(
    change: dict[str, object], named: str, checkpoint: str, artifacts: TinyArtifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed again with another normalization, a file computes the same heatmaps and gives other poses."""
    path = artifacts.copy("onnx", tmp_path)
    embed_spec(path, replace(open_artifact(path).spec, **change))
    assert f"its spec has another {named} than the checkpoint" in fails(capsys, "verify", str(path), "--against", checkpoint)


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert", "coreml"])
def test_one_flipped_bit_is_noticed(kind: str, artifacts: TinyArtifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifacts.copy(kind, tmp_path)
    weights = max((file for file in tmp_path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert "content has changed since it was verified" in fails(
        capsys, "predict", str(path), str(SAMPLE_IMAGE), "--whole", "--out", str(tmp_path / "out")
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", sorted(SUFFIXES))
def test_a_truncated_file(kind: str, artifacts: TinyArtifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = artifacts.copy(kind, tmp_path)
    victim = path / "Data" / "com.apple.CoreML" / "model.mlmodel" if path.is_dir() else path
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    assert path.name in fails(capsys, "info", str(path))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 not a photo", b"\x80\x02]q\x00.", b"PK\x03\x04 not a zip", b'{"a": 1}'])
def test_foreign_files(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    assert "foreign.onnx" in fails(capsys, "predict", str(path), str(SAMPLE_IMAGE), "--whole", "--out", str(tmp_path / "out"))
    assert "foreign.onnx" in fails(capsys, "convert", str(path), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


class NotTensors:
    """Something that only plain pickle would load."""


def test_a_pickle_that_is_no_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": NotTensors()}, path)
    assert "model.pth" in fails(capsys, "convert", str(path), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 10, 10, 50]], "width and height"),
        ([[50, 10, 10, 60]], "box"),
        ([[5000, 5000, 5100, 5100]], "outside"),
        ([[0, 0, float("nan"), 10]], "box"),
        ([[0, 0, 10]], "box"),
        ("nonsense", "box"),
    ],
)
def test_bad_boxes(boxes: object, message: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(boxes))
    error = fails(capsys, "predict", model, str(SAMPLE_IMAGE), "--boxes", str(file), "--out", str(tmp_path / "out"))
    assert message in error.lower()


def test_no_boxes_is_no_error(model: str, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text("[]")
    assert main(["predict", model, str(SAMPLE_IMAGE), "--boxes", str(file), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "sample-pose.json").read_text())["people"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "onnxruntime:cuda"], "onnxruntime has no device 'cuda'"),
        (["--device", "litert:cpu"], "doesn't open onnx files"),
        (["--device", ":"], "expected '[runtime:]device'"),
        (["--option", "no_such_option=1"], "no_such_option"),
    ],
)
def test_devices_and_options_that_are_not_there(
    arguments: list[str], message: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "predict", model, str(SAMPLE_IMAGE), "--whole", "--out", str(tmp_path / "out"), *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["convert", "--input-size", "250x190"],
        ["convert", "--input-size", "large"],
        ["convert", "--batch", "0"],
        ["convert", "--to", ","],
        ["predict", "model.onnx"],
        ["predict", "model.onnx", "photo.jpg", "--option", "=1"],
    ],
)
def test_wrong_usage_exits_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: edgepose" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--to", "ncnn"], "'ncnn'; allowed"), (["--precision", "fp8"], "'fp8'"), (["--to", "litert", "--batch", "dynamic"], "static")],
)
def test_what_convert_cannot_do(
    option: list[str], message: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "convert", checkpoint, "--out", str(tmp_path / "out"), *option)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(model: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.write_text("in the way")
    assert "out" in fails(capsys, "predict", model, str(SAMPLE_IMAGE), "--whole", "--out", str(out))
    assert main(["convert", checkpoint, "--to", "onnx", "--out", str(out)]) == 1
    assert "out" in capsys.readouterr().err
    assert out.read_text() == "in the way"


def test_the_sample_photo_has_its_people() -> None:
    document = json.loads(SAMPLE_BOXES.read_text())
    image = cv2.imread(str(SAMPLE_IMAGE))
    assert image.shape[:2] == (document["height"], document["width"])
    for person in document["people"]:
        left, top, right, bottom = person["box_xyxy"]
        points = np.array(person["keypoints_xy"])
        assert ((points >= (left - 5, top - 5)) & (points <= (right + 5, bottom + 5))).all()
