"""Sinks: what is written, read back with the tools that it is for."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pipeline_fakes import FakeDetector, FakeSession, FakeSource, make_spec

from edgepose.boxes import load_boxes
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.pipeline.frame import Failure, Frame, FramePoses
from edgepose.pipeline.protocols import SourceInfo
from edgepose.pipeline.sinks import SinkContext, SinkThread, open_sink
from edgepose.pipeline.sinks import video as video_sinks
from edgepose.pipeline.sinks.window import WindowSink
from edgepose.skeleton import get_skeleton


def context(kind="video", rate_hz=25.0, name="walk.mp4"):
    info = SourceInfo(name=name, kind=kind, live=False, frames=None, rate_hz=rate_hz, size=None, reader="fake")
    return SinkContext(info=info, skeleton=make_spec().skeleton, looked_for="people: fake")


def result(index=0, *, time_s=0.0, people=1, name="walk.mp4", size=(48, 64), value=90, ids=True, skeleton=None):
    skeleton = skeleton or make_spec().skeleton
    count = len(skeleton.keypoints)
    poses = Poses(
        keypoints_xy=np.arange(people * count * 2, dtype=np.float32).reshape(people, count, 2) + 5,
        scores=np.full((people, count), 0.75, np.float32),
        boxes_xyxy=np.tile(np.float32([4, 3, 40, 44]), (people, 1)),
        skeleton=skeleton,
        box_scores=np.full(people, 0.5, np.float32),
    )
    frame = Frame(image=np.full((*size, 3), value, np.uint8), index=index, time_s=time_s, name=name)
    return FramePoses(frame=frame, poses=poses, ids=np.arange(7, 7 + people) if ids else None, detected=True)


FAILURE = Failure(index=1, time_s=0.04, name="walk.mp4", reason="frame 1: torn")


def write(path, results, **options):
    sink = open_sink(path, context(**options))
    for each in results:
        sink.write(each)
    sink.close()
    sink.close()
    return sink


def test_json_lines_hold_everything(tmp_path):
    write(tmp_path / "x.jsonl", [result(), FAILURE, result(2, time_s=0.08, people=0, ids=False)])
    first, second, third = map(json.loads, (tmp_path / "x.jsonl").read_text().splitlines())
    assert (first["index"], first["time_s"], first["name"], first["width"], first["height"]) == (0, 0.0, "walk.mp4", 64, 48)
    assert (first["looked_for"], first["detected"], first["dropped"]) == ("people: fake", True, 0)
    (person,) = first["people"]
    assert (person["id"], person["box_score"], person["box_xyxy"]) == (7, 0.5, [4, 3, 40, 44])
    assert person["keypoints"]["keypoint_0"] == [5, 6, 0.75]
    assert second == {"index": 1, "time_s": 0.04, "name": "walk.mp4", "failure": "frame 1: torn"}
    assert third["people"] == []


def test_json_lines_on_standard_output(capsys):
    write("-", [result()])
    assert json.loads(capsys.readouterr().out)["index"] == 0


def test_tables_are_safe_and_read_by_column(tmp_path):
    write(tmp_path / "x.csv", [result(people=2), FAILURE, result(2, time_s=None, people=1, ids=False, name="=HYPERLINK(1)")])
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["id"], row["time_s"]) for row in rows] == [("0", "7", "0.000000"), ("0", "8", "0.000000"), ("2", "", "")]
    assert (rows[0]["keypoint_1_x"], rows[1]["keypoint_0_y"], rows[0]["box_score"]) == ("7.000", "12.000", "0.500")
    assert rows[2]["name"] == "'=HYPERLINK(1)"


def test_coco_results_are_those_that_pycocotools_reads(tmp_path, capsys):
    from pycocotools.coco import COCO

    coco = get_skeleton("coco")
    named = [result(index, name=f"val/{number:012d}.jpg", skeleton=coco, ids=False) for index, number in enumerate((139, 285))]
    write(tmp_path / "x.json", named, kind="pictures")
    annotations = {
        "images": [{"id": 139, "width": 64, "height": 48}, {"id": 285, "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(coco.keypoints), "skeleton": []}],
        "annotations": [],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    loaded = COCO(str(tmp_path / "annotations.json")).loadRes(str(tmp_path / "x.json"))
    capsys.readouterr()
    assert [entry["image_id"] for entry in loaded.dataset["annotations"]] == [139, 285]
    assert loaded.dataset["annotations"][0]["score"] == pytest.approx(0.375)
    assert loaded.dataset["annotations"][0]["keypoints"][:3] == [5, 6, 0.75]
    # The same boxes can be given to a later run.
    assert load_boxes(tmp_path / "x.json").for_image("val/000000000139.jpg").tolist() == [[4, 3, 40, 44]]
    write(tmp_path / "none.json", [FAILURE])
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_coco_results_are_there_whole_or_not_at_all(tmp_path):
    sink = open_sink(tmp_path / "x.json", context())
    sink.write(result())
    assert not (tmp_path / "x.json").exists()
    sink.close()
    assert len(json.loads((tmp_path / "x.json").read_text())) == 1


def test_a_folder_of_drawings(tmp_path):
    write(f"{tmp_path}/out/", [result(name="a/1.png"), result(1, name="b/1.png")], kind="pictures")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["1-2-pose.jpg", "1-2-pose.json", "1-pose.jpg", "1-pose.json"]
    assert json.loads((tmp_path / "out" / "1-pose.json").read_text())["image"] == "1.png"
    write(tmp_path / "frames", [result(12)])
    assert sorted(file.name for file in (tmp_path / "frames").iterdir()) == ["walk-000012-pose.jpg", "walk-000012-pose.json"]


def read_video(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_keeps_the_times_of_its_source(suffix, tmp_path):
    times = [0.0, 0.04, 0.08, 0.5, 0.54]
    sink = write(tmp_path / f"x{suffix}", [result(index, time_s=time_s, value=40 * index) for index, time_s in enumerate(times)])
    frames = read_video(tmp_path / f"x{suffix}")
    assert "H.264" in sink.description
    assert len(frames) == 5
    if suffix != ".avi":  # which has a constant rate
        np.testing.assert_allclose([time_s for time_s, _ in frames], times, atol=2e-3)
    assert [round(float(np.median(image)) / 40) for _, image in frames] == [0, 1, 2, 3, 4]


def test_frames_of_other_sizes_and_odd_sides(tmp_path):
    sizes = [(47, 63), (47, 63), (94, 126), (30, 90)]
    write(tmp_path / "x.mp4", [result(index, time_s=index / 25, size=size, people=0) for index, size in enumerate(sizes)])
    frames = read_video(tmp_path / "x.mp4")
    assert [image.shape for _, image in frames] == [(48, 64, 3)] * 4
    # Scaled into the middle, with black above and below.
    assert frames[3][1][2].mean() < 20
    assert frames[3][1][24].mean() > 70


def test_without_a_frame_there_is_no_video(tmp_path):
    write(tmp_path / "x.mp4", [FAILURE])
    assert not (tmp_path / "x.mp4").exists()


def test_without_pyav_opencv_writes_motion_jpeg(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise video_sinks.MissingDependencyError("av", extra="video", purpose="writing H.264")

    monkeypatch.setattr(video_sinks, "import_package", refuse)
    sink = write(tmp_path / "x.avi", [result(index, value=60 * index, people=0) for index in range(3)])
    assert "Motion JPEG by OpenCV" in sink.description
    capture = cv2.VideoCapture(str(tmp_path / "x.avi"))
    values = [round(float(capture.read()[1].mean()) / 60) for _ in range(3)]
    assert values == [0, 1, 2]
    with pytest.raises(video_sinks.MissingDependencyError):
        open_sink(tmp_path / "x.mp4", context())


ENDLESS = """
import sys, itertools
sys.path[:0] = sys.argv[2:]
from test_sinks import context, open_sink, result
sink = open_sink(sys.argv[1], context())
for index in itertools.count():
    sink.write(result(index, time_s=index / 25, size=(240, 320)))
    if index == 150:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".jsonl"])
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_what_a_killed_process_wrote_can_be_used(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    child = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path), *sys.path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    if suffix == ".jsonl":
        lines = path.read_text().splitlines()
        assert [json.loads(line)["index"] for line in lines[:150]] == list(range(150))
        return
    frames = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):  # the last packet is torn
        frames.extend(frame.time for frame in container.decode(video=0))
    assert len(frames) >= 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full")
def test_a_full_disk_is_said(tmp_path):
    for suffix in (".jsonl", ".csv", ".mkv"):
        path = tmp_path / f"x{suffix}"
        path.symlink_to("/dev/full")
        with pytest.raises(InputError, match=r"can't (write|finish) .*[Nn]o space left"):
            sink = open_sink(path, context())
            for index in range(200):
                sink.write(result(index, time_s=index / 25))
            sink.close()


def test_places_that_can_not_be_written_are_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.mp4").mkdir()
    source = tmp_path / "source.mp4"
    source.write_bytes(b"x")
    for path, why in (
        (tmp_path / "file" / "x.csv", "can't write"),
        (tmp_path / "x.webm", r"the suffix is '\.webm'; allowed"),
        (f"{tmp_path}/file/", "is a file; expected a folder"),
        (source, "is the source itself"),
    ):
        with pytest.raises(InputError, match=why):
            open_sink(path, context(name=str(source)))
    assert source.read_bytes() == b"x"


def test_a_window_needs_a_display(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no display"):
        WindowSink(context())
    monkeypatch.setenv("DISPLAY", ":99")

    def refuse(*_):
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(InputError, match="no windows"):
        WindowSink(context())


class Recorder:
    def __init__(self, fail_at=None, seconds=0.0):
        self.seen = []
        self.closed = 0
        self._fail_at = fail_at
        self._seconds = seconds

    def write(self, result):
        time.sleep(self._seconds)
        if result.index == self._fail_at:
            raise InputError("the disk is full")
        self.seen.append(result.index)

    def close(self):
        self.closed += 1


def test_a_thread_hands_on_in_order_and_closes_all():
    sinks = [Recorder(seconds=0.001), Recorder()]
    thread = SinkThread(sinks)
    for index in range(30):
        thread.write(result(index))
    thread.close()
    thread.close()
    assert [sink.seen for sink in sinks] == [list(range(30))] * 2
    assert [sink.closed for sink in sinks] == [1, 1]


def test_what_goes_wrong_in_a_thread_is_raised_and_the_others_are_closed():
    sinks = [Recorder(), Recorder(fail_at=3), Recorder()]
    thread = SinkThread(sinks)
    with pytest.raises(InputError, match="the disk is full"):
        for index in range(1000):
            thread.write(result(index))
            time.sleep(0.0005)
        thread.close()
    thread.close()
    assert [sink.closed for sink in sinks] == [1, 1, 1]
    assert sinks[0].seen == [0, 1, 2, 3]


def test_a_stream_written_as_it_runs(tmp_path):
    from edgepose.pipeline.stream import PoseStream

    with PoseStream(FakeSource([90, "torn", 90]), FakeSession(), FakeDetector()) as stream:
        sinks = SinkThread([open_sink(tmp_path / name, context()) for name in ("x.jsonl", "x.csv", "x.mp4")])
        for each in stream.results():
            sinks.write(each)
        sinks.close()
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 3
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 3
    assert len(read_video(tmp_path / "x.mp4")) == 2
