"""Weights by name: the files of the checkout, and what is said where they are missing or others."""

import hashlib
import tomllib

import pytest

from edgepose import weights
from edgepose.errors import InputError, IntegrityError
from edgepose.weights import WEIGHTS, find_weights


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_checkout_has_them_as_they_are_pinned(name, request):
    path = find_weights(name)
    assert path.is_relative_to(request.config.rootpath / "weights")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == WEIGHTS[name].sha256
    assert WEIGHTS[name].licence


def test_another_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_CHECKOUT", tmp_path)
    file = tmp_path / WEIGHTS["yolox-nano"].file
    file.parent.mkdir()
    file.write_bytes(b"something else")
    with pytest.raises(IntegrityError, match=r"isn't the file that this edgepose knows: its SHA-256 is [0-9a-f]{12}…, not c789161ed43c"):
        find_weights("yolox-nano")


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
