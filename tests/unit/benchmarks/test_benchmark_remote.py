"""Other machines: SSH to a real server on the loopback address, adb and vela by stand-ins that answer as the real ones did."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from artifacts import TinyArtifacts

from edgepose.artifact import open_artifact
from edgepose.errors import DeviceError, InputError
from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.inputs import read_photos
from edgepose_benchmarks.job import InputStore, Job, Settings
from edgepose_benchmarks.targets.adb import ADBTarget
from edgepose_benchmarks.targets.address import TargetOptions, open_target
from edgepose_benchmarks.targets.benchmark_model import parse_profile, parse_times
from edgepose_benchmarks.targets.local import LocalTarget
from edgepose_benchmarks.targets.ssh import SSHAddress, SSHTarget, list_runner_files
from edgepose_benchmarks.targets.vela import VelaTarget

QUICK = Settings(seconds=0.05, processes=1, time_s=0.2, width=1.0)
RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def make_job(tmp_path):
    def make(path, settings=QUICK, **case):
        artifact = open_artifact(path)
        store = InputStore(read_photos([], None), tmp_path)
        return Job(
            case=BenchmarkCase(artifact=path.name, sha256=artifact.sha256, **case), artifact=artifact, inputs=store, settings=settings
        )

    return make


def write_script(path, text):
    """An executable Python script."""
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ssh://", "isn't an SSH address"),
        ("ssh://a b", "isn't an SSH address"),
        ("ssh://-oProxyCommand=evil", "isn't an SSH address"),
        ("ssh://host:99999", "port 99999"),
        ("adb://a b", "isn't an adb address"),
        ("vela://gpu", "isn't an accelerator"),
        ("ftp://host", "no target 'ftp://host'"),
        ("here", "no target 'here'"),
        ("adb://", "--benchmark-model must name"),
    ],
)
def test_addresses_that_are_refused(address, words):
    options = TargetOptions(benchmark_model=Path("tool")) if "a b" in address else TargetOptions()
    with pytest.raises(InputError, match=words):
        open_target(address, options)


def test_addresses_that_are_understood():
    assert SSHAddress.parse("ssh://pi@raspberrypi:2222") == SSHAddress(host="raspberrypi", user="pi", port=2222)
    assert str(SSHAddress.parse("ssh://host/")) == "ssh://host"
    assert isinstance(open_target("local", TargetOptions()), LocalTarget)
    assert isinstance(open_target("ssh://host", TargetOptions()), SSHTarget)


def test_the_runner_needs_nothing_but_numpy_and_a_runtime(tmp_path, artifacts: TinyArtifacts):
    for source, name in list_runner_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / name)
    # An interpreter that finds what was pushed first, and refuses what a board doesn't have.
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "runner")!r})
for name in ("torch", "cv2", "psutil", "openvino", "coremltools", "transformers"):
    sys.modules[name] = None
import edgepose, edgepose.runtime, edgepose_benchmarks.worker
assert edgepose.__file__.startswith({str(tmp_path)!r}) and edgepose_benchmarks.worker.__file__.startswith({str(tmp_path)!r})
session = edgepose.load({str(artifacts.path("onnx"))!r})
print(session.info.runtime)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "onnxruntime"


SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real SSH server of our own on a free port of the loopback address; yields the port and the client's options."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH's server and client aren't installed")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": "none",
        "AuthorizedKeysFile": folder / "client.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd wants to lock itself in
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait_for(port, process)
            options = ("-F", "none", "-i", str(folder / "client"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
            yield port, options
        finally:
            process.terminate()


def _wait_for(port, process):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"sshd doesn't start here: {process.stderr.read()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.skip("sshd doesn't answer here")


def connect(server, python=sys.executable, **rest):
    port, options = server
    return SSHTarget(SSHAddress(host="127.0.0.1", user=getpass.getuser(), port=port), python=python, options=options, **rest)


def test_a_file_is_measured_over_ssh(server, artifacts: TinyArtifacts, make_job):
    target = connect(server, name="board")
    try:
        assert target.machine().name == "board"
        folder = Path(str(target._folder))
        assert (folder / "runner/edgepose/runtime/onnxruntime.py").is_file()
        results = [target.measure(make_job(artifacts.path(kind), threads=1)) for kind in ("openvino", "onnx")]
        missing = target.measure(make_job(artifacts.path("onnx"), device="npu"))
    finally:
        target.close()
    assert [result.error for result in results] == ["", ""]
    assert [result.session.runtime for result in results] == ["openvino", "onnxruntime"]
    assert all(len(result.runs[0].samples_s) >= 30 for result in results)
    assert "has no device 'npu'" in missing.error
    assert not folder.exists()


def test_a_host_that_does_not_answer():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        target = SSHTarget(SSHAddress(host="127.0.0.1", port=port), options=("-F", "none"))
        if shutil.which("ssh") is None:
            pytest.skip("OpenSSH's client isn't installed")
        with pytest.raises(DeviceError, match=rf"ssh://127.0.0.1:{port}: can't connect"):
            target.machine()
        target.close()


def test_a_host_without_what_is_needed(server, tmp_path):
    with pytest.raises(DeviceError, match="exit code 127"):
        connect(server, python="/no/such/python").machine()
    text = "import json, tempfile; print(json.dumps(dict(python={}, numpy={}, folder=tempfile.mkdtemp())))"
    old = write_script(tmp_path / "old", text.format([3, 7], True))
    with pytest.raises(DeviceError, match=r"Python 3\.7; edgepose needs 3\.11 or later"):
        connect(server, python=str(old)).machine()
    bare = write_script(tmp_path / "bare", text.format([3, 12], False))
    with pytest.raises(DeviceError, match="has no numpy"):
        connect(server, python=str(bare)).machine()
    strange = write_script(tmp_path / "strange", "print('Welcome to my board!')")
    with pytest.raises(DeviceError, match=r"no proper answer: 'Welcome to my board!'"):
        connect(server, python=str(strange)).machine()


def test_a_host_that_dies_in_the_middle(server, artifacts: TinyArtifacts, make_job, tmp_path):
    # Its Python works until it is asked to measure.
    text = "import os, sys\nif '-m' in sys.argv: input(); os.kill(os.getpid(), 9)\n"
    dying = write_script(tmp_path / "dying", f"{text}os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])")
    target = connect(server)
    machine = target.machine()
    target._python = str(dying)
    result = target.measure(make_job(artifacts.path("onnx")))
    target._python = sys.executable
    target.close()
    assert machine == result.machine
    assert result.kind == "failed"
    assert "ssh://" in result.error
    assert "died" in result.error


# Recorded: see recorded/README.md.
def test_a_recorded_benchmark_on_a_raspberry_pi():
    reported = parse_times((RECORDED / "raspberry_pi.txt").read_text())
    assert reported.count == 50
    assert reported.mean_s == pytest.approx(0.0550432)
    assert reported.min_s == pytest.approx(0.053077)
    assert reported.max_s == pytest.approx(0.060727)
    assert reported.init_s == pytest.approx(0.018777)
    assert reported.first_s == pytest.approx(0.064791)
    assert reported.memory_peak_bytes == 18_722_700
    assert parse_profile((RECORDED / "raspberry_pi.txt").read_text()) is None


def test_a_recorded_benchmark_in_a_log():
    reported = parse_times((RECORDED / "android_log.txt").read_text())
    assert (reported.count, reported.mean_s) == (75, pytest.approx(0.0121676))
    assert "partially executed by the delegate w/ 44 delegate kernels" in reported.notes["delegate"]


def test_a_recorded_profile():
    profile = parse_profile((RECORDED / "profile.txt").read_text())
    assert [operator.kind for operator in profile.operators] == ["CONV_2D", "TfLiteNnapiDelegate", "RESIZE_BILINEAR"]
    assert [operator.device for operator in profile.operators] == ["CPU", "delegate", "CPU"]
    assert [operator.count for operator in profile.operators] == [2, 1, 1]
    assert profile.operators[1].seconds == pytest.approx(0.006549)
    assert sum(operator.share for operator in profile.operators) == pytest.approx(1)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", "it said nothing"),
        ("/system/bin/sh: /data/local/tmp/benchmark_model: not executable: 64-bit ELF file", "not executable"),
        ("STARTING!\nERROR: Didn't find op for builtin opcode 'GELU' version '1'.\nBenchmarking failed.", "Benchmarking failed"),
    ],
)
def test_a_benchmark_that_fails(output, words):
    with pytest.raises(DeviceError, match=words):
        parse_times(output)


ADB = """
import json, shutil, sys
from pathlib import Path
log = Path(__file__).with_suffix(".log")
with log.open("a") as stream:
    stream.write(json.dumps(sys.argv[1:]) + "\\n")
words = sys.argv[1:]
if words[:2] == ["-s", "lost"]:
    sys.exit("adb: device 'lost' not found")
words = words[2:] if words[0] == "-s" else words
if words == ["shell", "getprop"]:
    print("[ro.product.manufacturer]: [Google]\\n[ro.product.model]: [Pixel 8]\\n[ro.product.cpu.abi]: [arm64-v8a]")
    print("[ro.build.version.release]: [15]\\n[ro.soc.model]: [Tensor G3]\\n[ro.serialno]: [0123]")
elif words == ["shell", "nproc"]:
    print(9)
elif "meminfo" in words[-1]:
    print("MemTotal:        7600000 kB")
elif words[0] == "push":
    assert Path(words[1]).exists()
elif words[0] == "shell" and "--graph" in words[1]:
    print(Path(__file__).with_suffix(".out").read_text())
"""


@pytest.fixture
def adb(tmp_path):
    script = write_script(tmp_path / "adb", ADB)
    shutil.copy(RECORDED / "profile.txt", tmp_path / "adb.out")
    tool = tmp_path / "benchmark_model"
    tool.write_text("")
    return ADBTarget("0123", tool=tool, adb=str(script))


def test_a_file_is_measured_over_adb(adb, artifacts: TinyArtifacts, make_job, tmp_path):
    machine = adb.machine()
    assert (machine.name, machine.cores, machine.system) == ("Google Pixel 8", 9, "Android 15")
    result = adb.measure(make_job(artifacts.path("litert"), Settings(profile=True), device="gpu", threads=4))
    adb.close()
    assert (result.kind, result.error) == ("reported", "")
    assert result.reported.mean_s == pytest.approx(0.0543617)
    assert result.profile.operators[0].kind == "CONV_2D"
    log = (tmp_path / "adb.log").read_text()
    assert '"push"' in log
    assert "--use_gpu=true" in log
    assert "--num_threads=4" in log
    assert "--enable_op_profiling=true" in log
    assert '"rm -r /data/local/tmp/edgepose"' in log


@pytest.mark.parametrize("name", ["a $(touch pwned) b", "it's; reboot", "-rf", 'quo"te & `id`', "öß"])
def test_names_reach_the_devices_shell_as_they_are(name, adb, artifacts: TinyArtifacts, make_job, tmp_path, monkeypatch):
    tool, model = tmp_path / name, tmp_path / f"{name}.tflite"
    tool.write_text("")
    shutil.copy(artifacts.path("litert"), model)
    monkeypatch.chdir(tmp_path)
    target = ADBTarget("0123", tool=Path(name), adb=str(tmp_path / "adb"))
    result = target.measure(make_job(model))
    target.close()
    assert (result.kind, result.error) == ("reported", "")
    calls = [json.loads(line)[2:] for line in (tmp_path / "adb.log").read_text().splitlines()]
    # What the device's shell makes of what adb passes on: its words joined with blanks.
    show = 'show() { for word; do printf "<%s>" "$word"; done; }\n'
    said = [
        subprocess.run(["sh", "-c", f"{show}show {' '.join(words)}"], capture_output=True, text=True, check=True).stdout
        for kind, *words in calls
        if kind == "shell"
    ]
    folder = "/data/local/tmp/edgepose"
    assert f"<chmod><755><{folder}/0/{name}>" in said
    assert any(words.startswith(f"<{folder}/0/{name}><--graph={folder}/1/{name}.tflite>") for words in said)
    pushed = [words for kind, *words in calls if kind == "push"]
    assert pushed == [[str(tool), f"{folder}/0/{name}"], [str(model), f"{folder}/1/{name}.tflite"]]
    assert not (tmp_path / "pwned").exists()


def test_what_adb_cannot_measure(adb, artifacts: TinyArtifacts, make_job, tmp_path):
    assert "measures .tflite files" in adb.measure(make_job(artifacts.path("onnx"))).error
    assert "single-stream" in adb.measure(make_job(artifacts.path("litert"), scenario="offline")).error
    assert "no device 'cuda'" in adb.measure(make_job(artifacts.path("litert"), device="cuda")).error
    with pytest.raises(DeviceError, match="device 'lost' not found"):
        ADBTarget("lost", tool=tmp_path / "benchmark_model", adb=str(tmp_path / "adb")).machine()
    with pytest.raises(DeviceError, match="platform tools"):
        ADBTarget(None, tool=tmp_path / "benchmark_model", adb="no-such-adb").machine()
    with pytest.raises(InputError, match="isn't a file"):
        ADBTarget(None, tool=tmp_path / "nothing")


VELA = """
import sys
from pathlib import Path
if "--version" in sys.argv:
    print("5.2.0")
elif "onnx" in sys.argv[1]:
    sys.exit("Error: invalid file")
else:
    out = Path(sys.argv[sys.argv.index("--output-dir") + 1])
    (out / "tiny_summary_Ethos_U85_SYS_DRAM_Mid.csv").write_text(Path(__file__).with_suffix(".csv").read_text())
    print("CPU operators = 0 (0.0%)\\nNPU operators = 5336 (100.0%)")
"""


def test_vela_estimates_and_says_so(artifacts: TinyArtifacts, make_job, tmp_path):
    script = write_script(tmp_path / "vela", VELA)
    shutil.copy(RECORDED / "vela_summary.csv", tmp_path / "vela.csv")
    target = VelaTarget("ethos-u85-256", vela=str(script))
    result = target.measure(make_job(artifacts.path("litert")))
    assert result.kind == "estimated"
    assert result.machine.name == "ethos-u85-256"
    assert result.reported.mean_s == pytest.approx(0.02721568)
    assert result.reported.memory_peak_bytes == pytest.approx((358.0625 + 7063.140625) * 1024)
    assert result.reported.notes["npu_operators"] == "5336 (100.0%)"
    assert "quantized .tflite" in target.measure(make_job(artifacts.path("onnx"))).error
    assert VelaTarget.parse("vela://ethos-u55-128") == "ethos-u55-128"
    (tmp_path / "vela.csv").write_text("network,inference_time\n")
    assert "holds no inference_time" in target.measure(make_job(artifacts.path("litert"))).error
    write_script(tmp_path / "vela", VELA.replace('"onnx" in sys.argv[1]', "True"))
    assert "invalid file" in target.measure(make_job(artifacts.path("litert"))).error
    with pytest.raises(DeviceError, match="pip install ethos-u-vela"):
        VelaTarget("ethos-u85-256", vela="no-such-vela").machine()
