"""What the package promises of itself: its names, what importing it costs, what it depends on, what the wheel holds."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import edgepose
import edgepose_benchmarks
import edgepose_converters
from edgepose import errors
from edgepose.runtime import packages

ROOT = Path(__file__).parents[2]
HOST_ONLY = ("edgepose.models", "edgepose.distillation", "edgepose.quantization")
HEAVY = {
    "torch",
    "cv2",
    "openvino",
    "onnxruntime",
    "onnx",
    "coremltools",
    "ai_edge_litert",
    "tflite_runtime",
    "litert_torch",
    "transformers",
    "nncf",
    "tqdm",
}


def modules_of(package: object) -> list[str]:
    return [
        module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".") if not module.name.endswith("__main__")
    ]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nimport json; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.splitlines()[-1]))


def test_importing_edgepose_loads_nothing_heavy() -> None:
    assert loaded_after("import edgepose") & HEAVY == set()


def test_the_device_part_imports_without_torch_or_a_runtime() -> None:
    device_part = [name for name in modules_of(edgepose) if not name.startswith(HOST_ONLY)]
    loaded = loaded_after("\n".join(f"import {name}" for name in device_part))
    assert loaded & (HEAVY - {"cv2"}) == set()
    assert {name for name in loaded if name.startswith(("edgepose_converters", "edgepose_benchmarks"))} == set()


def test_what_phones_home_is_imported_in_one_place() -> None:
    """Whatever imports one of these goes through ``import_package``, which switches their telemetry off first."""
    root = Path(edgepose.__file__).parent
    # The benchmarks switch it off when their package is imported, and import rivals as their users would.
    sources = [*root.rglob("*.py"), *Path(edgepose_converters.__file__).parent.rglob("*.py")]
    found = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            found |= {(path.name, name.partition(".")[0]) for name in names}
    telling = {"onnxruntime", "openvino", "openvino_telemetry", "nncf", "ray", "huggingface_hub", "transformers"}
    assert {entry for entry in found if entry[1] in telling} == {
        # Behind ``import_openvino`` and ``import_nncf``, which all that calls these has called.
        ("post_training.py", "nncf"),
        ("fake_quantization.py", "nncf"),
        ("openvino.py", "openvino"),
    }
    assert "switch_off()" in inspect.getsource(packages.import_package)


def test_telemetry_is_off_before_a_runtime_is_there() -> None:
    code = """
import os, types, sys
import edgepose.telemetry
ort = sys.modules["onnxruntime"] = types.ModuleType("onnxruntime")
calls = []
ort.disable_telemetry_events = lambda: calls.append(1)
os.environ["RAY_USAGE_STATS_ENABLED"] = "1"
from edgepose.runtime.packages import import_package
import_package("json", extra="", purpose="")
assert calls == [1]
assert os.environ["ORT_DISABLE_TELEMETRY"] == os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", [edgepose, edgepose_converters, edgepose_benchmarks], ids=lambda package: package.__name__)
def test_public_names_are_there(package: object) -> None:
    for name in (package.__name__, *modules_of(package)):
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", None)
        assert exported is not None or not any(not each.startswith("_") for each in _defined(module)), f"{name} has no __all__"
        for each in exported or ():
            assert hasattr(module, each), f"{name}.__all__ names {each}, which isn't there"
        assert (module.__doc__ or "").strip(), f"{name} has no docstring"


def _defined(module: object) -> list[str]:
    """Classes and functions that a module defines itself."""
    return [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]


def test_every_public_definition_is_exported() -> None:
    for name in modules_of(edgepose):
        module = importlib.import_module(name)
        missing = [each for each in _defined(module) if not each.startswith("_") and each not in module.__all__]
        # A command's own constants and a module's private seams start with an underscore; what doesn't is public.
        assert missing == [], f"{name}.__all__ lacks {missing}"


def test_the_lazy_names_are_the_public_names() -> None:
    assert set(edgepose.__all__) == set(edgepose._HOMES) | {"__version__"}
    for name in edgepose.__all__:
        assert getattr(edgepose, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edgepose.nonsense  # noqa: B018


def test_the_error_tree_is_drawn_in_its_docstring() -> None:
    for name in errors.__all__:
        assert name in (errors.__doc__ or "")
        assert issubclass(getattr(errors, name), errors.EdgePoseError)


def test_a_device_installs_numpy_opencv_and_one_runtime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [_package(line) for line in project["dependencies"]] == ["numpy", "opencv-python-headless"]
    extras = project["optional-dependencies"]
    for extra, package in {"openvino": "openvino", "onnx": "onnxruntime", "litert": "ai-edge-litert"}.items():
        assert [_package(line) for line in extras[extra]] == [package]
    assert [_package(line) for line in extras["tflite"]] == ["tflite-runtime", "numpy<2"]


def _package(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0].strip()


def test_torch_is_pinned_where_pip_would_bring_cuda() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [line for line in extras["convert"] if line.startswith("torch")] == ["torch==2.13.0"]


def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for expected in (
        "edgepose/py.typed",
        "edgepose/assets/vitpose-ti.safetensors",
        "edgepose/assets/sample.jpg",
        "edgepose/skeletons/coco.json",
        "edgepose/distillation/recipes/vitpose-s-coco.toml",
        "edgepose_converters/onnx.py",
        "edgepose_benchmarks/__init__.py",
    ):
        assert expected in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"edgepose", "edgepose_converters", "edgepose_benchmarks"}
