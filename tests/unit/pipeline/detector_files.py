"""Detectors' files for tests: a tiny one in every format, and the published RTMDet cut off before its boxes are placed."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepose.artifact import embed_spec
from edgepose.pipeline.detection.spec import DetectorInput, DetectorSpec
from edgepose.spec import Provenance

SIDE, STRIDE = 64, 32
TINY = DetectorSpec(
    name="tiny",
    kind="yolox",
    input=DetectorInput(height=SIDE, width=SIDE, pad=0),
    strides=(STRIDE,),
    overlap=0.45,
    min_score=0.4,
    provenance=Provenance(source="tiny.onnx"),
)
"""A grid of 2×2 cells. A person is a bright cell: as sure as it is bright in the network's first channel, and as large as the cell."""

WEIGHT = np.zeros((6, 3, STRIDE, STRIDE), np.float32)
WEIGHT[4, 0] = 1 / (255 * STRIDE**2)
BIAS = np.array([0.5, 0.5, 0, 0, 0, 1], np.float32)


def write_tiny(folder, form, spec=TINY):
    """Write the tiny detector, and the spec into it where there is one."""
    path = {"onnx": _write_onnx, "openvino": _write_openvino, "litert": _write_tflite, "coreml": _write_coreml}[form](folder)
    if spec is not None:
        embed_spec(path, spec)
    return path


def write_cut_rtmdet(path, published):
    """Cut RTMDet where scores and distances are known, with its outputs in the other order than the spec's."""
    model = onnx.load(published)
    ends = {"y.24": "scores", "onnx::Gather_1404": "distances"}
    needed, kept = set(ends), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.insert(0, node)
    kept += [helper.make_node("Identity", [old], [new]) for old, new in ends.items()]
    spec = DetectorSpec(
        name="rtmdet-cut",
        kind="rtmdet",
        input=DetectorInput(height=320, width=320, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
        overlap=0.6,
        min_score=0.3,
        provenance=Provenance(source="rtmdet-nano.onnx"),
    )
    outputs = [helper.make_tensor_value_info(name, 1, spec.outputs[name]) for name in ("distances", "scores")]
    source = helper.make_tensor_value_info("input", 1, spec.input_shape)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    graph = helper.make_graph(kept, "cut", [source], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), path)
    embed_spec(path, spec)
    return path


def _write_onnx(folder):
    nodes = [
        helper.make_node("Conv", ["images", "weight", "bias"], ["maps"], strides=[STRIDE, STRIDE]),
        helper.make_node("Reshape", ["maps", "shape"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
    ]
    constants = {"weight": WEIGHT, "bias": BIAS, "shape": np.array([1, 6, -1])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", 1, TINY.input_shape)],
        [helper.make_tensor_value_info("rows", 1, (1, 4, 6))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "tiny.onnx")
    return folder / "tiny.onnx"


def _write_openvino(folder):
    import openvino

    openvino.save_model(openvino.convert_model(_write_onnx(folder)), folder / "tiny.xml", compress_to_fp16=False)
    return folder / "tiny.xml"


def _write_tflite(folder):
    from edgepose_converters.tflite.graph import Graph, Operation, Tensor

    def constant(name, value):
        return Tensor(name=name, shape=value.shape, kind=value.dtype.name, data=value)

    source = Tensor(name="images", shape=TINY.input_shape)
    pixels, maps = Tensor(name="pixels", shape=(1, SIDE, SIDE, 3)), Tensor(name="maps", shape=(1, 2, 2, 6))
    rows = Tensor(name="rows", shape=(1, 4, 6))
    weights = [constant("weight", np.ascontiguousarray(WEIGHT.transpose(0, 2, 3, 1))), constant("bias", BIAS)]
    options = {"padding": 1, "strideH": STRIDE, "strideW": STRIDE, "dilationHFactor": 1, "dilationWFactor": 1}
    shape = np.array([1, 4, 6], np.int32)
    operations = [
        Operation(kind="TRANSPOSE", inputs=[source, constant("order", np.array([0, 2, 3, 1], np.int32))], output=pixels),
        Operation(kind="CONV_2D", inputs=[pixels, *weights], output=maps, options=options),
        Operation(kind="RESHAPE", inputs=[maps, constant("shape", shape)], output=rows, options={"newShape": [1, 4, 6]}),
    ]
    (folder / "tiny.tflite").write_bytes(Graph(operations=operations, input=source, output=rows).serialize("tiny"))
    return folder / "tiny.tflite"


def _write_coreml(folder):
    from mil_packages import IOS17, mb, save

    @mb.program(input_specs=[mb.TensorSpec(TINY.input_shape)], opset_version=IOS17)
    def program(images):
        maps = mb.conv(x=images, weight=WEIGHT, bias=BIAS, strides=[STRIDE, STRIDE], pad_type="valid")
        return mb.transpose(x=mb.reshape(x=maps, shape=[1, 6, 4]), perm=[0, 2, 1], name="rows")

    return save(folder / "tiny.mlpackage", program)
