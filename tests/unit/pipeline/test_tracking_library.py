"""Following people with the package trackers' association."""

import importlib.util

import numpy as np
import pytest
from walks import box, follow, frame, passing

from edgepose.errors import MissingDependencyError
from edgepose.pipeline.tracking import TRACKERS, open_tracker

INSTALLED = importlib.util.find_spec("trackers") is not None
NAMES = [name for name in TRACKERS if name != "pose"]
needs_trackers = pytest.mark.skipif(not INSTALLED, reason="the package trackers isn't installed")


@needs_trackers
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("every", [1, 3, 5])
def test_people_who_pass_each_other_keep_their_numbers(name, every):
    log = follow(passing, 150, tracker=open_tracker(name), every=every, noise=1.5)
    assert sorted({number for people in log for number in people}) == [1, 2]
    assert log[-1][1][0] > log[-1][2][0]


@needs_trackers
@pytest.mark.parametrize("name", NAMES)
def test_a_person_whom_the_detector_misses_goes_on_by_their_pose(name):
    log = follow(passing, 60, tracker=open_tracker(name), seen=lambda index, person: person == 0 or not 10 <= index <= 40)
    assert all(sorted(people) == [1, 2] for people in log)


@needs_trackers
@pytest.mark.parametrize("name", NAMES)
def test_a_person_hidden_for_a_moment_comes_back_with_their_number(name):
    log = follow(lambda time_s: [] if 1 <= time_s < 2 else [box(100 + 40 * time_s, 200)], 100, tracker=open_tracker(name))
    assert list(log[-1]) == [1]


@needs_trackers
@pytest.mark.parametrize("name", NAMES)
def test_many_people(name):
    grid = [box(60 * column + 30, 130 * row + 70) for row in range(5) for column in range(10)]
    walk = follow(lambda time_s: [[side + 10 * time_s for side in person] for person in grid], 12, tracker=open_tracker(name))
    assert all(sorted(people) == list(range(1, 51)) for people in walk)


@needs_trackers
def test_numbers_of_the_library_stand_for_people_as_long_as_it_knows_them():
    tracker = open_tracker("bytetrack")
    follow(lambda _: [box(100, 200)], 11, tracker=tracker)
    association = tracker._association
    assert association._keys == {association._tracker.tracks[0].tracker_id: 1}
    association._tracker.reset()
    association.confirm(np.zeros(len(association._last), np.int64))
    assert association._keys == {}


@needs_trackers
def test_the_library_has_the_first_word(monkeypatch):
    tracker = open_tracker("bytetrack")
    people = [box(100, 200), box(120, 200)]
    assert [sorted(each) for each in follow(lambda _: people, 12, tracker=tracker)][-1] == [1, 2]
    association, tracks = tracker._association, tracker._tracks
    boxes, scores = np.array(people, float), np.full(2, 0.9)
    numbers = {key: number for number, key in association._keys.items()}
    # It takes each for the other, who is near enough.
    monkeypatch.setattr(association, "_ask", lambda *_: np.array([numbers[2], numbers[1]]))
    assert sorted(association.pair(frame(12), 0.4, tracks, boxes, scores)) == [(0, 1), (1, 0)]
    # But nobody who is followed is somebody far away.
    boxes = boxes + np.array([[0, 0, 0, 0], [900, 0, 900, 0]])
    assert association.pair(frame(12), 0.4, tracks, boxes, scores) == [(1, 0)]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trackers", None)
    with pytest.raises(MissingDependencyError, match=r"edgepose\[track\]"):
        open_tracker("bytetrack")
