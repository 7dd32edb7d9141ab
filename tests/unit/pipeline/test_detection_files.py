"""Detectors' files: with a spec in every format, as published, damaged, and made to do harm."""

import dataclasses
import threading

import detector_files
import numpy as np
import onnx
import pytest
from detector_files import TINY, write_cut_rtmdet, write_tiny
from onnx import helper, numpy_helper
from pipeline_fakes import make_spec

import edgepose
from edgepose.artifact import embed_spec
from edgepose.errors import ArtifactError, DeviceError, EdgePoseError, InputError, IntegrityError, SpecError
from edgepose.pipeline.detection import open_detector
from edgepose.pipeline.detection.spec import DetectorSpec
from edgepose.weights import find_weights

FORMS = {"onnx": "onnxruntime:cpu", "openvino": "openvino:cpu", "litert": "litert:cpu", "coreml": "mil:cpu"}


def picture():
    """Twice as large as the tiny detector's input; the cell below and left is white in blue, which the network sees first."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[64:, :64, 2] = 255
    return image


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_any_format_is_run_by_the_spec_in_it(form, tmp_path):
    path = write_tiny(tmp_path, form)
    with open_detector(path, device=FORMS[form]) as detector:
        found = detector.find_in(picture())
        np.testing.assert_allclose(found.boxes_xyxy, [[0, 64, 64, 128]], atol=0.1)
        np.testing.assert_allclose(found.scores, [1], atol=1e-3)
        assert detector.description.startswith(f"{path.name} (YOLOX) on {FORMS[form].partition(':')[0]} ")
        assert detector.min_score == TINY.min_score
        assert len(detector.find_in(picture() // 4)) == 0
    with pytest.raises(InputError, match="closed"):
        detector.find_in(picture())


@pytest.mark.parametrize("device", ["onnxruntime:cpu", "openvino:cpu"])
def test_rtmdet_is_decoded_as_its_own_graph_does(device, tmp_path, request):
    image = edgepose.read_image(request.config.rootpath / "edgepose/assets/sample.jpg")
    published = open_detector("rtmdet-nano", device="onnxruntime:cpu", threads=1, min_score=0.1).find_in(image)
    cut = write_cut_rtmdet(tmp_path / "cut.onnx", find_weights("rtmdet-nano"))
    detector = open_detector(cut, device=device, threads=1, min_score=0.1)
    found = detector.find_in(image)
    assert len(found) == len(published) > 3
    np.testing.assert_allclose(found.scores, published.scores, atol=1e-3)
    for box in published.boxes_xyxy:
        assert np.abs(found.boxes_xyxy - box).max(axis=1).min() < 0.1
    assert [output.shape for output in detector.run(np.zeros((1, 3, 320, 320), np.float32))] == [(1, 2100, 1), (1, 2100, 4)]


def test_the_input_size_of_a_file_that_leaves_it_open(request):
    image = edgepose.read_image(request.config.rootpath / "edgepose/assets/sample.jpg")
    small, large = (open_detector("rtmdet-nano", threads=1, min_score=0.5, input_size=size) for size in ((320, 320), (256, 448)))
    assert len(small.find_in(image))
    found = large.find_in(image)
    for box in small.find_in(image).boxes_xyxy:
        assert np.abs(found.boxes_xyxy - box).max(axis=1).min() < 0.1 * max(image.shape)
    with pytest.raises(InputError, match="input width is 330; allowed: multiples of 32"):
        open_detector("rtmdet-nano", input_size=(320, 330))
    with pytest.raises(InputError, match=r"input_size is \(320, 320\), but yolox-nano takes \(416, 416\) alone"):
        open_detector("yolox-nano", input_size=(320, 320))


def test_a_spec_survives_its_document():
    export = {"target": "onnx", "precision": "fp16", "parity": [{"pictures": 3, "people": 2, "missed": 0, "max_abs_score": 0.01}]}
    document = TINY.to_json().replace('"export":null', f'"export":{export}'.replace("'", '"'))
    with pytest.raises(SpecError, match=r"spec.export.parity\[0\] lacks field\(s\) max_shift_px, runtime"):
        DetectorSpec.from_json(document, where="spec")
    assert DetectorSpec.from_json(TINY.to_json()) == TINY


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"strides": (7,)}, "strides are"),
        ({"strides": (8,) * 9}, "strides are"),
        ({"person": 1}, "people are class 1 of 1"),
        ({"classes": 10**9}, "people are class"),
        ({"min_score": 1.5}, "min_score is 1.5"),
        ({"form": "suppressed"}, "has the form 'suppressed'"),
        ({"name": "../x"}, "name is"),
    ],
)
def test_specs_that_describe_no_detector_are_refused(change, why):
    with pytest.raises(SpecError, match=why):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize("change", [{"height": 70}, {"width": 1 << 20}, {"std": (1.0, 0.0, 1.0)}, {"pad": 300}])
def test_inputs_that_are_none_are_refused(change):
    with pytest.raises(SpecError):
        dataclasses.replace(TINY.input, **change)


def test_one_is_not_taken_for_the_other(tmp_path, request):
    path = write_tiny(tmp_path, "onnx")
    with pytest.raises(ArtifactError, match="that of a detector of people, not of a pose model: give the file as the detector"):
        edgepose.load(path)
    embed_spec(path, make_spec())
    with pytest.raises(ArtifactError, match="spec is that of a pose model, not of a detector"):
        open_detector(path)
    with pytest.raises(ArtifactError, match="weights of a pose model, not a detector"):
        open_detector(request.config.rootpath / "edgepose/assets/vitpose-ti.safetensors")


def test_a_network_that_is_none_of_them_is_refused_by_what_it_has(tmp_path):
    path = write_tiny(tmp_path, "onnx", None)
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[1].output[0]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value, model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 6, 4
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=r"isn't a detector that edgepose reads: it has images float32 \(1, 3, 64, 64\), columns"):
        open_detector(path)


def test_a_changed_byte_is_found(tmp_path):
    path = write_tiny(tmp_path, "onnx")
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHT_BYTES)] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="has changed since it was verified"):
        open_detector(path)


WEIGHT_BYTES = detector_files.WEIGHT[4, 0].tobytes()[:64]


@pytest.mark.parametrize("keep", [0, 1, 3, 100, 20_000])
def test_a_truncated_file_is_refused(keep, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(find_weights("yolox-nano").read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"cut\.onnx"):
        open_detector(path)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (dataclasses.replace(TINY, strides=(16,)), r"'rows' is float32 \(1, 4, 6\); expected \(1, 16, 6\)"),
        (dataclasses.replace(TINY, classes=2), r"expected \(1, 4, 7\)"),
        (dataclasses.replace(TINY, kind="rtmdet"), "gives 'rows'; expected 'scores', 'distances'"),
        (dataclasses.replace(TINY, input=dataclasses.replace(TINY.input, width=96)), r"'images' is float32 \(1, 3, 64, 64\)"),
    ],
)
def test_a_network_that_is_not_what_its_spec_says_is_refused(spec, why, tmp_path):
    with pytest.raises(ArtifactError, match=why):
        open_detector(write_tiny(tmp_path, "onnx", spec))


def _tiny_onnx(folder, change):
    path = write_tiny(folder, "onnx", None)
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    embed_spec(path, TINY)
    return path


def _name_another_file(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../../etc/passwd"), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)


def _hide_another_file(model):
    value = numpy_helper.from_array(np.zeros(4, np.float32))
    value.external_data.add(key="location", value="x")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def _branch(model):
    body = helper.make_graph([helper.make_node("Identity", ["rows"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, None)])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    model.graph.node.append(helper.make_node("If", ["c"], ["unused"], then_branch=body, else_branch=body))


def _own_operator(model):
    model.graph.node.append(helper.make_node("Evil", ["rows"], ["unused"], domain="com.evil"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_name_another_file, "its tensor 'weight' stands in another file"),
        (_hide_another_file, "stands in another file"),
        (_branch, "operator If holds a graph"),
        (_own_operator, r"uses the operator com\.evil\.Evil"),
    ],
)
def test_graphs_that_lead_elsewhere_are_refused_before_a_runtime_sees_them(change, why, tmp_path):
    with pytest.raises(ArtifactError, match=why):
        open_detector(_tiny_onnx(tmp_path, change))


def test_outputs_of_another_shape_than_the_spec_says_are_refused(tmp_path):
    detector = open_detector(write_tiny(tmp_path, "onnx"))
    detector.spec = dataclasses.replace(TINY, classes=3)
    with pytest.raises(EdgePoseError, match=r"gave 'rows' of shape \(1, 4, 6\); its spec says \(1, 4, 8\)"):
        detector.find_in(picture())


def test_a_detector_is_used_by_many_threads_and_closed_once(tmp_path):
    detector = open_detector(write_tiny(tmp_path, "litert"), threads=1)
    found = []

    def look():
        for _ in range(20):
            try:
                found.append(len(detector.find_in(picture())))
            except InputError:
                return

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    threads[0].join()
    detector.close()
    detector.close()
    for thread in threads:
        thread.join()
    assert set(found) == {1}


def test_runtimes_that_do_not_open_a_detector_say_so(tmp_path):
    with pytest.raises(DeviceError, match=r"'torch' doesn't open tiny\.onnx; it runs on: onnxruntime, openvino"):
        open_detector(write_tiny(tmp_path, "onnx"), device="torch:cpu")
