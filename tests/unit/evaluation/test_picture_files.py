"""Names of pictures from other systems and folders; none leads out."""

from pathlib import Path

import numpy as np
import pytest

from edgepose.evaluation.picture_files import locate_pictures
from edgepose.findings import Findings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.jpg").touch()
    for name in ("a.jpg", "sub/a.jpg", "train 2/ä é.jpg", "deep/er/Only.JPG", "cam1/x.jpg", "cam2/x.jpg"):
        path = tmp_path / "img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "img" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return tmp_path / "img"


def locate(folder: Path, *names: str) -> tuple[list[str | None], dict[str, int]]:
    findings = Findings()
    located, missing = locate_pictures(folder, names, np.ones(len(names), np.bool_), findings)
    found = [None if gone else name for name, gone in zip(located, missing, strict=True)]
    return found, {finding.code: finding.count for finding in findings}


@pytest.mark.parametrize(
    ("name", "found", "code"),
    [
        ("a.jpg", "a.jpg", None),
        ("./a.jpg", "./a.jpg", None),
        ("sub/a.jpg", "sub/a.jpg", None),
        ("train 2/ä é.jpg", "train 2/ä é.jpg", None),
        ("sub\\a.jpg", "sub/a.jpg", "file-name-mended"),
        ("C:\\data\\a.jpg", "a.jpg", "file-name-mended"),
        ("C:\\data\\sub\\a.jpg", "sub/a.jpg", "file-name-mended"),
        ("\\\\server\\share\\sub\\a.jpg", "sub/a.jpg", "file-name-mended"),
        ("/home/somebody/img/sub/a.jpg", "sub/a.jpg", "file-name-mended"),
        ("../img/a.jpg", "a.jpg", "file-name-mended"),
        ("http://images.example/set/sub/a.jpg?size=2#x", "sub/a.jpg", "file-name-mended"),
        ("file:///x/train%202/%C3%A4%20%C3%A9.jpg", "train 2/ä é.jpg", "file-name-mended"),
        ("A.JPG", "a.jpg", "file-name-case"),
        ("train 2/a\u0308 e\u0301.jpg", "train 2/ä é.jpg", "file-name-case"),
        ("only.jpg", "deep/er/Only.JPG", "file-name-case"),
        ("elsewhere/Only.JPG", "deep/er/Only.JPG", "file-name-mended"),
    ],
)
def test_one_file_can_be_meant(folder: Path, name: str, found: str, code: str | None) -> None:
    assert locate(folder, name) == ([found], {code: 1} if code else {})


@pytest.mark.parametrize(
    "name",
    [
        "x.jpg",  # in two folders
        "../secret.jpg",
        "/etc/passwd",
        "sub/../../secret.jpg",
        "link.jpg",  # leads out
        "..",
        ".",
        "/",
        "b.jpg",
        "sub",
        "a" * 3000 + ".jpg",
        "\ud800.jpg",
        "a\0.jpg",
    ],
)
def test_nothing_is_guessed_and_nothing_outside_is_found(folder: Path, name: str) -> None:
    assert locate(folder, name) == ([None], {})


def test_two_names_for_one_file_are_nobodys(folder: Path) -> None:
    found, codes = locate(folder, "cam1\\only.jpg", "cam2\\only.jpg", "a.jpg")
    assert (found, codes) == ([None, None, "a.jpg"], {})
    found, codes = locate(folder, "a.jpg", "C:\\other\\a.jpg")
    assert (found, codes) == (["a.jpg", None], {})


def test_only_what_is_needed_is_looked_for(folder: Path) -> None:
    findings = Findings()
    located, missing = locate_pictures(folder, ["gone.jpg", "A.jpg"], np.array([False, False]), findings)
    assert located == ("gone.jpg", "A.jpg")
    assert not missing.any()
    assert not len(findings)
