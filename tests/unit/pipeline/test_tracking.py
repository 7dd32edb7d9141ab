"""Following people: synthetic walks with a detector that misses, in any resolution and at any frame rate."""

import numpy as np
import pytest

from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.pipeline.frame import Detections, Frame
from edgepose.pipeline.tracking import open_tracker
from edgepose.skeleton import get_skeleton

COCO = get_skeleton("coco")
BODY = np.random.default_rng(3).uniform(0.1, 0.9, (17, 2))  # of a person, in shares of the box
IMAGE = np.zeros((4, 4, 3), np.uint8)


def frame(index, rate_hz=30.0):
    return Frame(image=IMAGE, index=index, time_s=None if rate_hz is None else index / rate_hz, name="walk")


def poses(boxes, people, score=0.9):
    """What a pose model says of boxes: the keypoints of the person who fills most of each, or nothing clear."""
    keypoints = np.zeros((len(boxes), 17, 2), np.float32)
    scores = np.full((len(boxes), 17), 0.05, np.float32)
    for row, box in enumerate(boxes):
        middle = (box[:2] + box[2:]) / 2
        distances = [float(np.linalg.norm((person[:2] + person[2:]) / 2 - middle)) / (person[3] - person[1]) for person in people]
        if distances and min(distances) < 0.35:
            person = people[int(np.argmin(distances))]
            keypoints[row], scores[row] = person[:2] + BODY * (person[2:] - person[:2]), score
    return Poses(keypoints_xy=keypoints, scores=scores, boxes_xyxy=np.asarray(boxes, np.float32).reshape(-1, 4), skeleton=COCO)


def follow(walk, frames, *, tracker=None, every=5, rate_hz=30.0, seen=lambda _index, _person: True, noise=0.0, score=0.9):
    """Run a tracker over people whose boxes ``walk`` gives for each time; returns for each frame {id: box}."""
    tracker, random, log = tracker or open_tracker(), np.random.default_rng(0), []
    for index in range(frames):
        people = [np.asarray(person, float) for person in walk(index / (rate_hz or 30.0))]
        here = frame(index, rate_hz)
        if index % every == 0:
            found = [person + random.normal(0, noise, 4) for number, person in enumerate(people) if seen(index, number)]
            boxes = np.array(found, np.float32).reshape(-1, 4)
            looked = tracker.match(here, Detections(boxes_xyxy=boxes, scores=np.full(len(boxes), score, np.float32)))
        else:
            looked = tracker.carry(here)
        kept, ids = tracker.update(here, poses(looked.boxes_xyxy, people))
        assert len(kept) == len(ids) == len(set(ids.tolist()))
        log.append({int(number): box for number, box in zip(ids, kept.boxes_xyxy, strict=True)})
    return log


def box(x, y, scale=1.0):
    return [(x - 20) * scale, (y - 60) * scale, (x + 20) * scale, (y + 60) * scale]


def passing(time_s):
    """Two people who walk past each other, one a little nearer."""
    return [box(100 + 60 * time_s, 200), box(400 - 60 * time_s, 214)]


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("rate_hz", [15.0, 30.0, None])
def test_people_keep_their_numbers_between_detections(every, rate_hz):
    log = follow(lambda time_s: [box(100 + 50 * time_s, 200), box(400, 200 + 30 * time_s)], 60, every=every, rate_hz=rate_hz)
    assert all(sorted(people) == [1, 2] for people in log)
    time_s = 59 / (rate_hz or 30.0)
    np.testing.assert_allclose(log[-1][1], box(100 + 50 * time_s, 200), atol=8)
    np.testing.assert_allclose(log[-1][2], box(400, 200 + 30 * time_s), atol=8)


@pytest.mark.parametrize("every", [1, 3, 5])
def test_people_who_pass_each_other_keep_their_numbers(every):
    log = follow(passing, 150, every=every, noise=1.5)
    assert sorted({number for people in log for number in people}) == [1, 2]
    assert log[-1][1][0] > log[-1][2][0]


def test_a_person_whom_the_detector_misses_goes_on_by_their_pose():
    log = follow(passing, 60, every=5, seen=lambda index, person: person == 0 or not 10 <= index <= 34)
    assert all(sorted(people) == [1, 2] for people in log)


def test_a_person_who_leaves_ends_and_another_gets_a_new_number():
    log = follow(lambda time_s: [box(100, 200)] if time_s < 1 else [] if time_s < 5 else [box(100, 200)], 180)
    assert all(list(people) == [1] for people in log[:30])
    # Shown a little longer, for the case that only the picture was bad.
    assert 1 <= sum(1 in people for people in log[30:]) <= 15
    assert list(log[-1]) == [2]


def test_a_person_hidden_for_a_moment_comes_back_with_their_number():
    log = follow(lambda time_s: [] if 1 <= time_s < 2 else [box(100 + 40 * time_s, 200)], 100)
    assert list(log[-1]) == [1]


def test_two_boxes_on_one_body_become_one_person():
    tracker = open_tracker()
    person = np.asarray(box(100, 200))
    boxes = np.float32([person, person + np.array([2, 3, 2, -3])])
    looked = tracker.match(frame(0), Detections(boxes_xyxy=boxes, scores=np.float32([0.9, 0.8])))
    _, ids = tracker.update(frame(0), poses(looked.boxes_xyxy, [person]))
    assert ids.tolist() == [1]


def test_a_faint_detection_needs_a_second_look():
    log = follow(lambda _: [box(100, 200)], 12, every=5, score=0.65)
    assert [sorted(people) for people in log] == [[]] * 5 + [[1]] * 7
    assert not any(follow(lambda _: [box(100, 200)], 12, every=5, score=0.4))


def test_resolution_does_not_matter():
    small = follow(passing, 90, noise=0.0)
    large = follow(lambda time_s: [[side * 4 for side in person] for person in passing(time_s)], 90, noise=0.0)
    assert [sorted(people) for people in small] == [sorted(people) for people in large]
    for one, other in zip(small, large, strict=True):
        for number in one:
            np.testing.assert_allclose(other[number], one[number] * 4, rtol=0.02, atol=6)


def test_many_people():
    grid = [box(60 * column + 30, 130 * row + 70) for row in range(10) for column in range(20)]
    log = follow(lambda time_s: [[side + 10 * time_s for side in person] for person in grid], 12, tracker=open_tracker(max_people=200))
    assert all(len(people) == 200 for people in log)
    assert sorted(log[-1]) == list(range(1, 201))


def test_rows_that_can_not_be_used_end_nothing_else():
    tracker = open_tracker()
    nobody = tracker.carry(frame(0))
    assert len(nobody) == 0
    kept, ids = tracker.update(frame(0), poses(nobody.boxes_xyxy, []))
    assert (len(kept), len(ids)) == (0, 0)
    with pytest.raises(InputError, match="tracker is 'magic'; allowed: pose"):
        open_tracker("magic")
