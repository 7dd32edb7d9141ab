"""Ctrl-C and a full disk, on a real process: one clear line, exit code 1, nothing half-written."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from artifacts import TinyArtifacts


def command(checkpoint: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "edgepose.cli", "convert", str(checkpoint), "--to", "onnx,openvino", "--out", str(out)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_conversion(number: signal.Signals, artifacts: TinyArtifacts, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(command(artifacts.path("safetensors"), out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        # The staging folder says that the first conversion has begun.
        deadline = time.monotonic() + 120
        while not (out.is_dir() and list(out.glob(".edgepose-*"))):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(out.iterdir()) == []


def limit_files() -> None:
    # Python then gets "File too large", as it gets "No space left on device" from a full disk, instead of the signal that ends the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a Unix notion")
def test_a_full_disk(artifacts: TinyArtifacts, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = subprocess.run(
        command(artifacts.path("safetensors"), out),
        capture_output=True,
        text=True,
        preexec_fn=limit_files,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        timeout=300,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "onnx" in result.stderr
    assert list(out.iterdir()) == []


SCRIPT = """
import hashlib, signal, sys, time
from pathlib import Path
import edgepose.cli.models
from edgepose.cli import main
from edgepose.files import publish, staging_folder

def hold():
    # Minutes in native code, which Python's handlers wait for.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

def swallow():
    try:
        time.sleep(60)
    except BaseException:
        print("swallowed", flush=True)

def publish_two(folder):
    for name in ("model.bin", "model.xml"):
        (folder / name).write_text("whole")
    replace = Path.replace
    def interrupted(self, target):
        replace(self, target)
        signal.raise_signal(signal.SIGINT)
    Path.replace = interrupted
    print("begun", flush=True)
    publish((folder / "model.bin", folder / "model.xml"), Path(out))

def run(options):
    with staging_folder(Path(out)) as folder:
        (folder / "half").write_text("half")
        {body}
    return 0

edgepose.cli.models.run = run
out = sys.argv.pop(1)
sys.argv[1:] = ["models"]
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("body", "strikes"),
    [
        ("print('begun', flush=True); hold()", 1),
        ("print('begun', flush=True); hold()", 2),
        ("print('begun', flush=True); swallow()", 1),
        ("print('begun', flush=True); swallow(); swallow()", 1),
    ],
    ids=["in native code", "twice", "swallowed before the end", "swallowed"],
)
def test_an_interruption_ends_the_command_whatever_it_does(body: str, strikes: int, number: signal.Signals, tmp_path: Path) -> None:
    process = start(body, tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        for _ in range(strikes):
            time.sleep(0.1)  # two at once are one
            process.send_signal(number)
        _, errors = process.communicate(timeout=50)
    finally:
        process.kill()
    assert process.returncode == 1, errors
    assert errors == "\nedgepose models: interrupted; nothing half-written is left behind\n"
    assert list(tmp_path.iterdir()) == []


def test_files_that_belong_together_get_their_names_together(tmp_path: Path) -> None:
    process = start("publish_two(folder)", tmp_path)
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 1
    assert errors == "\nedgepose models: interrupted; nothing half-written is left behind\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]


def start(body: str, out: Path) -> subprocess.Popen[str]:
    code = SCRIPT.replace("{body}", body)
    return subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
