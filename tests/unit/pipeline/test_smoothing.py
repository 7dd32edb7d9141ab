"""Smoothing: less jitter, little lag, in any resolution and at any frame rate."""

import numpy as np
import pytest

from edgepose.boxes import BoxStatus
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.pipeline.smoothing import OneEuroSmoother
from edgepose.skeleton import Skeleton

SKELETON = Skeleton.unnamed(2)


def poses(points, scores=(0.9, 0.9), box=(0, 0, 100, 200), status=()):
    return Poses(
        keypoints_xy=np.float32([points]),
        scores=np.float32([scores]),
        boxes_xyxy=np.float32([box]),
        skeleton=SKELETON,
        status=status,
    )


def run(smoother, track, *, rate_hz=30.0, scores=None, box=(0, 0, 100, 200), number=1):
    """Smooth (T, 2) places of the first keypoint; the second rests. Returns (T, 2) and the scores (T,)."""
    found = []
    for index, place in enumerate(track):
        score = 0.9 if scores is None else scores[index]
        given = poses([place, [5, 5]], (score, 0.9), box)
        found.append(smoother.smooth(index / rate_hz, given, np.array([number])))
    return np.array([each.keypoints_xy[0, 0] for each in found]), np.array([each.scores[0, 0] for each in found])


def jitter(track):
    return float(np.std(np.diff(track, axis=0)))


def test_jitter_of_somebody_who_stands_is_more_than_halved():
    noisy = np.random.default_rng(0).normal([50, 100], 1.0, (300, 2))
    smooth, _ = run(OneEuroSmoother(), noisy)
    assert jitter(smooth) < 0.5 * jitter(noisy)
    assert np.std(smooth - [50, 100]) < 0.6


def test_somebody_who_moves_is_followed_within_a_frame():
    times = np.arange(120) / 30
    # A wrist that swings by half a person's height, once a second.
    swing = np.stack([50 + 50 * np.sin(2 * np.pi * times), 100 + 0 * times], axis=1)
    smooth, _ = run(OneEuroSmoother(), swing)
    lags = np.arange(-1, 5)
    errors = [float(np.abs(smooth[30:100, 0] - swing[30 - lag : 100 - lag, 0]).mean()) for lag in lags]
    assert lags[int(np.argmin(errors))] <= 1


def test_resolution_and_frame_rate_do_not_matter():
    times = np.arange(90) / 30
    track = np.stack([50 + 20 * times, 100 + 5 * np.sin(3 * times)], axis=1)
    small, _ = run(OneEuroSmoother(), track)
    large, _ = run(OneEuroSmoother(), track * 4, box=(0, 0, 400, 800))
    np.testing.assert_allclose(large, small * 4, rtol=1e-4)
    twice = np.arange(180) / 60
    finer, _ = run(OneEuroSmoother(), np.stack([50 + 20 * twice, 100 + 5 * np.sin(3 * twice)], axis=1), rate_hz=60)
    np.testing.assert_allclose(finer[20::2], small[10:], atol=1.0)


def test_a_keypoint_that_vanishes_fades_and_does_not_jump():
    track = [[50, 100]] * 10 + [[400, 900]] * 10
    scores = [0.9] * 10 + [0.05] * 10
    smooth, faded = run(OneEuroSmoother(), track, scores=scores)
    # Its last place holds while it can be seen at all.
    assert np.abs(smooth[10:] - [50, 100]).max() < 12
    assert (np.diff(faded[9:]) < 0).all()
    assert 0.3 < faded[11] < 0.8
    assert faded[-1] < 0.2


def test_a_keypoint_that_appears_is_where_it_is_seen():
    smooth, _ = run(OneEuroSmoother(), [[10, 10]] * 5 + [[300, 300]] * 2, scores=[0.02] * 5 + [0.9] * 2)
    np.testing.assert_allclose(smooth[5], [300, 300])


def test_a_gap_in_time_and_another_person_begin_anew():
    smoother = OneEuroSmoother()
    smoother.smooth(0.0, poses([[0, 0], [5, 5]]), np.array([1]))
    other = smoother.smooth(0.03, poses([[90, 90], [5, 5]]), np.array([2]))
    np.testing.assert_array_equal(other.keypoints_xy[0, 0], [90, 90])
    later = smoother.smooth(2.0, poses([[70, 70], [5, 5]]), np.array([1]))
    np.testing.assert_array_equal(later.keypoints_xy[0, 0], [70, 70])
    # Nobody is remembered for longer than that.
    assert smoother._states.ids.tolist() == [1]


def test_rows_without_a_pose_pass_through():
    given = poses([[np.nan, np.nan]] * 2, (0, 0), status=(BoxStatus.OUTSIDE,))
    result = OneEuroSmoother().smooth(0.0, given, np.array([1]))
    np.testing.assert_array_equal(result.keypoints_xy, given.keypoints_xy)
    assert result.status == given.status


def test_parameters_are_positive():
    for name in ("min_cutoff_hz", "beta", "derivative_cutoff_hz"):
        with pytest.raises(InputError, match=name):
            OneEuroSmoother(**{name: 0.0})


def test_a_keypoint_that_is_not_seen_goes_along_with_the_body():
    smoother = OneEuroSmoother()
    for index in range(40):
        x = 50 + 4 * index
        hidden = index >= 10
        given = poses([[900, 900] if hidden else [x, 60], [x, 100]], (0.01 if hidden else 0.9, 0.9), (x - 50, 0, x + 50, 200))
        smooth = smoother.smooth(index / 30, given, np.array([1])).keypoints_xy[0]
        if hidden and index < 20:
            # Neither left behind by 40 pixels nor off to where the model guesses.
            assert abs(smooth[0, 0] - smooth[1, 0]) < 8
            assert abs(smooth[0, 1] - 60) < 8


def test_two_frames_of_the_same_time():
    smoother = OneEuroSmoother()
    smoother.smooth(0.0, poses([[50, 100], [5, 5]]), np.array([1]))
    first = smoother.smooth(0.1, poses([[50, 100], [5, 5]]), np.array([1]))
    second = smoother.smooth(0.1, poses([[80, 100], [5, 5]]), np.array([1]))
    np.testing.assert_array_equal(second.keypoints_xy, first.keypoints_xy)
    after = smoother.smooth(0.2, poses([[50, 100], [5, 5]]), np.array([1]))
    np.testing.assert_allclose(after.keypoints_xy[0], [[50, 100], [5, 5]], atol=1e-3)


def test_people_do_not_depend_on_each_other():
    tracks = np.random.default_rng(1).normal([50, 100], 3.0, (20, 3, 2))
    alone = [run(OneEuroSmoother(), tracks[:, person], number=person + 1)[0] for person in range(3)]
    smoother = OneEuroSmoother()
    for index in range(20):
        # Their order changes, and the second isn't always there.
        order = [2, 0] if index % 7 == 3 else [1, 2, 0] if index % 2 else [0, 1, 2]
        given = Poses(
            keypoints_xy=np.float32([[tracks[index, person], [5, 5]] for person in order]),
            scores=np.full((len(order), 2), 0.9, np.float32),
            boxes_xyxy=np.tile(np.float32([0, 0, 100, 200]), (len(order), 1)),
            skeleton=SKELETON,
        )
        together = smoother.smooth(index / 30, given, np.array(order) + 1).keypoints_xy
        for row, person in enumerate(order):
            if person != 1:
                np.testing.assert_allclose(together[row, 0], alone[person][index], rtol=1e-5)
    with pytest.raises(InputError, match="1 ids for 2 poses"):
        smoother.smooth(1.0, given.select(np.array([0, 1])), np.array([1]))
