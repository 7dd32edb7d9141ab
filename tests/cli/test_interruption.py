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
