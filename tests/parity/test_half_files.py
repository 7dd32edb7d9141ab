"""fp16 files of networks that half precision doesn't hold: refused, marked, or with float32 where it is needed."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from ai_edge_litert import schema_py_generated as tflite
from checkpoints import make_spec, random_model
from onnx import TensorProto

from edgepose.artifact import open_artifact
from edgepose.cli import main
from edgepose.models import Checkpoint, for_export, save_checkpoint
from edgepose.precision import get_precision
from edgepose_converters import TARGETS, Conversion, HalfRequest, convert
from edgepose_converters.half import scale_stream
from edgepose_converters.target import Source
from edgepose_converters.targets import get_target
from edgepose_converters.verification import make_reference

# One worker runs them all: the files that they share take most of the time.
pytestmark = pytest.mark.xdist_group("half")

FLOAT32 = {
    *("backbone.blocks.0.mlp.fc2", "backbone.blocks.0.mlp.residual", "backbone.blocks.1.norm1", "backbone.blocks.1.attn.scores"),
    *("backbone.blocks.1.attn.softmax", "backbone.blocks.1.attn.residual", "backbone.blocks.1.norm2", "backbone.blocks.1.mlp.residual"),
    *("backbone.norm", "head.final"),
}
"""What the model below needs."""


@pytest.fixture(scope="module", params=["simple", "classic"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """A network whose residual stream, attention scores and heatmaps are beyond half precision."""
    model = random_model(dim=48, depth=2, heads=3, head=request.param, keypoints=17, height=64, width=48)
    with torch.no_grad():
        model.backbone.blocks[0].mlp.fc2.weight[7] *= 3e5
        model.backbone.blocks[1].attn.qkv.weight[:96] *= 400.0
        model.head.final.weight.mul_(1e6)
    return Checkpoint(model=model, spec=make_spec(model, name=f"large-{request.param}"))


@pytest.fixture(scope="module")
def mixed(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    out = tmp_path_factory.mktemp("mixed")
    request = HalfRequest(keep_float32=("auto",))
    return {each.target: each for each in convert(checkpoint, targets=None, precisions=["fp16"], out=out, half=request)}


@pytest.mark.parametrize("target", TARGETS)
def test_mixed_files_compute_the_network(target: str, checkpoint: Checkpoint, mixed: dict[str, Conversion]) -> None:
    """ONNX Runtime and the evaluator of Core ML's programs round to half precision where the files do."""
    outcome = mixed[target]
    assert outcome.error == ""
    assert max(parity.relative for parity in outcome.parity) < 3e-3
    half = open_artifact(outcome.path).spec.export.half
    assert set(half.float32) == FLOAT32
    assert half.fit is (target != "litert")
    assert any("in float32: backbone.blocks.0.mlp.fc2" in note for note in outcome.notes)


def test_onnx_holds_float32_where_it_is_needed(mixed: dict[str, Conversion]) -> None:
    graph = onnx.load(mixed["onnx"].path).graph
    kinds = {tensor.name.removeprefix("module."): tensor.data_type for tensor in graph.initializer}
    assert kinds["backbone.blocks.1.norm1.weight"] == kinds["head.final.weight"] == kinds["head.final.bias"] == TensorProto.FLOAT
    assert kinds["backbone.blocks.1.mlp.fc1.bias"] == kinds["backbone.patch_embed.weight"] == TensorProto.FLOAT16
    values = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    softmax = [values[node.output[0]] for node in graph.node if node.op_type == "Softmax"]
    assert softmax == [TensorProto.FLOAT16, TensorProto.FLOAT]


def test_coreml_holds_float32_where_it_is_needed(mixed: dict[str, Conversion]) -> None:
    from coremltools.models import MLModel

    (function,) = MLModel(str(mixed["coreml"].path), skip_model_load=True).get_spec().mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    half, full = 10, 11
    kinds: dict[str, list[int]] = {}
    for op in block.operations:
        kinds.setdefault(op.type, []).append(op.outputs[0].type.tensorType.dataType)
    assert kinds["softmax"] == [half, full]
    assert kinds["gelu"] == [half, half]
    assert kinds["layer_norm"] == [half, half, full, full, full]
    assert kinds["linear"] == [half, half, half, full, half, half, half, half]


def test_openvino_marks_what_needs_float32(mixed: dict[str, Conversion], checkpoint: Checkpoint) -> None:
    path = mixed["openvino"].path
    marks = {
        layer.get("name").removeprefix("__module.").partition("/")[0]
        for layer in ET.parse(path).iterfind("./layers/layer")
        if layer.find("./rt_info/attribute[@name='precise']") is not None
    }
    layers = {name for name in FLOAT32 if name.endswith(("fc2", "norm1", "norm2", "norm", "final"))}
    assert layers <= marks
    # The rest are operators without weights, known by the module that they are in, and constants.
    assert {name for name in marks if name.startswith(("backbone", "head"))} - layers == {
        "backbone.blocks.0",
        "backbone.blocks.1",
        "backbone.blocks.1.attn",
    }
    kinds = {
        node.get_friendly_name(): node.get_element_type().get_type_name()
        for node in openvino.Core().read_model(path).get_ops()
        if node.get_type_name() == "Constant"
    }
    assert kinds["self.head.final.weight"] == kinds["self.backbone.blocks.0.mlp.fc2.weight"] == "f32"
    assert kinds["self.backbone.blocks.0.mlp.fc1.weight_compressed"] == "f16"
    assert {file.suffix for file in path.parent.glob("large-*fp16.*")} >= {".xml", ".bin"}
    assert not list(path.parent.glob("*marked*"))


def test_a_cpu_that_computes_in_half_precision_agrees(checkpoint: Checkpoint, mixed: dict[str, Conversion], tmp_path: Path) -> None:
    core = openvino.Core()
    if "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no half-precision arithmetic")
    path = mixed["openvino"].path
    unmarked = tmp_path / "unmarked.xml"
    document = ET.parse(path)
    for facts in document.iterfind("./layers/layer/rt_info"):
        for mark in facts.findall("./attribute[@name='precise']"):
            facts.remove(mark)
    document.write(unmarked)
    unmarked.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes())
    reference = make_reference(checkpoint.model, checkpoint.spec)
    errors = []
    for file in (path, unmarked):
        compiled = core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f16"})
        heatmaps = np.concatenate([compiled(each[None])[0] for each in reference.crops])
        errors.append(np.abs(heatmaps - reference.heatmaps).max() / np.abs(reference.heatmaps).max())
    assert errors[0] < 1e-2
    assert not errors[1] < 1e-2


def test_tflite_stores_float32_and_says_that_it_is_no_more(mixed: dict[str, Conversion]) -> None:
    graph = tflite.ModelT.InitFromPackedBuf(mixed["litert"].path.read_bytes(), 0).subgraphs[0]
    kinds = {tensor.name.decode(): tensor.type for tensor in graph.tensors if tensor.buffer}
    half = {name.removesuffix(".half") for name, kind in kinds.items() if kind == tflite.TensorType.FLOAT16}
    assert {"backbone.blocks.0.mlp.fc1.weight", "backbone.blocks.1.mlp.fc2.weight"} <= half
    assert not {"backbone.blocks.0.mlp.fc2.weight", "head.final.weight"} & half
    (note,) = mixed["litert"].notes
    assert note.startswith("not for devices that compute in half precision; ")
    assert "TFLite can't say which operators need float32" in note


def test_the_command_refuses_marks_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_model(dim=48, depth=1, heads=3, head="simple", keypoints=5, height=64, width=48)
    with torch.no_grad():
        model.head.final.weight.mul_(1e6)
    weights = tmp_path / "large.safetensors"
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model, name="large")), weights)
    out = tmp_path / "out"
    command = ["convert", str(weights), "--out", str(out), "--to"]
    assert main([*command, "openvino,onnx,litert,coreml"]) == 1
    refused = "".join(capsys.readouterr())
    for suffix in ("xml", "onnx", "tflite", "mlpackage"):
        assert f"large-64x48-fp16.{suffix}: in half precision head.final overflows: it reaches" in refused
    assert not out.exists() or list(out.iterdir()) == []
    assert main([*command, "openvino", "--float32-devices"]) == 0
    assert "fp16.xml: not for devices that compute in half precision; in half precision head.final" in capsys.readouterr().out
    assert main(["info", str(out / "large-64x48-fp16.xml")]) == 0
    assert "half       not for devices that compute in half precision" in capsys.readouterr().out
    assert main([*command, "openvino", "--keep-float32", "backbone.blocks.9"]) in (1, 2)
    assert "no operator 'backbone.blocks.9' to keep in float32; it has: backbone.patch_embed" in capsys.readouterr().err


def test_a_scale_costs_no_byte(tmp_path: Path) -> None:
    model = for_export(random_model(dim=48, depth=2, heads=3, head="simple", keypoints=5, height=64, width=48))
    sizes = []
    for number, module in enumerate((model, scale_stream(model, 1 / 8))):
        path = tmp_path / f"{number}.tflite"
        get_target("litert").write(Source(module=module, spec=make_spec(model)), path, precision=get_precision("fp16"), batch=1)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1]
