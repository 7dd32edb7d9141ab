"""``edgepose distill`` as a user runs it: what it prints, what it refuses, and that neither kill -9 nor a full disk costs anything."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from people import RECIPE, write_coco, write_recipe

from edgepose.cli import main
from edgepose.distillation import load_state, session
from edgepose.files import lock
from edgepose.models import load_checkpoint

QUICK = ("--workers", "0", "--device", "cpu", "--log-every", "1")
# Loss and gradients of a batch are means over its people: without random colours, two halves average to the whole.
PLAIN = ["--set", "augmentation.brightness=0", "--set", "augmentation.contrast=0", "--set", "augmentation.saturation=0"]
PLAIN += [
    "--set",
    "augmentation.tint=0",
    "--set",
    "augmentation.grey=0",
    "--set",
    "augmentation.rotation=0",
    "--set",
    "augmentation.half_body=0",
]
PLAIN += ["--set", "augmentation.scale=0"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco(tmp_path / "data", 10)
    write_recipe(tmp_path / "tiny.toml")
    return tmp_path


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    given = ["distill", "--recipe", folder / "tiny.toml", "--data", folder / "data", "--out", folder / out, "--cache", folder / "cache"]
    return [*map(str, given), *QUICK, *more]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).model.state_dict()


def start(command: list[str], **settings: object) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    whole = [sys.executable, "-m", "edgepose.cli", *command]
    return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **settings)


def test_train_go_on_and_publish(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "run", "--json", "--publish", str(folder / "models"))) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["images"] == 72
    assert load_checkpoint(result["published"]).spec.name == "tiny"
    assert "PCK" in printed.err
    # Again into the same folder is a mistake; going on with a finished run changes nothing.
    assert main(arguments(folder, "run")) == 1
    assert "holds a run already: go on with --resume" in capsys.readouterr().err
    before = weights(folder / "run" / "last.safetensors")
    assert main(["distill", "--out", str(folder / "run"), "--resume", "--cache", str(folder / "cache"), *QUICK]) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(folder / "run" / "last.safetensors").items())
    capsys.readouterr()
    # A branch with a longer phase.
    branch = ["--resume", str(folder / "run" / "after-coarse.pt"), "--set", "phases.coarse.images=56", "--out", str(folder / "branch")]
    assert main(["distill", *branch, "--cache", str(folder / "cache"), *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 80
    assert (folder / "branch" / "best.safetensors").exists()


def test_go_on_by_another_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "run")) == 0
    resume = ["--resume", str(folder / "run" / "after-coarse.pt"), "--cache", str(folder / "cache"), *QUICK, "--json"]
    third = '[[phases]]\nname = "last"\nimages = 8\nheight = 96\nwidth = 64\nbatch = 4\n'
    recipe = str(write_recipe(folder / "three.toml", RECIPE + third))
    capsys.readouterr()
    assert main(["distill", *resume, "--recipe", recipe, "--out", str(folder / "other")]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 80
    assert main(["distill", *resume, "--recipe", "default", "--out", str(folder / "wrong")]) == 1
    assert "the run trains vitpose-24x2x3-simple on coco, which can't change" in capsys.readouterr().err


def test_kill_9_costs_nothing(folder: Path) -> None:
    assert main(arguments(folder, "whole")) == 0
    process = start(arguments(folder, "killed", "--save-every", "0"))
    try:
        deadline = time.monotonic() + 120
        while not (folder / "killed" / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 0 < load_state(folder / "killed" / "checkpoint.pt").position.images < 72
    assert main(["distill", "--out", str(folder / "killed"), "--resume", "--cache", str(folder / "cache"), *QUICK]) == 0
    whole, killed = (weights(folder / name / "last.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def limit_files() -> None:
    # Python then gets "File too large", as it gets "No space left on device" from a full disk, instead of the signal that ends the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a Unix notion")
def test_a_full_disk_while_checkpointing(folder: Path) -> None:
    assert main(arguments(folder, "run", "--set", "phases.fine.images=4")) == 0
    checkpoint = (folder / "run" / "checkpoint.pt").read_bytes()
    assert len(checkpoint) > 500_000
    cache = ["--cache", str(folder / "cache")]
    more = ["--resume", "--set", "phases.fine.images=24", "--out", str(folder / "run"), *cache, *QUICK]
    process = start(["distill", *more], preexec_fn=limit_files)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "can't write the checkpoint" in errors
    assert "the checkpoint before it is untouched" in errors
    assert "Traceback" not in errors
    assert (folder / "run" / "checkpoint.pt").read_bytes() == checkpoint
    assert not list((folder / "run").glob(".edgepose-*"))


def test_two_processes_train_what_one_does(folder: Path) -> None:
    short = ["--set", "phases.coarse.images=24", "--set", "phases.fine.images=8", *PLAIN]
    assert main(arguments(folder, "one", *short)) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edgepose.cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments(folder, "two", *short)], capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("images in") == 1
    assert result.stderr.count("people: 10 people") == 1
    losses = {name: [row.loss for row in load_state(folder / name / "checkpoint.pt").history] for name in ("one", "two")}
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-3)
    one, two = (weights(folder / name / "last.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 2e-3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "nowhere"], "can't read"),
        (["--recipe", "nonsense"], "no recipe is called 'nonsense'; built in: default, "),
        (["--set", "phases.coarse.batch=many"], "phases[0].batch is 'many'; expected int"),
        (["--student", "vitpose-xxl"], "student.model is 'vitpose-xxl'; allowed: vitpose-ti"),
        (["--teacher", "none.onnx"], "can't read the teacher"),
        (["--teacher", "none.pth"], "none.pth"),
        (["--set", "init.kind=vit", "--set", "init.path=none.pth"], "none.pth: no such file"),
        (["--set", "student.skeleton=beaks"], "no skeleton is called 'beaks'"),
        (["--set", "data.people.labels=fill"], "need a keypoint teacher"),
        (["--set", "validation.count=100"], "nobody is left to train on"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_line(more: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "run", *more)) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("edgepose distill: ")
    assert not (folder / "run").exists()


def test_nothing_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(folder / "run")]
    for more, message in [
        ([], "no data: name them with --data"),
        (["--resume"], "nothing to resume"),
        (["--publish", str(folder / "models")], "nothing to resume"),
    ]:
        assert main(["distill", *out, *more]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["distill", *out, "--workers", "-1"])


def test_data_without_a_recipe_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [f"phases.{name}.{field}" for name in ("coarse", "fine", "scores") for field in ("images=4", "batch=4", "warmup=0")]
    small = [f"phases.{name}.{side}" for name in ("coarse", "fine", "scores") for side in ("height=64", "width=48")]
    changes = [part for change in (*short, *small) for part in ("--set", change)]
    command = ["distill", "--data", str(folder / "data" / "people.json"), "--student", "vitpose-24x1x3", "--out", str(folder / "run")]
    assert main([*command, *QUICK, *changes]) == 0
    printed = capsys.readouterr()
    assert "2 people held out" in printed.err
    assert "12 images" in printed.out
    assert load_checkpoint(folder / "run" / "best.safetensors").spec.architecture.head == "classic"


def test_left_out_people_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data" / "003.png").unlink()
    (folder / "data" / "004.png").write_bytes(b"\xff\xd8\xffbroken")
    assert main(arguments(folder, "run", "--set", "phases.coarse.images=8", "--set", "phases.fine.images=4")) == 0
    assert "people: 8 people, left out: 1 broken pictures, 1 missing pictures" in capsys.readouterr().err


def test_two_runs_in_one_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock(folder / "run", what="a run of the test"):
        assert main(arguments(folder, "run")) == 1
        said = capsys.readouterr().err
        assert f"a training run is under way in {str(folder / 'run')!r}, by process {os.getpid()} on " in said
        assert "name another folder" in said
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data", "nope.json"], "can't read training data from '.*nope.json': there is no such file"),
        (["--data", "nope.json", "--recipe", "tiny.toml"], "can't read training data from '.*nope.json.people.json'"),
        (["--data", "data", "--teacher", "nope.onnx"], "can't read the teacher 'nope.onnx': no such file"),
        (["--data", "data", "--set", "init.kind=vit", "--set", "init.path=nope.pth"], "init.path: nope.pth: no such file"),
        (["--data", "data", "--out", "tiny.toml/run"], "can't write to the folder 'tiny.toml/run'"),
    ],
)
def test_what_is_missing_is_said_before_weights_are_made(
    options: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(session, "initialize", lambda *_, **__: pytest.fail("weights were made"))
    monkeypatch.setattr(session, "open_training_set", lambda *_, **__: pytest.fail("data were read"))
    given = ["distill", "--recipe", "default", "--out", "run", *QUICK, *options]
    assert main(given) == 1
    assert re.search(told, capsys.readouterr().err)
