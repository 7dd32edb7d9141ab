"""The window, with an OpenCV that has none: what is shown, and what ends it. And threads that are closed."""

import cv2
import numpy as np
import pytest
from test_sinks import FAILURE, Recorder, context, result

from edgepose.errors import InputError
from edgepose.pipeline.sinks import SinkThread
from edgepose.pipeline.sinks.window import WindowClosed, WindowSink


class FakeWindows:
    def __init__(self, monkeypatch):
        self.key, self.is_visible, self.shown, self.destroyed = -1, 1.0, [], 0
        monkeypatch.setenv("DISPLAY", ":99")
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, image: self.shown.append((title, image)))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: self.is_visible)
        monkeypatch.setattr(cv2, "destroyAllWindows", self._destroy)

    def _destroy(self):
        self.destroyed += 1


def test_frames_are_shown_in_opencvs_order_of_colours(monkeypatch):
    windows = FakeWindows(monkeypatch)
    sink = WindowSink(context(name="walk.mp4"))
    shown = result(people=0, size=(240, 320))
    shown.frame.image[:] = (200, 0, 0)
    sink.write(shown)
    sink.write(FAILURE)
    sink.close()
    ((title, image),) = windows.shown
    assert "walk.mp4" in title
    assert np.median(image, axis=(0, 1)).tolist() == [0, 0, 200]
    assert windows.destroyed == 1


@pytest.mark.parametrize(("key", "is_visible"), [(ord("q"), 1.0), (27, 1.0), (-1, 0.0), (-1, -1.0), (0x100000 | ord("q"), 1.0)])
def test_q_escape_and_closing_the_window_end_it(key, is_visible, monkeypatch):
    windows = FakeWindows(monkeypatch)
    sink = WindowSink(context())
    sink.write(result())
    windows.key, windows.is_visible = key, is_visible
    with pytest.raises(WindowClosed):
        sink.write(result(1))


def test_other_keys_do_not(monkeypatch):
    windows = FakeWindows(monkeypatch)
    windows.key = ord("x")
    WindowSink(context()).write(result())
    assert len(windows.shown) == 1


def test_a_closed_thread_takes_nothing_more():
    thread = SinkThread([Recorder()])
    thread.close()
    for _ in range(20):  # more than wait in its queue
        with pytest.raises(InputError, match="is closed"):
            thread.write(result())
    thread.close()
