"""``edgepose quantize`` as a user runs it: what it writes and prints, that kill -9 costs nothing, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from checkpoints import make_spec, random_model
from people import draw_person

from edgepose.cli import main
from edgepose.models import Checkpoint, load_checkpoint, save_checkpoint
from edgepose.quantization import Quantization, apply
from edgepose.quantization.preparation import fingerprint

PHOTOS = 20
DECISION, QAT_DECISION, QAT = "tiny-int8.quantization.json", "tiny-qat-int8.quantization.json", "tiny-qat.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, photos with boxes, and a decision about it in ``out``."""
    folder = tmp_path_factory.mktemp("quantize")
    model = random_model(dim=48, depth=2, heads=3, head="simple", height=64, width=48)
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model, name="tiny")), folder / "tiny.safetensors")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    boxes = {}
    for number in range(PHOTOS):
        picture, _, box = draw_person(random)
        cv2.imwrite(str(folder / "photos" / f"{number:03d}.png"), picture[:, :, ::-1])
        boxes[f"{number:03d}.png"] = [box.tolist()]
    (folder / "boxes.json").write_text(json.dumps(boxes), "utf-8")
    assert main(arguments(folder, "out")) == 0
    return folder


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    given = [folder / "tiny.safetensors", "--calibration", folder / "photos", "--boxes", folder / "boxes.json", "--out", folder / out]
    return ["quantize", *map(str, given), *more]


def begin(folder: Path, out: str) -> Path:
    """Make a folder that holds the decision, so that it isn't made again."""
    (folder / out).mkdir()
    shutil.copy(folder / "out" / DECISION, folder / out / DECISION)
    return folder / out


def test_a_decision(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = (folder / "out" / DECISION).read_bytes()
    decision = Quantization.load(folder / "out" / DECISION)
    model = load_checkpoint(folder / "tiny.safetensors").model
    assert apply(model, decision).layers.keys() == decision.statistics.layers.keys() - set(decision.recipe.float_layers)
    calibration = decision.statistics.calibration
    assert calibration is not None
    assert (calibration.photos, calibration.crops) == (20, 16)
    # Again: what was decided on the same crops is taken as it is.
    stamp = (folder / "out" / DECISION).stat().st_mtime_ns
    assert main(arguments(folder, "out")) == 0
    printed = capsys.readouterr().out
    assert "int8, post-training" in printed
    assert "4 held-out crops" in printed
    assert DECISION in printed
    assert (folder / "out" / DECISION).stat().st_mtime_ns == stamp
    # And so is one that is named, wherever it lies.
    assert main(arguments(folder, "named", "--recipe", str(folder / "out" / DECISION), "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["decision"] == str(folder / "out" / DECISION)
    assert 0 < result["post_training"]["relative_rms"] < 0.5
    assert not (folder / "named").exists()
    assert (folder / "out" / DECISION).read_bytes() == written


def test_a_recipe_of_ones_own(folder: Path) -> None:
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps({"precision": "int8", "float_layers": ["backbone.blocks.0.mlp.fc2"], "smooth_quant_alpha": None}))
    begin(folder, "own")
    assert main(arguments(folder, "own", "--recipe", str(recipe), "--json")) == 0
    decision = Quantization.load(folder / "own" / DECISION)
    assert decision.statistics.smoothing == {}
    assert "backbone.blocks.0.mlp.fc2" in decision.recipe.float_layers


def test_fine_tune(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = begin(folder, "tuned")
    assert main(arguments(folder, "tuned", "--finetune", "--steps", "4", "--lr", "3e-5", "--batch", "4", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["decision"] == str(out / DECISION)
    finetuned = result["finetuned"]
    assert (finetuned["checkpoint"], finetuned["decision"]) == (str(out / QAT), str(out / QAT_DECISION))
    assert finetuned["improved"] == (finetuned["relative_rms"] < result["post_training"]["relative_rms"])
    assert sorted(path.name for path in out.iterdir()) == sorted([DECISION, QAT_DECISION, QAT])
    decision = Quantization.load(out / QAT_DECISION)
    assert decision.weights_sha256 == fingerprint(load_checkpoint(out / QAT).model)
    assert apply(load_checkpoint(out / QAT).model, decision).layers.keys() == decision.statistics.layers.keys() - set(
        decision.recipe.float_layers
    )


def start(command: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    whole = [sys.executable, "-m", "edgepose.cli", *command]
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_kill_9_costs_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--finetune", "--steps", "40", "--lr", "1e-5", "--batch", "4", "--save-every", "0"]
    whole, killed = begin(folder, "whole"), begin(folder, "killed")
    process = start(arguments(folder, "killed", *options))
    state = killed / "tiny-qat.state.pt"
    try:
        deadline = time.monotonic() + 120
        while not state.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / QAT).exists()
    # Other options are no way to go on.
    assert main(arguments(folder, "killed", *options, "--seed", "1")) == 1
    assert "with --seed (0, not 1); repeat its options to go on with it, or delete the file to start over" in capsys.readouterr().err
    assert main(arguments(folder, "killed", *options)) == 0
    assert "going on after step" in capsys.readouterr().err
    assert not state.exists()
    assert main(arguments(folder, "whole", *options)) == 0
    ours, theirs = (load_checkpoint(out / QAT).model.state_dict() for out in (killed, whole))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (killed / QAT_DECISION).read_bytes() == (whole / QAT_DECISION).read_bytes()


def test_bad_input_gets_one_clear_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder / "other.json"
    document = json.loads((folder / "out" / DECISION).read_text("utf-8"))
    other.write_text(json.dumps(document | {"weights_sha256": "0" * 64}), "utf-8")
    (folder / "unknown.json").write_text('{"precision": "int8", "bits": 3}', "utf-8")
    (folder / "dynamic.json").write_text('{"precision": "int8-dynamic"}', "utf-8")
    (folder / "broken.json").write_text("{", "utf-8")
    (folder / "list.json").write_text("[]", "utf-8")
    (folder / "few").mkdir()
    shutil.copy(folder / "photos" / "000.png", folder / "few")
    model = str(folder / "tiny.safetensors")
    for more, message in [
        (["--recipe", str(folder / "none.json")], "can't read the recipe"),
        (["--recipe", str(other)], "was made for other weights"),
        (["--recipe", str(folder / "unknown.json")], "unknown.json has unknown field(s) bits; known: precision"),
        (
            ["--recipe", str(folder / "dynamic.json")],
            "is about weights alone and needs no photos: use `edgepose convert --precision int8-dynamic`",
        ),
        (["--recipe", str(folder / "broken.json")], "broken.json isn't valid JSON"),
        (["--recipe", str(folder / "list.json")], "isn't an edgepose quantization recipe"),
        (["--steps", "4"], "--steps is about fine-tuning: add --finetune"),
        (["--boxes", str(folder / "none.json")], "can't read the boxes file"),
    ]:
        assert main(arguments(folder, "bad", *more)) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("edgepose quantize: ")
        assert message in errors
        assert not (folder / "bad").exists()
    for calibration, message in [
        ([], "no photos: name some, or folders of them, with --calibration"),
        (["--calibration", str(folder / "nowhere")], "doesn't exist"),
    ]:
        assert main(["quantize", model, *calibration, "--out", str(folder / "bad")]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["quantize", model, "--steps", "many"])


def test_one_photo_is_taken_with_a_warning(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    photo, boxes = folder / "photos" / "003.png", tmp_path / "boxes.json"
    box = json.loads((folder / "boxes.json").read_text())["003.png"][0]
    boxes.write_text(json.dumps([box, [box[0] + 3, *box[1:]], [box[0], box[1] + 5, *box[2:]]]))
    command = ["quantize", str(folder / "tiny.safetensors"), "--calibration", str(photo), "--boxes", str(boxes), "--out", str(tmp_path)]
    assert main(command) == 0
    assert "1 photos with 2 people are few to calibrate on" in caplog.text
    assert "on 1 held-out crops" in capsys.readouterr().out
    statistics = Quantization.load(tmp_path / DECISION).statistics
    assert statistics.calibration is not None
    assert (statistics.calibration.photos, statistics.calibration.crops) == (1, 2)


def test_without_nncf(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert main(arguments(folder, "bad")) == 1
    assert "pip install 'edgepose[quantize]'" in capsys.readouterr().err
