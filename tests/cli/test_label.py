"""`edgepose label` as a user runs it, in this process and on a local Ray."""

import json
from pathlib import Path

import pytest
from artifacts import TinyArtifacts
from people import write_coco

from edgepose.cli import main
from edgepose.distillation.readers.coco import read_coco
from edgepose.distillation.recipe import Source
from edgepose.skeleton import get_skeleton


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of five photos, and a file with boxes for four of them."""
    document = json.loads(write_coco(tmp_path / "photos", count=5).read_text())
    boxes = {}
    for image, annotation in zip(document["images"][:4], document["annotations"], strict=False):
        left, top, width, height = annotation["bbox"]
        boxes[image["file_name"]] = [[left, top, left + width, top + height]] * (image["id"] + 1)
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path / "photos", tmp_path / "boxes.json"


def test_writes_what_the_trainer_reads(
    artifacts: TinyArtifacts, photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, boxes = photos
    out = tmp_path / "labels.json"
    command = [
        "label",
        str(artifacts.path("onnx")),
        "--images",
        str(folder),
        "--boxes",
        str(boxes),
        "--out",
        str(out),
        "--min-score",
        "0.1",
    ]
    assert main([*command, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "10 people in 4 photos" in printed
    assert "left out: 1 photos without boxes" in printed
    document = json.loads(out.read_text())
    assert [image["file_name"] for image in document["images"]] == ["000.png", "001.png", "002.png", "003.png"]
    assert {(image["width"], image["height"]) for image in document["images"]} == {(90, 120)}
    for annotation in document["annotations"]:
        seen = annotation["keypoints"][2::3]
        assert annotation["num_keypoints"] == sum(value == 2 for value in seen)
        assert all(x == y == 0 for x, y, value in zip(*(annotation["keypoints"][k::3] for k in range(3)), strict=True) if value == 0)
    people = read_coco(Source(name="labels", path="labels.json", format="coco", images="photos"), tmp_path, get_skeleton("coco"))
    assert len(list(people.each)) == 10


@pytest.mark.xdist_group("ray")
def test_a_cluster_writes_the_same(artifacts: TinyArtifacts, photos: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder, boxes = photos
    command = ["label", str(artifacts.path("onnx")), "--images", str(folder), "--boxes", str(boxes), "--threads", "1"]
    assert main([*command, "--out", str(tmp_path / "alone.json")]) == 0
    assert main([*command, "--out", str(tmp_path / "cluster.json"), "--ray", "2"]) == 0
    assert (tmp_path / "alone.json").read_text() == (tmp_path / "cluster.json").read_text()


def test_bad_input(artifacts: TinyArtifacts, photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, boxes = photos
    model = str(artifacts.path("onnx"))
    out = tmp_path / "labels.json"
    (tmp_path / "empty").mkdir()
    other = tmp_path / "other.json"
    other.write_text('{"elsewhere.jpg": [[0, 0, 10, 10]]}')
    shares, sizes = tmp_path / "shares.json", tmp_path / "sizes.json"
    shares.write_text('{"000.png": [[0.1, 0.1, 0.5, 0.9]], "001.png": [[0.2, 0.1, 0.6, 1]]}')
    sizes.write_text('{"000.png": [[50, 50, 30, 60]], "001.png": [[40, 30, 20, 80]]}')
    capsys.readouterr()
    for images, given, more, message in (
        (tmp_path / "empty", boxes, [], "no photos in"),
        (folder, other, [], "has no boxes for any of the 5 photos"),
        (folder, shares, [], "shares of its width and height; give pixels: multiply by (width, height, width, height)"),
        (folder, sizes, [], "seem to be left, top, width, height"),
        (folder, boxes, ["--ray-address", "127.0.0.1:1"], "--ray N"),
        (folder, boxes, ["--ray", "1", "--ray-address", "127.0.0.1:1"], "can't reach the Ray cluster"),
    ):
        assert main(["label", model, "--images", str(images), "--boxes", str(given), "--out", str(out), *more]) == 1
        assert message in capsys.readouterr().err
        assert not out.exists()
    (folder / "002.png").write_bytes(b"broken")
    assert main(["label", model, "--images", str(folder), "--boxes", str(boxes), "--out", str(out)]) == 1
    captured = capsys.readouterr()
    assert "002.png" in captured.err
    assert len(json.loads(out.read_text())["images"]) == 3


def test_one_bad_box_loses_nobody(
    artifacts: TinyArtifacts, photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, boxes = photos
    document = json.loads(boxes.read_text())
    document["000.png"] += [[1000, 0, 1100, 50], [30, 0, 10, 50]]
    document["001.png"] = [[0, 0, 0, 50]]
    boxes.write_text(json.dumps(document))
    out = tmp_path / "labels.json"
    command = ["label", str(artifacts.path("onnx")), "--images", str(folder), "--boxes", str(boxes), "--out", str(out), "--threads", "1"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "8 people in 4 photos" in captured.out
    assert "left out: 3 people whose boxes can't be used" in captured.out
    assert "edgepose label: left out: 000.png: box 1 is [1000.0" in captured.err
    assert len(json.loads(out.read_text())["annotations"]) == 8


def test_a_name_that_stands_for_two_photos_is_refused(
    artifacts: TinyArtifacts, photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, boxes = photos
    (folder / "other").mkdir()
    (folder / "000.png").rename(folder / "other" / "001.png")
    command = ["label", str(artifacts.path("onnx")), "--images", str(folder), "--boxes", str(boxes), "--out", str(tmp_path / "labels.json")]
    assert main(command) == 1
    assert "'001.png' stands for both" in capsys.readouterr().err
