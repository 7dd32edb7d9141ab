"""Model files that are sealed and wrong: what they name, compute or take is looked at before a runtime sees them."""

import dataclasses
import json
import os
import time
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepose.artifact import embed_spec, open_artifact
from edgepose.artifact.limits import Limits, count_parameters
from edgepose.artifact.protobuf import message
from edgepose.artifact.shapes import Tally
from edgepose.errors import ArtifactError, SpecError
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.spec import Architecture, InputSpec

resource = pytest.importorskip("resource", reason="memory is measured as Unix does")

PUBLISHED = {"ti": (192, 12, 3), "s": (384, 12, 12), "b": (768, 12, 12), "l": (1024, 24, 16), "h": (1280, 32, 16)}


def change_spec(spec, **changes):
    """Change the network that a spec describes."""
    shape = {name: value for name, value in changes.items() if name in ("dim", "depth", "heads", "head")}
    rest = {name: value for name, value in changes.items() if name not in shape}
    return dataclasses.replace(spec, architecture=dataclasses.replace(spec.architecture, **shape), **rest)


# Limits


@pytest.mark.parametrize("size", PUBLISHED)
@pytest.mark.parametrize("head", ["classic", "simple"])
def test_every_published_network_is_within_the_limits(artifacts, size, head):
    dim, depth, heads = PUBLISHED[size]
    for height, width, batch in ((256, 192, 64), (384, 288, 16), (256, 256, 8)):
        spec = dataclasses.replace(
            artifacts.spec,
            architecture=Architecture(dim=dim, depth=depth, heads=heads, head=head),
            input=InputSpec(height=height, width=width),
        )
        limits = Limits.of(spec, batch=batch)
        assert limits.batch == batch
        assert limits.weights[0] < count_parameters(spec) < limits.weights[1]


@pytest.mark.parametrize("head", ["classic", "simple"])
def test_weights_are_counted_as_torch_counts_them(artifacts, head):
    import torch

    spec = change_spec(artifacts.spec, dim=96, depth=3, heads=4, head=head)
    with torch.device("meta"):
        model = ViTPose(VitPoseConfig.from_spec(spec))
    counted = sum(parameter.numel() for name, parameter in model.named_parameters() if ".bn" not in name)
    # BatchNorm is folded into a bias for each channel.
    assert count_parameters(spec) == counted + (2 * 256 if head == "classic" else 0)


@pytest.mark.parametrize(
    "change",
    [
        {"input": InputSpec(height=4096, width=4096)},
        {"dim": 8192, "depth": 1, "heads": 1, "input": InputSpec(height=2048, width=2048)},
    ],
)
def test_a_network_that_nobody_can_hold_is_refused(artifacts, change):
    with pytest.raises(SpecError, match="allowed"):
        Limits.of(change_spec(artifacts.spec, **change))


# Specs that describe another network than the file holds

KINDS = ("onnx", "openvino", "litert", "coreml", "safetensors")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"depth": 2},
        {"dim": 96},
        {"head": "classic"},
        {"input": InputSpec(height=64, width=64)},
        {"depth": 128, "dim": 8192, "heads": 1},
    ],
    ids=str,
)
def test_a_spec_of_another_network_is_refused(artifacts, tmp_path, kind, change):
    path = artifacts.copy(kind, tmp_path)
    embed_spec(path, change_spec(open_artifact(path).spec, **change))
    with pytest.raises(ArtifactError, match="tiny"):
        open_artifact(path)


@pytest.mark.parametrize("kind", ["onnx", "openvino", "litert", "coreml"])
def test_other_heads_are_refused(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    embed_spec(path, change_spec(open_artifact(path).spec, heads=1))
    with pytest.raises(ArtifactError, match="1 heads"):
        open_artifact(path)


@pytest.mark.parametrize("kind", ["onnx", "openvino", "litert", "coreml"])
def test_blocks_are_counted(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    embed_spec(path, change_spec(open_artifact(path).spec, depth=2))
    with pytest.raises(ArtifactError, match="has 1 attention blocks, and its spec says 2"):
        open_artifact(path)


def test_operators_are_stopped_by_what_they_hold_and_by_what_they_compute(artifacts, tmp_path):
    limits = Limits.of(artifacts.spec)
    for shape, multiplications, told in (
        ((limits.tensor_elements + 1,), 0, "values of at most"),
        ((8,), limits.multiplications + 1, "computes more than a ViTPose"),
    ):
        with pytest.raises(ArtifactError, match=told):
            Tally(tmp_path, artifacts.spec).add_results("MatMul", ["x"], [shape], multiplications=multiplications)
    tally = Tally(tmp_path, artifacts.spec)
    with pytest.raises(ArtifactError, match="computes more than a ViTPose"):
        for number in range(limits.total_elements // limits.tensor_elements + 2):
            tally.add_results("Relu", [number], [(limits.tensor_elements,)])


# ONNX


@pytest.fixture
def rewrite(artifacts, tmp_path):
    """Return a function that changes the ONNX file's model, seals it again, and returns its path."""

    def change(edit):
        path = artifacts.copy("onnx", tmp_path)
        spec = open_artifact(path).spec
        model = onnx.load(path)
        del model.metadata_props[:]
        edit(model)
        path.write_bytes(model.SerializeToString())
        embed_spec(path, spec)
        return path

    return change


def largest(model):
    return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))


def move_out(model, folder, location):
    """Move the largest tensor's values into another file."""
    tensor = largest(model)
    if folder is not None:
        (folder / location).write_bytes(tensor.raw_data)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


def test_a_tensor_in_the_hashed_neighbour_is_loaded(rewrite, tmp_path):
    path = rewrite(lambda model: move_out(model, tmp_path, "tiny.onnx.data"))
    assert [file.name for file in open_artifact(path).files] == ["tiny.onnx", "tiny.onnx.data"]


@pytest.mark.parametrize(
    "location",
    ["other.bin", "./tiny.onnx.data", "../tiny.onnx.data", "/etc/hostname", "TINY.onnx.data", "tiny.onnx", "", "a/../tiny.onnx.data"],
)
def test_a_tensor_in_any_other_file_is_refused(rewrite, tmp_path, location):
    def edit(model):
        for name in ("tiny.onnx.data", "other.bin"):
            (tmp_path / name).write_bytes(largest(model).raw_data)
        move_out(model, None, location)

    with pytest.raises(ArtifactError, match=r"stands in the file"):
        open_artifact(rewrite(edit))


def test_a_neighbour_that_was_renamed_is_refused(rewrite, tmp_path):
    path = rewrite(lambda model: move_out(model, tmp_path, "tiny.onnx.data"))
    (tmp_path / "tiny.onnx.data").rename(tmp_path / "new.onnx.data")
    with pytest.raises(ArtifactError, match=r"stands in the file 'tiny\.onnx\.data'.*'new\.onnx\.data'"):
        open_artifact(path.rename(tmp_path / "new.onnx"))


@pytest.mark.parametrize("make", ["symlink_to", "hardlink_to"])
def test_a_neighbour_that_is_a_link_is_refused(rewrite, tmp_path, make):
    path = rewrite(lambda model: move_out(model, tmp_path, "tiny.onnx.data"))
    data = tmp_path / "tiny.onnx.data"
    data.rename(tmp_path / "elsewhere")
    getattr(data, make)(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="a link, symbolic or hard"):
        open_artifact(path)


@pytest.mark.parametrize("value", ["-1", "1e3", "9" * 400, "1"])
@pytest.mark.parametrize("key", ["offset", "length"])
def test_a_place_outside_of_the_neighbour_is_refused(rewrite, tmp_path, key, value):
    def edit(model):
        move_out(model, tmp_path, "tiny.onnx.data")
        next(entry for entry in largest_external(model).external_data if entry.key == key).value = value

    with pytest.raises(ArtifactError, match="damaged: tensor"):
        open_artifact(rewrite(edit))


def largest_external(model):
    return next(tensor for tensor in model.graph.initializer if tensor.external_data)


def hide_in_an_attribute(model):
    tensor = TensorProto(name="t", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def hide_in_a_subgraph(model):
    body = helper.make_graph([], "body", [], [], [numpy_helper.from_array(np.zeros(4, np.float32), "t")])
    model.graph.node.insert(0, helper.make_node("If", ["input"], ["hidden"], then_branch=body, else_branch=body))


def hide_in_known_operator(model):
    body = helper.make_graph([], "body", [], [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", body))


def hide_in_a_sparse_tensor(model):
    model.graph.sparse_initializer.add().values.name = "sparse"


def hide_in_a_function(model):
    model.functions.add(name="f", domain="d").node.add(op_type="Relu")


def hide_in_training(model):
    model.training_info.add().initialization.name = "training"


def add_a_second_graph(model):
    del model.graph.output[:]


def insert(model, node, *constants):
    """Put a node between the input and the first node."""
    first = model.graph.node[0]
    position = list(first.input).index(model.graph.input[0].name)
    node.input[0] = model.graph.input[0].name
    first.input[position] = node.output[0]
    model.graph.node.insert(0, node)
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in constants)


def bomb_by_loop(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["x"], body=body))


def bomb_by_constant(model):
    insert(model, helper.make_node("ConstantOfShape", ["x"], ["bomb"]))


def bomb_by_tile(model):
    insert(model, helper.make_node("Tile", ["x", "r"], ["bomb"]), ("r", [1, 1, 30000, 30000]))


def bomb_by_expand(model):
    insert(model, helper.make_node("Expand", ["x", "r"], ["bomb"]), ("r", [1, 3, 30000, 30000]))


def bomb_by_resize(model):
    insert(model, helper.make_node("Resize", ["x", "", "", "r"], ["bomb"]), ("r", np.array([1, 3, 1 << 20, 1 << 20])))


def bomb_by_padding(model):
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    next(attribute for attribute in node.attribute if attribute.name == "pads").ints[:] = [1 << 20] * 4


def bomb_by_broadcast(model):
    insert(model, helper.make_node("Add", ["x", "r"], ["bomb"]), ("r", np.zeros((3000, 1, 1, 1), np.float32)))


def bomb_by_doubling(model):
    name = model.graph.input[0].name
    nodes = [helper.make_node("Concat", [name if not step else f"d{step}"] * 2, [f"d{step + 1}"], axis=0) for step in range(40)]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def bomb_by_many_operators(model):
    name = model.graph.input[0].name
    for step in range(5000):
        model.graph.node.insert(0, helper.make_node("Relu", [name], [f"r{step}"]))


def bomb_by_work(model):
    """Long, though nothing in it is large."""
    name = model.graph.input[0].name
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((48, 48), np.float32), "w"))
    for step in range(1000):
        model.graph.node.insert(step, helper.make_node("MatMul", [name if not step else f"m{step}", "w"], [f"m{step + 1}"]))


def claim_a_size(model):
    tensor = largest(model)
    tensor.dims[:] = [1 << 40, 1 << 40]


def claim_no_data(model):
    largest(model).ClearField("raw_data")


def use_a_stranger(model):
    model.graph.node[0].domain = "com.example"


def use_another_type(model):
    largest(model).data_type = TensorProto.STRING


def use_a_later_value(model):
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]


def define_twice(model):
    model.graph.node[1].output[0] = model.graph.node[0].output[0]


def take_two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("more", 1, [1]))


def attribute(model, kind, name):
    node = next(node for node in model.graph.node if node.op_type == kind)
    return next(each for each in node.attribute if each.name == name)


def normalize_attention_over_queries(model):
    attribute(model, "Softmax", "axis").i = 2


def normalize_over_tokens(model):
    attribute(model, "LayerNormalization", "axis").i = 1


def soften_a_norm(model):
    attribute(model, "LayerNormalization", "epsilon").f = 0.5


def approximate(model):
    attribute(model, "Gelu", "approximate").s = b"tanh"


def shift_samples(model):
    attribute(model, "Resize", "coordinate_transformation_mode").s = b"asymmetric"


HIDDEN = [hide_in_an_attribute, hide_in_a_subgraph, hide_in_known_operator, hide_in_a_sparse_tensor, hide_in_a_function, hide_in_training]
BOMBS = [
    bomb_by_loop,
    bomb_by_constant,
    bomb_by_tile,
    bomb_by_expand,
    bomb_by_resize,
    bomb_by_padding,
    bomb_by_broadcast,
    bomb_by_doubling,
    bomb_by_many_operators,
    bomb_by_work,
]
MEANINGS = [normalize_attention_over_queries, normalize_over_tokens, soften_a_norm, approximate, shift_samples]
LIES = [
    *MEANINGS,
    claim_a_size,
    claim_no_data,
    use_a_stranger,
    use_another_type,
    use_a_later_value,
    define_twice,
    take_two_inputs,
    add_a_second_graph,
]


@pytest.mark.parametrize("edit", [*HIDDEN, *BOMBS, *LIES], ids=lambda edit: edit.__name__)
def test_an_onnx_graph_that_edgepose_did_not_write(rewrite, edit):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(ArtifactError, match=r"tiny\.onnx: (not a graph that edgepose wrote|damaged)"):
        open_artifact(rewrite(edit))
    assert time.monotonic() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_millions_of_fields_are_refused_soon(tmp_path):
    """Bounded by a number of fields, not by a time."""
    for name, content in (("flat.onnx", b"\x10\x01" * 2_000_000), ("nested.onnx", message(14, message(1, b"")) * 1_000_000)):
        path = tmp_path / name
        path.write_bytes(b"\x08\x0a" + content)
        with pytest.raises(ArtifactError, match="more parts than the largest ViTPose"):
            open_artifact(path)


# OpenVINO


@pytest.fixture
def rewrite_xml(artifacts, tmp_path):
    """The same for an OpenVINO file; the change is of the parsed XML, or of its text."""

    def change(edit):
        path = artifacts.copy("openvino", tmp_path)
        spec = open_artifact(path).spec
        text = path.read_text()
        root = ElementTree.fromstring(text)
        info = root.find("rt_info")
        info.remove(info.find("edgepose"))
        changed = edit(root)
        path.write_text(changed if isinstance(changed, str) else '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode"))
        embed_spec(path, spec)
        return path

    return change


def layer(root, kind):
    return next(each for each in root.find("layers") if each.get("type") == kind)


def laugh(root):
    entities = "".join(f'<!ENTITY l{step + 1} "&l{step};&l{step};&l{step};&l{step};">' for step in range(20))
    return f'<?xml version="1.0"?>\n<!DOCTYPE net [<!ENTITY l0 "ha">{entities}]>' + ElementTree.tostring(root, encoding="unicode")


def include_a_file(root):
    return '<?xml version="1.0"?>\n<!DOCTYPE net SYSTEM "file:///etc/hostname">' + ElementTree.tostring(root, encoding="unicode")


def nest_deeply(root):
    head, end, tail = ElementTree.tostring(root, encoding="unicode").rpartition("</rt_info>")
    return f"{head}{'<x>' * 5000}{'</x>' * 5000}{end}{tail}"


def read_beyond_the_weights(root):
    layer(root, "Const").find("data").set("offset", str(1 << 40))


def read_before_the_weights(root):
    layer(root, "Const").find("data").set("offset", "-8")


def claim_another_size(root):
    layer(root, "Const").find("data").set("size", "4")


def use_a_loop(root):
    layer(root, "Gelu").set("type", "TensorIterator")


def hide_a_body(root):
    ElementTree.SubElement(layer(root, "Gelu"), "body")


def use_an_extension(root):
    layer(root, "Gelu").set("version", "extension")


def read_a_state(root):
    layer(root, "Gelu").set("type", "ReadValue")


def preprocess(root):
    ElementTree.SubElement(ElementTree.SubElement(layer(root, "Parameter"), "rt_info"), "attribute", name="preprocessing_28", version="0")


def pad_hugely(root):
    layer(root, "Convolution").find("data").set("pads_begin", "1000000, 1000000")


def resize_hugely(root):
    data = layer(root, "Interpolate").find("data")
    data.set("shape_calculation_mode", "sizes")


def join_two_edges(root):
    edges = root.find("edges")
    edges.append(edges[0])


XML_EDITS = [
    laugh,
    include_a_file,
    nest_deeply,
    read_beyond_the_weights,
    read_before_the_weights,
    claim_another_size,
    use_a_loop,
    hide_a_body,
    use_an_extension,
    read_a_state,
    preprocess,
    pad_hugely,
    resize_hugely,
    join_two_edges,
]


@pytest.mark.parametrize("edit", XML_EDITS, ids=lambda edit: edit.__name__)
def test_an_openvino_graph_that_edgepose_did_not_write(rewrite_xml, edit):
    with pytest.raises(ArtifactError, match=r"tiny\.xml: (not a graph that edgepose wrote|damaged)"):
        open_artifact(rewrite_xml(edit))


def test_an_untouched_openvino_graph_is_opened(rewrite_xml):
    assert open_artifact(rewrite_xml(lambda root: None)).format == "openvino"


# TFLite


@pytest.fixture
def rewrite_tflite(artifacts, tmp_path):
    """The same for a TFLite file, through the object form of its schema."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def change(edit):
        path = artifacts.copy("litert", tmp_path)
        spec = open_artifact(path).spec
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
        edit(model, schema)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        embed_spec(path, spec)
        return path

    return change


def find(model, schema, name):
    number = getattr(schema.BuiltinOperator, name)
    return next(op for op in model.subgraphs[0].operators if model.operatorCodes[op.opcodeIndex].builtinCode == number)


def set_builtin(name):
    def edit(model, schema):
        code = find(model, schema, "GELU").opcodeIndex
        model.operatorCodes[code].builtinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes[code].deprecatedBuiltinCode = min(127, getattr(schema.BuiltinOperator, name))

    edit.__name__ = f"use_{name.lower()}"
    return edit


def name_a_custom_operator(model, schema):
    model.operatorCodes[0].customCode = b"evil"


def resize_to_the_moon(model, schema):
    sizes = model.subgraphs[0].tensors[find(model, schema, "RESIZE_BILINEAR").inputs[1]].buffer
    model.buffers[sizes].data = np.frombuffer(np.array([1 << 20, 1 << 20], "<i4").tobytes(), np.uint8)


def reach_a_tensor_that_is_not_there(model, schema):
    find(model, schema, "SOFTMAX").inputs = [1 << 20]


def add_a_subgraph(model, schema):
    model.subgraphs.append(schema.SubGraphT())


def add_a_variable(model, schema):
    model.subgraphs[0].tensors[3].isVariable = True


def use_outside_data(model, schema):
    model.buffers[2].offset, model.buffers[2].size = 1 << 30, 100


def change_a_scale(model, schema):
    tensor = model.subgraphs[0].tensors[3]
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.array([np.nan], np.float32)


def declare_a_size(model, schema):
    model.subgraphs[0].tensors[find(model, schema, "SOFTMAX").outputs[0]].shape = [1000, 3, 12, 12]


TFLITE_EDITS = [
    *map(set_builtin, ("WHILE", "CALL_ONCE", "BROADCAST_TO", "CUSTOM", "TILE", "FILL")),
    name_a_custom_operator,
    resize_to_the_moon,
    reach_a_tensor_that_is_not_there,
    add_a_subgraph,
    add_a_variable,
    use_outside_data,
    change_a_scale,
    declare_a_size,
]


@pytest.mark.parametrize("edit", TFLITE_EDITS, ids=lambda edit: edit.__name__)
def test_a_tflite_graph_that_edgepose_did_not_write(rewrite_tflite, edit):
    with pytest.raises(ArtifactError, match=r"tiny\.tflite: (not a graph that edgepose wrote|not a model of edgepose|damaged)"):
        open_artifact(rewrite_tflite(edit))


def test_an_untouched_tflite_graph_is_opened(rewrite_tflite):
    assert open_artifact(rewrite_tflite(lambda model, schema: None)).format == "litert"


# Core ML

MODEL = "Data/com.apple.CoreML/model.mlmodel"


@pytest.fixture
def rewrite_package(artifacts, tmp_path):
    """The same for a Core ML package; the change is of the model and its block."""
    from coremltools.proto.Model_pb2 import Model

    def change(edit):
        path = artifacts.copy("coreml", tmp_path)
        spec = open_artifact(path).spec
        model = Model.FromString((path / MODEL).read_bytes())
        model.description.metadata.userDefined.clear()
        (function,) = model.mlProgram.functions.values()
        edit(model, function.block_specializations[function.opset])
        (path / MODEL).write_bytes(model.SerializeToString())
        embed_spec(path, spec)
        return path

    return change


def operation(block, kind):
    return next(each for each in block.operations if each.type == kind)


def tile(_model, block):
    operation(block, "gelu").type = "tile"


def upsample(_model, block):
    factor = operation(block, "upsample_bilinear").inputs["scale_factor_height"].arguments[0].name
    constant = next(each for each in block.operations if each.outputs[0].name == factor)
    constant.attributes["val"].immediateValue.tensor.floats.values[0] = 50_000


def loop(_model, block):
    operation(block, "gelu").type = "while_loop"


def hide_blocks(_model, block):
    operation(block, "gelu").blocks.add()


def declare_outputs(_model, block):
    operation(block, "softmax").outputs[0].type.tensorType.dimensions[1].constant.size = 1 << 40


def become_updatable(model, _block):
    model.isUpdatable = True


@pytest.mark.parametrize("edit", [tile, upsample, loop, hide_blocks, declare_outputs, become_updatable], ids=lambda edit: edit.__name__)
def test_a_core_ml_program_that_edgepose_did_not_write(rewrite_package, edit):
    with pytest.raises(ArtifactError, match=r"tiny\.mlpackage"):
        open_artifact(rewrite_package(edit))


@pytest.mark.parametrize("item", ["../../secret", "/etc", "com.apple.CoreML/../../.."])
def test_a_manifest_whose_other_items_lead_out(artifacts, tmp_path, item):
    path = artifacts.copy("coreml", tmp_path)
    spec = open_artifact(path).spec
    manifest = json.loads((path / "Manifest.json").read_text())
    other = next(key for key in manifest["itemInfoEntries"] if key != manifest["rootModelIdentifier"])
    manifest["itemInfoEntries"][other]["path"] = item
    (path / "Manifest.json").write_text(json.dumps(manifest))
    embed_spec(path, spec)
    with pytest.raises(ArtifactError, match="outside the package"):
        open_artifact(path)


def test_a_package_with_a_hard_link_is_refused(artifacts, tmp_path):
    path = artifacts.copy("coreml", tmp_path)
    os.link(path / "Data/com.apple.CoreML/weights/weight.bin", tmp_path / "other name")
    with pytest.raises(ArtifactError, match="hard link"):
        open_artifact(path)


# safetensors


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header.pop("backbone.norm.bias"),
        lambda header: header.update(extra=header["backbone.norm.bias"]),
        lambda header: header["backbone.norm.bias"].update(shape=[1 << 60]),
        lambda header: header["backbone.norm.bias"].update(shape="48"),
        lambda header: header["backbone.norm.bias"].update(dtype=["F32"]),
        lambda header: header["backbone.norm.bias"].update(data_offsets=[0, 1 << 70]),
        lambda header: header["backbone.norm.bias"].update(data_offsets=[True, 192]),
    ],
)
def test_a_safetensors_header_that_does_not_fit(artifacts, tmp_path, edit):
    path = artifacts.copy("safetensors", tmp_path)
    spec, content = open_artifact(path).spec, path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    embed_spec(path, spec)
    with pytest.raises(ArtifactError, match=r"tiny\.safetensors"):
        open_artifact(path)


def test_a_deep_network_is_refused_before_it_is_made(artifacts, tmp_path):
    path = artifacts.copy("safetensors", tmp_path)
    document = json.loads(open_artifact(path).spec.to_json())
    document["architecture"]["depth"] = 100_000

    class Document:
        def to_json(self):
            return json.dumps(document)

    embed_spec(path, Document())
    with pytest.raises(ArtifactError, match="depth 100000; allowed"):
        open_artifact(path)
