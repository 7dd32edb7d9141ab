"""What is looked at before a model runs."""

import dataclasses
import json
from pathlib import Path

import pytest
from coco_like import make_document, make_spec, write

from edgepose.errors import InputError
from edgepose.evaluation.evaluation import Request, open_data
from edgepose.findings import Findings
from edgepose.skeleton import Skeleton, get_skeleton


def test_the_flip_test_needs_flip_pairs(tmp_path: Path) -> None:
    request = Request(annotations=write(tmp_path, make_document()), images=tmp_path, flip_test=True)
    with pytest.raises(InputError, match="the skeleton 'unnamed-17' has no flip pairs"):
        open_data(request, make_spec(Skeleton.unnamed(17)))


def named(folder: Path, **changed: str) -> Request:
    """A data set whose pictures exist, with some keypoints under other names."""
    names = tuple(changed.get(name, name) for name in get_skeleton("coco").keypoints)
    document = make_document(pictures=6, names=names)
    for image in document["images"]:
        (folder / image["file_name"]).touch()
        image["file_name"] = f"C:\\data\\{image['file_name']}"
    return Request(annotations=write(folder, document), images=folder)


def test_keypoints_are_the_models_one_by_one(tmp_path: Path) -> None:
    request = named(tmp_path, left_eye="head_bottom", right_eye="head_top")
    with pytest.raises(
        InputError, match=r"keypoint 1 of the model's skeleton 'coco' is left_eye, but of annotations.json it is head_bottom"
    ):
        open_data(request, make_spec())
    data = open_data(dataclasses.replace(request, keypoints_as_listed=True), make_spec())
    assert [(finding.code, finding.count) for finding in data.findings if finding.severity == "warning"] == [("keypoints-as-listed", 2)]


def test_a_model_without_names_is_said(tmp_path: Path) -> None:
    data = open_data(named(tmp_path), make_spec(Skeleton.unnamed(17)))
    assert [finding.code for finding in data.findings if finding.severity == "warning"] == ["model-unnamed"]


def test_pictures_are_found_where_they_are(tmp_path: Path) -> None:
    data = open_data(named(tmp_path), make_spec())
    wanted = {int(picture) for picture in data.people.pictures}
    for number, name in enumerate(data.annotations.file_names):
        assert name.startswith("C:\\") == (number not in wanted)
    assert [(finding.code, finding.count) for finding in data.findings] == [("file-name-mended", len(wanted))]


def test_what_was_found_outlives_the_error(tmp_path: Path) -> None:
    findings = Findings()
    request = named(tmp_path)
    for picture in tmp_path.glob("*.jpg"):
        picture.unlink()
    document = json.loads(request.annotations.read_text())
    document["annotations"][0]["image_id"] = 999
    write(tmp_path, document)
    with pytest.raises(InputError, match="pictures with people aren't in .*; name another folder"):
        open_data(request, make_spec(), findings)
    assert [finding.code for finding in findings] == ["annotation-of-unknown-picture"]


def test_nobody_to_look_for(tmp_path: Path) -> None:
    request = named(tmp_path)
    document = json.loads(request.annotations.read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 1
    write(tmp_path, document)
    with pytest.raises(InputError, match=r"nobody to look for: each of the \d+ is left out \(\d+ crowds.*labelled keypoints and a box"):
        open_data(request, make_spec())
