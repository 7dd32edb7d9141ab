import numpy as np
import pytest
import reference_codec

from edgepose.crop import pad_boxes
from edgepose.errors import InputError
from edgepose.heatmap import decode, encode, flip_heatmaps, to_crop, to_image
from edgepose.skeleton import get_skeleton
from edgepose.spec import Codec, InputSpec

UDP, STANDARD = Codec(kind="udp"), Codec(kind="standard")


def gaussians(generator, shape, peak=1.0):
    people, keypoints, height, width = shape
    x, y = np.arange(width), np.arange(height)[:, None]
    centre_x = generator.uniform(-3, width + 2, (people, keypoints, 1, 1))
    centre_y = generator.uniform(-3, height + 2, (people, keypoints, 1, 1))
    sigma = generator.uniform(1, 3, (people, keypoints, 1, 1))
    return (peak * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * sigma**2))).astype(np.float32)


def single_pixels(generator, shape):
    heatmaps = np.zeros(shape, np.float32)
    flat = heatmaps.reshape(shape[0] * shape[1], -1)
    flat[np.arange(len(flat)), generator.integers(0, flat.shape[1], len(flat))] = 1
    flat[:4] = 0
    flat[range(4), [0, shape[3] - 1, (shape[2] - 1) * shape[3], shape[2] * shape[3] - 1]] = 1  # the four corners
    return heatmaps


HEATMAPS = {
    "smooth peaks, some beyond the border": gaussians,
    "noisy peaks": lambda g, s: gaussians(g, s, 0.8) + 0.02 * g.standard_normal(s).astype(np.float32),
    "high peaks, clipped": lambda g, s: gaussians(g, s, 1000),
    "low peaks, clipped": lambda g, s: gaussians(g, s, 0.004),
    "uniform noise": lambda g, s: g.random(s, dtype=np.float32),
    "normal noise": lambda g, s: g.standard_normal(s).astype(np.float32),
    "half of them negative": lambda g, s: (
        np.where(g.random((*s[:2], 1, 1)) < 0.5, -1, 1).astype(np.float32) * g.random(s, dtype=np.float32)
    ),
    "half of them zero": lambda g, s: g.choice(np.array([0, 1], np.float32), (*s[:2], 1, 1)) * g.random(s, dtype=np.float32),
    "all zero": lambda _, s: np.zeros(s, np.float32),
    "constant": lambda g, s: np.broadcast_to(g.random((*s[:2], 1, 1), dtype=np.float32), s).copy(),
    "many ties": lambda g, s: g.integers(0, 3, s).astype(np.float32),
    "plateaus": lambda g, s: np.minimum(gaussians(g, s, 2), np.float32(0.7)),
    "steps": lambda g, s: np.round(gaussians(g, s) * 3) / np.float32(3),
    "ramp": lambda _, s: np.broadcast_to(np.linspace(0, 1, s[3], dtype=np.float32), s).copy(),
    "single pixels": single_pixels,
}


@pytest.mark.parametrize("name", HEATMAPS)
@pytest.mark.parametrize(("height", "width", "kernel"), [(64, 48, 11), (64, 52, 11), (8, 8, 11), (24, 20, 3), (24, 20, 1), (16, 12, 31)])
def test_dark_equals_the_published_procedure(name, height, width, kernel):
    heatmaps = HEATMAPS[name](np.random.default_rng(width + kernel), (4, 17, height, width))
    expected, highest = reference_codec.decode(heatmaps, "udp", kernel)
    before = heatmaps.copy()
    coordinates, scores = decode(heatmaps, Codec(kind="udp", blur_kernel=kernel))
    np.testing.assert_array_equal(scores, highest)
    # Equal to the last bit on most machines; the tolerance is relative because a nearly flat heatmap throws a keypoint thousands of pixels.
    np.testing.assert_allclose(coordinates, expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(heatmaps, before)


@pytest.mark.parametrize("name", HEATMAPS)
@pytest.mark.parametrize(("height", "width"), [(64, 48), (8, 8), (24, 20)])
def test_quarter_pixels_equal_the_published_procedure(name, height, width):
    heatmaps = HEATMAPS[name](np.random.default_rng(width), (4, 17, height, width))
    expected, highest = reference_codec.decode(heatmaps, "standard")
    coordinates, scores = decode(heatmaps, STANDARD)
    np.testing.assert_array_equal(scores, highest)
    np.testing.assert_array_equal(coordinates, expected)


@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_image_coordinates_equal_the_published_procedure(codec):
    generator = np.random.default_rng(0)
    heatmaps = gaussians(generator, (50, 17, 64, 48))
    corners = generator.uniform(-100, 1500, (50, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(5, 900, (50, 2))], axis=1)
    expected, _ = reference_codec.decode(heatmaps, codec.kind)
    centres, sizes = pad_boxes(boxes, InputSpec(), codec)
    keypoints_xy = to_image(decode(heatmaps, codec)[0], centres, sizes, (64, 48), codec)
    for box, person, found in zip(boxes, expected, keypoints_xy, strict=True):
        centre, scale = reference_codec.box_to_centre_and_scale(box, 192, 256)
        np.testing.assert_allclose(found, reference_codec.to_image(person, centre, scale, 48, 64, codec.kind), atol=1e-4)


def test_a_singular_hessian_leaves_the_keypoint_on_its_pixel():
    # The published code adds 2**-23 to the diagonal. Logarithms between 1 and 2 are that far apart, so one step down cancels it exactly.
    low = np.float32(0.3)
    heatmaps = np.full((1, 1, 8, 8), low, np.float32)
    high = np.nextafter(heatmaps, np.float32(1))
    while (np.log(high) == np.log(heatmaps)).all():
        high = np.nextafter(high, np.float32(1))
    heatmaps[0, 0, [3, 3, 4], [3, 4, 3]] = high[0, 0, 0, 0]
    with pytest.raises(np.linalg.LinAlgError):
        reference_codec.decode(heatmaps, "udp", kernel=1)
    coordinates, _ = decode(heatmaps, Codec(blur_kernel=1))
    np.testing.assert_array_equal(coordinates[0, 0], [3, 3])


def test_dark_finds_gaussians_between_pixels():
    generator = np.random.default_rng(0)
    keypoints = generator.uniform((20, 20), (170, 230), (40, 17, 2))
    heatmaps, weights = encode(keypoints, np.ones((40, 17)), InputSpec(), UDP)
    coordinates, scores = decode(heatmaps, UDP)
    shift = np.linalg.norm(to_crop(coordinates, InputSpec(), UDP) - keypoints, axis=-1)
    assert (weights == 1).all()
    assert shift.max() < 0.25
    assert shift.mean() < 0.1
    assert scores.min() > 0.9


def test_ties_go_to_the_first_pixel_in_reading_order():
    heatmaps = np.zeros((1, 1, 16, 16), np.float32)
    heatmaps[0, 0, 9, 12] = heatmaps[0, 0, 9, 3] = heatmaps[0, 0, 12, 1] = 0.5
    coordinates, _ = decode(heatmaps, STANDARD)
    np.testing.assert_array_equal(coordinates[0, 0], [3, 9])


def test_people_do_not_depend_on_each_other():
    heatmaps = gaussians(np.random.default_rng(0), (5, 17, 64, 48))
    heatmaps[..., 0] += 0.01  # every keypoint is found
    together, _ = decode(heatmaps, UDP)
    alone = np.concatenate([decode(person[None], UDP)[0] for person in heatmaps])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_a_heatmap_without_a_positive_value_has_no_keypoint(codec):
    heatmaps = np.full((2, 3, 16, 12), -0.5, np.float32)
    coordinates, scores = decode(heatmaps, codec)
    np.testing.assert_array_equal(coordinates, np.full((2, 3, 2), -1))
    np.testing.assert_array_equal(scores, np.full((2, 3), -0.5))


@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_other_float_types_and_layouts(codec):
    heatmaps = gaussians(np.random.default_rng(0), (2, 3, 16, 12)).astype(np.float16)
    expected = decode(heatmaps.astype(np.float32), codec)
    for same in (heatmaps, heatmaps.astype(np.float64), np.asfortranarray(heatmaps)):
        for one, other in zip(decode(same, codec), expected, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == np.float32


@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_nobody(codec):
    coordinates, scores = decode(np.empty((0, 17, 64, 48), np.float32), codec)
    assert coordinates.shape == (0, 17, 2)
    assert scores.shape == (0, 17)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_heatmaps_that_are_not_finite_are_refused(value, codec):
    heatmaps = gaussians(np.random.default_rng(0), (3, 4, 16, 12))
    heatmaps[2, 1, 5, 5] = value
    with pytest.raises(InputError, match=f"person 2, keypoint 1 has the highest value {value}"):
        decode(heatmaps, codec)


def test_all_minus_infinity_is_refused():
    with pytest.raises(InputError, match="-inf"):
        decode(np.full((1, 1, 8, 8), -np.inf, np.float32), UDP)


@pytest.mark.parametrize("shape", [(3, 16, 12), (1, 3, 0, 12), (1, 0, 16, 12), (1, 1, 3, 16, 12)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="people, keypoints, height, width"):
        decode(np.zeros(shape, np.float32), UDP)


def test_crop_coordinates():
    last = np.array([47.0, 63.0])
    np.testing.assert_allclose(to_crop(last, InputSpec(), UDP), [191, 255])
    np.testing.assert_allclose(to_crop(last, InputSpec(), STANDARD), [188, 252])


def test_flipping_mirrors_and_swaps_sides():
    skeleton = get_skeleton("coco")
    heatmaps = gaussians(np.random.default_rng(0), (2, 17, 64, 48))
    flipped = flip_heatmaps(heatmaps, skeleton.flip_order, UDP)
    left, right = skeleton.keypoints.index("left_wrist"), skeleton.keypoints.index("right_wrist")
    np.testing.assert_array_equal(flipped[:, left], heatmaps[:, right, :, ::-1])
    np.testing.assert_array_equal(flipped[:, right], heatmaps[:, left, :, ::-1])
    np.testing.assert_array_equal(flipped[:, 0], heatmaps[:, 0, :, ::-1])
    np.testing.assert_array_equal(flip_heatmaps(flipped, skeleton.flip_order, UDP), heatmaps)


def test_standard_flipping_moves_right_by_one_pixel_and_keeps_the_first_column():
    heatmaps = gaussians(np.random.default_rng(0), (2, 2, 16, 12))
    moved = flip_heatmaps(heatmaps, (1, 0), STANDARD)
    mirrored = flip_heatmaps(heatmaps, (1, 0), UDP)
    np.testing.assert_array_equal(moved[..., 1:], mirrored[..., :-1])
    np.testing.assert_array_equal(moved[..., 0], mirrored[..., 0])


@pytest.mark.parametrize("codec", [UDP, STANDARD])
@pytest.mark.parametrize(("height", "width", "sigma"), [(256, 192, 2), (384, 288, 3), (64, 64, 2)])
def test_targets_equal_the_published_ones(codec, height, width, sigma):
    generator = np.random.default_rng(height)
    keypoints = generator.uniform(-60, (width + 60, height + 60), (6, 17, 2)).astype(np.float32)
    visible = generator.random((6, 17)) < 0.8
    heatmaps, weights = encode(keypoints, visible, InputSpec(height=height, width=width), codec, sigma=sigma)
    assert heatmaps.dtype == weights.dtype == np.float32
    for index in np.ndindex(6, 17):
        target, used = reference_codec.gaussian_target(keypoints[index], width, height, codec.kind, sigma)
        assert weights[index] == float(visible[index] and used)
        np.testing.assert_allclose(heatmaps[index], target if visible[index] else 0, atol=1e-6)


def test_invisible_keypoints_may_be_nan():
    heatmaps, weights = encode([[np.nan, np.nan], [30, 30]], [0, 1], InputSpec(height=64, width=64), UDP)
    assert heatmaps.shape == (2, 16, 16)
    assert not heatmaps[0].any()
    np.testing.assert_array_equal(weights, [0, 1])
