"""A fault in one layer of a right file is refused, whatever the format and precision, and the message names the layer."""

import shutil
from collections.abc import Callable
from copy import deepcopy as copy_model
from dataclasses import replace
from pathlib import Path

import decisions
import faults
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from checkpoints import make_spec, random_model
from faults import PROJ, Stored

from edgepose.artifact import embed_spec, open_artifact
from edgepose.errors import InputError, VerificationError
from edgepose.models import Checkpoint, for_export
from edgepose.models.vitpose import ViTPose
from edgepose.precision import PRECISIONS, get_precision
from edgepose.quantization import Quantization, apply
from edgepose.quantization.lowering import QuantizedModel
from edgepose_converters import convert, verify
from edgepose_converters.fault import explain_failure
from edgepose_converters.readback import read_back
from edgepose_converters.target import Source
from edgepose_converters.targets import TARGETS, get_target

# One worker runs them all: they share the files.
pytestmark = pytest.mark.xdist_group("planted")

HEIGHT, WIDTH = 64, 48
QUANTIZED = [(target, name) for name, each in PRECISIONS.items() if each.quantized for target in each.formats]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    model = random_model(dim=64, depth=1, heads=2, head="simple", keypoints=17, height=HEIGHT, width=WIDTH)
    return Checkpoint(model=model, spec=make_spec(model, name="tiny"))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def decided(checkpoint: Checkpoint, crops: np.ndarray) -> dict[str, Quantization]:
    kinds = ("int8", "int8-dynamic", "int4")
    return {kind: decisions.decide_by_hand(checkpoint.model, kind, crops, smoothing=kind == "int8") for kind in kinds}


@pytest.fixture(scope="module")
def applied(checkpoint: Checkpoint, decided: dict[str, Quantization]) -> dict[str, QuantizedModel]:
    return {kind: apply(checkpoint.model, decision) for kind, decision in decided.items()}


@pytest.fixture(scope="module")
def files(
    checkpoint: Checkpoint, decided: dict[str, Quantization], crops: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    outcomes = convert(
        checkpoint,
        targets=None,
        precisions=[name for name in PRECISIONS if name != "fp32"],
        out=tmp_path_factory.mktemp("right"),
        crops=crops[:4],
        quantizations=list(decided.values()),
    )
    written = {}
    for outcome in outcomes:
        assert outcome.error == ""
        written[outcome.target, outcome.precision] = outcome.path
    return written


def copy(path: Path, folder: Path) -> Path:
    if path.is_dir():
        return Path(shutil.copytree(path, folder / path.name))
    for each in (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,):
        shutil.copy(each, folder)
    return folder / path.name


def check(path: Path, target: str, precision: str, checkpoint: Checkpoint, applied: dict[str, QuantizedModel]) -> int:
    held = get_precision(precision)
    quantized = applied.get(held.decision or "")
    return read_back(path, for_export(checkpoint.model), quantized, held, target)


def cases() -> list[tuple[str, str, str]]:
    found = []
    for target, precision in QUANTIZED:
        names = ["scale_up", "swap_channels", "transpose", "drop_bias"]
        names += ["swap_nibbles"] if precision == "int4" else []
        # OpenVINO's and blocked weights have no zero point that could be wrong.
        names += ["move_zero_point"] if get_precision(precision).calibrated or (target != "openvino" and precision != "int4") else []
        found += [(target, precision, name) for name in names]
    return found


@pytest.mark.parametrize(("target", "precision", "fault"), cases())
def test_a_planted_fault_is_refused(
    target: str,
    precision: str,
    fault: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    tmp_path: Path,
) -> None:
    path = copy(files[target, precision], tmp_path)
    layer = applied[get_precision(precision).decision].layers[PROJ]
    getattr(faults, fault)(path, Stored(target, precision, layer))
    with pytest.raises(VerificationError) as caught:
        check(path, target, precision, checkpoint, applied)
    assert str(caught.value).startswith(f"{path.name}: {PROJ}")
    expected = {
        "scale_up": "channel 5: the file holds the weight scale",
        "swap_channels": "channel 5: the file holds the weight ",
        "transpose": "channel 0: the file holds the weight ",
        "drop_bias": "channel 0: the file holds the bias 0, and",
        "swap_nibbles": "channel 0: the file holds the weight ",
        "move_zero_point": "zero",
    }
    assert expected[fault] in str(caught.value)


@pytest.mark.parametrize("target", TARGETS)
def test_float_files_are_read_back_too(
    target: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    tmp_path: Path,
) -> None:
    path = copy(files[target, "fp16"], tmp_path)
    assert check(path, target, "fp16", checkpoint, applied) > sum(each.numel() for each in checkpoint.model.parameters()) - 1
    weight = for_export(checkpoint.model).get_submodule(PROJ).weight.detach().numpy()
    if target == "litert":
        # Its residual stream has no mean.
        weight = (weight.astype(np.float64) - weight.astype(np.float64).mean(0)).astype(np.float32)
    stored = (weight.T if target == "onnx" else weight).astype(np.float16)
    changed = stored.copy()
    changed[3, 3] *= 1.01
    faults.replace_bytes(path, stored.tobytes(), changed.tobytes())
    with pytest.raises(VerificationError, match=f"{PROJ}, channel 3: the file holds the weight"):
        check(path, target, "fp16", checkpoint, applied)


@pytest.mark.parametrize("target", TARGETS)
def test_convert_refuses_what_it_wrote_wrong(
    target: str,
    checkpoint: Checkpoint,
    decided: dict[str, Quantization],
    applied: dict[str, QuantizedModel],
    crops: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault is planted between writing and verifying."""
    kind = type(get_target(target))
    right = kind.write

    def wrong(self: object, source: object, path: Path, **options: object) -> object:
        written = right(self, source, path, **options)
        faults.scale_up(path, Stored(target, "int8-dynamic", applied["int8-dynamic"].layers[PROJ]))
        return written

    monkeypatch.setattr(kind, "write", wrong)
    (outcome,) = convert(
        checkpoint,
        targets=[target],
        precisions=["int8-dynamic"],
        out=tmp_path,
        crops=crops[:4],
        quantizations=list(decided.values()),
    )
    assert f"{PROJ}, channel 5: the file holds the weight scale" in outcome.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "precision"), [*QUANTIZED, *((target, "fp16") for target in TARGETS)])
def test_a_fault_that_reading_back_missed_is_located(
    target: str,
    precision: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    crops: np.ndarray,
) -> None:
    """The file is right, and what it is held to isn't: one channel of one layer, as when a kernel computes something else."""
    held = get_precision(precision)
    quantized = applied.get(held.decision or "")
    module = for_export(checkpoint.model) if quantized is None else quantized.module
    arguments = (files[target, precision], module, quantized, held, target, crops, 1)
    with pytest.raises(VerificationError, match=r"^far off$"), explain_failure(*arguments):
        raise VerificationError("far off")
    wrong = copy_model(module)
    with torch.no_grad():
        wrong.get_submodule(PROJ).weight[9] *= 1.5
    arguments = (files[target, precision], wrong, quantized and replace(quantized, module=wrong), held, target, crops, 1)
    said = rf"^far off; the first layer that is off is {PROJ}, most of all its channel 9: by"
    with pytest.raises(VerificationError, match=said), explain_failure(*arguments):
        raise VerificationError("far off")


def seal(path: Path, changed: Callable[[Path], None]) -> Path:
    """Change a published file and seal it again, as someone who means harm would."""
    spec = open_artifact(path).spec
    changed(path)
    embed_spec(path, spec)
    return path


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "int4"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_sealed_fault_is_found_without_the_decision(
    target: str,
    precision: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    tmp_path: Path,
) -> None:
    path = copy(files[target, precision], tmp_path)
    stored = Stored(target, precision, applied[precision].layers[PROJ])
    seal(path, lambda each: faults.scale_up(each, stored))
    with pytest.raises(VerificationError, match=rf"{PROJ}, channel 5: the file holds weights 1\.(5|49) times the model's"):
        verify(path, checkpoint, device="mil:cpu" if target == "coreml" else "auto")


def test_levels_that_mean_two_things_are_found_without_the_decision(
    checkpoint: Checkpoint, files: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    """Rounded with one zero point, and taken back with another."""

    def change(path: Path) -> None:
        model = onnx.load(path)
        (tensor,) = (each for each in model.graph.initializer if each.name == f"{PROJ}.input_zero_point")
        other = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.uint8(3), "other")
        model.graph.initializer.append(other)
        (node,) = (each for each in model.graph.node if each.op_type == "DequantizeLinear" and tensor.name in each.input)
        node.input[2] = "other"
        onnx.save(model, path)

    path = seal(copy(files["onnx", "int8"], tmp_path), change)
    with pytest.raises(VerificationError, match=f"{PROJ}: its input is rounded as"):
        verify(path, checkpoint)


@pytest.mark.parametrize("fault", ["drop_bias", "swap_channels", "transpose"])
@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_other_sealed_faults_are_found_without_the_decision(
    precision: str,
    fault: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    tmp_path: Path,
) -> None:
    stored = Stored("onnx", precision, applied[precision].layers[PROJ])
    path = seal(copy(files["onnx", precision], tmp_path), lambda each: getattr(faults, fault)(each, stored))
    with pytest.raises(VerificationError, match=f"{PROJ}, channel"):
        verify(path, checkpoint)


def test_a_right_file_passes_with_and_without_its_decision(
    checkpoint: Checkpoint, decided: dict[str, Quantization], files: dict[tuple[str, str], Path]
) -> None:
    path = files["litert", "int8"]
    alone = verify(path, checkpoint)
    assert alone.unchecked == ("corrections of biases and ranges of activations, beyond what is plausible (--recipe FILE would)",)
    assert alone.parities[0].relative_rms < alone.limit.relative_rms < 0.15
    exact = verify(path, checkpoint, decision=decided["int8"])
    assert exact.unchecked == ()
    assert exact.numbers > alone.numbers
    with pytest.raises(InputError, match="was made from a decision for int8; the one given is for int4"):
        verify(path, checkpoint, decision=decided["int4"])
    other = decided["int8"].with_float(("backbone.patch_embed",))
    with pytest.raises(InputError, match="was made from another decision"):
        verify(path, checkpoint, decision=other)


def test_wrong_wiring_is_refused(
    checkpoint: Checkpoint, applied: dict[str, QuantizedModel], files: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    """The second norm takes the stream of before the attention."""
    path = copy(files["onnx", "int8-dynamic"], tmp_path)
    model = onnx.load(path)
    first, second, _ = (node for node in model.graph.node if node.op_type == "LayerNormalization")
    second.input[0] = first.input[0]
    onnx.save(model, path)
    with pytest.raises(VerificationError, match=r"blocks\.0\.\S+ is made of what backbone\.patch_embed give; in the model"):
        check(path, "onnx", "int8-dynamic", checkpoint, applied)


@pytest.mark.parametrize("target", TARGETS)
def test_a_wrong_norm_is_named(
    target: str, checkpoint: Checkpoint, applied: dict[str, QuantizedModel], files: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    path = copy(files[target, "int8-dynamic"], tmp_path)
    weight = applied["int8-dynamic"].module.backbone.blocks[0].norm2.weight.detach().numpy()
    stored = weight.astype(np.float16 if target == "coreml" else np.float32)
    changed = stored.copy()
    changed[7] *= 1.1
    faults.replace_bytes(path, stored.tobytes(), changed.tobytes())
    with pytest.raises(VerificationError, match=r"backbone\.blocks\.0\.norm2, channel 7: the file holds the weight"):
        check(path, target, "int8-dynamic", checkpoint, applied)


def write_wrong(path: Path, change: Callable[[ViTPose], None], target: str, checkpoint: Checkpoint, quantized: QuantizedModel) -> Path:
    """Write a network with a fault in it, sealed as if it had none."""
    module = copy_model(quantized.module)
    change(module)
    source = Source(module=module, spec=checkpoint.spec, quantized=replace(quantized, module=module))
    get_target(target).write(source, path, precision=get_precision("int8-dynamic"), batch=1)
    return path


@pytest.mark.parametrize("target", ["onnx", "openvino", "coreml"])
@pytest.mark.parametrize("fault", ["scores", "gelu"])
def test_what_stands_between_layers_is_read_back(
    fault: str,
    target: str,
    checkpoint: Checkpoint,
    applied: dict[str, QuantizedModel],
    files: dict[tuple[str, str], Path],
    tmp_path: Path,
) -> None:
    """On a small random network both change heatmaps by no more than rounding does."""

    def change(module: ViTPose) -> None:
        block = module.backbone.blocks[0]
        if fault == "scores":
            block.attn.scale *= 1.1
        else:
            block.mlp.forward = lambda x: block.mlp.fc2(torch.relu(block.mlp.fc1(x)))

    right = files[target, "int8-dynamic"]
    path = write_wrong(tmp_path / right.name, change, target, checkpoint, applied["int8-dynamic"])
    said = (
        "attn.proj: values in front of it are multiplied by 0.1"
        if fault == "scores"
        else "mlp.fc2: relu stands in front of it; in the model it is gelu"
    )
    with pytest.raises(VerificationError, match=f"blocks.0.{said}"):
        check(path, target, "int8-dynamic", checkpoint, applied)
    embed_spec(path, open_artifact(right).spec)
    with pytest.raises(VerificationError, match=f"blocks.0.{said}"):
        verify(path, checkpoint, device="mil:cpu" if target == "coreml" else "auto")


@pytest.mark.parametrize(
    ("kind", "said"), [("SOFTMAX", "blocks.0.attn: its scores spans"), ("RSQRT", "norm1: the sum of its squares spans")]
)
def test_a_16_bit_range_that_cuts_off_is_refused(
    kind: str, said: str, checkpoint: Checkpoint, applied: dict[str, QuantizedModel], files: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    path = copy(files["litert", "int8-full"], tmp_path)
    code = getattr(schema.BuiltinOperator, kind)

    def change(graph: schema.SubGraphT) -> None:
        codes = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).operatorCodes
        operator = next(each for each in graph.operators if codes[each.opcodeIndex].builtinCode == code)
        tensor = graph.tensors[operator.inputs[0]]
        tensor.quantization.scale = np.asarray(tensor.quantization.scale) / 2

    faults.edit_tflite(path, change)
    with pytest.raises(VerificationError, match=said):
        check(path, "litert", "int8-full", checkpoint, applied)


def test_another_epsilon_is_found_without_the_decision(
    checkpoint: Checkpoint, applied: dict[str, QuantizedModel], files: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    def change(module: ViTPose) -> None:
        module.backbone.blocks[0].norm2.eps = 1e-7

    right = files["onnx", "int8-dynamic"]
    path = write_wrong(tmp_path / right.name, change, "onnx", checkpoint, applied["int8-dynamic"])
    embed_spec(path, open_artifact(right).spec)
    with pytest.raises(VerificationError, match=r"mlp\.fc1: the epsilon in front of it is 1e-07; the model's is 1e-06"):
        verify(path, checkpoint)
