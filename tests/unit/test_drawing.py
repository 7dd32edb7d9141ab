from itertools import combinations

import numpy as np
import pytest

from edgepose.drawing import draw_caption, draw_poses
from edgepose.drawing.colours import BOX, CENTRE, LEFT, OUTLINE, RIGHT, colour_id
from edgepose.drawing.text import MAX_LETTERS, make_plate
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons

LINE = Skeleton(
    name="line",
    keypoints=("left_shoulder", "r_hip", "nose", "left_wrist"),
    links=(("left_shoulder", "left_wrist"), ("left_shoulder", "r_hip"), ("nose", "r_hip")),
)
SHAPE = (300, 400, 3)
GREY = 128
POINTS = [[[100, 100], [300, 100], [300, 200], [100, 200]]]
# A standing person in a box of 100 × 250, in COCO's order.
PERSON = np.array(
    [
        [50, 20], [55, 15], [45, 15], [60, 18], [40, 18], [72, 50], [28, 50], [85, 90], [15, 90], [92, 125], [8, 125],
        [65, 130], [35, 130], [66, 185], [34, 185], [68, 240], [32, 240],
    ],
    np.float32,
)  # fmt: skip


def grey(shape=SHAPE):
    return np.full(shape, GREY, np.uint8)


def poses_of(points, scores=None, box=(50, 50, 350, 250), skeleton=LINE):
    points = np.array(points, np.float32)
    return Poses(
        keypoints_xy=points,
        scores=np.ones(points.shape[:2], np.float32) if scores is None else np.array(scores, np.float32),
        boxes_xyxy=np.tile(np.array(box, np.float32), (len(points), 1)) if np.ndim(box) == 1 else np.array(box, np.float32),
        skeleton=skeleton,
    )


def standing(*places, score=1.0):
    """People of COCO's skeleton: left, top and height of each one's box in pixels."""
    points = [PERSON * height / 250 + (left, top) for left, top, height in places]
    boxes = [(left, top, left + 0.4 * height, top + height) for left, top, height in places]
    return poses_of(
        np.array(points).reshape(-1, 17, 2), np.full((len(places), 17), score), np.array(boxes).reshape(-1, 4), get_skeleton("coco")
    )


def ink_of(drawn, plain=GREY):
    """How much of each pixel is drawn: 0, and more with the difference in colour."""
    return np.abs(drawn.astype(int) - plain).max(axis=2)


def thickness(drawn, plain=GREY):
    """Of what lies across a row of pixels, in pixels: those that changed count as much as they did."""
    return (ink_of(drawn, plain) / ink_of(drawn, plain).max()).sum()


def test_sides_have_their_colours_and_links_join_them():
    image = grey()
    drawn = draw_poses(image, poses_of(POINTS), boxes=False)
    expected = {(100, 100): LEFT, (300, 100): RIGHT, (300, 200): CENTRE, (100, 200): LEFT}
    expected |= {(150, 100): CENTRE, (100, 150): LEFT, (300, 150): RIGHT, (200, 200): (GREY, GREY, GREY)}
    for (x, y), colour in expected.items():
        np.testing.assert_array_equal(drawn[y, x], colour, err_msg=f"at {x}, {y}")
    assert (image == GREY).all()


def test_keypoints_below_the_score_and_their_links_are_left_out():
    image = grey()
    drawn = draw_poses(image, poses_of(POINTS, scores=[[0.9, 0.2, 0.9, 0.9]]), boxes=False)
    for x, y in ((300, 100), (150, 100), (300, 150)):
        np.testing.assert_array_equal(drawn[y, x], GREY)
    np.testing.assert_array_equal(drawn[150, 100], LEFT)
    lower = draw_poses(image, poses_of(POINTS, scores=[[0.9, 0.2, 0.9, 0.9]]), min_score=-0.2, boxes=False)
    np.testing.assert_array_equal(lower[100, 300], RIGHT)


@pytest.mark.parametrize("width", [90, 400])
@pytest.mark.parametrize("min_score", [0.0, 0.3, 0.8])
def test_keypoints_fade_in_without_a_jump(min_score, width):
    image = grey()
    box = (50, 50, 50 + width, 50 + width)
    strengths = []
    for score in np.linspace(min_score - 0.05, 1.0, 80):
        drawn = draw_poses(image, poses_of(POINTS, scores=[[score] * 4], box=box), min_score=min_score, boxes=False)
        strengths.append(ink_of(drawn).sum())
    strengths = np.array(strengths) / strengths[-1]
    assert (strengths[np.linspace(min_score - 0.05, 1.0, 80) <= min_score] == 0).all()
    assert 0 < strengths[strengths > 0][0] < 0.1
    steps = np.diff(strengths)
    assert steps.min() > -0.02
    assert steps.max() < (0.12 if min_score < 0.8 else 0.2)


def test_what_is_certain_is_opaque():
    drawn = draw_poses(grey(), poses_of(POINTS, scores=[[0.6] * 4]), boxes=False)
    np.testing.assert_array_equal(drawn, draw_poses(grey(), poses_of(POINTS), boxes=False))


def test_a_link_is_as_faint_as_its_less_certain_end():
    drawn = ink_of(draw_poses(grey(), poses_of(POINTS, scores=[[0.9, 0.36, 0.4, 0.9]]), boxes=False))
    sure, to_hip, from_nose = drawn[150, 100], drawn[100, 200], drawn[150, 300]
    assert 0 < from_nose < 0.5 * sure
    assert 0 < to_hip < 0.5 * sure


def test_joints_are_hollow_where_they_are_uncertain():
    shape = (1000, 1000, 3)
    points = [[[300, 300], [700, 300], [700, 700], [300, 700]]]
    drawn = draw_poses(grey(shape), poses_of(points, scores=[[0.38] * 4], box=(0, 0, 1000, 1000)), boxes=False)
    middle, ring = drawn[700, 700].astype(int), drawn[700, 704:710].astype(int)
    assert middle.sum() < ring.sum(axis=1).max() - 60
    assert (ring[:, 1] - ring[:, 2]).max() > 30  # green
    certain = draw_poses(grey(shape), poses_of(points, box=(0, 0, 1000, 1000)), boxes=False)
    np.testing.assert_array_equal(certain[700, 700], CENTRE)


def test_boxes_can_be_left_out():
    image = np.zeros(SHAPE, np.uint8)
    nobody_visible = poses_of(POINTS, scores=[[0, 0, 0, 0]])
    drawn = draw_poses(image, nobody_visible)
    assert (drawn[48:53, 200].max(axis=0) > 0.6 * np.array(BOX)).all()
    assert not drawn[60:240, 60:340].any()
    assert not draw_poses(image, nobody_visible, boxes=False).any()


def test_lines_grow_with_the_person_more_slowly_than_it():
    across = {}
    for height in (60, 250, 1000, 3000):
        drawn = draw_poses(grey((3200, 1300, 3)), standing((20, 20, height)), boxes=False)
        row = round(20 + 0.63 * height)
        across[height] = thickness(drawn[row : row + 1, 20 : 20 + height // 5]) / height
    shares = list(across.values())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < 0.065
    assert 0.004 < shares[-1] < 0.7 * shares[1]


def test_lines_are_thicker_in_large_pictures():
    """They are looked at from further away; small people stay in sight behind them."""
    legs = []
    for longer in (400, 4000):
        drawn = draw_poses(np.zeros((longer, longer, 3), np.uint8), standing((2, 2, 160)), boxes=False)
        legs.append(drawn[103, :34].max(axis=1).sum() / 255)
    assert 1.15 * legs[0] < legs[1] < 0.03 * 160


@pytest.mark.parametrize("longer", [100, 400, 1000, 4000])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_bodies_are_readable_and_boxes_no_thicker(longer, share):
    """From small to picture-filling people, in small to large pictures. On black, outlines don't count."""
    height = share * longer
    image = np.zeros((longer, round(0.45 * longer), 3), np.uint8)
    row, half = round(2 + 0.63 * height), round(0.2 * height) + 2
    body = draw_poses(image, standing((2, 2, height)), boxes=False)
    box = draw_poses(image, standing((2, 2, height), score=0))
    leg_px, side_px = (drawn[row, :half].max(axis=1).sum() / max(colour) for drawn, colour in ((body, RIGHT), (box, BOX)))
    assert max(0.7, longer / 1200) <= leg_px <= max(1.8, 0.035 * height)
    assert 0.35 <= side_px <= 0.8 * leg_px
    covered = (body.max(axis=2) > 40)[2 : round(2 + height), 2 : round(2 + 0.4 * height)]
    assert covered.mean() < (0.75 if height < 40 else 0.35 if height < 100 else 0.25)


def test_nothing_is_drawn_far_from_people():
    image = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), dtype=np.uint8)
    places = [(20, 30, 40), (200, 100, 100), (400, 50, 600), (900, 500, 15)]
    allowed = np.zeros(image.shape[:2], bool)
    for left, top, height in places:
        room = round(0.02 * height) + 4
        allowed[max(0, top - room) : top + height + room, max(0, left - room) : round(left + 0.4 * height) + room] = True
    poses = standing(*places, score=0.5)
    changed = (draw_poses(image, poses) != image).any(axis=2)
    assert changed.any()
    assert not (changed & ~allowed).any()
    labelled = (draw_poses(image, poses, ids=[1, 2, 3, 4]) != image).any(axis=2)
    assert 100 < (labelled & ~changed).sum() < 4 * 40 * 30


@pytest.mark.parametrize("side", [40, 100, 300])
def test_pixels_beside_a_line_stay_as_they_are(side):
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    points = [[[0, 0], [np.nan, 0], [np.nan, 0], [side, side]]]
    changed = (draw_poses(image, poses_of(points, box=(0, 0, side, side)), boxes=False) != image).any(axis=2)
    beside = np.abs(np.subtract.outer(np.arange(300), np.arange(400))) > 6 + side / 25
    assert changed[: side // 2].any()
    assert not (changed & beside).any()


@pytest.mark.parametrize("side", [30, 60, 100, 200])
def test_lines_lie_on_their_keypoints(side):
    points = [[[50, 20], [np.nan, 0], [np.nan, 0], [50, 20 + side]]]
    drawn = ink_of(draw_poses(grey(), poses_of(points, box=(20, 20, 20 + side, 20 + side)), boxes=False))[20 + side // 2]
    centre = (drawn * np.arange(400)).sum() / drawn.sum()
    assert abs(centre - 50) < 0.15


def test_nothing_jumps_when_a_person_comes_nearer():
    image = grey((750, 320, 3))
    heights = np.geomspace(20, 700, 90)
    inks = [ink_of(draw_poses(image, standing((10, 20, height)))).sum() for height in heights]
    growth = np.array(inks[1:]) / inks[:-1]
    step = heights[1] / heights[0]
    assert growth.max() < 1.2 * step
    assert growth.min() > 0.85 * step


def test_lines_of_a_small_person_in_a_box_of_the_whole_picture_are_small():
    image = grey((1000, 1000, 3))
    whole = poses_of([PERSON + 300], box=(0, 0, 1000, 1000), skeleton=get_skeleton("coco"))
    tight = poses_of([PERSON + 300], box=(300, 300, 400, 550), skeleton=get_skeleton("coco"))
    loose, expected = (ink_of(draw_poses(image, poses, boxes=False)).sum() for poses in (whole, tight))
    assert loose < 1.8 * expected


@pytest.mark.parametrize("points", [[[np.nan, 5], [1e30, -1e30], [-1e9, 5], [np.inf, 5]], [[-50, -50], [500, 500], [390, -20], [-1, 299]]])
def test_keypoints_far_outside_do_no_harm(points):
    for box in ((50, 50, 350, 250), (50, 50, 70, 70), (-1e9, -1e9, 1e9, 1e9), (350, 250, 50, 50), (np.nan, 0, np.inf, 9)):
        draw_poses(np.zeros(SHAPE, np.uint8), poses_of([points], box=box), ids=[1])
        draw_poses(np.zeros(SHAPE, np.uint8), poses_of([points], scores=[[0.4] * 4], box=box), labels=["text"])


def test_scores_and_limits_without_bounds_do_no_harm():
    poses = poses_of(POINTS, scores=[[np.inf, -np.inf, np.nan, 1e-40]])
    with np.errstate(all="raise"):
        none, some = (draw_poses(grey(), poses, min_score=least, boxes=False) for least in (np.inf, 0.3))
        every = draw_poses(grey(), poses_of(POINTS, scores=[[-9, 0, 1, 2]]), min_score=-np.inf, boxes=False)
    assert (none == GREY).all()
    np.testing.assert_allclose(some[100, 100], LEFT, atol=24)  # a small dot
    assert (some[195:205, 295:305] == GREY).all()
    np.testing.assert_array_equal(every, draw_poses(grey(), poses_of(POINTS), boxes=False))


def test_far_keypoints_are_not_drawn():
    far = draw_poses(np.zeros(SHAPE, np.uint8), poses_of([[[1e8, 0], [1e8, 9], [-1e8, 9], [np.nan, 0]]]), boxes=False)
    assert not far.any()
    some = draw_poses(grey(), poses_of([[[100, 100], [1e8, 100], [np.nan, 100], [100, 200]]]), boxes=False)
    np.testing.assert_array_equal(some[150, 100], LEFT)
    np.testing.assert_array_equal(some[100, 200], GREY)


def test_lines_to_keypoints_outside_reach_the_border():
    drawn = draw_poses(grey(), poses_of([[[100, 100], [90_000, 100], [300, 200], [100, 200]]]), boxes=False)
    np.testing.assert_array_equal(drawn[100, 398], CENTRE)


def test_nobody_is_a_copy():
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    drawn = draw_poses(image, poses_of(np.empty((0, 4, 2))), ids=[], labels=[])
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("name", list_skeletons())
def test_every_skeleton_is_drawn_in_three_colours(name):
    skeleton = get_skeleton(name)
    points = np.random.default_rng(0).uniform((50, 50), (350, 250), (1, len(skeleton.keypoints), 2))
    drawn = draw_poses(np.zeros(SHAPE, np.uint8), poses_of(points, skeleton=skeleton), boxes=False)
    for colour in (LEFT, RIGHT, CENTRE):
        assert (drawn == colour).all(axis=2).any()


def test_hands_are_thinner_than_arms():
    skeleton = get_skeleton("wholebody")
    points = np.full((1, 133, 2), np.nan, np.float32)
    for name, place in {"left_elbow": (100, 100), "left_wrist": (300, 100), "left_thumb1": (300, 200), "left_thumb2": (306, 200)}.items():
        points[0, skeleton.keypoints.index(name)] = place
    drawn = draw_poses(grey(), poses_of(points, box=(0, 0, 400, 300), skeleton=skeleton), boxes=False)
    arm, finger = thickness(drawn[80:120, 200:201]), thickness(drawn[180:220, 303:304])
    assert finger < 0.75 * arm


def test_unnamed_skeletons_and_tiny_images_are_drawn():
    assert draw_poses(np.zeros(SHAPE, np.uint8), poses_of(POINTS, skeleton=Skeleton.unnamed(4)), boxes=False).any()
    draw_poses(np.zeros((1, 1, 3), np.uint8), poses_of(POINTS), ids=[7])


def test_larger_people_are_drawn_over_smaller_ones_in_any_order():
    image = grey((400, 400, 3))
    places = [(100, 20, 350), (130, 60, 200), (90, 100, 120), (200, 30, 340)]
    drawn = draw_poses(image, standing(*places), ids=[1, 2, 3, 4])
    np.testing.assert_array_equal(draw_poses(image, standing(*reversed(places)), ids=[4, 3, 2, 1]), drawn)
    large = draw_poses(image, standing(places[0]), boxes=False)
    both = draw_poses(image, standing(places[0], places[1]), boxes=False)
    solid = (large == LEFT).all(axis=2) | (large == RIGHT).all(axis=2)
    np.testing.assert_array_equal(both[solid], large[solid])


def test_an_id_has_its_colour_in_every_image():
    image = grey()
    here = draw_poses(image, standing((50, 60, 200), (200, 60, 180), score=0), ids=[7, 3])
    there = draw_poses(image, standing((20, 50, 180), (250, 80, 200), score=0), ids=np.array([3, 7]))
    for drawn, left, top, number in ((here, 50, 60, 7), (here, 200, 60, 3), (there, 20, 50, 3), (there, 250, 80, 7)):
        colour = np.array(colour_id(number), int)
        plate = drawn[top - 2, left + 4].astype(int)  # under the number
        assert np.abs(plate - colour).max() <= 16
        corner = drawn[top + 3 : top + 8, left - 2 : left + 3].astype(int)
        assert np.linalg.norm(corner - colour, axis=2).min() < 0.5 * np.linalg.norm(colour - GREY)


def test_colours_of_ids_differ_and_letters_stand_out():
    for first, second in combinations([colour_id(number) for number in range(1, 9)], 2):
        assert np.linalg.norm(np.subtract(first, second)) > 40
    for number in range(1, 500):
        assert np.linalg.norm(np.subtract(colour_id(number), colour_id(number + 1))) > 60
        assert _contrast(colour_id(number), OUTLINE) > 4.5  # WCAG 2, level AA
    assert colour_id(-1) != colour_id(0)


def _contrast(light, dark):
    def luminance(colour):
        linear = [(value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4) for value in colour]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    return (luminance(light) + 0.05) / (luminance(dark) + 0.05)


def test_labels_are_written_behind_ids_and_alone():
    image = grey()
    poses = standing((50, 60, 200), (200, 60, 180), score=0)
    pictures = [
        draw_poses(image, poses, **options)
        for options in ({}, {"ids": [1, 2]}, {"ids": [1, 2], "labels": ["sits", ""]}, {"labels": ["sits", ""]}, {"labels": ["", ""]})
    ]
    plain, ids, both, labels, empty = ((picture != image).any(axis=2) for picture in pictures)
    assert both[:, :190].sum() > ids[:, :190].sum() > plain[:, :190].sum()
    np.testing.assert_array_equal(both[:, 190:], ids[:, 190:])
    assert labels[:, :190].sum() > plain[:, :190].sum()
    np.testing.assert_array_equal(labels[:, 190:], plain[:, 190:])
    np.testing.assert_array_equal(empty, plain)


def test_labels_stay_in_the_picture_and_apart():
    image = grey()
    corners = standing((-20, -20, 100), (380, -20, 100), (-20, 280, 100), (380, 280, 100), score=0)
    drawn = draw_poses(image, corners, ids=[1, 2, 3, 4], boxes=False)
    plates = [(np.abs(drawn.astype(int) - colour_id(number)).max(axis=2) <= 16).sum() for number in (1, 2, 3, 4)]
    assert min(plates) > 30
    together = standing((100, 100, 120), (102, 100, 119), (104, 100, 118), score=0)
    drawn = draw_poses(image, together, ids=[1, 2, 3], boxes=False)
    apart = [(np.abs(drawn.astype(int) - colour_id(number)).max(axis=2) <= 16).sum() for number in (1, 2, 3)]
    assert min(apart) > 30
    assert np.abs(drawn[98, 103].astype(int) - colour_id(1)).max() <= 16  # the largest person's is where it would be alone
    assert not (draw_poses(image, standing((900, 900, 50), score=0), ids=[1]) != image).any()


def test_a_caption_is_in_the_left_bottom_corner():
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before = image.copy()
    drawn = draw_caption(image, "12.4 s  3 people")
    np.testing.assert_array_equal(image, before)
    rows, columns = np.nonzero((drawn != image).any(axis=2))
    assert rows.min() > 440
    assert rows.max() < 480
    assert columns.min() < 10
    assert 100 < columns.max() < 260
    assert (drawn[450:] == 250).all(axis=2).any()


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_caption_is_a_copy(text):
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    drawn = draw_caption(image, text)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (300, 2, 3), (56, 100, 3), (2000, 3000, 3)])
@pytest.mark.parametrize(
    "text", ["a", "frame 1037, 12.40 s, 4 people", "ä ж 漢 \x1b[31m \u202e", "x" * 5000], ids=["a", "usual", "odd", "long"]
)
def test_captions_of_any_text_on_any_image(shape, text):
    drawn = draw_caption(grey(shape), text)
    assert drawn.shape == shape
    assert (drawn != GREY).any()


def test_long_captions_are_smaller_and_numbers_dont_tremble():
    text = "frame 1037, 12.40 s, 4 people, 31.2 frames per second"
    columns = np.nonzero((draw_caption(grey((800, 400, 3)), text) != GREY).any(axis=2))[1]
    assert 200 < columns.max() < 396
    size = {"ink": (0, 0, 0), "paper": (9, 9, 9), "opacity": 0.5}
    assert make_plate("11.1 s", 20, **size).size == make_plate("48.0 s", 20, **size).size
    assert make_plate("a b", 20, **size).size == make_plate(" a\tb\n", 20, **size).size
    assert make_plate("x" * 999, 20, **size).size[0] < 20 * MAX_LETTERS
    np.testing.assert_array_equal(make_plate("x" * 999, 9, **size).add, make_plate("x" * (MAX_LETTERS - 3) + "...", 9, **size).add)


def test_bad_input_is_refused():
    image = grey()
    with pytest.raises(InputError, match="expected uint8"):
        draw_poses(np.zeros((4, 4, 3)), poses_of(POINTS))
    with pytest.raises(InputError, match="min_score is NaN"):
        draw_poses(image, poses_of(POINTS), min_score=float("nan"))
    for ids in ([], [1, 2], [1.0], ["1"], [[1]], 1):
        with pytest.raises(InputError, match="expected one whole number for each of the 1 rows"):
            draw_poses(image, poses_of(POINTS), ids=ids)
    for labels in ([], ["a", "b"], [1], "a"):
        with pytest.raises(InputError, match="expected one string for each of the 1 rows"):
            draw_poses(image, poses_of(POINTS), labels=labels)
    with pytest.raises(InputError, match="the caption is 3"):
        draw_caption(image, 3)
    with pytest.raises(InputError, match="expected uint8"):
        draw_caption(np.zeros((4, 4, 3)), "text")


def test_colours_are_those_of_the_documentation():
    assert (LEFT, RIGHT, CENTRE, BOX) == ((255, 138, 0), (0, 170, 255), (120, 220, 60), (235, 235, 235))
