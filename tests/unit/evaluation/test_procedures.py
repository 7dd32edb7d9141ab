"""Crop and decoding of other programs: ``transformers`` against itself, mmpose 1.x against a literal reference."""

import logging

import numpy as np
import pytest
import reference_codec
from artifacts import TinyArtifacts
from pictures import draw_pictures

from edgepose.crop import crop, pad_boxes
from edgepose.errors import InputError
from edgepose.evaluation.inference import Pictures, find_keypoints
from edgepose.evaluation.mmpose_decode import decode_like_mmpose1
from edgepose.evaluation.procedures import PROCEDURES
from edgepose.evaluation.transformers_procedure import CODEC, crop_like_transformers, decode_like_transformers
from edgepose.heatmap import decode, to_image
from edgepose.image import read_image
from edgepose.runtime import load
from edgepose.spec import Codec, InputSpec

SIZES = [(256, 192), (64, 48), (96, 160)]


@pytest.fixture(scope="module")
def processing():
    """The module of the image processor."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return pytest.importorskip("transformers.models.vitpose.image_processing_pil_vitpose")


def make_heatmaps(people, height, width, seed):
    """Noisy peaks, many of them at and beyond the border, some with ties and some without a positive value."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = random.uniform((-2, -2), (width + 2, height + 2), (people, 5, 2))
    squared = (x - centres[..., 0, None, None]) ** 2 + (y - centres[..., 1, None, None]) ** 2
    maps = random.uniform(0.2, 1, (people, 5, 1, 1)) * np.exp(-squared / 8) + random.normal(0, 0.02, (people, 5, height, width))
    maps[0, 0, 3:5, 4:6] = 2.0
    maps[1, 1] = -np.abs(maps[1, 1]) - 0.1
    return maps.astype(np.float32)


def make_boxes(seed, count=6):
    """An image of 150×130 pixels and boxes (N, 4) in it and across its border, lying, standing and tiny ones."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (130, 150, 3), np.uint8)
    low = random.uniform((-20, -20), (110, 90), (count, 2))
    boxes = np.concatenate([low, low + random.uniform(4, 90, (count, 2))], axis=1)
    boxes[0] = 0, 0, 150, 130
    return image, boxes


def to_xywh(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_crops_are_those_of_the_image_processor(processing, height, width):
    image, boxes = make_boxes(seed=height)
    # Samples fall on rows as they are, the image's first and last ones too.
    exact = (height - 1) / 1.25
    boxes = np.concatenate([boxes, [[60.0, top - exact / 2, 62.0, top + exact / 2] for top in (120.5, 2.5)]])
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    processor = processing.VitPoseImageProcessorPil(size={"height": height, "width": width}, image_mean=mean, image_std=std)
    theirs = np.asarray(processor(image, boxes=[to_xywh(boxes)], return_tensors="np")["pixel_values"])
    spec = InputSpec(height=height, width=width, mean=mean, std=std)
    ours = crop_like_transformers(image, boxes, spec)
    np.testing.assert_array_equal(ours.batch, theirs)
    published = crop(image, boxes, spec, CODEC)
    np.testing.assert_array_equal(ours.centres, published.centres)
    np.testing.assert_array_equal(ours.sizes, published.sizes)
    assert (np.abs(theirs - published.batch) > 0.02).mean() > 0.001


@pytest.mark.parametrize(("height", "width"), [(64, 48), (16, 12), (24, 40)])
def test_keypoints_are_those_of_the_image_processor(processing, height, width):
    torch = pytest.importorskip("torch")
    from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

    maps = make_heatmaps(20, height, width, seed=height)
    _, boxes = make_boxes(seed=1, count=20)
    processor = processing.VitPoseImageProcessorPil(size={"height": 4 * height, "width": 4 * width})
    output = VitPoseEstimatorOutput(heatmaps=torch.from_numpy(maps))
    (poses,) = processor.post_process_pose_estimation(output, boxes=[to_xywh(boxes)])
    places, scores = decode_like_transformers(maps)
    centres, sizes = pad_boxes(boxes, InputSpec(height=4 * height, width=4 * width), CODEC)
    ours = to_image(places, centres, sizes, (height, width), CODEC)
    found = scores > 0
    assert found.sum() == found.size - 1
    np.testing.assert_array_equal(scores, np.stack([pose["scores"].numpy() for pose in poses]))
    # It adds and multiplies in float32: the last bits of coordinates of up to some 200 pixels.
    np.testing.assert_allclose(ours[found], np.stack([pose["keypoints"].numpy() for pose in poses])[found], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(places[~found], -1)
    published, _ = decode(maps, CODEC)
    assert np.linalg.norm(places - published, axis=-1).mean() > 0.02


def test_a_whole_evaluation_is_that_of_transformers(processing, artifacts: TinyArtifacts, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers.models.vitpose.modeling_vitpose import VitPoseEstimatorOutput

    annotations, people = draw_pictures(tmp_path, [2, 3])
    with load(artifacts.path("onnx"), threads=1) as session:
        pictures = Pictures(names=annotations.file_names, sizes=annotations.picture_sizes)
        ours = find_keypoints(session, pictures, people, tmp_path, procedure="transformers").keypoints
        published = find_keypoints(session, pictures, people, tmp_path).keypoints
        spec = session.spec.input
        processor = processing.VitPoseImageProcessorPil(size={"height": spec.height, "width": spec.width})
        for picture, name in enumerate(annotations.file_names):
            rows = people.pictures == picture
            boxes = to_xywh(people.boxes_xyxy[rows])
            pixels = processor(read_image(tmp_path / name), boxes=[boxes], return_tensors="np")["pixel_values"]
            output = VitPoseEstimatorOutput(heatmaps=torch.from_numpy(session.run(np.asarray(pixels, np.float32))))
            (poses,) = processor.post_process_pose_estimation(output, boxes=[boxes])
            found = ours[rows, :, 2] > 0
            theirs = np.stack([pose["keypoints"].numpy() for pose in poses])
            np.testing.assert_allclose(ours[rows][found][:, :2], theirs[found], rtol=0, atol=2e-4)
            np.testing.assert_allclose(ours[rows, :, 2], np.stack([pose["scores"].numpy() for pose in poses]), rtol=1e-5)
    assert np.abs(ours - published).max() > 1e-2


def test_transformers_knows_one_geometry_whatever_the_head_was_trained_with():
    image, boxes = make_boxes(seed=2)
    standard, udp = Codec(kind="standard", padding=1.1), Codec()
    procedure = PROCEDURES["transformers"]
    assert procedure.codec(standard) == udp
    for name in ("published", "mmpose1"):
        assert PROCEDURES[name].codec(standard) == standard
    spec = InputSpec(height=64, width=48)
    np.testing.assert_array_equal(procedure.crop(image, boxes, spec, standard).batch, crop_like_transformers(image, boxes, spec).batch)


@pytest.mark.parametrize("kind", ["udp", "standard"])
@pytest.mark.parametrize(("height", "width", "kernel"), [(64, 48, 11), (16, 12, 5), (24, 40, 17)])
def test_mmpose1_equals_the_reference(kind, height, width, kernel):
    maps = make_heatmaps(40, height, width, seed=width)
    maps[2, :, : height // 2] *= 0.01
    maps[3] *= 0.004
    maps[4] *= 100
    expected, highest = reference_codec.decode_mmpose1(maps, kind, kernel)
    places, scores = decode_like_mmpose1(maps, Codec(kind=kind, blur_kernel=kernel))
    np.testing.assert_array_equal(scores, highest)
    # Inverting the Hessian of a flat heatmap in another way moves the last bits.
    np.testing.assert_allclose(places, expected, rtol=1e-5, atol=1e-5)
    assert places.dtype == scores.dtype == np.float32


def test_mmpose1_differs_at_the_border_and_in_low_heatmaps_alone():
    y, x = np.mgrid[:64, :48].astype(np.float32)
    centres = np.array([[20.3, 30.4], [9.2, 11.4], [1.3, 30.4], [20.3, 61.8], [46.9, 30.4]], np.float32)
    squared = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    maps = np.exp(-squared / 8)[None]
    shifts = (decode_like_mmpose1(maps, Codec())[0] - decode(maps, Codec())[0])[0]
    assert np.abs(shifts[:2]).max() < 1e-4
    assert shifts[2, 0] > 0.1
    assert shifts[3, 1] < -0.1
    assert shifts[4, 0] == 0
    low = np.linalg.norm(decode_like_mmpose1(maps * 0.0015, Codec())[0] - decode(maps * 0.0015, Codec())[0], axis=-1)[0]
    assert low[:2].min() > 0.1


def test_mmpose1_quarter_steps_look_at_each_axis_alone():
    maps = np.zeros((1, 2, 16, 12), np.float32)
    maps[0, 0, 1, 5:7] = 1.0, 0.5
    maps[0, 1, 6:8, 1] = 1.0, 0.5
    standard = Codec(kind="standard")
    np.testing.assert_array_equal(decode_like_mmpose1(maps, standard)[0], [[[5.25, 1.0], [1.0, 6.25]]])
    np.testing.assert_array_equal(decode(maps, standard)[0], [[[5.0, 1.0], [1.0, 6.0]]])


@pytest.mark.parametrize("name", PROCEDURES)
def test_every_procedure_takes_nobody_and_refuses_what_is_not_finite(name):
    decode_heatmaps = PROCEDURES[name].decode
    for kind in ("udp", "standard"):
        places, scores = decode_heatmaps(np.zeros((0, 17, 16, 12), np.float32), Codec(kind=kind))
        assert (places.shape, scores.shape) == ((0, 17, 2), (0, 17))
        with pytest.raises(InputError, match="person 1, keypoint 2"):
            maps = np.ones((2, 4, 16, 12), np.float32)
            maps[1, 2, 3, 4] = np.nan
            decode_heatmaps(maps, Codec(kind=kind))
