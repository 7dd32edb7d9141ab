import numpy as np
import pytest
import reference_codec

from edgepose.crop import crop, pad_boxes, warp_matrices
from edgepose.errors import InputError
from edgepose.spec import Codec, InputSpec

UDP, STANDARD = Codec(kind="udp"), Codec(kind="standard")
SIZES = [(256, 192), (256, 208), (192, 256), (32, 32)]


def random_boxes(count, seed, low=-200, high=2000):
    generator = np.random.default_rng(seed)
    corners = generator.uniform(low, high, (count, 2))
    sides = np.exp(generator.uniform(np.log(2), np.log(1500), (count, 2)))
    return np.concatenate([corners, corners + sides], axis=1)


@pytest.mark.parametrize("codec", [UDP, STANDARD, Codec(padding=1.1)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_geometry_is_the_published_one_to_the_last_bit(codec, height, width):
    boxes = random_boxes(500, seed=height + width)
    spec = InputSpec(height=height, width=width)
    centres, sizes = pad_boxes(boxes, spec, codec)
    matrices = warp_matrices(centres, sizes, spec, codec)
    for box, centre, size, matrix in zip(boxes, centres, sizes, matrices, strict=True):
        expected_centre, scale = reference_codec.box_to_centre_and_scale(box, width, height, codec.padding)
        np.testing.assert_array_equal(centre, expected_centre)
        np.testing.assert_array_equal(size, scale * np.float32(200))
        reference = reference_codec.udp_matrix if codec.kind == "udp" else reference_codec.standard_matrix
        np.testing.assert_array_equal(matrix, reference(expected_centre, scale, width, height))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_udp_puts_corner_pixels_on_the_corners_of_the_padded_box(height, width):
    spec = InputSpec(height=height, width=width)
    centres, sizes = pad_boxes(random_boxes(50, seed=3, high=500) + np.array([0, 0, 20, 20]), spec, UDP)
    for centre, size, matrix in zip(centres, sizes, warp_matrices(centres, sizes, spec, UDP), strict=True):
        np.testing.assert_allclose(matrix @ [*(centre - size / 2), 1], [0, 0], atol=2e-3)
        np.testing.assert_allclose(matrix @ [*(centre + size / 2), 1], [width - 1, height - 1], atol=2e-3)


def test_standard_puts_the_outline_of_the_padded_box_on_the_outline_of_the_crop():
    spec = InputSpec()
    centres, sizes = pad_boxes([[100, 50, 300, 450]], spec, STANDARD)
    matrix = warp_matrices(centres, sizes, spec, STANDARD)[0]
    np.testing.assert_allclose(matrix @ [*(centres[0] - sizes[0] / 2), 1], [0, 0], atol=1e-3)
    np.testing.assert_allclose(matrix @ [*(centres[0] + sizes[0] / 2), 1], [192, 256], atol=1e-3)


def test_padding_keeps_the_centre_and_reaches_the_aspect_ratio():
    centres, sizes = pad_boxes([[0, 0, 100, 400], [0, 0, 400, 100]], InputSpec(), UDP)
    np.testing.assert_array_equal(centres, [[50, 200], [200, 50]])
    np.testing.assert_allclose(sizes, [[375, 500], [500, 2000 / 3]], rtol=1e-6)
    assert centres.dtype == sizes.dtype == np.float64


@pytest.mark.parametrize("codec", [UDP, STANDARD])
@pytest.mark.parametrize(("height", "width"), [(256, 192), (64, 80)])
def test_crops_equal_the_published_ones(codec, height, width):
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    boxes = random_boxes(60, seed=1, low=-100, high=330)  # some reach far out, some lie outside
    crops = crop(image, boxes, InputSpec(height=height, width=width), codec)
    assert crops.batch.dtype == np.float32
    for box, batch in zip(boxes, crops.batch, strict=True):
        expected, _ = reference_codec.crop(image, box, width, height, codec.kind)
        np.testing.assert_allclose(batch, expected, atol=1e-6)


@pytest.mark.parametrize("codec", [UDP, STANDARD])
def test_only_pixels_of_the_image_are_read(codec, monkeypatch):
    image = np.random.default_rng(0).integers(0, 128, (120, 160, 3), dtype=np.uint8)
    boxes = random_boxes(100, seed=2, low=-20, high=150)
    # Memory that nobody wrote to is not reliably different from the image, so give it a value that is.
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 255, dtype))
    for box in boxes:
        batch = crop(image, [box], InputSpec(height=64, width=48), codec).batch[0]
        np.testing.assert_allclose(batch, reference_codec.crop(image, box, 48, 64, codec.kind)[0], atol=1e-6)


def test_a_crop_shows_its_box_upright_in_rgb_with_black_around():
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[:50] = (200, 100, 50)
    spec = InputSpec(height=64, width=64)
    plain = crop(image, [[0, 0, 100, 100]], spec, Codec(padding=1.0)).batch[0]
    colour = (np.array([200, 100, 50]) / 255 - spec.mean) / spec.std
    black = -np.array(spec.mean) / spec.std
    np.testing.assert_allclose(plain[:, 10, 30], colour, atol=1e-5)
    np.testing.assert_allclose(plain[:, 60, 30], black, atol=1e-5)
    beyond = crop(image, [[-300, 0, 10, 100]], spec, UDP).batch[0]
    np.testing.assert_allclose(beyond[:, :, :20], np.broadcast_to(black[:, None, None], (3, 64, 20)), atol=1e-5)


def test_normalization_follows_the_spec():
    image = np.full((50, 50, 3), 255, dtype=np.uint8)
    spec = InputSpec(height=32, width=32, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    batch = crop(image, [[10, 10, 30, 30]], spec, Codec(padding=1.0)).batch
    np.testing.assert_allclose(batch[0, :, 16, 16], [1.0, 3.0, 0.5], rtol=1e-6)


def test_out_is_written_to():
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    boxes, spec = [[5, 5, 40, 50], [0, 0, 60, 60]], InputSpec(height=64, width=32)
    out = np.full((2, 3, 64, 32), np.nan, dtype=np.float32)
    crops = crop(image, boxes, spec, UDP, out=out)
    assert crops.batch is out
    np.testing.assert_array_equal(out, crop(image, boxes, spec, UDP).batch)


WRONG_OUTS = {
    "dtype": np.empty((1, 3, 64, 32), np.float64),
    "shape": np.empty((2, 3, 64, 32), np.float32),
    "layout": np.empty((1, 3, 64, 64), np.float32)[..., ::2],
}


@pytest.mark.parametrize("out", WRONG_OUTS.values(), ids=WRONG_OUTS)
def test_a_wrong_out_is_refused(out):
    with pytest.raises(InputError, match=r"float32 \(1, 3, 64, 32\)"):
        crop(np.zeros((9, 9, 3), np.uint8), [[0, 0, 9, 9]], InputSpec(height=64, width=32), UDP, out=out)


def test_no_boxes_make_an_empty_batch():
    crops = crop(np.zeros((9, 9, 3), np.uint8), np.empty((0, 4)), InputSpec(), UDP)
    assert crops.batch.shape == (0, 3, 256, 192)
    assert crops.centres.shape == crops.sizes.shape == (0, 2)
