"""Sources: what each gives, and what it says of what it can't use."""

import io
import math
import re
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np
import pytest

from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, Frame
from edgepose.pipeline.sources import SourceOptions, open_source
from edgepose.pipeline.sources.pyav import hide_password

SIZE = (64, 48)  # width, height
MILLISECONDS = Fraction(1, 1000)


def picture(value, size=SIZE):
    return np.full((size[1], size[0], 3), value, np.uint8)


def write_video(path, values, times=None, *, codec="mpeg4"):
    """A video of flat frames; ``times`` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        base = Fraction(1, 25) if times is None else MILLISECONDS
        stream.codec_context.time_base = stream.time_base = base
        for number, value in enumerate(values):
            frame = av.VideoFrame.from_ndarray(picture(value), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def brightness(frames):
    return [round(float(frame.image.mean())) for frame in frames]


@pytest.mark.parametrize("reader", ["pyav", "opencv"])
def test_a_video_gives_all_frames_with_their_times(reader, tmp_path):
    path = write_video(tmp_path / "x.mp4", range(20, 220, 20))
    source = open_source(str(path), SourceOptions(reader=reader))
    assert (source.info.kind, source.info.live, source.info.frames, source.info.size) == ("video", False, 10, SIZE)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(10) * 0.04, atol=2e-3)
    np.testing.assert_allclose(brightness(frames), range(20, 220, 20), atol=4)
    assert all(frame.name == str(path) for frame in frames)


def test_times_are_the_sources_own(tmp_path):
    path = write_video(tmp_path / "x.mkv", [50, 90, 130, 170], [100, 140, 500, 510])
    np.testing.assert_allclose([frame.time_s for frame in open_source(path)], [0, 0.04, 0.4, 0.41], atol=1e-6)


def test_a_video_that_breaks_off_gives_what_is_there_and_says_so(tmp_path):
    path = write_video(tmp_path / "x.avi", np.random.default_rng(0).integers(0, 255, 30), codec="mjpeg")
    content = path.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    *frames, last = open_source(str(tmp_path / "cut.avi"))
    assert 5 < sum(isinstance(frame, Frame) for frame in frames) < 25
    assert isinstance(last, Failure)
    assert re.search(r"breaks off after \d+ of 30 frames", last.reason)


def test_a_damaged_packet_is_a_failure_in_its_place(tmp_path):
    path = write_video(tmp_path / "x.avi", [60] * 12, codec="mjpeg")
    content = bytearray(path.read_bytes())
    starts = [at for at in range(len(content) - 3) if content[at : at + 3] == b"\xff\xd8\xff"]
    content[starts[5] : starts[6] - 16] = bytes(starts[6] - 16 - starts[5])
    path.write_bytes(content)
    items = list(open_source(path))
    assert [item.index for item in items] == list(range(12))
    assert [item.index for item in items if isinstance(item, Failure)] == [5]


def test_files_that_are_no_videos(tmp_path):
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7 " + bytes(500))
    for name, why in (
        ("sound.wav", "no video, only audio"),
        ("empty.mp4", "the file is empty"),
        ("text.mp4", "not a video"),
        ("book.pdf", "PDF"),
    ):
        with pytest.raises(InputError, match=why):
            open_source(tmp_path / name)
    with pytest.raises(InputError, match=r"no such file or folder: .*viedo.mp4'; did you mean .*video.mp4'"):
        write_video(tmp_path / "video.mp4", [1, 2])
        open_source(str(tmp_path / "viedo.mp4"))
    with pytest.raises(InputError, match="isn't there either"):
        open_source(str(tmp_path / "no" / "x.mp4"))


def test_a_playlist_opens_no_other_file(tmp_path):
    secret = write_video(tmp_path / "secret.ts", [10, 20, 30])
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    (tmp_path / "list.txt").write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    for name in ("list.m3u8", "list.txt"):
        with pytest.raises(InputError):
            list(open_source(tmp_path / name))


def test_larger_frames_than_allowed_are_refused(tmp_path):
    path = write_video(tmp_path / "x.mp4", [1, 2])
    with pytest.raises(InputError):
        raise_failures(open_source(path, SourceOptions(max_pixels=1000)))
    with pytest.raises(InputError, match="max_pixels"):
        open_source(path, SourceOptions(max_pixels=1000, reader="opencv"))


def raise_failures(source):
    for item in source:
        if isinstance(item, Failure):
            raise InputError(item.reason)


def test_hardware_that_is_not_there_is_an_error(tmp_path):
    path = write_video(tmp_path / "x.mp4", [1, 2])
    with pytest.raises(InputError, match="hardware is 'abacus'; this build of FFmpeg has"):
        open_source(path, SourceOptions(hardware="abacus"))


def test_pictures_in_the_order_in_which_people_count(tmp_path):
    for name, value in (("b/10.png", 100), ("b/9.png", 90), ("a.jpg", 10)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), picture(value))
    (tmp_path / "b" / "8.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    items = list(open_source(str(tmp_path)))
    assert [item.name.rpartition("/")[2] for item in items] == ["a.jpg", "8.png", "9.png", "10.png"]
    assert [type(item) for item in items] == [Frame, Failure, Frame, Frame]
    assert items[0].time_s is None
    assert len(list(open_source(str(tmp_path / "b" / "*.png")))) == 3
    several = open_source([tmp_path / "b" / "9.png", tmp_path / "a.jpg"])
    assert brightness(several) == [90, 10]
    (tmp_path / "none").mkdir()
    for name, why in ((tmp_path / "none", "it is empty"), (str(tmp_path / "*.gif"), "no file matches")):
        with pytest.raises(InputError, match=why):
            open_source(name)
    write_video(tmp_path / "x.mp4", [1, 2])
    with pytest.raises(InputError, match="must all be pictures"):
        open_source([str(tmp_path / "a.jpg"), str(tmp_path / "x.mp4")])


def test_what_python_code_gives():
    closed = []

    def generate():
        try:
            yield picture(10)
            yield 5.5, picture(20)
            yield "not a picture"
            yield math.nan, picture(30)
            yield Frame(image=picture(40), index=7, time_s=1.0, name="mine")
        finally:
            closed.append(True)

    source = open_source(generate())
    items = list(source)
    assert [getattr(item, "time_s", None) for item in items] == [None, 5.5, None, None, 1.0]
    assert [type(item) for item in items] == [Frame, Frame, Failure, Failure, Frame]
    assert closed == [True]
    assert brightness(open_source(np.stack([picture(1), picture(2)]), SourceOptions(rate_hz=10))) == [1, 2]
    assert [frame.time_s for frame in open_source([picture(1), picture(2)], SourceOptions(rate_hz=10))] == [0, 0.1]
    assert brightness(open_source(picture(9))) == [9]

    def refill():
        one = picture(0)
        for value in (1, 2, 3):
            one[:] = value
            yield one if value < 3 else Frame(image=one, index=2, time_s=None, name="mine")

    kept = list(open_source(refill()))
    assert [int(frame.image[0, 0, 0]) for frame in kept] == [1, 2, 3]
    for wrong in (True, 1.5, None):
        with pytest.raises(InputError, match="expected a name, an array or an iterable"):
            open_source(wrong)


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "gray", "rgba", "yuv420p", "nv12"])
def test_raw_frames_on_standard_input(pixel_format, monkeypatch):
    given = picture(0)
    given[..., 0] = 200
    given[:24, :, 1] = 120
    codes = {"bgr24": cv2.COLOR_RGB2BGR, "gray": cv2.COLOR_RGB2GRAY, "rgba": cv2.COLOR_RGB2RGBA, "yuv420p": cv2.COLOR_RGB2YUV_I420}
    if pixel_format == "nv12":
        planes = cv2.cvtColor(given, cv2.COLOR_RGB2YUV_I420).reshape(-1)
        luma, chroma = planes[: 64 * 48], planes[64 * 48 :].reshape(2, -1)
        raw = np.concatenate([luma, chroma.T.reshape(-1)]).tobytes()
    else:
        raw = (cv2.cvtColor(given, codes[pixel_format]) if pixel_format in codes else given).tobytes()

    class Input:
        buffer = io.BytesIO(raw * 3 + raw[:100])

    monkeypatch.setattr("sys.stdin", Input)
    *frames, torn = open_source("-", SourceOptions(size=SIZE, pixel_format=pixel_format, rate_hz=5))
    assert [frame.time_s for frame in frames] == [0, 0.2, 0.4]
    assert f"after 100 of its {len(raw)} bytes" in torn.reason
    if pixel_format == "gray":
        given = np.repeat(cv2.cvtColor(given, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    np.testing.assert_allclose(frames[2].image.astype(int), given.astype(int), atol=6)


def test_raw_frames_need_a_form_that_fits(monkeypatch):
    for options, why in (
        ({"size": (63, 48), "pixel_format": "nv12"}, "even sides"),
        ({"size": SIZE, "pixel_format": "p010"}, "allowed: rgb24"),
    ):
        with pytest.raises(InputError, match=why):
            open_source("-", SourceOptions(**options))


def test_a_container_on_standard_input(tmp_path, monkeypatch):
    path = write_video(tmp_path / "x.ts", range(20, 220, 20), codec="mpeg2video")

    class Input:
        buffer = io.BytesIO(path.read_bytes())

    Input.buffer.seekable = lambda: False
    monkeypatch.setattr("sys.stdin", Input)
    assert len(list(open_source("-"))) == 10


def test_a_camera_that_is_not_there_and_options_out_of_range():
    for name in ("camera:999", 998):
        with pytest.raises(InputError, match=r"there is no camera 99|can't open camera 99"):
            open_source(name)
    with pytest.raises(InputError, match="begins with 'htp'"):
        open_source("htp://localhost/x")
    for wrong in ({"size": (0, 1)}, {"rate_hz": 0}, {"timeout_s": 0}, {"reconnect": -1}):
        with pytest.raises(InputError, match="allowed"):
            SourceOptions(**wrong)
    assert hide_password("rtsp://me:secret@127.0.0.1:554/a?b=1") == "rtsp://127.0.0.1:554/a?b=1"


class Camera(BaseHTTPRequestHandler):
    """Motion JPEG without end, a plain file, or nothing at all."""

    frames = 12
    video = b""

    def do_GET(self):
        if self.path == "/silent":
            self.server.stop.wait(20)
            return
        self.send_response(200)
        if self.path == "/x.mp4":
            self.send_header("Content-Length", str(len(self.video)))
            self.end_headers()
            self.wfile.write(self.video)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.frames):
            jpeg = cv2.imencode(".jpg", picture(20 + number * 10))[1].tobytes()
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg) + jpeg + b"\r\n")
            time.sleep(0.005)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    running.stop = threading.Event()
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    running.address = f"http://127.0.0.1:{running.server_address[1]}"
    yield running
    running.stop.set()
    running.shutdown()
    running.server_close()


def test_a_live_stream_that_ends_is_lost_and_said(server):
    source = open_source(f"{server.address.replace('//', '//me:secret@')}/live.mjpg", SourceOptions(timeout_s=5))
    assert (source.info.live, source.info.kind) == (True, "stream")
    frames = []
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+/live.mjpg: the connection (ended|broke .*) after \d+ frames") as caught:
        frames.extend(source)
    assert "secret" not in str(caught.value) + source.info.name
    source = open_source(f"{server.address}/live.mjpg")
    for frame in source:
        frames.append(frame)
        if len(frames) >= 5:
            source.close()
            break
    assert brightness(frames[:3]) == pytest.approx([20, 30, 40], abs=4)


def test_a_lost_stream_is_connected_again_if_asked(server):
    source = open_source(f"{server.address}/live.mjpg", SourceOptions(timeout_s=5, reconnect=1))
    items = []
    for item in source:
        items.append(item)
        if len(items) > 20:
            source.close()
            break
    failures = [item for item in items if isinstance(item, Failure)]
    assert len(failures) == 1
    assert "connecting again" in failures[0].reason
    assert [item.index for item in items] == list(range(len(items)))
    times = [item.time_s for item in items if isinstance(item, Frame)]
    assert times == sorted(times)
    assert times[-1] > 0.5  # the pause counts


def test_an_address_of_a_plain_file_is_not_live(server, tmp_path):
    # The index comes first, so that a server without ranges can be read.
    path = write_video(tmp_path / "x.mkv", [50] * 8)
    Camera.video = path.read_bytes()
    source = open_source(f"{server.address}/x.mp4")
    assert len(list(source)) == 8


def test_an_address_that_says_nothing_or_is_not_there(server):
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"nothing came for 0\.5 s"):
        open_source(f"{server.address}/silent", SourceOptions(timeout_s=0.5))
    assert time.monotonic() - begin < 10
    with pytest.raises(InputError, match=r"can't open 'http://127.0.0.1:9/x'"):
        open_source("http://127.0.0.1:9/x", SourceOptions(timeout_s=2))
    with pytest.raises(InputError, match=r"can't open 'rtsp://127.0.0.1:9/x'"):
        open_source("rtsp://127.0.0.1:9/x", SourceOptions(timeout_s=2))
