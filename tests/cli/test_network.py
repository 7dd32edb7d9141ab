"""Every command with the network refused: none tries to reach it, and none leaves a file in the home or temporary folder.

Native code asks no hook of Python's, so the calls of the C library are replaced by ``refuse_network.c``, preloaded.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from artifacts import TinyArtifacts
from people import write_coco, write_recipe

from edgepose.cli import COMMANDS

CONTROL = """
import socket
for name in ("somewhere.invalid", "192.0.2.1"):
    try:
        socket.create_connection((name, 80), timeout=5)
    except OSError:
        pass
"""

# One process for all: importing the converters' tools takes longer than all they do here.
RUN_ALL = """
import json, sys
from edgepose.cli import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    print("DONE", arguments[0], code, flush=True)
"""


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to preload."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("refusal") / "refuse_network.so"
    source = Path(__file__).with_name("refuse_network.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def run(refusal: Path, folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run Python in a world of its own below ``folder``; return what it said and the attempts to reach the network."""
    attempts = folder / "attempts"
    homes = {
        name: folder / name.lower() for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")
    }
    for home in homes.values():
        home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "OMP_NUM_THREADS", "LANG")}
    settings = {"LD_PRELOAD": str(refusal), "NETWORK_ATTEMPTS": str(attempts), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=kept | settings | {name: str(home) for name, home in homes.items()},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    return done, attempts.read_text().splitlines() if attempts.exists() else []


def test_an_attempt_is_seen(refusal: Path, tmp_path: Path) -> None:
    done, attempts = run(refusal, tmp_path, "-c", CONTROL)
    assert done.returncode == 0
    assert [line.split()[1:] for line in attempts] == [["getaddrinfo", "somewhere.invalid"], ["connect", "192.0.2.1"]]


def commands(model: Path, folder: Path) -> list[list[str]]:
    """Every command once, on what the ones before it wrote."""
    people = write_coco(folder / "data", 18)
    document = json.loads(people.read_text())
    boxes = {}
    for entry in document["annotations"]:
        left, top, width, height = entry["bbox"]
        boxes[document["images"][entry["image_id"]]["file_name"]] = [[left, top, left + width, top + height]]
        entry |= {"area": 0.5 * width * height, "num_keypoints": 17}
    people.write_text(json.dumps(document))
    (folder / "boxes.json").write_text(json.dumps(boxes))
    write_recipe(folder / "tiny.toml")
    photos = ["--calibration", "data", "--boxes", "boxes.json"]
    data = ["--annotations", "data/people.json", "--images", "data", "--threads", "1"]
    onnx = "out/tiny-64x48-fp32.onnx"
    return [
        ["convert", str(model), "--precision", "fp32,int8-dynamic", "--out", "out"],
        ["quantize", str(model), *photos, "--out", "out", "--finetune", "--steps", "1"],
        [
            "convert",
            str(model),
            *photos,
            "--precision",
            "int8",
            "--recipe",
            "out/tiny-int8.quantization.json",
            "--to",
            "onnx",
            "--out",
            "out",
        ],
        ["distill", "--recipe", "tiny.toml", "--data", "data", "--out", "run", "--workers", "0", "--device", "cpu", "--tensorboard"],
        ["predict", onnx, "data/000.png", "--whole", "--out", "drawn"],
        ["predict", onnx, "data/000.png", "--out", "found"],
        ["check", "data", onnx, str(model), "boxes.json", "tiny.toml", "--keypoints", "coco", "--decode"],
        ["evaluate", onnx, *data, "--out", "evaluated"],
        ["label", onnx, "--images", "data", "--boxes", "boxes.json", "--out", "labels.json", "--threads", "1"],
        ["benchmark", onnx, "--seconds", "0.01", "--processes", "1", "--out", "measured"],
        ["report", "measured", "--out", "report.html"],
        ["card", onnx, "--out", "card.md"],
        ["verify", onnx, "--against", str(model)],
        ["info", onnx],
        ["devices"],
        ["models"],
    ]


def test_no_command_reaches_for_the_network_or_leaves_a_file(refusal: Path, artifacts: TinyArtifacts, tmp_path: Path) -> None:
    given = commands(artifacts.path("safetensors"), tmp_path)
    # serve waits for requests until it is told to end; what it runs is what predict runs.
    assert {arguments[0] for arguments in given} == set(COMMANDS) - {"serve"}
    done, attempts = run(refusal, tmp_path, "-c", RUN_ALL, json.dumps(given))
    results = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("DONE")]
    assert results == [[arguments[0], "0"] for arguments in given], done.stdout + done.stderr
    assert attempts == []
    homes = [tmp_path / name for name in ("home", "xdg_cache_home", "xdg_config_home", "xdg_data_home", "xdg_state_home", "tmpdir")]
    assert [str(path.relative_to(tmp_path)) for home in homes for path in home.rglob("*")] == []
