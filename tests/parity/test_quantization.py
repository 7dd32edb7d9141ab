"""One decision, four formats: what NNCF decided is what each file holds and computes."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import openvino
import pytest
import torch
from ai_edge_litert import schema_py_generated as tflite
from checkpoints import make_spec, random_model
from onnx import TensorProto, numpy_helper

import edgepose
from edgepose.artifact import open_artifact
from edgepose.assets import DEFAULT_MODEL, SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.boxes import load_boxes
from edgepose.crop import crop
from edgepose.errors import ConversionError, DeviceError, InputError
from edgepose.image import read_image
from edgepose.models import Checkpoint, load_checkpoint
from edgepose.quantization import Quantization, apply, decide_weights, default_recipe, simulate
from edgepose.quantization.bounds import Bound, limit_loss
from edgepose.quantization.lowering import QuantizedModel
from edgepose.quantization.post_training import _quantize, _read_layers, import_nncf
from edgepose.quantization.preparation import prepare, smooth
from edgepose.quantization.saved import Decided, decide_from_photos
from edgepose_converters import convert, verification
from edgepose_converters.lowering import onnx as lowering

# One worker runs them all: the decisions and files that they share take most of the time.
pytestmark = pytest.mark.xdist_group("quantization")

HEIGHT, WIDTH = 64, 48
FORMATS = ("openvino", "onnx", "litert", "coreml")


def write_photos(folder: Path, count: int = 24) -> Path:
    """Cut pieces out of the sample photo: real texture, another piece in each."""
    image = cv2.imread(str(SAMPLE_IMAGE))
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        top, left = generator.integers(0, image.shape[0] - 160), generator.integers(0, image.shape[1] - 120)
        cv2.imwrite(str(folder / f"{number:03}.png"), image[top : top + 160, left : left + 120])
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("calibration") / "photos")


@pytest.fixture(scope="module", params=["classic", "simple"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    model = random_model(dim=64, depth=2, heads=2, head=request.param, keypoints=17, height=HEIGHT, width=WIDTH)
    return Checkpoint(model=model, spec=make_spec(model, name=f"tiny-{request.param}"))


@pytest.fixture(scope="module")
def decided(checkpoint: Checkpoint, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Decided:
    return decide_from_photos(checkpoint, "int8", photos=[photos], boxes=None, out=tmp_path_factory.mktemp("decision"))


@pytest.fixture(scope="module")
def files(checkpoint: Checkpoint, decided: Decided, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every quantized file, by target and precision."""
    out = tmp_path_factory.mktemp("files")
    decisions = [decided.quantization, *(decide_weights(checkpoint, default_recipe(kind)) for kind in ("int8-dynamic", "int4"))]
    outcomes = list(
        convert(
            checkpoint,
            targets=None,
            precisions=["int8", "int8-full", "int8-dynamic", "int4"],
            out=out,
            crops=decided.held_out,
            quantizations=decisions,
        )
    )
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return {f"{outcome.target} {outcome.precision}": outcome.path for outcome in outcomes}


def run(model: torch.nn.Module, crops: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(crops)).numpy()


def relative_rms(given: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.square(given - wanted).mean() / np.square(wanted).mean()))


def test_the_decision_is_what_nncf_put_into_its_own_model(checkpoint: Checkpoint, decided: Decided, photos: Path) -> None:
    """Run NNCF once more by hand and compare its integers, and what its model computes, with ours."""
    quantization = decided.quantization
    prepared = smooth(prepare(checkpoint.model), quantization.statistics.smoothing)
    crops = np.concatenate(
        [
            crop(read_image(path), [[0, 0, 120, 160]], checkpoint.spec.input, checkpoint.spec.codec).batch
            for path in sorted(photos.glob("*"))
        ]
    )
    theirs = _quantize(import_nncf(), prepared, quantization.recipe, crops, smoothing=False)
    ours = apply(checkpoint.model, replace(quantization, recipe=replace(quantization.recipe, float_layers=()))).layers
    seen = 0
    for node in theirs.get_ordered_ops():
        name = node.get_friendly_name().partition("/")[0].removeprefix("__module.")
        if node.get_type_name() == "MatMul" and name in ours:
            # Their weights are int8 constants behind a conversion and a multiplication.
            levels = node.input_value(1).get_node().input_value(0).get_node().input_value(0).get_node().data
            assert np.abs(levels.astype(int) - ours[name].weight).max() <= 1
            assert (levels != ours[name].weight).mean() < 0.02  # the largest weight of a row lies between two levels
            seen += 1
    assert seen == 8
    compiled = openvino.Core().compile_model(theirs, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    computed = np.concatenate([request.infer({0: each[None]})[0] for each in decided.held_out])
    # But for the one bias of theirs that we don't take.
    layers = quantization.statistics.layers
    window = replace(layers["backbone.patch_embed"], bias=dict(_read_layers(theirs))["backbone.patch_embed"].bias)
    statistics = replace(quantization.statistics, layers=layers | {"backbone.patch_embed": window})
    recipe = replace(quantization.recipe, float_layers=())
    everything = apply(checkpoint.model, replace(quantization, recipe=recipe, statistics=statistics))
    assert relative_rms(computed, run(simulate(everything), decided.held_out)) < 0.08


@pytest.mark.parametrize("target", FORMATS)
def test_static_files_compute_what_was_simulated(target: str, checkpoint: Checkpoint, decided: Decided, files: dict[str, Path]) -> None:
    simulated = run(simulate(apply(checkpoint.model, decided.quantization)), decided.held_out)
    exact = run(checkpoint.model, decided.held_out)
    assert relative_rms(simulated, exact) < 0.05
    with edgepose.load(files[f"{target} int8"]) as session:
        computed = session.run(decided.held_out)
    assert relative_rms(computed, simulated) < 0.05
    # And it is the rounded model, not the float one under another name.
    assert relative_rms(computed, exact) > 0.3 * relative_rms(simulated, exact) > 1e-3


@pytest.mark.parametrize("precision", ["int8-dynamic", "int4"])
@pytest.mark.parametrize("target", FORMATS)
def test_weight_only_files_compute_what_was_simulated(
    target: str, precision: str, checkpoint: Checkpoint, decided: Decided, files: dict[str, Path]
) -> None:
    simulated = run(apply(checkpoint.model, decide_weights(checkpoint, default_recipe(precision))).module, decided.held_out)
    with edgepose.load(files[f"{target} {precision}"]) as session:
        assert relative_rms(session.run(decided.held_out), simulated) < 0.05


def test_the_integer_file_computes_what_was_simulated(checkpoint: Checkpoint, decided: Decided, files: dict[str, Path]) -> None:
    simulated = run(simulate(apply(checkpoint.model, decided.quantization)), decided.held_out)
    with edgepose.load(files["litert int8-full"]) as session:
        assert relative_rms(session.run(decided.held_out), simulated) < 0.1


@pytest.mark.parametrize("precision", ["int8", "int8-full", "int8-dynamic", "int4"])
def test_all_kernels_of_litert_compute_one_thing(precision: str, decided: Decided, files: dict[str, Path]) -> None:
    """A scale that one set of kernels reads in another way than the others is a mistake of the file, or of those kernels."""
    path = files[f"litert {precision}"]
    export = open_artifact(path).spec.export
    kernels = ["cpu", "builtin"] if precision == "int4" else ["cpu", "builtin", "reference"]
    assert [each.runtime.partition("(")[2] for each in export.parity[::2]] == [f"{name})" for name in kernels]
    results = {}
    for name in kernels:
        with edgepose.load(path, f"litert:{name}") as session:
            results[name] = session.run(decided.held_out[:3])
    for name in kernels[1:]:
        assert relative_rms(results[name], results["cpu"]) < 0.05
    assert ("not executed on" in export.details) is (precision == "int4")


def test_kernels_that_know_no_blocks_do_not_run_them(files: dict[str, Path]) -> None:
    """LiteRT's reference kernels, and all of them before 2.1, would take what they find in memory for the scales."""
    with pytest.raises(DeviceError, match=r"litert:reference can't run .*\.tflite: .* blocks, such as backbone.blocks.0.attn.qkv.q.weight"):
        edgepose.load(files["litert int4"], "litert:reference")
    versions = {}
    for precision in ("int8", "int8-dynamic", "int4"):
        model = tflite.ModelT.InitFromPackedBuf(files[f"litert {precision}"].read_bytes(), 0)
        versions[precision] = {code.version for code in model.operatorCodes if code.builtinCode == tflite.BuiltinOperator.FULLY_CONNECTED}
    # Those that TensorFlow Lite's own converter states: 12 for a scale per channel, 14 came with the release that reads blocks.
    assert versions == {"int8": {5}, "int8-dynamic": {12}, "int4": {14}}


def test_the_integer_file_holds_no_float(files: dict[str, Path]) -> None:
    graph = read_tflite(files["litert int8-full"])
    integers = {tflite.TensorType.INT8, tflite.TensorType.INT16, tflite.TensorType.INT32, tflite.TensorType.INT64}
    assert {tensor.type for tensor in graph.tensors} <= integers
    ports = [graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)]
    assert ports == [tflite.TensorType.INT8] * 2


def test_tflite_stores_integers_and_their_scales(checkpoint: Checkpoint, decided: Decided, files: dict[str, Path]) -> None:
    layers = apply(checkpoint.model, decided.quantization).layers
    graph = read_tflite(files["litert int8"])
    weights = {tensor.name.decode(): tensor for tensor in graph.tensors if tensor.name.decode().endswith(".weight")}
    fc1 = layers["backbone.blocks.1.mlp.fc1"]
    stored = weights["backbone.blocks.1.mlp.fc1.weight"]
    assert stored.type == tflite.TensorType.INT8
    np.testing.assert_allclose(stored.quantization.scale, fc1.scale, rtol=1e-6)
    inputs = {tensor.name.decode(): tensor for tensor in graph.tensors}["backbone.blocks.1.mlp.fc1.input"]
    assert inputs.quantization.scale[0] == pytest.approx(fc1.input.scale, rel=1e-6)
    assert inputs.quantization.zeroPoint[0] == fc1.input.zero_point - 128
    # Buffers start at multiples of 16 bytes, as kernels on Arm need.
    content = files["litert int8"].read_bytes()
    assert content.find(fc1.weight.tobytes()) % 16 == 0


def test_onnx_holds_the_fused_pattern(checkpoint: Checkpoint, decided: Decided, files: dict[str, Path]) -> None:
    layers = apply(checkpoint.model, decided.quantization).layers
    graph = onnx.load(files["onnx int8"]).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["QuantizeLinear"] == len(layers)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    name = next(name for name in layers if name.endswith(".attn.proj"))
    assert constants[f"{name}.weight_levels"].data_type == TensorProto.INT8
    np.testing.assert_array_equal(numpy_helper.to_array(constants[f"{name}.weight_levels"]), layers[name].weight.T)
    assert constants[f"{name}.bias_levels"].data_type == TensorProto.INT32
    assert numpy_helper.to_array(constants[f"{name}.input_zero_point"]).dtype == np.uint8
    dynamic = Counter(node.op_type for node in onnx.load(files["onnx int8-dynamic"]).graph.node)
    assert dynamic["MatMulInteger"] == dynamic["DynamicQuantizeLinear"] == 8
    four = {tensor.data_type for tensor in onnx.load(files["onnx int4"]).graph.initializer}
    assert TensorProto.INT4 in four


def test_the_window_on_the_picture_keeps_its_bias(checkpoint: Checkpoint, decided: Decided) -> None:
    """NNCF would correct it by what a picture of one colour gives: four times the error of everything else."""
    prepared = prepare(checkpoint.model)
    bias = apply(checkpoint.model, decided.quantization).every_layer["backbone.patch_embed"].bias
    np.testing.assert_array_equal(bias, prepared.backbone.patch_embed.bias.detach().numpy())


def test_openvino_holds_compressed_weights(files: dict[str, Path], decided: Decided, checkpoint: Checkpoint) -> None:
    layers = apply(checkpoint.model, decided.quantization).layers
    for precision, kind, count in (("int8", "i8", len(layers)), ("int4", "i4", 8)):
        model = openvino.Core().read_model(files[f"openvino {precision}"])
        types = Counter(node.get_element_type().get_type_name() for node in model.get_ops() if node.get_type_name() == "Constant")
        assert types[kind] == count


def test_all_files_of_one_decision_name_it(decided: Decided, files: dict[str, Path]) -> None:
    for target in FORMATS:
        export = open_artifact(files[f"{target} int8"]).spec.export
        assert export.quantization.sha256 == decided.quantization.sha256()
        assert export.quantization.float_layers == decided.quantization.recipe.float_layers
        assert [parity.reference for parity in export.parity] == ["simulated", "float"] * (len(export.parity) // 2)
        assert all(parity.relative_rms is not None for parity in export.parity)


def test_a_decision_is_taken_up_again(checkpoint: Checkpoint, decided: Decided, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr("edgepose.quantization.saved.decide", forbidden)
    again = decide_from_photos(checkpoint, "int8", photos=[photos], boxes=None, out=decided.path.parent)
    assert again.reused
    assert again.quantization == decided.quantization
    other = random_model(dim=64, depth=2, heads=2, head="simple", keypoints=17, height=HEIGHT, width=WIDTH, seed=9)
    with pytest.raises(AssertionError, match="calibrated again"):
        decide_from_photos(replace(checkpoint, model=other), "int8", photos=[photos], boxes=None, out=decided.path.parent)


def test_the_ranking_covers_every_layer(checkpoint: Checkpoint, decided: Decided) -> None:
    statistics = decided.quantization.statistics
    errors = [entry.error for entry in statistics.sensitivity]
    assert errors == sorted(errors, reverse=True)
    assert min(errors) > 0
    assert {entry.layer for entry in statistics.sensitivity} == set(statistics.layers) - {"head.final"}
    assert set(statistics.norms) == {name for name, module in checkpoint.model.named_modules() if isinstance(module, torch.nn.LayerNorm)}


def test_targets_say_what_they_can_hold(checkpoint: Checkpoint, decided: Decided, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="onnx files can't hold precision 'int8-full'; they hold: fp32, fp16, int8, int8-dynamic, int4"):
        next(convert(checkpoint, targets=["onnx"], precisions=["int8-full"], out=tmp_path, quantizations=[decided.quantization]))


def test_a_quantized_precision_needs_a_decision(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (outcome,) = convert(checkpoint, targets=["onnx"], precisions=["int8"], out=tmp_path)
    assert "needs a decision" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_scale_gets_no_file(checkpoint: Checkpoint, decided: Decided, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lowering that puts scales on the wrong channels is found by reading back what it wrote, and by executing it where that fails."""
    original = lowering.lower

    def mixed_up(model: onnx.ModelProto, quantized: QuantizedModel) -> None:
        layers = {name: replace(layer, scale=layer.scale[::-1].copy()) for name, layer in quantized.layers.items()}
        original(model, replace(quantized, layers=layers))

    monkeypatch.setattr(lowering, "lower", mixed_up)
    (outcome,) = convert(
        checkpoint, targets=["onnx"], precisions=["int8"], out=tmp_path, crops=decided.held_out, quantizations=[decided.quantization]
    )
    assert "backbone.patch_embed, channel 0: the file holds the weight scale" in outcome.error
    monkeypatch.setattr("edgepose_converters.conversion.read_back", lambda *_arguments: 0)
    (outcome,) = convert(
        checkpoint, targets=["onnx"], precisions=["int8"], out=tmp_path, crops=decided.held_out, quantizations=[decided.quantization]
    )
    assert "differ from the simulated model" in outcome.error
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Crops of the people in the sample photo, at the embedded model's size."""
    spec = load_checkpoint(DEFAULT_MODEL).spec
    boxes = load_boxes(SAMPLE_BOXES).for_image(SAMPLE_IMAGE.name)
    return crop(read_image(SAMPLE_IMAGE), boxes, spec.input, spec.codec).batch


def test_weight_only_int8_hardly_moves_the_embedded_models_keypoints(people: np.ndarray) -> None:
    checkpoint = load_checkpoint(DEFAULT_MODEL)
    quantized = apply(checkpoint.model, decide_weights(checkpoint, default_recipe("int8-dynamic")))
    agreement = verification.measure_agreement(
        run(quantized.module, people), run(checkpoint.model, people), run(checkpoint.model, people), checkpoint.spec
    )
    assert agreement.shift_px is not None
    assert agreement.shift_px < 0.3


def make_bounded(checkpoint: Checkpoint, decided: Decided, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random heads score nothing: count every keypoint."""
    monkeypatch.setattr("edgepose.quantization.agreement.MIN_SCORE", -np.inf)


def test_layers_return_to_float_until_the_loss_is_bounded(
    checkpoint: Checkpoint, decided: Decided, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bounded(checkpoint, decided, monkeypatch)
    start = limit_loss(checkpoint, decided.quantization, decided.held_out, Bound(kind="px", largest=1e9))
    assert start.reverted == ()
    assert start.before == start.after > 0
    bounded = limit_loss(checkpoint, decided.quantization, decided.held_out, Bound(kind="px", largest=start.before * 0.6))
    assert bounded.after <= start.before * 0.6
    ranking = [entry.layer for entry in decided.quantization.statistics.sensitivity]
    remaining = [layer for layer in ranking if layer not in decided.quantization.recipe.float_layers]
    assert bounded.reverted == tuple(remaining[: len(bounded.reverted)]) != ()
    assert set(bounded.reverted) <= set(bounded.quantization.recipe.float_layers)
    with pytest.raises(ConversionError, match="above the bound"):
        limit_loss(checkpoint, decided.quantization, decided.held_out, Bound(kind="px", largest=1e-9))


def test_an_edited_file_is_what_counts(checkpoint: Checkpoint, decided: Decided, tmp_path: Path) -> None:
    document = json.loads(decided.path.read_text())
    document["recipe"]["float_layers"].append("backbone.blocks.0.mlp.fc1")
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(document))
    edited = apply(checkpoint.model, Quantization.load(path))
    assert "backbone.blocks.0.mlp.fc1" not in edited.layers
    assert len(edited.layers) == len(apply(checkpoint.model, decided.quantization).layers) - 1


def read_tflite(path: Path) -> tflite.SubGraphT:
    return tflite.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs[0]


def test_zero_biases_are_corrected_too(photos: Path, tmp_path: Path) -> None:
    """A network as it comes from an initialization: OpenVINO leaves out biases of zero."""
    model = random_model(dim=64, depth=1, heads=2, head="classic", keypoints=17, height=HEIGHT, width=WIDTH)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        for norm in (model.head.bn1, model.head.bn2):
            norm.running_mean.zero_()
    checkpoint = Checkpoint(model=model, spec=make_spec(model, name="zero"))
    decided = decide_from_photos(checkpoint, "int8", photos=[photos], boxes=None, out=tmp_path)
    layers = decided.quantization.statistics.layers
    assert [name for name, layer in layers.items() if not any(layer.bias)] == ["backbone.patch_embed"]  # which keeps its own
    decisions = [decided.quantization, decide_weights(checkpoint, default_recipe("int8-dynamic"))]
    outcomes = convert(
        checkpoint, targets=None, precisions=["int8", "int8-dynamic"], out=tmp_path, crops=decided.held_out, quantizations=decisions
    )
    assert [outcome.error for outcome in outcomes] == [""] * 8


def test_wide_layers_run_with_dynamic_inputs(tmp_path: Path) -> None:
    """XNNPACK refuses such a layer when its bias isn't a constant: long ones mustn't be stored in half precision."""
    model = random_model(dim=256, depth=1, heads=2, head="simple", height=HEIGHT, width=WIDTH)
    checkpoint = Checkpoint(model=model, spec=make_spec(model, name="wide"))
    decisions = [decide_weights(checkpoint, default_recipe("int8-dynamic"))]
    (outcome,) = convert(checkpoint, targets=["litert"], precisions=["int8-dynamic"], out=tmp_path, quantizations=decisions)
    assert outcome.error == ""
