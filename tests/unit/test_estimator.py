import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgepose.boxes import load_boxes
from edgepose.crop import crop
from edgepose.drawing import draw_poses
from edgepose.errors import InputError
from edgepose.estimator import PoseEstimator, Poses
from edgepose.heatmap import decode, flip_heatmaps, to_image
from edgepose.pipeline.top_down import PUBLISHED, TopDown
from edgepose.skeleton import Skeleton
from edgepose.spec import Architecture, Codec, InputSpec, ModelSpec, Provenance

DOTS = Skeleton(name="dots", keypoints=("left_dot", "right_dot", "nose"), flip_pairs=(("left_dot", "right_dot"),))
UDP = Codec()


class DotSession:
    """A "network" that finds the red, green and blue dot: its heatmaps are the colours of the crop at the heatmaps' samples."""

    def __init__(self, codec=UDP, skeleton=DOTS, size=(256, 192)):
        self.spec = ModelSpec(
            name="dots",
            architecture=Architecture(dim=48, depth=2, heads=3, head="simple"),
            skeleton=skeleton,
            provenance=Provenance(source="test"),
            input=InputSpec(height=size[0], width=size[1]),
            codec=codec,
        )
        self.batches = []

    def run(self, batch):
        self.batches.append(len(batch))
        assert batch.dtype == np.float32
        assert batch.shape[1:] == self.spec.input_shape
        assert batch.flags.c_contiguous
        spec = self.spec.input
        pixels = batch * np.array(spec.std, np.float32)[:, None, None] + np.array(spec.mean, np.float32)[:, None, None]
        height, width = spec.heatmap_size
        if self.spec.codec.kind == "udp":
            x = np.linspace(0, spec.width - 1, width, dtype=np.float32)
            y = np.linspace(0, spec.height - 1, height, dtype=np.float32)
        else:
            x = np.arange(width, dtype=np.float32) * 4
            y = np.arange(height, dtype=np.float32) * 4
        grid = np.meshgrid(x, y)
        return np.stack([[cv2.remap(channel, *grid, cv2.INTER_LINEAR) for channel in person] for person in pixels])


def dotted_image(dots, shape=(480, 640), spread=10):
    """One Gaussian dot per colour channel and person: ``dots`` is (N, 3, 2)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros((*shape, 3))
    for person in dots:
        for channel, (dot_x, dot_y) in enumerate(person):
            image[..., channel] += 255 * np.exp(-((x - dot_x) ** 2 + (y - dot_y) ** 2) / (2 * spread**2))
    return np.clip(image, 0, 255).astype(np.uint8)


PEOPLE = np.array([[[100.3, 200.7], [150.5, 210.2], [130.1, 280.9]], [[400.2, 120.4], [470.8, 140.6], [430.3, 330.5]]])
BOXES = np.array([[70, 150, 190, 320], [360.5, 70.25, 520, 400]])


@pytest.mark.parametrize("size", [(256, 192), (256, 256)])
def test_keypoints_are_found_in_image_pixels(size):
    session = DotSession(size=size)
    poses = PoseEstimator(session)(dotted_image(PEOPLE), BOXES)
    np.testing.assert_allclose(poses.keypoints_xy, PEOPLE, atol=0.5)
    assert poses.scores.min() > 0.9
    np.testing.assert_array_equal(poses.boxes_xyxy, BOXES.astype(np.float32))
    assert poses.keypoints_xy.dtype == poses.scores.dtype == poses.boxes_xyxy.dtype == np.float32
    assert poses.skeleton is DOTS
    assert len(poses) == 2
    assert session.batches == [2]


def test_the_standard_codec_finds_them_to_a_heatmap_pixel():
    poses = PoseEstimator(DotSession(Codec(kind="standard")))(dotted_image(PEOPLE), BOXES)
    heatmap_pixel = 330 * 1.25 / 64
    np.testing.assert_allclose(poses.keypoints_xy, PEOPLE, atol=heatmap_pixel)


def test_each_step_follows_the_spec():
    session = DotSession(Codec(padding=1.5, blur_kernel=7))
    image = dotted_image(PEOPLE)
    poses = PoseEstimator(session)(image, BOXES)
    crops = crop(image, BOXES, session.spec.input, session.spec.codec)
    coordinates, scores = decode(session.run(crops.batch), session.spec.codec)
    expected = to_image(coordinates, crops.centres, crops.sizes, (64, 48), session.spec.codec)
    np.testing.assert_array_equal(poses.keypoints_xy, expected.astype(np.float32))
    np.testing.assert_array_equal(poses.scores, scores)


def test_without_boxes_the_whole_image_is_the_person():
    image = dotted_image(PEOPLE[:1])
    poses = PoseEstimator(DotSession())(image)
    np.testing.assert_array_equal(poses.boxes_xyxy, [[0, 0, 640, 480]])
    np.testing.assert_allclose(poses.keypoints_xy, PEOPLE[:1], atol=2)


def test_no_boxes_are_no_poses_and_no_inference():
    session = DotSession()
    for boxes in ([], np.empty((0, 4))):
        poses = PoseEstimator(session)(dotted_image(PEOPLE), boxes)
        assert len(poses) == 0
        assert poses.keypoints_xy.shape == (0, 3, 2)
        assert poses.to_document()["people"] == []
    assert session.batches == []


def test_many_people_are_run_in_parts():
    session = DotSession(size=(32, 32))
    boxes = np.tile(BOXES, (50, 1))
    poses = PoseEstimator(session)(dotted_image(PEOPLE), boxes)
    assert session.batches == [64, 36]
    np.testing.assert_array_equal(poses.keypoints_xy[::2], np.tile(poses.keypoints_xy[:1], (50, 1, 1)))
    np.testing.assert_array_equal(poses.keypoints_xy[1::2], np.tile(poses.keypoints_xy[1:2], (50, 1, 1)))


@pytest.mark.parametrize("kind", ["udp", "standard"])
def test_the_flip_test_averages_with_the_mirrored_crops(kind):
    session = DotSession(Codec(kind=kind))
    image = dotted_image(PEOPLE)
    poses = PoseEstimator(session, flip_test=True)(image, BOXES)
    assert session.batches == [2, 2]
    crops = crop(image, BOXES, session.spec.input, session.spec.codec)
    mirrored = flip_heatmaps(session.run(np.ascontiguousarray(crops.batch[..., ::-1])), (1, 0, 2), session.spec.codec)
    coordinates, scores = decode((session.run(crops.batch) + mirrored) / 2, session.spec.codec)
    np.testing.assert_array_equal(poses.scores, scores)
    expected = to_image(coordinates, crops.centres, crops.sizes, (64, 48), session.spec.codec)
    np.testing.assert_allclose(poses.keypoints_xy, expected, atol=1e-4)


@pytest.mark.parametrize("own", ["udp", "standard"])
def test_crops_are_run_once_or_turned_back_as_asked(own):
    session = DotSession(Codec(kind=own))
    batch = np.random.default_rng(0).random((2, 3, *session.spec.input_shape[1:]), np.float32)
    np.testing.assert_array_equal(TopDown.of(session).infer(batch), session.run(batch))
    assert session.batches == [2, 2]
    for codec in (session.spec.codec, Codec(kind="udp"), Codec(kind="standard")):
        procedure = replace(PUBLISHED, codec=lambda _, codec=codec: codec)
        mirrored = flip_heatmaps(session.run(np.ascontiguousarray(batch[..., ::-1])), (1, 0, 2), codec)
        found = TopDown.of(session, flip_test=True, procedure=procedure).infer(batch)
        np.testing.assert_array_equal(found, (session.run(batch) + mirrored) / 2)


def test_the_flip_test_keeps_a_keypoint_of_the_middle_in_place():
    image = dotted_image(PEOPLE)
    plain = PoseEstimator(DotSession())(image, BOXES)
    flipped = PoseEstimator(DotSession(), flip_test=True)(image, BOXES)
    np.testing.assert_allclose(flipped.keypoints_xy[:, 2], plain.keypoints_xy[:, 2], atol=0.05)


def test_the_flip_test_needs_flip_pairs():
    session = DotSession(skeleton=Skeleton.unnamed(3))
    PoseEstimator(session)
    with pytest.raises(InputError, match=r"'unnamed-3' has no flip pairs"):
        PoseEstimator(session, flip_test=True)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((10, 10), np.uint8), r"uint8 \(10, 10\); expected uint8"),
        (np.zeros((10, 10, 4), np.uint8), r"uint8 \(10, 10, 4\)"),
        (np.zeros((10, 10, 3), np.float32), r"float32 \(10, 10, 3\)"),
        (np.zeros((0, 10, 3), np.uint8), "height 0 and width 10"),
        (np.zeros((1, 40_000, 3), np.uint8), "allowed: 1 to 32766"),
        ("photo.jpg", "the image is a str"),
        (None, "NoneType"),
    ],
)
def test_what_is_not_an_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        PoseEstimator(DotSession())(image)


def test_a_bad_box_is_a_row_without_keypoints_and_loses_nobody():
    image = dotted_image(PEOPLE)
    alone = PoseEstimator(DotSession())(image, BOXES)
    session = DotSession()
    rows = [[700, 0, 800, 100, 0.5], [*BOXES[0], 0.75], [np.nan] * 4 + [0.25], [*BOXES[1], 1.0], [0, 0, 1e308, 1e308, 0]]
    poses = PoseEstimator(session)(image, rows)
    assert session.batches == [2]
    np.testing.assert_array_equal(poses.keypoints_xy[[1, 3]], alone.keypoints_xy)
    np.testing.assert_array_equal(poses.scores[[1, 3]], alone.scores)
    np.testing.assert_array_equal(poses.usable, [False, True, False, True, False])
    assert [str(status) for status in poses.status] == ["outside", "usable", "not-finite", "usable", "too-far"]
    assert poses.reasons[0].startswith("box 0 is [700.0, 0.0, 800.0, 100.0]: it lies outside")
    assert poses.reasons[1] == ""
    assert np.isnan(poses.keypoints_xy[[0, 2, 4]]).all()
    assert (poses.scores[[0, 2, 4]] == 0).all()
    np.testing.assert_array_equal(poses.box_scores, [0.5, 0.75, 0.25, 1, 0])
    document = json.loads(json.dumps(poses.to_document(), allow_nan=False))
    first, second, third = document["people"][:3]
    assert first["status"] == "outside"
    assert first["reason"] == poses.reasons[0]
    assert first["keypoints"]["nose"] == [None, None, 0]
    assert first["score"] == 0
    assert "status" not in second
    assert second["box_score"] == 0.75
    assert third["box_xyxy"] == [None] * 4
    drawn = draw_poses(image, poses)
    np.testing.assert_array_equal(drawn, draw_poses(image, alone))


def test_boxes_that_are_all_bad_are_no_inference():
    session = DotSession()
    poses = PoseEstimator(session)(dotted_image(PEOPLE), [[700, 0, 800, 100]])
    assert session.batches == []
    assert len(poses) == 1
    assert np.isnan(poses.keypoints_xy).all()
    np.testing.assert_array_equal(draw_poses(dotted_image(PEOPLE), poses), dotted_image(PEOPLE))


def test_poses_of_bad_boxes_can_be_read_as_boxes(tmp_path):
    poses = PoseEstimator(DotSession())(dotted_image(PEOPLE), [[np.nan] * 4, BOXES[0]])
    path = tmp_path / "poses.json"
    path.write_text(json.dumps(poses.to_document()))
    np.testing.assert_array_equal(load_boxes(path).for_image("photo.jpg"), poses.boxes_xyxy)


def test_a_model_that_gives_nan_is_refused():
    session = DotSession()
    session.run = lambda batch: np.full((len(batch), 3, 64, 48), np.nan, np.float32)
    with pytest.raises(InputError, match="must be finite"):
        PoseEstimator(session)(dotted_image(PEOPLE), BOXES)


def test_other_memory_layouts_of_the_image_give_the_same_poses():
    image = dotted_image(PEOPLE)
    expected = PoseEstimator(DotSession())(image, BOXES)
    for same in (np.asfortranarray(image), image[..., ::-1].copy()[..., ::-1], np.repeat(image, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(PoseEstimator(DotSession())(same, BOXES).keypoints_xy, expected.keypoints_xy)


def test_the_document_is_plain_json_that_can_be_read_as_boxes(tmp_path):
    poses = Poses(
        keypoints_xy=np.array([[[1.23456789, 2], [3, 4], [-5, 6]]], np.float32),
        scores=np.array([[0.5, 0.25, 0.75003]], np.float32),
        boxes_xyxy=np.array([[0, 0, 10.5, 20]], np.float32),
        skeleton=DOTS,
    )
    path = tmp_path / "poses.json"
    path.write_text(json.dumps(poses.to_document()))
    person = {
        "box_xyxy": [0, 0, 10.5, 20],
        "score": 0.5,  # of 0.50001: four decimals
        "keypoints": {"left_dot": [1.2346, 2, 0.5], "right_dot": [3, 4, 0.25], "nose": [-5, 6, 0.75]},
    }
    assert json.loads(path.read_text()) == {"skeleton": "dots", "people": [person]}
    np.testing.assert_array_equal(load_boxes(path).for_image("photo.jpg"), poses.boxes_xyxy)
