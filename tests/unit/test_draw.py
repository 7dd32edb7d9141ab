import cv2
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


@pytest.fixture
def strokes(monkeypatch):
    """What OpenCV is asked to draw: (kind, points in pixels, colour, thickness or radius in pixels)."""
    seen = []

    def fraction(point, bits):
        return tuple(value / (1 << bits) for value in point)

    def line(_canvas, start, end, colour, thickness, _kind, bits):
        seen.append(("line", fraction(start, bits), fraction(end, bits), colour, thickness))

    def circle(_canvas, centre, radius, colour, thickness, _kind, bits):
        assert thickness == cv2.FILLED
        seen.append(("dot", fraction(centre, bits), colour, radius / (1 << bits)))

    def rectangle(_canvas, low, high, colour, thickness, _kind, bits):
        seen.append(("box", fraction(low, bits), fraction(high, bits), colour, thickness))

    for function in (line, circle, rectangle):
        monkeypatch.setattr(cv2, function.__name__, function)
    return seen


BLACK = (20, 20, 20)
A, B, C, D = (100.25, 100.5), (300.75, 101.0), (301.0, 200.0), (112.25, 100.5)
LARGE = np.zeros((500, 700, 3), np.uint8)


def test_what_is_drawn_in_which_order_and_how_thick(strokes):
    # A person of 420 × 336 pixels: the root of the area is 375.66, and a seventieth of it 5.3666.
    draw_poses(LARGE, poses_of([[A, B, C, D]], box=(10.5, 20.25, 430.5, 356.25)))
    width = (420 * 336) ** 0.5 / 70
    # left shoulder → left wrist is 12 px long and a sixth of that thick; the others are longer than six widths.
    lines = [(A, D, LEFT, 2), (A, B, CENTRE, 5), (C, B, RIGHT, 5)]
    radii = [(A, LEFT, width), (B, RIGHT, width), (C, CENTRE, width), (D, LEFT, 2.0)]
    corners = (10.5, 20.25), (430.5, 356.25)
    expected = [("box", *corners, BLACK, 2 + 2), ("box", *corners, BOX, 2)]
    expected += [("line", start, end, BLACK, thickness + 2) for start, end, _, thickness in lines]
    expected += [("line", start, end, colour, thickness) for start, end, colour, thickness in lines]
    expected += [("dot", point, BLACK, round((0.9 * thick + 1.5) * 16) / 16) for point, _, thick in radii]
    expected += [("dot", point, colour, round((0.9 * thick + 0.5) * 16) / 16) for point, colour, thick in radii]
    assert strokes == expected


def test_lonely_dots_are_as_small_as_a_thin_line(strokes):
    draw_poses(LARGE, poses_of([[A, B, C, D]], scores=[[0.29, 0.3, 0.2, 0.1]], box=(0, 0, 420, 420)), boxes=False)
    assert strokes == [("dot", B, BLACK, round((0.9 * 2 + 1.5) * 16) / 16), ("dot", B, RIGHT, round((0.9 * 2 + 0.5) * 16) / 16)]


@pytest.mark.parametrize(
    ("box", "line", "frame"),
    [
        ((100, 100, 101, 5000), 1, 1),  # a seventieth of 70 pixels
        ((100, 100, 100.1, 100.1), 1, 1),  # boxes are a pixel long at least
        ((0, 0, 350, 350), 5, 2),
        ((-9000, -9000, 9000, 9000), 14, 5),  # a fiftieth of the picture's longer side, 700 pixels
    ],
)
def test_lines_are_a_seventieth_of_the_person(strokes, box, line, frame):
    draw_poses(LARGE, poses_of([[A, B, C, D]], scores=[[1, 1, 0, 0]], box=box))
    assert [stroke[4] for stroke in strokes if stroke[0] == "line"] == [line + 2, line]
    assert [stroke[4] for stroke in strokes if stroke[0] == "box"] == [frame + 2, frame]


def test_small_pictures_have_lines_of_a_pixel(strokes):
    draw_poses(np.zeros((20, 30, 3), np.uint8), poses_of([[A, B, C, D]], scores=[[1, 1, 0, 0]], box=(-900, -900, 900, 900)))
    assert [stroke[4] for stroke in strokes if stroke[0] in ("line", "box")] == [3, 1, 3, 1]


def test_what_lies_too_far_away_is_left_out_or_brought_near(strokes):
    points = [[[99_999.0, 5], [100_000.0, 5], [-100_000.0, 5], [5, -99_999.0]]]
    draw_poses(LARGE, poses_of(points, box=(-1e9, 0, 1e9, 100)))
    assert [stroke[1] for stroke in strokes if stroke[0] == "dot"] == [(99_999.0, 5.0), (5.0, -99_999.0)] * 2
    assert [stroke[1:3] for stroke in strokes if stroke[0] == "box"] == [((-100_000.0, 0.0), (100_000.0, 100.0))] * 2


def test_colours_are_those_of_the_documentation():
    assert (LEFT, RIGHT, CENTRE, BOX) == ((255, 138, 0), (0, 170, 255), (120, 220, 60), (235, 235, 235))
