import subprocess
import sys

import numpy as np
import pytest

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, InputError, MissingDependencyError
from edgepose.runtime import registry
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.ports import Port, check_ports
from edgepose.runtime.registry import RUNTIMES, list_runtimes, load
from edgepose.runtime.session import SessionInfo
from edgepose.skeleton import get_skeleton
from edgepose.spec import Architecture, ExportRecord, InputSpec, ModelSpec, Provenance

PACKAGES = {
    "openvino": ("openvino", "openvino"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "litert": ("ai_edge_litert", "litert"),
    "torch": ("torch", "torch"),
}


def make_artifact(tmp_path, *, kind="onnx", batch=1):
    spec = ModelSpec(
        name="tiny",
        architecture=Architecture(dim=48, depth=1, heads=3, head="simple"),
        skeleton=get_skeleton("coco"),
        provenance=Provenance(source="made-for-tests"),
        input=InputSpec(height=64, width=48),
        export=ExportRecord(target=kind, precision="fp32", batch=batch),
    )
    return Artifact(path=tmp_path / "tiny.file", format=kind, spec=spec, files=(), sha256="0" * 64)


class FakeRuntime:
    def __init__(self, name, missing=None):
        self.name = name
        self.missing = missing
        self.requests = []

    def version(self):
        if self.missing is not None:
            raise self.missing
        return "1.0"

    def devices(self):
        return ("cpu", "gpu")

    def open(self, artifact, request):
        self.requests.append(request)
        self.info = SessionInfo(runtime=self.name, version="1.0", requested=request.text, device="cpu", threads=None, batch=None)
        return self

    def infer(self, batch):
        return np.zeros((len(batch), 17, 16, 12), np.float32)

    def close(self):
        pass


@pytest.fixture
def two_runtimes(monkeypatch, tmp_path):
    """Two runtimes, ``first`` and ``second``, for the one artifact that any path opens."""

    def install(first=None, second=None):
        runtimes = {"first": FakeRuntime("first", first), "second": FakeRuntime("second", second)}
        monkeypatch.setattr(registry.RuntimeEntry, "get", lambda self: runtimes[self.name])
        entries = [registry.RuntimeEntry(name=name, formats=("coreml",)) for name in runtimes]
        monkeypatch.setattr(registry, "RUNTIMES", (*entries, registry.RuntimeEntry(name="other", formats=("onnx",))))
        monkeypatch.setattr(registry, "open_artifact", lambda path: make_artifact(tmp_path, kind="coreml"))
        return runtimes

    return install


def test_the_first_runtime_that_works_opens_the_file(two_runtimes):
    two_runtimes()
    assert load("x").info.runtime == "first"


def test_a_runtime_that_is_not_there_is_passed_over(two_runtimes):
    two_runtimes(first=DeviceError("Core ML runs on macOS"))
    assert load("x").info.runtime == "second"


def test_a_named_runtime_is_not_passed_over(two_runtimes):
    two_runtimes(first=DeviceError("Core ML runs on macOS"))
    with pytest.raises(DeviceError, match="Core ML runs on macOS"):
        load("x", "first:auto")


def test_a_named_runtime_opens_the_file(two_runtimes):
    runtimes = two_runtimes()
    session = load("x", "second:GPU", threads=3, options={"a": "b"})
    (request,) = runtimes["second"].requests
    assert session.info.runtime == "second"
    assert (request.device, request.threads, request.options) == ("gpu", 3, {"a": "b"})


def test_when_no_runtime_works_each_says_why(two_runtimes):
    two_runtimes(first=DeviceError("Core ML runs on macOS"), second=MissingDependencyError("numpy", extra="mil", purpose="x"))
    with pytest.raises(DeviceError, match=r"no runtime on this machine opens tiny\.file: Core ML runs on macOS; second: not installed"):
        load("x")


def test_a_runtime_for_other_files_names_those_that_fit(two_runtimes):
    two_runtimes()
    with pytest.raises(DeviceError, match=r"'other' doesn't open coreml files; tiny\.file runs on: first, second"):
        load("x", "other:cpu")


def test_a_malformed_device_is_told_before_the_file_is_read(tmp_path):
    with pytest.raises(InputError, match="device is ':'"):
        load(tmp_path / "missing.onnx", ":")


def test_every_format_has_a_runtime():
    assert {name for entry in RUNTIMES for name in entry.formats} == {"openvino", "onnx", "litert", "coreml", "safetensors"}


def test_reports_say_what_is_there_and_what_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    reports = {report.name: report for report in list_runtimes()}
    assert list(reports) == [entry.name for entry in RUNTIMES]
    assert reports["openvino"].version
    assert "CPU" in reports["openvino"].devices
    assert reports["onnxruntime"].version is None
    assert "pip install 'edgepose[onnx]'" in reports["onnxruntime"].reason


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_names_its_extra(monkeypatch, name):
    package, extra = PACKAGES[name]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    runtime = next(entry for entry in RUNTIMES if entry.name == name).get()
    with pytest.raises(MissingDependencyError, match=rf"'{package}'.*edgepose\[{extra}\]"):
        runtime.version()


def test_runtimes_import_without_their_packages():
    code = (
        "import sys\n"
        "from edgepose.runtime.registry import RUNTIMES\n"
        "for entry in RUNTIMES: entry.get()\n"
        "print(*{'torch', 'openvino', 'onnxruntime', 'ai_edge_litert', 'coremltools', 'safetensors'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_find_version_reads_the_metadata_without_importing():
    code = (
        "import sys\n"
        "from edgepose.runtime.packages import find_version\n"
        "print(find_version('onnxruntime', extra='onnx', purpose='a test'), 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, imported = done.stdout.split()
    assert version[0].isdigit()
    assert imported == "False"


def test_find_version_of_a_package_without_metadata_asks_the_package(monkeypatch, tmp_path):
    (tmp_path / "handmade.py").write_text("__version__ = '9.9'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_version("handmade", extra="onnx", purpose="a test", distributions=("handmade-gpu", "handmade")) == "9.9"


def test_a_package_that_is_broken_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "broken_runtime.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        DeviceError, match=r"'broken_runtime', which is installed but can't be imported: .*a_library_that_nobody_has"
    ) as caught:
        import_package("broken_runtime", extra="onnx", purpose="a test")
    assert not isinstance(caught.value, MissingDependencyError)


def test_a_package_that_is_missing_is_called_so():
    with pytest.raises(MissingDependencyError, match="a test needs the package 'no_such_runtime'"):
        import_package("no_such_runtime.interpreter", extra="onnx", purpose="a test")


def port(*shape, dtype="float32"):
    return Port(name="", dtype=dtype, shape=shape)


def test_ports_that_fit(tmp_path):
    assert check_ports(make_artifact(tmp_path, batch=1), [port(1, 3, 64, 48)], [port(1, 17, 16, 12)]) == 1
    assert check_ports(make_artifact(tmp_path, batch=None), [port(None, 3, 64, 48)], [port(None, 17, 16, 12)]) is None
    assert check_ports(make_artifact(tmp_path, batch=2), [port(2, 3, 64, 48)], [port(None, None, None, None)]) == 2
    assert check_ports(make_artifact(tmp_path, batch=2), [port(2, 3, 64, 48)], [Port(name="", dtype="float32", shape=None)]) == 2


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ([], [port(1, 17, 16, 12)], "0 inputs"),
        ([port(1, 3, 64, 48)] * 2, [port(1, 17, 16, 12)], "2 inputs"),
        ([port(1, 3, 64, 48)], [port(1, 17, 16, 12)] * 2, "2 outputs"),
        ([port(1, 3, 64, 48, dtype="float16")], [port(1, 17, 16, 12)], r"takes float16 \(1, 3, 64, 48\)"),
        ([port(1, 64, 48, 3)], [port(1, 17, 16, 12)], r"takes float32 \(1, 64, 48, 3\), but its spec says float32 \(1, 3, 64, 48\)"),
        ([port(1, 3, None, 48)], [port(1, 17, 16, 12)], r"takes float32 \(1, 3, \?, 48\)"),
        ([port()], [port(1, 17, 16, 12)], r"takes float32 \(\)"),
        ([Port(name="", dtype="float32", shape=None)], [port(1, 17, 16, 12)], "takes float32 of unknown shape"),
        ([port(1, 3, 64, 48)], [port(1, 16, 16, 12)], r"gives float32 \(1, 16, 16, 12\)"),
        ([port(1, 3, 64, 48)], [port(2, 17, 16, 12)], r"gives float32 \(2, 17, 16, 12\)"),
        ([port(1, 3, 64, 48)], [port(1, 17, 192)], r"gives float32 \(1, 17, 192\)"),
        ([port(1, 3, 64, 48)], [port(1, 17, 16, 12, dtype="int8")], "gives int8"),
        ([port(2, 3, 64, 48)], [port(2, 17, 16, 12)], "compiled for batch size 2, but its spec says 1"),
        ([port(None, 3, 64, 48)], [port(None, 17, 16, 12)], "compiled for batch size any, but its spec says 1"),
    ],
)
def test_ports_that_do_not_fit_are_told(tmp_path, inputs, outputs, told):
    with pytest.raises(ArtifactError, match=told) as caught:
        check_ports(make_artifact(tmp_path, batch=1), inputs, outputs)
    assert "tiny.file" in str(caught.value)
