"""``edgepose.stream``: what it opens, keeps open and closes again."""

import threading

import numpy as np
import pytest
from pipeline_fakes import FakeDetector, FakeSource, FakeTracker

import edgepose
from edgepose.assets import DEFAULT_MODEL, SAMPLE_IMAGE
from edgepose.errors import DeviceError, InputError, MissingDependencyError
from edgepose.pipeline import opening
from edgepose.pipeline.frame import Failure, FramePoses


@pytest.fixture(scope="module")
def session(artifacts):
    with edgepose.load(artifacts.path("onnx"), "cpu", 1) as loaded:
        yield loaded


def pictures(*values):
    return [np.full((40, 60, 3), value, np.uint8) for value in values]


def crops(session):
    return np.zeros((1, 3, session.spec.input.height, session.spec.input.width), np.float32)


def test_what_the_caller_opened_stays_open(session):
    source, detector = FakeSource([90, 90]), FakeDetector()
    with edgepose.stream(source, session, detector=detector) as stream:
        assert [frame.index for frame in stream] == [0, 1]
    assert source.closed.is_set(), "a source is iterated once"
    assert not detector.closed
    assert session.run(crops(session)).shape[0] == 1


def test_what_the_stream_opened_is_closed_with_it(artifacts):
    stream = edgepose.stream(pictures(1, 2, 3), str(artifacts.path("onnx")), threads=1, whole=True)
    for frame in stream:
        assert len(frame.poses) == 1
        break
    with pytest.raises(edgepose.EdgePoseError, match="closed"):
        stream.session.run(crops(stream.session))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgepose-")]


def test_what_cannot_be_opened_closes_what_was(tmp_path, session):
    source = FakeSource([90])
    for wrong in (
        lambda: edgepose.stream(source, tmp_path / "none.onnx", whole=True),
        lambda: edgepose.stream(source, session, detector="none"),
        lambda: edgepose.stream(source, session, whole=True, detect_every=2),
    ):
        source.closed.clear()
        with pytest.raises(edgepose.EdgePoseError):
            wrong()
        assert source.closed.is_set()
    for options, why in (({"track": "hungarian"}, "tracker is 'hungarian'"), ({"max_people": 0}, "max_people is 0")):
        with pytest.raises(InputError, match=why):
            edgepose.stream(source, session, whole=True, **options)


def test_a_function_finds_people_and_a_tracker_names_them(session):
    asked = []

    def find(image):
        asked.append(int(image[0, 0, 0]))
        return [[10, 5, 30, 35, 0.9, 0], [30, 5, 50, 35, 0.9, 2]]  # the second isn't a person

    plain = list(edgepose.stream(pictures(1, 2, 3), session, detector=find))
    assert asked == [1, 2, 3]
    assert [(frame.ids, len(frame.poses), frame.detected) for frame in plain] == [(None, 1, True)] * 3
    asked.clear()
    tracked = list(edgepose.stream(pictures(1, 2, 3), session, detector=find, track=True, detect_every=2))
    assert asked == [1, 3]
    assert [frame.detected for frame in tracked] == [True, False, True]
    assert all(frame.ids is not None and len(frame.ids) == len(frame.poses) for frame in tracked)


@pytest.mark.parametrize(
    ("options", "smoothed"),
    [({}, False), ({"track": True}, True), ({"track": True, "smooth": False}, False)],
    ids=["plain", "track", "raw"],
)
def test_keypoints_are_smoothed_where_people_are_tracked(session, monkeypatch, options, smoothed):
    calls = []

    class Smoother:
        def smooth(self, time_s, poses, _ids):
            calls.append(time_s)
            return poses

    monkeypatch.setattr(opening, "OneEuroSmoother", Smoother)
    monkeypatch.setattr(opening, "open_tracker", lambda _name, **_options: FakeTracker())
    list(edgepose.stream(FakeSource([90, 90]), session, detector=FakeDetector(), **options))
    assert calls == ([0.0, 0.1] if smoothed else [])
    calls.clear()
    if options:
        list(edgepose.stream(str(SAMPLE_IMAGE), session, whole=True, **options))
        assert calls == [], "pictures don't move"


def test_failures_are_logged_or_taken(session, caplog):
    items = [*pictures(1), "none", *pictures(2)]
    assert [frame.index for frame in edgepose.stream(items, session, whole=True)] == [0, 2]
    assert "frame 1: item 1: the image is a str" in caplog.text
    with edgepose.stream(items, session, whole=True) as stream:
        assert [type(result) for result in stream.results()] == [FramePoses, Failure, FramePoses]
        assert (stream.totals.frames, stream.totals.failures) == (2, 1)


def test_without_a_model_the_packaged_one_runs(session, monkeypatch):
    def load(path, *_options):
        assert path == DEFAULT_MODEL
        return session

    monkeypatch.setattr(opening, "load", load)
    (frame,) = edgepose.stream(str(SAMPLE_IMAGE), whole=True)
    assert len(frame.poses) == 1

    def fail(*_options):
        raise MissingDependencyError("torch", extra="torch", purpose="running an edgepose checkpoint")

    monkeypatch.setattr(opening, "load", fail)
    with pytest.raises(DeviceError, match=r"no model was given.*'edgepose\[torch\]'; or give a model file"):
        edgepose.stream(str(SAMPLE_IMAGE), whole=True)
