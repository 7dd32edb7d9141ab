"""Sinks where there is no room, and where names clash: nothing that was written is lost or torn."""

import contextlib
import csv
import dataclasses
import json
import os
from pathlib import Path

import pytest
from test_sinks import context, result

from edgepose.boxes import load_boxes
from edgepose.errors import InputError
from edgepose.pipeline.sinks import open_sink

resource = pytest.importorskip("resource", reason="limits of POSIX")


@contextlib.contextmanager
def limited_files(size):
    """No file can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(sink, make=result, most=1000):
    """Write until there is no room; returns how many results went in whole."""
    for index in range(most):
        try:
            sink.write(make(index, time_s=index / 25))
        except InputError as error:
            assert "File too large" in str(error)  # noqa: PT017  # the error is the end that is looked for
            return index
    raise AssertionError("the limit doesn't hold")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_lines_are_whole_where_the_disk_is_full(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    with limited_files(20_000):
        sink = open_sink(path, context())
        whole = fill(sink)
        with pytest.raises(InputError, match="closed"):
            sink.write(result())
        sink.close()
        sink.close()
    assert whole > 10
    text = path.read_text()
    assert text.endswith("\n")
    if suffix == ".jsonl":
        assert [json.loads(line)["index"] for line in text.splitlines()] == list(range(whole))
    else:
        rows = list(csv.DictReader(text.splitlines()))
        assert [int(row["frame"]) for row in rows] == list(range(whole))
        assert {len(row) for row in rows} == {18}
        assert {row["keypoint_2_score"] for row in rows} == {"0.750"}


def test_names_that_are_no_text_are_written_all_the_same(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    for suffix in (".csv", ".jsonl"):
        sink = open_sink(tmp_path / f"x{suffix}", context(kind="pictures"))
        sink.write(result(name=name))
        sink.close()
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["name"] == r"caf\udce9.jpg"
    assert json.loads((tmp_path / "x.jsonl").read_text())["name"] == name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_that_nobody_reads_any_more_says_so(tmp_path):
    path = Path(tmp_path / "x.jsonl")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = open_sink(path, context())
    sink.write(result())
    assert json.loads(os.read(reader, 65_536))["index"] == 0
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        sink.write(result(1))
    sink.close()


def test_coco_results_keep_whom_they_have_where_the_disk_is_full(tmp_path):
    path = tmp_path / "x.json"
    with limited_files(20_000):
        sink = open_sink(path, context())
        whole = fill(sink)
        sink.close()
        sink.close()
    assert whole > 10
    assert [entry["image_id"] for entry in json.loads(path.read_text())] == list(range(whole))
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_coco_results_that_can_not_get_their_name_leave_nothing(tmp_path):
    sink = open_sink(tmp_path / "x.json", context())
    sink.write(result())
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InputError, match=r"can't write '.*x\.json': Is a directory"):
        sink.close()
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def write_coco(path, names, find_image_id=None):
    sink = open_sink(path, dataclasses.replace(context(kind="pictures"), find_image_id=find_image_id))
    try:
        for index, name in enumerate(names):
            sink.write(result(index, name=name))
    finally:
        sink.close()
    return [entry["image_id"] for entry in json.loads(path.read_text())]


def test_no_two_pictures_have_one_image_id(tmp_path):
    path = tmp_path / "x.json"
    assert write_coco(path, ["a.jpg", "b.jpg", "0.jpg"]) == [0, 1, 2]
    with pytest.raises(InputError, match=r"can't give 'a/7.jpg' the image_id 7: another picture has it"):
        write_coco(path, ["7.jpg", "a/7.jpg"])
    with pytest.raises(InputError, match=r"can't give 'a.jpg' an image_id: the pictures before it are named by their numbers"):
        write_coco(path, ["1.jpg", "a.jpg"])
    # Those before are there.
    assert [entry["image_id"] for entry in json.loads(path.read_text())] == [1]


def test_image_ids_are_those_of_annotations(tmp_path):
    images = [{"id": 900, "file_name": "left/a.jpg"}, {"id": 17, "file_name": "right/a.jpg"}, {"id": 3, "file_name": "12.jpg"}]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": []}))
    find = load_boxes(tmp_path / "annotations.json").find_image_id
    names = ["photos/right/a.jpg", "photos/left/a.jpg", "12.jpg"]
    assert write_coco(tmp_path / "x.json", names, find) == [17, 900, 3]
    with pytest.raises(InputError, match="the annotations have no image of this file_name"):
        write_coco(tmp_path / "x.json", ["photos/c.jpg"], find)


@pytest.mark.parametrize(
    ("names", "stems"),
    [(["1", "b/1", "1-2", "c/1"], ["1", "1-2", "1-2-2", "1-3"]), (["1-2", "1", "b/1", "b/1-2"], ["1", "1-2", "1-2-2", "1-3"])],
)
def test_no_drawing_replaces_another_pictures(names, stems, tmp_path):
    sink = open_sink(f"{tmp_path}/", context(kind="pictures"))
    for index, name in enumerate(names):
        sink.write(result(index, name=f"{name}.png"))
    sink.close()
    assert sorted(file.name.removesuffix("-pose.jpg") for file in tmp_path.glob("*.jpg")) == stems
    assert sorted(json.loads(file.read_text())["index"] for file in tmp_path.glob("*.json")) == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users of POSIX")
def test_a_folder_that_can_not_be_written_is_said_before_the_work(tmp_path, monkeypatch):
    tmp_path.chmod(0o555)
    if os.geteuid() == 0:  # who may write everywhere: what the system says to others
        monkeypatch.setattr(os, "access", lambda *_: False)
    try:
        for place in (tmp_path, tmp_path / "new"):
            with pytest.raises(InputError, match="can't write to the folder .* Permission denied"):
                open_sink(f"{place}/", context(kind="pictures"))
    finally:
        tmp_path.chmod(0o755)
