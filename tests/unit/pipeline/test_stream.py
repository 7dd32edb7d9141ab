"""Streams: order, bounds, failures, ends."""

import contextlib
import threading
import time

import numpy as np
import pytest
from pipeline_fakes import FakeDetector, FakeSession, FakeSource, FakeTracker

from edgepose import PoseEstimator
from edgepose.errors import EdgePoseError, InputError
from edgepose.pipeline.frame import Detections, Failure, FramePoses
from edgepose.pipeline.options import StreamOptions
from edgepose.pipeline.queues import BoundedQueue, QueueEnded
from edgepose.pipeline.stream import PoseStream
from edgepose.pipeline.tracking import open_tracker


def indices(stream):
    return [result.index for result in stream.results()]


@pytest.mark.parametrize("streams", [1, 3])
def test_frames_come_in_order_with_the_poses_of_an_estimator(streams):
    session = FakeSession(streams=streams)
    values = [int(value) for value in np.random.default_rng(0).integers(0, 255, 40)]
    with PoseStream(FakeSource(values), session, FakeDetector()) as stream:
        results = list(stream.results())
    assert [result.index for result in results] == list(range(40))
    estimator = PoseEstimator(session)
    for result in results:
        alone = estimator(result.image, [[10, 5, 30, 35]])
        np.testing.assert_array_equal(result.poses.keypoints_xy, alone.keypoints_xy)
        np.testing.assert_array_equal(result.poses.scores, alone.scores)
        assert (result.time_s, result.ids, result.detected, result.dropped) == (result.index / 10, None, True, 0)
    totals = stream.totals
    assert (totals.frames, totals.people, totals.detections, totals.failures, totals.dropped) == (40, 40, 40, 0, 0)
    assert set(totals.busy_s) == {"read", "detect", "pose"}


def test_frames_run_at_the_same_time_without_a_tracker():
    session = FakeSession(streams=3, seconds=0.02)
    with PoseStream(FakeSource([90] * 12), session, FakeDetector()) as stream:
        assert indices(stream) == list(range(12))
    assert session.most_at_once >= 2


def test_with_a_tracker_one_frame_follows_the_other_and_people_are_divided_among_streams():
    session, tracker, detector = FakeSession(streams=2, seconds=0.02), FakeTracker(), FakeDetector([[10, 5, 20, 35], [30, 5, 40, 35]])
    options = StreamOptions(detect_every=3)
    with PoseStream(FakeSource([90] * 7), session, detector, tracker=tracker, options=options) as stream:
        results = list(stream)
    assert detector.asked == [0, 3, 6]
    expected = ["match", "carry", "carry", "match", "carry", "carry", "match"]
    assert tracker.log == [entry for index, what in enumerate(expected) for entry in ((what, index), ("update", index))]
    assert [result.detected for result in results] == [True, False, False, True, False, False, True]
    np.testing.assert_array_equal(results[2].poses.boxes_xyxy[:, 0], [12, 32])
    np.testing.assert_array_equal(results[2].ids, [1, 2])
    assert session.most_at_once == 2


def test_boxes_of_a_file_are_asked_for_on_every_frame():
    detector = FakeDetector(images_only=False)
    options = StreamOptions(detect_every=3)
    with PoseStream(FakeSource([90] * 5), FakeSession(), detector, tracker=FakeTracker(), options=options) as stream:
        assert all(result.detected for result in stream)
    assert detector.asked == [0, 1, 2, 3, 4]


def test_what_fails_is_reported_in_its_place_and_the_rest_goes_on(caplog):
    detector = FakeDetector(error_on=[(3, InputError("too dark"))])
    session = FakeSession(fail_on_black=True)
    with PoseStream(FakeSource([200, "torn", 0, 200, 200]), session, detector) as stream:
        results = list(stream.results())
    assert [type(result) for result in results] == [FramePoses, Failure, Failure, Failure, FramePoses]
    assert [result.reason[:8] for result in results[1:4]] == ["torn", "the heat", "too dark"]
    assert (stream.totals.frames, stream.totals.failures) == (2, 3)
    with PoseStream(FakeSource([200, "torn", 200]), session, FakeDetector()) as stream:
        assert [result.index for result in stream] == [0, 2]
    assert "frame 1: torn" in caplog.text


def test_a_detection_that_fails_is_tried_again_on_the_next_frame():
    detector = FakeDetector(error_on=[(0, InputError("too dark"))])
    with PoseStream(FakeSource([90] * 4), FakeSession(), detector, tracker=FakeTracker(), options=StreamOptions(detect_every=3)) as stream:
        assert [result.index for result in stream] == [1, 2, 3]
    assert detector.asked == [0, 1]


@pytest.mark.parametrize("tracker", [None, FakeTracker()])
def test_a_source_that_breaks_ends_the_stream_after_the_frames_before(tracker):
    with PoseStream(FakeSource([90, 90, InputError("the cable is out")]), FakeSession(), FakeDetector(), tracker=tracker) as stream:
        results = stream.results()
        assert [next(results).index, next(results).index] == [0, 1]
        with pytest.raises(InputError, match="the cable is out"):
            next(results)


def test_a_runtime_that_fails_is_raised():
    error = EdgePoseError("the device is gone")
    stream = PoseStream(FakeSource([90] * 9), FakeSession(), FakeDetector(error_on=[(1, error)]))
    with stream, pytest.raises(EdgePoseError, match="the device is gone"):
        list(stream)


@pytest.mark.parametrize("hang", [False, True])
def test_leaving_early_ends_all_threads_and_closes_the_parts(hang):
    source, freed = FakeSource([90] * 500, hang=hang), []
    stream = PoseStream(source, FakeSession(), FakeDetector())
    stream.close_also(lambda: freed.append(1))
    for result in stream:
        if result.index == 3:
            break
    stream.close()
    stream.close()
    assert source.closed.is_set()
    assert freed == [1]
    # Bounded: what wasn't asked for wasn't read.
    assert source.given < 30
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgepose-")]
    with pytest.raises(InputError, match="has been iterated or closed"):
        list(stream)


def test_closing_from_another_thread_ends_a_waiting_consumer():
    stream = PoseStream(FakeSource([90], hang=True), FakeSession(), FakeDetector())
    threading.Timer(0.2, stream.close).start()
    assert indices(stream) == [0]


@pytest.mark.parametrize("tracker", [None, FakeTracker()])
def test_closing_from_another_thread_at_any_time_is_clean(tracker):
    errors = []
    for delay_ms in np.random.default_rng(0).uniform(0, 6, 40):
        stream = PoseStream(FakeSource([90] * 100), FakeSession(seconds=0.0005), FakeDetector(), tracker=tracker)

        def close(stream=stream, delay_s=delay_ms / 1e3):
            time.sleep(delay_s)
            try:
                stream.close()
            except Exception as error:
                errors.append(error)

        closing = threading.Thread(target=close)
        closing.start()
        with contextlib.suppress(InputError):  # closed before the first frame was asked for
            seen = indices(stream)
            assert seen == list(range(len(seen)))
        closing.join()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgepose-")]
    assert not errors


def test_a_source_that_cannot_be_closed_keeps_nothing_else_open():
    source, freed = FakeSource([90] * 9), []
    source.close = lambda: (FakeSource.close(source), 1 / 0)
    stream = PoseStream(source, FakeSession(), FakeDetector())
    stream.close_also(lambda: freed.append(1))
    stream.close_also(lambda: 1 / 0)
    results = stream.results()
    next(results)
    with pytest.raises(ZeroDivisionError):
        results.close()
    assert freed == [1]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("edgepose-")]


def test_a_live_source_drops_the_oldest_and_says_how_many():
    source = FakeSource([90] * 60, live=True, gap_s=0.005)
    with PoseStream(source, FakeSession(seconds=0.03), FakeDetector(), tracker=FakeTracker()) as stream:
        results = list(stream)
    seen = [result.index for result in results]
    assert seen == sorted(seen)
    assert seen[-1] == 59
    assert 3 <= len(seen) < 40
    assert sum(result.dropped for result in results) == stream.totals.dropped == 60 - len(seen)
    gaps = np.diff([-1, *seen]) - 1
    assert gaps.tolist() == [result.dropped for result in results]


def test_a_file_drops_none_however_slow_the_consumer():
    with PoseStream(FakeSource([90] * 20), FakeSession(), FakeDetector()) as stream:
        seen = []
        for result in stream:
            time.sleep(0.002)
            seen.append(result.index)
    assert seen == list(range(20))


def test_too_many_people_are_left_out_by_their_scores_and_said(caplog):
    boxes = [[x, 5, x + 10, 35] for x in range(0, 50, 10)]
    detector = FakeDetector(boxes, scores=[0.1, 0.9, 0.5, 0.8, 0.2])
    with PoseStream(FakeSource([90] * 3), FakeSession(), detector, options=StreamOptions(max_people=2)) as stream:
        (first, *_) = list(stream)
    np.testing.assert_array_equal(first.poses.boxes_xyxy[:, 0], [10, 30])
    assert stream.totals.left_out == 9
    assert caplog.text.count("5 people at once: 2 are looked at") == 1


@pytest.mark.parametrize("streams", [1, 2])
def test_people_whom_a_tracker_adds_are_limited_too(streams):
    def places(index):  # three people, then three others while the first are still expected
        return [[x, 0, x + 20, 40] for x in (range(0, 90, 30) if index % 4 == 0 else range(300, 390, 30))]

    detector = FakeDetector(boxes=places, scores=[0.9, 0.9, 0.8])
    options = StreamOptions(detect_every=2, max_people=3)
    source, tracker = FakeSource([255] * 12, size=(40, 400)), open_tracker()
    with PoseStream(source, FakeSession(streams=streams), detector, tracker=tracker, options=options) as stream:
        results = list(stream.results())
    assert [type(result) for result in results] == [FramePoses] * 12
    assert [len(result.poses) for result in results] == [3] * 12
    assert all(result.poses.usable.all() for result in results)
    assert stream.totals.left_out >= 3


def test_a_tracker_gets_a_row_for_each_box_that_it_gave():
    class Adding(FakeTracker):
        def match(self, frame, detections):
            boxes = np.concatenate([detections.boxes_xyxy, [[30, 5, 40, 35]]])
            return Detections(boxes_xyxy=boxes, scores=np.float32([0.2, 0.9]))

        def update(self, frame, poses):
            self.given = poses
            return super().update(frame, poses)

    tracker = Adding()
    with PoseStream(FakeSource([90]), FakeSession(), FakeDetector(), tracker=tracker, options=StreamOptions(max_people=1)) as stream:
        (result,) = stream
    assert tracker.given.usable.tolist() == [False, True]
    assert tracker.given.reasons[0] == "box 0: there are more than 1 people (max_people)"
    assert (result.poses.boxes_xyxy[:, 0].tolist(), result.ids.tolist()) == ([30], [2])


def test_an_image_that_is_none_is_reported_whether_or_not_the_detector_runs():
    source = FakeSource([90, np.zeros((4, 4), np.uint8), 90, np.zeros((4, 4, 3), np.float32)])
    options = StreamOptions(detect_every=2)
    with PoseStream(source, FakeSession(), FakeDetector(), tracker=FakeTracker(), options=options) as stream:
        results = list(stream.results())
    assert [type(result) for result in results] == [FramePoses, Failure, FramePoses, Failure]
    assert "expected uint8 (height, width, 3)" in results[1].reason


def test_nobody_is_no_pose_and_a_faint_pose_nobody():
    with PoseStream(FakeSource([90]), FakeSession(), FakeDetector([])) as stream:
        (result,) = stream
    assert len(result.poses) == 0
    options = StreamOptions(min_pose_score=1.0)
    for images_only, people in ((True, 0), (False, 1)):
        # A black crop's score is about 0.5 here.
        with PoseStream(FakeSource([0]), FakeSession(), FakeDetector(images_only=images_only), options=options) as stream:
            (result,) = stream
        assert len(result.poses) == people


def test_options_that_need_a_tracker():
    for options, smoother in ((StreamOptions(detect_every=2), None), (None, object())):
        with pytest.raises(InputError, match="need a tracker"):
            PoseStream(FakeSource([]), FakeSession(), FakeDetector(), smoother=smoother, options=options)
    for wrong in ({"detect_every": 0}, {"max_people": 0}, {"min_pose_score": 1.5}):
        with pytest.raises(InputError, match="allowed"):
            StreamOptions(**wrong)


def test_a_queue_ends_from_either_side():
    queue = BoundedQueue(2)
    queue.put(1)
    queue.end(ValueError("broken"))
    assert queue.get() == (1, 0)
    with pytest.raises(ValueError, match="broken"):
        queue.get()
    queue.close()
    with pytest.raises(QueueEnded):
        queue.get()
    with pytest.raises(QueueEnded):
        queue.put(2)
    dropping = BoundedQueue(2, drop_oldest=True)
    for item in range(5):
        dropping.put(item)
    assert dropping.get() == (3, 3)
    assert dropping.get() == (4, 0)
