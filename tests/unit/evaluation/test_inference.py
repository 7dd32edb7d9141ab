import dataclasses
import json

import numpy as np
import pytest
from pictures import draw_pictures

import edgepose
from edgepose.errors import EdgePoseError, InputError
from edgepose.estimator import PoseEstimator
from edgepose.evaluation.inference import MAX_CROPS, Pictures, find_keypoints, picture_path
from edgepose.heatmap import to_image
from edgepose.image import read_image
from edgepose.runtime import load
from edgepose.skeleton import Skeleton

COUNTS = [3, 0, 1, MAX_CROPS + 5, 2]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return folder, *draw_pictures(folder, COUNTS)


def pictures_of(annotations):
    return Pictures(names=annotations.file_names, sizes=annotations.picture_sizes)


def expected(session, folder, annotations, people, **options):
    """Picture after picture, as `edgepose predict` does it."""
    estimator = PoseEstimator(session, **options)
    table = np.full((len(people), session.spec.keypoints, 3), np.nan)
    for picture in np.unique(people.pictures):
        rows = people.pictures == picture
        poses = estimator(read_image(folder / annotations.file_names[picture]), people.boxes_xyxy[rows])
        table[rows] = np.concatenate([poses.keypoints_xy, poses.scores[..., None]], axis=2)
    return table


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (7, 2), (64, 3)])
def test_finds_what_the_estimator_finds(artifacts, drawn, batch, workers):
    folder, annotations, people = drawn
    done = []
    with load(artifacts.path("onnx"), threads=1) as session:
        found = find_keypoints(
            session, pictures_of(annotations), people, folder, batch=batch, workers=workers, progress=lambda *counts: done.append(counts)
        )
        np.testing.assert_allclose(found.keypoints, expected(session, folder, annotations, people), atol=2e-4)
    assert done[-1] == (len(people), len(people))
    assert found.pictures == 4, "nobody is in one of the five pictures"
    assert not found.unusable
    assert 0 < found.device_seconds <= found.seconds


@pytest.mark.parametrize("flip_test", [False, True])
def test_estimator_data_set_and_stream_find_the_same_to_the_bit(artifacts, tmp_path, flip_test):
    folder, people_each = tmp_path / "pictures", 3
    annotations, people = draw_pictures(folder, [people_each] * 4)
    names = [str(folder / name) for name in annotations.file_names]
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({name: people.boxes_xyxy[people.pictures == number].tolist() for number, name in enumerate(names)}))
    with load(artifacts.path("onnx"), threads=1) as session:
        # The same people in each call: sums in another order may differ in the last bit.
        data_set = find_keypoints(session, pictures_of(annotations), people, folder, batch=people_each, flip_test=flip_test).keypoints
        alone = expected(session, folder, annotations, people, flip_test=flip_test)
        with edgepose.stream(names, session, boxes=boxes, flip_test=flip_test) as stream:
            poses = [result.poses for result in stream]
    streamed = np.concatenate([np.concatenate([each.keypoints_xy, each.scores[..., None]], axis=2) for each in poses])
    np.testing.assert_array_equal(data_set.astype(np.float32), alone)
    np.testing.assert_array_equal(streamed, alone)


def test_streams_and_static_batches_change_nothing(artifacts, drawn):
    folder, annotations, people = drawn
    with load(artifacts.path("openvino", batch=None), threads=2, streams=2) as session:
        several = find_keypoints(session, pictures_of(annotations), people, folder, batch=4)
    with load(artifacts.path("litert")) as session:
        static = find_keypoints(session, pictures_of(annotations), people, folder, batch=4)
    # Two runtimes: on the flat heatmaps of an untrained model a few keypoints are undecided.
    assert np.quantile(np.abs(several.keypoints - static.keypoints), 0.95) < 1e-3
    assert several.digest == static.digest


def test_the_flip_test_is_the_estimators(artifacts, drawn):
    folder, annotations, people = drawn
    with load(artifacts.path("onnx"), threads=1) as session:
        flipped = find_keypoints(session, pictures_of(annotations), people, folder, flip_test=True)
        np.testing.assert_allclose(flipped.keypoints, expected(session, folder, annotations, people, flip_test=True), atol=2e-4)
        plain = find_keypoints(session, pictures_of(annotations), people, folder)
    assert np.abs(flipped.keypoints - plain.keypoints).max() > 1e-3


def test_the_flip_test_needs_flip_pairs(artifacts, drawn, monkeypatch):
    folder, annotations, people = drawn
    with load(artifacts.path("onnx"), threads=1) as session:
        monkeypatch.setattr(session, "spec", dataclasses.replace(session.spec, skeleton=Skeleton.unnamed(17)))
        with pytest.raises(InputError, match="'unnamed-17' has no flip pairs"):
            PoseEstimator(session, flip_test=True)
        with pytest.raises(InputError, match="'unnamed-17' has no flip pairs"):
            find_keypoints(session, pictures_of(annotations), people, folder, flip_test=True)


def test_each_procedure_is_another(artifacts, drawn):
    folder, annotations, people = drawn
    with load(artifacts.path("onnx"), threads=1) as session:
        published, mmpose = (
            find_keypoints(session, pictures_of(annotations), people, folder, procedure=name) for name in ("published", "mmpose1")
        )
    # The crop is the same, the refinement near the border isn't.
    np.testing.assert_array_equal(published.keypoints[..., 2], mmpose.keypoints[..., 2])
    assert np.abs(published.keypoints - mmpose.keypoints).max() > 1e-2


def test_a_part_of_the_pictures(artifacts, drawn):
    folder, annotations, people = drawn
    only = np.arange(len(annotations.file_names)) % 2 == 0
    with load(artifacts.path("onnx"), threads=1) as session:
        part = find_keypoints(session, pictures_of(annotations), people, folder, only=only)
        whole = find_keypoints(session, pictures_of(annotations), people, folder)
        rest = find_keypoints(session, pictures_of(annotations), people, folder, only=~only)
    rows = only[people.pictures]
    np.testing.assert_allclose(part.keypoints[rows], whole.keypoints[rows], atol=2e-4)
    assert np.isnan(part.keypoints[~rows]).all()
    assert (part.digest + rest.digest) % 2**256 == whole.digest
    with load(artifacts.path("onnx")) as session, pytest.raises(InputError, match="nobody to look for"):
        find_keypoints(session, pictures_of(annotations), people, folder, only=np.zeros(5, np.bool_))


def test_pictures_that_cannot_be_used_are_named_and_left_out(artifacts, tmp_path):
    annotations, people = draw_pictures(tmp_path, [1, 2, 1, 1])
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "3.png").unlink()
    other_size = annotations.picture_sizes.copy()
    other_size[2] = (121, 110)
    annotations = dataclasses.replace(annotations, picture_sizes=other_size)
    with load(artifacts.path("onnx")) as session:
        found = find_keypoints(session, pictures_of(annotations), people, tmp_path)
    assert sorted(found.unusable) == [1, 2, 3]
    assert "1.png" in found.unusable[1]
    assert "120×110" in found.unusable[2]
    assert "121×110" in found.unusable[2]
    assert "3.png" in found.unusable[3]
    assert np.isnan(found.keypoints[1:]).all()
    assert not np.isnan(found.keypoints[0]).any()
    assert found.pictures == 1


def test_a_failing_runtime_ends_the_run(drawn, artifacts):
    folder, annotations, people = drawn

    class Failing:
        calls = 0

        def __init__(self, session):
            self.spec, self.info = session.spec, session.info

        def run(self, _batch):
            self.calls += 1
            raise EdgePoseError("the device is gone")

    with load(artifacts.path("onnx")) as session:
        failing = Failing(session)
        with pytest.raises(EdgePoseError, match="the device is gone"):
            find_keypoints(failing, pictures_of(annotations), people, folder, batch=1)
    assert failing.calls < len(people), "what was queued is dropped"


def test_keypoints_of_a_standard_codec(artifacts, drawn):
    folder, annotations, people = drawn
    with load(artifacts.path("onnx")) as session:
        codec = dataclasses.replace(session.spec.codec, kind="standard")
        session.spec = dataclasses.replace(session.spec, codec=codec)
        found = find_keypoints(session, pictures_of(annotations), people, folder)
        np.testing.assert_allclose(found.keypoints, expected(session, folder, annotations, people), atol=2e-4)


def test_names_stay_in_their_folder(tmp_path):
    assert picture_path(tmp_path, "a/b.jpg") == tmp_path / "a/b.jpg"
    for name in ("../b.jpg", "/etc/passwd", "a/../../b.jpg"):
        with pytest.raises(InputError, match="leads out of its folder"):
            picture_path(tmp_path, name)


def test_image_coordinates_use_the_crops_geometry():
    # Guards the helper that both paths share: the middle of the heatmap is the middle of the crop.
    from edgepose.spec import Codec

    middle = to_image(np.array([[[23.5, 31.5]]]), np.array([[50.0, 40.0]]), np.array([[60.0, 80.0]]), (64, 48), Codec())
    np.testing.assert_allclose(middle, [[[50.0, 40.0]]])
