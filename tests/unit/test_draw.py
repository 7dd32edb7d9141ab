import numpy as np
import pytest

from edgepose.draw import BOX, CENTRE, LEFT, RIGHT, draw_poses
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons

LINE = Skeleton(
    name="line",
    keypoints=("left_shoulder", "r_hip", "nose", "left_wrist"),
    links=(("left_shoulder", "left_wrist"), ("left_shoulder", "r_hip"), ("nose", "r_hip")),
)
SHAPE = (300, 400, 3)


def poses_of(points, scores=None, box=(50, 50, 350, 250), skeleton=LINE):
    points = np.array(points, np.float32)
    return Poses(
        keypoints_xy=points,
        scores=np.ones(points.shape[:2], np.float32) if scores is None else np.array(scores, np.float32),
        boxes_xyxy=np.tile(np.array(box, np.float32), (len(points), 1)),
        skeleton=skeleton,
    )


POINTS = [[[100, 100], [300, 100], [300, 200], [100, 200]]]


def test_sides_have_their_colours_and_links_join_them():
    image = np.full(SHAPE, 128, np.uint8)
    drawn = draw_poses(image, poses_of(POINTS), boxes=False)
    expected = {(100, 100): LEFT, (300, 100): RIGHT, (300, 200): CENTRE, (100, 200): LEFT}
    expected |= {(150, 100): CENTRE, (100, 150): LEFT, (300, 150): RIGHT, (200, 200): (128, 128, 128)}
    for (x, y), colour in expected.items():
        np.testing.assert_array_equal(drawn[y, x], colour, err_msg=f"at {x}, {y}")
    assert (image == 128).all()


def test_keypoints_below_the_score_and_their_links_are_left_out():
    image = np.full(SHAPE, 128, np.uint8)
    drawn = draw_poses(image, poses_of(POINTS, scores=[[0.9, 0.2, 0.9, 0.9]]), boxes=False)
    for x, y in ((300, 100), (150, 100), (300, 150)):
        np.testing.assert_array_equal(drawn[y, x], 128)
    np.testing.assert_array_equal(drawn[150, 100], LEFT)
    lower = draw_poses(image, poses_of(POINTS, scores=[[0.9, 0.2, 0.9, 0.9]]), min_score=0.1, boxes=False)
    np.testing.assert_array_equal(lower[100, 300], RIGHT)


def test_boxes_can_be_left_out():
    image = np.zeros(SHAPE, np.uint8)
    nobody_visible = poses_of(POINTS, scores=[[0, 0, 0, 0]])
    assert np.abs(draw_poses(image, nobody_visible)[50, 200].astype(int) - BOX).max() < 40  # a thin line, blended with its outline
    assert not draw_poses(image, nobody_visible, boxes=False).any()


def test_lines_grow_with_the_person():
    image = np.zeros(SHAPE, np.uint8)
    small = draw_poses(image, poses_of(POINTS, box=(90, 90, 160, 160)), boxes=False)
    large = draw_poses(image, poses_of(POINTS, box=(0, 0, 400, 300)), boxes=False)
    assert (large > 0).sum() > 1.3 * (small > 0).sum()


@pytest.mark.parametrize("points", [[[np.nan, 5], [1e30, -1e30], [-1e9, 5], [np.inf, 5]], [[-50, -50], [500, 500], [390, -20], [-1, 299]]])
def test_keypoints_far_outside_do_no_harm(points):
    draw_poses(np.zeros(SHAPE, np.uint8), poses_of([points]))


def test_far_keypoints_are_not_drawn():
    far = draw_poses(np.zeros(SHAPE, np.uint8), poses_of([[[1e8, 0], [1e8, 9], [-1e8, 9], [np.nan, 0]]]), boxes=False)
    assert not far.any()


def test_nobody_is_a_copy():
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    drawn = draw_poses(image, poses_of(np.empty((0, 4, 2))))
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("name", list_skeletons())
def test_every_skeleton_is_drawn_in_three_colours(name):
    skeleton = get_skeleton(name)
    points = np.random.default_rng(0).uniform((50, 50), (350, 250), (1, len(skeleton.keypoints), 2))
    drawn = draw_poses(np.zeros(SHAPE, np.uint8), poses_of(points, skeleton=skeleton), boxes=False)
    for colour in (LEFT, RIGHT, CENTRE):
        assert (drawn == colour).all(axis=2).any()


def test_unnamed_skeletons_and_tiny_images_are_drawn():
    assert draw_poses(np.zeros(SHAPE, np.uint8), poses_of(POINTS, skeleton=Skeleton.unnamed(4)), boxes=False).any()
    draw_poses(np.zeros((1, 1, 3), np.uint8), poses_of(POINTS))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="expected uint8"):
        draw_poses(np.zeros((4, 4, 3)), poses_of(POINTS))
    with pytest.raises(InputError, match="min_score is NaN"):
        draw_poses(np.zeros(SHAPE, np.uint8), poses_of(POINTS), min_score=float("nan"))
