"""Following people: synthetic walks with a detector that misses, in any resolution and at any frame rate."""

import numpy as np
import pytest
from walks import BODY, box, follow, frame, passing, poses

from edgepose.boxes import BoxStatus
from edgepose.errors import InputError
from edgepose.pipeline.frame import Detections
from edgepose.pipeline.tracking import open_tracker


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


@pytest.mark.parametrize("every", [1, 5, 10])
@pytest.mark.parametrize("seed", range(4))
def test_people_who_cross_while_the_detector_misses_one_keep_their_numbers(every, seed):
    random = np.random.default_rng(seed)
    # Nobody sees the one behind while they overlap, and one detection in ten is missing anyway.
    missing = random.uniform(size=(200, 2)) < 0.1
    log = follow(
        passing,
        150,
        every=every,
        noise=1.5,
        seed=seed,
        seen=lambda index, person: not missing[index, person] and (person or not hidden(index)),
    )
    assert sorted({number for people in log for number in people}) == [1, 2]
    right = {number: people[0] for number, people in log[-1].items()}
    began = {number: people[0] for number, people in next(people for people in log if len(people) == 2).items()}
    assert sorted(right, key=right.get) == sorted(began, key=began.get, reverse=True)


def hidden(index):
    first, second = passing(index / 30)
    return abs(first[0] - second[0]) < 20


@pytest.mark.parametrize("count", [1, 5, 10])
def test_a_row_of_people_keeps_its_numbers(count):
    log = follow(lambda time_s: [box(60 + 90 * number + 30 * time_s, 200) for number in range(count)], 60, noise=1.0)
    assert all(sorted(people) == list(range(1, count + 1)) for people in log)
    assert [log[-1][number][0] for number in range(1, count + 1)] == sorted(log[-1][number][0] for number in range(1, count + 1))


def test_frame_rate_does_not_matter():
    slow, fast = follow(passing, 90, every=5, rate_hz=30.0), follow(passing, 180, every=10, rate_hz=60.0)
    assert [sorted(people) for people in slow] == [sorted(people) for people in fast[::2]]
    for one, other in zip(slow, fast[::2], strict=True):
        for number in one:
            np.testing.assert_allclose(other[number], one[number], atol=2.5)


@pytest.mark.parametrize("rate_hz", [10.0, 30.0, 120.0])
def test_a_pose_that_fades_ends_after_the_same_time(rate_hz):
    log = follow(lambda time_s: [box(100, 200)] if time_s < 1 else [], round(2 * rate_hz), every=round(rate_hz / 5), rate_hz=rate_hz)
    last_s = max(index for index, people in enumerate(log) if people) / rate_hz
    assert 1.25 < last_s < 1.45


def test_numbers_are_never_given_twice():
    seen = []
    log = follow(lambda time_s: [box(100 + 300 * (int(time_s / 4) % 2), 200)] if time_s % 4 < 1 else [], 480)
    for people in log:
        seen += [number for number in people if not seen or number != seen[-1]]
    assert seen == [1, 2, 3, 4]


def test_no_more_people_than_allowed_and_it_is_said_once(caplog):
    people = [box(60 + 90 * number, 200) for number in range(8)]
    log = follow(lambda _: people, 20, tracker=open_tracker(max_people=5), every=2)
    assert [len(each) for each in log] == [5] * 20
    assert caplog.messages == ["8 people at once: 5 are followed (max_people)"]
    with pytest.raises(InputError, match="max_people is 0; allowed: 1 and more"):
        open_tracker(max_people=0)


def test_people_whom_the_detector_misses_make_no_more_than_allowed():
    people = [box(60 + 90 * number, 200) for number in range(6)]
    # The detector sees the first three and the last three in turns.
    log = follow(
        lambda _: people, 20, tracker=open_tracker(max_people=4), every=1, seen=lambda index, person: (person < 3) == (index % 2 == 0)
    )
    assert all(3 <= len(each) <= 4 for each in log)
    # Who had no room for a moment has the same number again.
    assert sorted({number for each in log for number in each}) == [1, 2, 3, 4, 5, 6]


def test_memory_of_who_was_lost_is_bounded():
    tracker = open_tracker(max_people=10)
    for index in range(100):
        boxes = np.float32([box(100 + 500 * index, 200 + 300 * number) for number in range(10)])
        looked = tracker.match(frame(index), Detections(boxes_xyxy=boxes, scores=None))
        tracker.update(frame(index), poses(looked.boxes_xyxy, boxes))
    assert len(tracker._tracks) <= 20


def test_time_that_stands_still_or_goes_back_ends_nobody():
    tracker = open_tracker()
    person = np.asarray(box(100, 200))
    for index, time_s in enumerate([0.0, 0.03, 0.03, 5.0, 4.9, 0.0, 0.03]):
        here = frame(index)
        here = type(here)(image=here.image, index=index, time_s=time_s, name="loop")
        looked = tracker.match(here, Detections(boxes_xyxy=np.float32([person]), scores=None))
        kept, ids = tracker.update(here, poses(looked.boxes_xyxy, [person]))
        assert ids.tolist() == [1]
        np.testing.assert_allclose(kept.boxes_xyxy[0], person, atol=1e-3)


def test_as_many_poses_as_boxes():
    tracker = open_tracker()
    looked = tracker.match(frame(0), Detections(boxes_xyxy=np.float32([box(100, 200), box(300, 200)]), scores=None))
    with pytest.raises(InputError, match="frame 0: 1 poses for 2 boxes"):
        tracker.update(frame(0), poses(looked.boxes_xyxy[:1], [np.asarray(box(100, 200))]))


def begin(*people):
    """A tracker that has seen people stand for six frames."""
    tracker = open_tracker()
    boxes = np.float32(people)
    for index in range(6):
        looked = tracker.match(frame(index), Detections(boxes_xyxy=boxes, scores=None))
        tracker.update(frame(index), poses(looked.boxes_xyxy, list(boxes)))
    return tracker


def test_people_whose_poses_are_in_each_others_boxes_are_exchanged():
    left, right = np.asarray(box(100, 200)), np.asarray(box(125, 200))
    tracker = begin(left, right)
    looked = tracker.carry(frame(6))
    kept, ids = tracker.update(frame(6), poses(looked.boxes_xyxy[::-1], [left, right]))
    assert ids.tolist() == [2, 1]
    np.testing.assert_allclose(kept.keypoints_xy[1], left[:2] + BODY * (left[2:] - left[:2]), atol=1e-3)


def test_of_two_boxes_that_came_to_one_body_whose_it_is_stays():
    left, right = np.asarray(box(100, 200)), np.asarray(box(122, 200))
    tracker = begin(left, right)
    looked = tracker.carry(frame(6))
    # The right one has stepped in front of the left one: both boxes show the right one's pose.
    _, ids = tracker.update(frame(6), poses(looked.boxes_xyxy, [right]))
    assert ids.tolist() == [2]
    # Both boxes on one body from the beginning: the older one stays.
    tracker = begin(left, left + 3)
    assert tracker.update(frame(6), poses(tracker.carry(frame(6)).boxes_xyxy, [left]))[1].tolist() == [1]


def test_box_that_can_not_be_used_ends_that_person_alone():
    left, right = np.asarray(box(100, 200)), np.asarray(box(300, 200))
    tracker = begin(left, right)
    given = poses(tracker.carry(frame(6)).boxes_xyxy, [left, right])
    given.keypoints_xy[0], given.scores[0] = np.nan, 0
    given = type(given)(
        keypoints_xy=given.keypoints_xy,
        scores=given.scores,
        boxes_xyxy=given.boxes_xyxy,
        skeleton=given.skeleton,
        status=(BoxStatus.OUTSIDE, BoxStatus.USABLE),
        reasons=("outside", ""),
    )
    _, ids = tracker.update(frame(6), given)
    assert ids.tolist() == [2]


def test_people_end_although_the_source_began_its_time_anew():
    tracker = begin(np.asarray(box(100, 200)))
    for index in range(20):
        here = frame(6 + index)
        # As a stream that was connected again: its times begin at zero.
        here = type(here)(image=here.image, index=here.index, time_s=-100 + index / 30, name="again")
        _, ids = tracker.update(here, poses(tracker.carry(here).boxes_xyxy, []))
    assert len(ids) == 0


def test_a_pose_of_somebody_else_in_a_carried_box_is_not_followed():
    person = np.asarray(box(100, 200))
    tracker = begin(person)
    # Somebody who isn't followed has come in front; the one behind can't be seen.
    for index in range(6, 20):
        looked = tracker.carry(frame(index))
        np.testing.assert_allclose(looked.boxes_xyxy, np.tile(person, (len(looked), 1)), atol=1)
        _, ids = tracker.update(frame(index), poses(looked.boxes_xyxy, [person + np.array([35, 0, 35, 0])]))
        assert len(ids) == (index < 18)


def test_somebody_lost_is_not_found_in_somebody_of_another_size():
    log = follow(lambda time_s: [box(100, 200)] if time_s < 1 else [] if time_s < 2 else [box(60, 120, 1.7)], 90)
    assert list(log[-1]) == [2]
