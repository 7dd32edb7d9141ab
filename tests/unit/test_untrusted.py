"""``load(untrusted=True)``: the same results from a process that can do little, and a clear error when it ends."""

import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from artifacts import make_crops

from edgepose import load
from edgepose.cli import main
from edgepose.errors import ArtifactError, DeviceError, EdgePoseError, InputError, IntegrityError
from edgepose.runtime import frames
from edgepose.runtime.sandbox import FILTERED_MACHINES
from edgepose.runtime.untrusted import UntrustedLimits, inspect_untrusted

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation is Linux's")


@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino", "coreml", "safetensors"])
def test_a_child_computes_what_this_process_computes(artifacts, kind):
    path, crops = artifacts.path(kind), make_crops(3)
    with load(path) as here, load(path, untrusted=True) as there:
        assert "no file written" in there.info.details["untrusted"]
        assert (there.spec, there.info.runtime, there.info.device, there.info.batch) == (
            here.spec,
            here.info.runtime,
            here.info.device,
            here.info.batch,
        )
        np.testing.assert_array_equal(there.run(crops), here.run(crops))
        with pytest.raises(InputError, match="expected \\(N, 3, 64, 48\\)"):
            there.run(crops[:, :2])
        np.testing.assert_array_equal(there.run(crops[:1]), here.run(crops[:1]))
    with pytest.raises(InputError, match="closed"):
        there.run(crops)


def test_what_is_wrong_with_a_file_is_said_as_always(artifacts, tmp_path):
    path = artifacts.copy("litert", tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="has changed since it was verified"):
        load(path, untrusted=True)
    with pytest.raises(IntegrityError, match="has changed since it was verified"):
        inspect_untrusted(path)
    with pytest.raises(ArtifactError, match="no such file"):
        load(tmp_path / "absent.onnx", untrusted=True)


def test_what_a_child_can_not_do_is_refused(artifacts):
    path = artifacts.path("litert")
    with pytest.raises(DeviceError, match="the device asked for is 'gpu'"):
        load(path, "gpu", untrusted=True)
    with pytest.raises(InputError, match="2 streams"):
        load(path, streams=2, untrusted=True)
    with pytest.raises(DeviceError, match="doesn't open litert files"):
        load(path, "openvino:cpu", untrusted=True)
    for limits in ({"memory_bytes": 1}, {"call_seconds": 0}, {"open_seconds": -1}):
        with pytest.raises(InputError):
            UntrustedLimits(**limits)


def test_a_child_that_takes_too_long_is_ended(artifacts):
    path = artifacts.path("litert")
    with pytest.raises(ArtifactError, match=r"tiny\.litert|took more than 0\.01 s to be opened"):
        load(path, untrusted=UntrustedLimits(open_seconds=0.01))
    with load(path, untrusted=UntrustedLimits(call_seconds=1e-6)) as session:
        with pytest.raises(ArtifactError, match="took more than 1e-06 s to be run"):
            session.run(make_crops(1))
        with pytest.raises(EdgePoseError, match="is gone .*load the file again"):
            session.run(make_crops(1))


def test_a_child_that_dies_is_an_error(artifacts):
    with load(artifacts.path("litert"), untrusted=True) as session:
        os.kill(session._engine._child._process.pid, signal.SIGSEGV)
        with pytest.raises(ArtifactError, match="ended: signal SIGSEGV"):
            session.run(make_crops(1))
    assert session._engine is None


def test_a_child_with_little_memory_says_so(artifacts):
    with pytest.raises(ArtifactError, match=r"tiny\.onnx: .*(memory|alloc|broke off)"):
        load(artifacts.path("onnx"), untrusted=UntrustedLimits(memory_bytes=1 << 26))


def test_commands_take_the_option(artifacts, capsys):
    assert main(["info", "--untrusted", str(artifacts.path("onnx"))]) == 0
    there = capsys.readouterr().out
    assert main(["info", str(artifacts.path("onnx"))]) == 0
    assert capsys.readouterr().out == there


PROBE = """
    import os, platform, socket, subprocess, sys
    from pathlib import Path
    from edgepose.runtime import sandbox
    target = Path(sys.argv[1])
    taken = sandbox._give_up(1 << 30)
    attempts = {
        "write": lambda: target.write_text("x"),
        "make": lambda: (target.parent / "new").open("wb"),
        "append": lambda: target.open("ab"),
        "remove": target.unlink,
        "rename": lambda: target.rename(target.parent / "other"),
        "chmod": lambda: target.chmod(0),
        "folder": lambda: (target.parent / "folder").mkdir(),
        "link": lambda: (target.parent / "link").symlink_to(target),
        "socket": socket.socket,
        "local socket": lambda: socket.socket(socket.AF_UNIX),
        "program": lambda: subprocess.run(["/bin/true"]),
        "memory": lambda: bytearray(2 << 30),
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        print("could", name)
    print(target.read_text(), taken.endswith("no other program"))
"""


@pytest.mark.skipif(platform.machine() not in FILTERED_MACHINES, reason="the filter knows other machines")
@pytest.mark.skipif(not Path("/proc/sys/kernel/seccomp/actions_avail").exists(), reason="this kernel has no filters")
def test_a_child_can_change_nothing(tmp_path):
    target = tmp_path / "target"
    target.write_text("untouched")
    probe = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROBE), str(target)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    assert probe.stdout == "untouched True\n"
    assert sorted(tmp_path.iterdir()) == [target]


def pipe():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "closed"),
        (b"Z" + (0).to_bytes(8, "little"), "closed"),
        (b"H" + (1 << 40).to_bytes(8, "little"), "closed"),
        (b"H" + (8).to_bytes(8, "little") + b"1234", "closed"),
    ],
)
def test_a_parent_takes_no_frame_that_it_does_not_expect(content, expected):
    reading, writing = pipe()
    os.write(writing, content)
    os.close(writing)
    with pytest.raises(frames.ChannelClosedError):
        frames.receive(reading, {b"H": 100}, seconds=5)
    os.close(reading)
    assert expected == "closed"


def test_a_parent_does_not_wait_for_ever():
    reading, writing = pipe()
    with pytest.raises(frames.ChannelTimeoutError):
        frames.receive(reading, {b"H": 100}, seconds=0.01)
    with pytest.raises(frames.ChannelTimeoutError):
        frames.send(writing, b"R", bytes(1 << 22), seconds=0.01)
    os.close(reading)
    with pytest.raises(frames.ChannelClosedError):
        frames.send(writing, b"R", b"x", seconds=1)
    os.close(writing)


def test_arrays_are_what_their_sizes_say():
    array = make_crops(2)
    content = bytearray(b"".join(bytes(part) for part in frames.pack_array(array)))
    np.testing.assert_array_equal(frames.unpack_array(content), array)
    for broken in (content[:-4], content[:-1], content[:10], content + b"1234", b"\xff" * 16 + content[16:]):
        with pytest.raises(frames.ChannelClosedError):
            frames.unpack_array(bytearray(broken))
