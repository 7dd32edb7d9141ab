"""Weights by name: the files of the checkout, and what is said where they are missing or others."""

import dataclasses
import hashlib
import json
import shutil
import tomllib

import pytest

from edgepose import weights
from edgepose.cli import main
from edgepose.errors import InputError, IntegrityError
from edgepose.pipeline.detection import open_detector
from edgepose.weights import WEIGHTS, find_weights, has_weights


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_checkout_has_them_as_they_are_pinned(name, request):
    path = find_weights(name)
    assert path.is_relative_to(request.config.rootpath / "weights")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS[name].sha256
    assert WEIGHTS[name].licence


def test_the_distributions_index_is_what_edgepose_knows(request):
    """The index is for those who look into the distribution; edgepose goes by what stands in itself."""
    index = json.loads((request.config.rootpath / "weights/edgepose_weights/index.json").read_text())
    assert index == {"edgepose_weights": 1, "weights": {name: dataclasses.asdict(weights) for name, weights in WEIGHTS.items()}}
    folder = request.config.rootpath / "weights/edgepose_weights"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")} == {weights.file for weights in WEIGHTS.values()}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda content: content[:-1] + bytes([content[-1] ^ 1]),
            "its SHA-256 is [0-9a-f]{12}…, not c789161ed43c…: it isn't the file that",
        ),
        (lambda content: content[:1000], r"has 1000 bytes, not 3659407: it isn't the file that .* pip install --force-reinstall"),
        (lambda content: b"", "has 0 bytes"),
    ],
)
def test_another_file_is_refused(change, why, monkeypatch, tmp_path):
    content = find_weights("yolox-nano").read_bytes()
    monkeypatch.setattr(weights, "_CHECKOUT", tmp_path)
    file = tmp_path / WEIGHTS["yolox-nano"].file
    file.parent.mkdir()
    file.write_bytes(change(content))
    with pytest.raises(IntegrityError, match=why):
        find_weights("yolox-nano")
    with pytest.raises(IntegrityError):
        open_detector("yolox-nano")


def test_without_a_checkout_the_installed_distribution_is_used(monkeypatch, tmp_path):
    package = tmp_path / "installed" / "edgepose_weights_of_a_test"
    (package / "detectors").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(find_weights("yolox-nano"), package / WEIGHTS["yolox-nano"].file)
    monkeypatch.setattr(weights, "_CHECKOUT", tmp_path / "none")
    monkeypatch.setattr(weights, "_PACKAGE", package.name)
    monkeypatch.syspath_prepend(package.parent)
    assert find_weights("yolox-nano") == package / WEIGHTS["yolox-nano"].file
    assert (has_weights("yolox-nano"), has_weights("rtmdet-nano")) == (True, False)


def test_models_lists_them(capsys):
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["weights"]
    assert [entry["name"] for entry in listed] == list(WEIGHTS)
    assert all(entry["installed"] and entry["licence"] for entry in listed)
    assert main(["models"]) == 0
    assert "rtmdet-nano" in capsys.readouterr().out


def test_missing_weights_name_the_command_that_brings_them(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_CHECKOUT", tmp_path)
    monkeypatch.setattr(weights, "_PACKAGE", "edgepose_weights_that_nobody_has")
    with pytest.raises(InputError, match="pip install edgepose-weights, or from a checkout of edgepose: pip install ./weights"):
        find_weights("yolox-nano")
    with pytest.raises(InputError, match="known: rtmdet-nano, yolox-nano"):
        find_weights("yolo")


def test_the_distribution_is_not_part_of_what_a_device_installs(request):
    settings = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert not any("weights" in path for path in (*settings["wheel"]["packages"], *settings["sdist"]["include"]))
