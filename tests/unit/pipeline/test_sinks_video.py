"""Videos: times, gaps, key frames, and what is left where there is no room."""

import contextlib
import shutil

import av
import cv2
import numpy as np
import pytest
from test_sinks import FAILURE, context, read_video, result
from test_sinks_limits import fill, limited_files

from edgepose.pipeline.sinks import open_sink, video


def write(path, times, rate_hz=30.0):
    sink = open_sink(path, context(rate_hz=rate_hz))
    for index, time_s in enumerate(times):
        sink.write(result(index, time_s=time_s, value=60 * index % 240, people=0))
    sink.close()
    return read_video(path)


@pytest.mark.parametrize("gap_s", [300.0, 70_000.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_source_may_pause_for_hours(suffix, gap_s, tmp_path):
    frames = write(tmp_path / f"x{suffix}", [0.0, 0.04, gap_s, gap_s + 0.04], rate_hz=1.0)
    values = [round(float(np.median(image)) / 60) for _, image in frames]
    # Where the pause is longer than the format can hold, the last frame is shown again.
    assert values == sorted(values)
    assert set(values) == {0, 1, 2, 3}
    assert frames[values.index(2)][0] == pytest.approx(gap_s, abs=2)
    assert len(values) < 14


def test_avi_takes_no_room_for_more_than_the_frames_rate(tmp_path):
    write(tmp_path / "x.mkv", [index / 30 for index in range(60)])
    write(tmp_path / "x.avi", [index / 30 for index in range(60)])
    assert (tmp_path / "x.avi").stat().st_size < (tmp_path / "x.mkv").stat().st_size + 60 * 50 + 8192


@pytest.mark.parametrize("rate_hz", [None, 0.0, -1.0, float("nan"), float("inf"), 1e-9, 1e9])
def test_a_rate_that_can_not_be_is_not_taken(rate_hz, tmp_path):
    for suffix in (".mp4", ".avi"):
        assert len(write(tmp_path / f"x{suffix}", [0.0, 0.04, 0.08], rate_hz=rate_hz)) == 3


def test_times_that_go_back_or_stand_still_lose_no_frame(tmp_path):
    frames = write(tmp_path / "x.mp4", [-1.0, 0.0, 0.5, 0.2, 0.5])
    assert [round(float(np.median(image)) / 60) for _, image in frames] == [0, 1, 2, 3, 0]
    assert [time_s for time_s, _ in frames] == sorted(time_s for time_s, _ in frames)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_come_slowly_are_in_the_file_all_the_same(suffix, tmp_path):
    """A camera that states 30 frames per second and gives two: all but those of the last second can be played before the end."""
    path = tmp_path / f"x{suffix}"
    sink = open_sink(path, context(rate_hz=30.0))
    for index in range(20):
        sink.write(result(index, time_s=index / 2, size=(48, 64)))
    played = []
    with av.open(str(path)) as container, contextlib.suppress(av.error.FFmpegError):  # the last packet is torn
        played.extend(frame.time for frame in container.decode(video=0))
    sink.close()
    assert len(played) >= 16
    assert len(read_video(path)) == 20


def test_a_recording_stays_where_no_frame_comes_to_replace_it(tmp_path):
    path = tmp_path / "x.mp4"
    write(path, [0.0, 0.04])
    before = path.read_bytes()
    sink = open_sink(path, context())
    sink.write(FAILURE)
    sink.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_what_fits_can_be_played_where_the_disk_is_full(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    noise = np.random.default_rng(0).integers(0, 40, (48, 64, 3)).astype(np.uint8)

    def make(index, *, time_s):
        made = result(index, time_s=time_s, people=0)
        made.frame.image[:] = np.roll(noise, index, axis=1)
        return made

    with limited_files(150_000):
        sink = open_sink(path, context())
        written = fill(sink, make)
        with contextlib.suppress(video.InputError):  # the index that some formats have at the end
            sink.close()
        sink.close()
    played = 0
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            played += 1
    assert written > 50
    assert played >= written - 30


@pytest.fixture
def no_pyav(monkeypatch):
    def refuse(*_, **__):
        raise video.MissingDependencyError("av", extra="video", purpose="writing H.264")

    monkeypatch.setattr(video, "import_package", refuse)


@pytest.mark.usefixtures("no_pyav")
@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
@pytest.mark.parametrize("count", [40, 400])
def test_without_pyav_frames_that_are_lost_are_said_too(suffix, count, tmp_path):
    path = tmp_path / f"x{suffix}"
    with limited_files(15_000):
        sink = open_sink(path, context())
        for index in range(count):
            sink.write(result(index))
        with pytest.raises(video.InputError, match=rf"its {count} frames aren't all in it; is the disk full\?"):
            sink.close()
        sink.close()
    assert cv2.VideoCapture(str(path)).read()[0]


@pytest.mark.usefixtures("no_pyav")
def test_without_pyav_a_disk_that_fills_up_is_said_while_there_is_room_for_the_end(tmp_path, monkeypatch):
    sink = open_sink(tmp_path / "x.avi", context())
    sink.write(result())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(video.InputError, match="the disk has 1024 KiB left"):
        sink.write(result(1))
    sink.close()
    capture = cv2.VideoCapture(str(tmp_path / "x.avi"))
    assert [capture.read()[0] for _ in range(2)] == [True, False]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_where_ffmpeg_has_no_h264_it_is_motion_jpeg_and_that_is_said(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_ENCODERS", ("no_such_encoder",))
    sink = open_sink(tmp_path / f"x{suffix}", context())
    sink.write(result(size=(47, 63)))
    sink.close()
    assert "no H.264" in sink.description
    with av.open(str(tmp_path / f"x{suffix}")) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert [image.shape for _, image in read_video(tmp_path / f"x{suffix}")] == [(48, 64, 3)]
