"""Sinks where there is no room, and where names clash: nothing that was written is lost or torn."""

import contextlib
import csv
import json
import os
from pathlib import Path

import pytest
from test_sinks import context, result

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
