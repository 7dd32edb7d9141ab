"""Detectors: the shipped ones on the sample photo, their decoding, and people without a network."""

import json

import numpy as np
import onnx
import pytest

from edgepose import read_image
from edgepose.boxes import load_boxes
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.pipeline.detection import DETECTORS, BoxFileDetector, CallableDetector, WholePictureDetector, open_detector
from edgepose.pipeline.detection.decoding import MOST_CANDIDATES, decode
from edgepose.pipeline.detection.letterbox import letterbox, prepare
from edgepose.pipeline.detection.nms import keep_best
from edgepose.pipeline.detection.spec import DetectorInput, DetectorSpec
from edgepose.pipeline.frame import Frame
from edgepose.spec import Provenance

ASSETS = "edgepose/assets"


@pytest.fixture(scope="module")
def sample(request):
    folder = request.config.rootpath / ASSETS
    return read_image(folder / "sample.jpg"), load_boxes(folder / "sample.json").for_image("sample.jpg")


def frame(image, name="sample.jpg"):
    return Frame(image=image, index=0, time_s=None, name=name)


def overlaps(boxes, truth):
    low, high = np.maximum(boxes[:, None, :2], truth[:, :2]), np.minimum(boxes[:, None, 2:], truth[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    return shared / (np.prod(boxes[:, 2:] - boxes[:, :2], 1)[:, None] + np.prod(truth[:, 2:] - truth[:, :2], 1) - shared)


@pytest.mark.parametrize("name", DETECTORS)
def test_people_are_found_alike_on_each_runtime(name, sample):
    image, truth = sample
    found = []
    for device in ("onnxruntime:cpu", "openvino:cpu"):
        detector = open_detector(name, device=device, threads=1)
        detections = detector.find(frame(image))
        # Each of the people has a box of its own, and there is no other.
        best = overlaps(detections.boxes_xyxy.astype(float), truth)
        assert len(detections) == len(truth)
        assert sorted(best.argmax(axis=1)) == list(range(len(truth)))
        assert best.max(axis=1).min() > 0.6
        assert name in detector.description
        assert device.partition(":")[0] in detector.description
        detector.close()
        found.append(detections)
    np.testing.assert_allclose(found[0].boxes_xyxy, found[1].boxes_xyxy, atol=0.2)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=2e-3)


def test_nobody_is_found_where_nobody_is():
    detector = open_detector(threads=1)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    for image in (np.zeros((480, 640, 3), np.uint8), np.full((1, 1, 3), 200, np.uint8), noise, np.zeros((20, 3000, 3), np.uint8)):
        detections = detector.find(frame(image))
        assert len(detections) == 0
        assert detections.boxes_xyxy.shape == (0, 4)
    detector.close()


def test_boxes_scale_with_the_picture(sample):
    image, _ = sample
    detector = open_detector("yolox-nano", threads=1, min_score=0.3)
    whole = detector.find(frame(image))
    doubled = detector.find(frame(np.ascontiguousarray(image.repeat(2, 0).repeat(2, 1))))
    one, two = (each.boxes_xyxy[each.boxes_xyxy[:, 0].argsort()] for each in (whole, doubled))
    np.testing.assert_allclose(two, one * 2, rtol=0.05, atol=12)
    sides = np.array([image.shape[1], image.shape[0]] * 2)
    assert (whole.boxes_xyxy >= 0).all()
    assert (whole.boxes_xyxy <= sides).all()
    detector.close()


def spec(**changes):
    given = {"name": "a", "kind": "yolox", "input": DetectorInput(height=64, width=64), "classes": 80, "overlap": 0.45, "min_score": 0.5}
    return DetectorSpec(**(given | {"provenance": Provenance(source="a")} | changes))


def test_yolox_rows_are_decoded_by_their_cells():
    rows = np.zeros((1, 8 * 8 + 4 * 4 + 2 * 2, 85), np.float32)
    # Cell (column 3, row 2) of the finest grid, half a cell to the right and below; 32 pixels wide, 64 high.
    rows[0, 2 * 8 + 3, :6] = [0.5, 0.5, np.log(4), np.log(8), 0.9, 0.8]
    # The same person, seen from the second grid, less surely; and a dog.
    rows[0, 64 + 1 * 4 + 1, :6] = [0.75, 0.25, np.log(2), np.log(4), 0.5, 0.5]
    rows[0, 64 + 3 * 4 + 3, [0, 1, 2, 3, 4, 5 + 16]] = [0, 0, 1, 1, 1, 1]
    boxes, scores = decode((rows,), spec())
    np.testing.assert_allclose(boxes, [[3.5 * 8 - 16, 2.5 * 8 - 32, 3.5 * 8 + 16, 2.5 * 8 + 32]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.72], atol=1e-6)


def test_rtmdet_cells_are_decoded_by_their_corners():
    wide = spec(kind="rtmdet", classes=1, input=DetectorInput(height=64, width=96))
    scores, distances = np.zeros((1, 126, 1), np.float32), np.zeros((1, 126, 4), np.float32)
    # Cell (column 2, row 1) of the second grid: its corner is at (32, 16).
    scores[0, 96 + 1 * 6 + 2], distances[0, 96 + 1 * 6 + 2] = 0.9, [10, 11, 12, 13]
    # The same person, seen by the cell to the left; and somebody else.
    scores[0, 96 + 1 * 6 + 1], distances[0, 96 + 1 * 6 + 1] = 0.7, [-6, 11, 28, 13]
    scores[0, 120], distances[0, 120] = 0.8, [-1, -2, 5, 6]
    boxes, found = decode((scores, distances), wide)
    np.testing.assert_array_equal(boxes, [[22, 5, 44, 29], [1, 2, 5, 6]])
    np.testing.assert_allclose(found, [0.9, 0.8])


def test_rtmdet_rows_of_other_classes_and_filling_are_left_out():
    dets = np.array([[[0, 0, 0, 0, 0.0], [5, 6, 7, 8, 0.8], [1, 2, 3, 4, 0.9], [np.nan, 2, 3, 4, 0.9]]], np.float32)
    boxes, scores = decode((dets, np.array([[0, 3, 0, 0]])), spec(kind="rtmdet", form="suppressed", classes=1))
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4]])
    np.testing.assert_allclose(scores, [0.9])


def test_outputs_without_sense_are_nobody_and_cost_little():
    rows = np.full((1, 64**2 + 32**2 + 16**2, 85), np.nan, np.float32)
    large = spec(input=DetectorInput(height=512, width=512))
    assert len(decode((rows,), large)[0]) == 0
    rows[:] = np.inf
    assert len(decode((rows,), large)[0]) == 0
    # Every cell is as sure as can be, and none overlaps another.
    rows[..., :2], rows[..., 2:4], rows[..., 4:] = 0.5, -3, 1
    boxes, scores = decode((rows,), large)
    assert len(boxes) == MOST_CANDIDATES
    assert scores.max() == 1


def test_two_hundred_people_are_two_hundred_boxes():
    rows = np.zeros((1, 3549, 85), np.float32)
    cells = np.arange(0, 52 * 52, 13)[:200]
    rows[0, cells, :6] = [0.5, 0.5, 0, 0, 0.9, 0.9]
    boxes, _ = decode((rows,), spec(input=DetectorInput(height=416, width=416)))
    assert len(boxes) == 200


def test_colours_and_padding_are_as_the_detectors_were_trained():
    image = np.zeros((10, 20, 3), np.uint8)
    image[..., 0] = 250
    canvas, scale = letterbox(image, 64, 64)
    assert scale == 3.2
    assert (canvas[:32, :, 0] == 250).all()
    assert (canvas[32:] == 114).all()
    assert prepare(image, DetectorInput(height=64, width=64))[0][0, :, 0, 0].tolist() == [0, 0, 250]
    assert prepare(image, DetectorInput(height=64, width=64, channels="rgb"))[0][0, :, 0, 0].tolist() == [250, 0, 0]
    given = DetectorInput(height=64, width=64, mean=(1, 2, 123.675), std=(1, 2, 58.395), pad=7)
    values, scale = prepare(image, given)
    assert (values.shape, values.dtype, values.flags.c_contiguous, scale) == ((1, 3, 64, 64), np.float32, True, 3.2)
    np.testing.assert_allclose(values[0, :, 0, 0], [-1, -1, (250 - 123.675) / 58.395], rtol=1e-6)
    np.testing.assert_allclose(values[0, :, 63, 63], [6, 2.5, (7 - 123.675) / 58.395], rtol=1e-6)


def test_the_best_of_boxes_that_overlap_stays():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10]], np.float32)
    assert keep_best(boxes, np.array([0.5, 0.9, 0.1, 0.9], np.float32), overlap=0.5).tolist() == [1, 2]
    assert keep_best(boxes[:0], np.zeros(0, np.float32), overlap=0.5).tolist() == []


def test_files_that_are_no_detectors_are_refused(tmp_path):
    (tmp_path / "torn.onnx").write_bytes(b"\x08\x06torn")
    with pytest.raises(ArtifactError, match=r"torn\.onnx: not a valid file"):
        open_detector(tmp_path / "torn.onnx")
    for name, kind, why in (
        ("absent.onnx", ArtifactError, "no such file"),
        ("rtmdet-huge", InputError, "no weights called 'rtmdet-huge'; known: rtmdet-nano, yolox-nano"),
    ):
        with pytest.raises(kind, match=why):
            open_detector(name)
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="not a model file that edgepose knows"):
        open_detector(tmp_path / "x.pt")
    with pytest.raises(DeviceError, match="'litert' doesn't open"):
        open_detector("yolox-nano", device="litert:cpu")
    with pytest.raises(InputError, match="min_score is 2"):
        open_detector("yolox-nano", min_score=2)


def test_a_detector_of_a_file_is_known_by_its_graph(tmp_path):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Slice", ["rows", "a", "b"], ["out"]), onnx.helper.make_node("ReduceMax", ["x"], ["unused"], keepdims=0)],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 3, 64, 64])],
        [onnx.helper.make_tensor_value_info("out", 1, [1, 84, 85])],
        [
            onnx.numpy_helper.from_array(np.zeros((1, 84, 85), np.float32), "rows"),
            onnx.numpy_helper.from_array(np.array([0, 0, 0]), "a"),
            onnx.numpy_helper.from_array(np.array([1, 84, 85]), "b"),
        ],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), tmp_path / "mine.onnx")
    detector = open_detector(tmp_path / "mine.onnx")
    assert detector.description.startswith("mine.onnx (YOLOX) on onnxruntime")
    assert (detector.spec.name, detector.spec.classes, detector.spec.cells) == ("mine", 80, 84)
    assert len(detector.find(frame(np.zeros((30, 30, 3), np.uint8)))) == 0


def test_people_out_of_a_file(tmp_path):
    content = {"a.jpg": [[1, 2, 30, 40, 0.5, 0], [3, 4, 50, 60, 0.9, 2]], "b.jpg": []}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    detector = BoxFileDetector(load_boxes(tmp_path / "boxes.json"))
    assert not detector.images_only
    assert detector.description.endswith("boxes.json")
    image = np.zeros((100, 100, 3), np.uint8)
    found = detector.find(frame(image, "photos/a.jpg"))
    np.testing.assert_array_equal(found.boxes_xyxy, [[1, 2, 30, 40]])
    np.testing.assert_array_equal(found.scores, [0.5])
    assert len(detector.find(frame(image, "b.jpg"))) == 0
    with pytest.raises(InputError, match=r"has no boxes for the image 'c\.jpg'"):
        detector.find(frame(image, "c.jpg"))


def test_people_of_a_function_and_the_whole_picture():
    image = np.zeros((100, 80, 3), np.uint8)

    def two(given):
        assert given is image
        return [[1, 2, 30, 40], [5, 6, 70, 80]]

    detector = CallableDetector(two)
    assert (detector.description, detector.images_only) == ("two", True)
    assert len(detector.find(frame(image))) == 2
    with pytest.raises(InputError, match="boxes have shape"):
        CallableDetector(lambda _: [[1, 2, 3]]).find(frame(image))
    np.testing.assert_array_equal(WholePictureDetector().find(frame(image)).boxes_xyxy, [[0, 0, 80, 100]])
