"""`edgepose check` as a user runs it."""

import json
from pathlib import Path

import pytest
from artifacts import TinyArtifacts
from checkpoints import huggingface_config, huggingface_state, random_model, save, vitpose_state, write_huggingface
from label_tools import cvat, make_people, plain, write_pictures

from edgepose.cli import main


def test_a_good_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [(box, [*rows[:-1], rows[0]]) for box, rows in make_people()]
    document = cvat(people)
    write_pictures(tmp_path / "images", [image["file_name"] for image in document["images"]])
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(document))
    assert main(["check", str(path), "--images", str(tmp_path / "images"), "--keypoints", "coco", "--decode"]) == 0
    out = capsys.readouterr().out
    assert f"{path}: annotations in COCO's form, as CVAT writes them: 4 images, 4 people, 17 keypoints (coco)\n" in out
    assert "nothing odd" in out
    assert out.endswith("1 checked, nothing would be refused\n")


def test_what_is_odd_is_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = plain(make_people())
    for annotation in document["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    document["images"][0]["file_name"] = "a\x1b[31m.png"
    path = tmp_path / "labels\x1b[31m.json"
    path.write_text(json.dumps(document))
    assert main(["check", str(path), str(tmp_path / "nope"), "--images", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "| repaired |     4 | ids that are written otherwise than those they refer to" in out
    assert "| warning  |     1 | keypoints that are labelled of nobody" in out
    assert "| refused  |     4 | pictures with people that aren't in the folder" in out
    assert "  refused: no such file or folder\n" in out
    assert out.endswith("2 checked, 2 would be refused\n")
    assert main(["check", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (checked,) = report["files"]
    assert (report["edgepose_check"], report["refused"], checked["refused"]) == (1, 0, False)
    assert checked["facts"]["people"] == 4
    assert {"code", "severity", "message", "count", "example", "done", "repaired"} == set(checked["findings"][0])


def test_a_repaired_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = plain(make_people())
    for annotation in document["annotations"]:
        annotation["num_keypoints"] = 0
    path, out = tmp_path / "labels.json", tmp_path / "repaired.json"
    path.write_text(json.dumps(document))
    given = path.read_bytes()
    assert main(["check", str(path), "--write", str(out)]) == 0
    first, second = capsys.readouterr().out.split(f"{out}: ")
    assert "| repaired |     4 | people with labelled keypoints whose num_keypoints is 0" in first
    assert "repaired |" not in second
    assert path.read_bytes() == given
    assert [annotation["num_keypoints"] for annotation in json.loads(out.read_text())["annotations"]] == [16] * 4
    assert main(["check", str(path), "--write", str(path)]) == 1
    assert "write the repaired copy to another one" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["x", "--keypoints", "nonsense"], ["x", "--max-pixels", "0"], ["x", "y", "--write", "z"]])
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["check", *options])
    assert error.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_models_and_checkpoints(artifacts: TinyArtifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device_file = artifacts.copy("litert", tmp_path)
    assert main(["check", str(device_file), "--keypoints", str(device_file)]) == 0
    assert "a TFLite file of edgepose, its hash is right: tiny, dim 48" in capsys.readouterr().out
    assert main(["check", str(device_file), "--keypoints", "crowdpose"]) == 1
    assert "has 17 keypoints, the model's skeleton 'crowdpose' 14" in capsys.readouterr().out
    content = bytearray(device_file.read_bytes())
    content[len(content) // 2] ^= 1
    device_file.write_bytes(content)
    plain_checkpoint = save(tmp_path / "epoch.pth", vitpose_state(random_model(depth=1, head="simple")))
    assert main(["check", str(device_file), str(plain_checkpoint)]) == 1
    captured = capsys.readouterr()
    assert "the content has changed since it was verified" in captured.out
    assert "a checkpoint in the vitpose layout, taken for vitpose-192x1-simple" in captured.out
    assert "--dataset" in captured.out  # 17 keypoints without a name: what `convert` asks for
    assert captured.err == ""
    assert main(["check", str(plain_checkpoint), "--keypoints", "coco"]) == 1
    out = capsys.readouterr().out
    assert "--dataset" not in out
    assert "say so with --input-size (256x192 or 192x256)" in out
    assert main(["check", str(plain_checkpoint), "--dataset", "coco", "--input-size", "256x192"]) == 0
    assert "nothing odd" in capsys.readouterr().out


def test_a_folder_of_models(artifacts: TinyArtifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts.copy("safetensors", tmp_path / "models")
    model = random_model(depth=1, head="simple")
    config = huggingface_config(model)
    write_huggingface(tmp_path / "models" / "hub", huggingface_state(model), config)
    assert main(["check", str(tmp_path / "models")]) == 0
    out = capsys.readouterr().out
    assert "hub: a checkpoint in the huggingface layout: " in out
    assert "tiny.safetensors: a safetensors file of edgepose" in out
    assert "models: a folder: 2 files looked at" in out


def test_torch_is_asked_for_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *rest: object, **options: object) -> object:
        if name == "edgepose.models":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.pth").write_bytes(b"\x80\x02}.")
    assert main(["check", str(tmp_path / "a.pth")]) == 1
    assert "pip install 'edgepose[convert]'" in capsys.readouterr().out
