"""Half-precision arithmetic: what overflows, what is lost, and what mends it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from artifacts import make_crops
from checkpoints import make_spec, random_model

from edgepose.errors import ConversionError, InputError
from edgepose.models import for_export
from edgepose.models.vitpose import ViTPose
from edgepose.spec import ExportRecord, HalfRecord, ModelSpec, describe_half
from edgepose_converters import half
from edgepose_converters.half import HALF_MAX, choose_float32, evaluate, expand, scale_stream
from edgepose_converters.halving import HalfRequest, Halving
from edgepose_converters.target import Source
from edgepose_converters.walk import Mixed, list_names, walk

CROPS = make_crops(2)
LIMIT = 1e-2
TARGETS = ("openvino", "onnx", "litert", "coreml")


def make(edit: Callable[[ViTPose], None] | None = None, head: str = "simple") -> ViTPose:
    model = random_model(dim=48, depth=2, heads=3, head=head, keypoints=5, height=64, width=48)
    if edit is not None:
        with torch.no_grad():
            edit(model)
    return for_export(model)


def stream(model: ViTPose) -> None:
    """One channel of the residual stream beyond half precision, as massive activations are."""
    model.backbone.blocks[0].mlp.fc2.weight[7] *= 3e5


def squares(model: ViTPose) -> None:
    """One within half precision whose square isn't."""
    model.backbone.blocks[0].mlp.fc2.bias[7] = 9000.0


def weights(model: ViTPose) -> None:
    model.backbone.blocks[1].mlp.fc1.weight.mul_(1e-9)
    model.backbone.blocks[1].mlp.fc2.weight.mul_(1e9)


def logits(model: ViTPose) -> None:
    """Queries and keys within half precision whose products aren't."""
    model.backbone.blocks[1].attn.qkv.weight[:96] *= 400.0


def sharp(model: ViTPose) -> None:
    """Attention that so depends on the last digits of its scores that everything before it would have to be exact."""
    for part in model.backbone.blocks[0].attn.qkv.parameters():
        part[:48] *= 2000.0


def heatmap(model: ViTPose) -> None:
    model.head.final.weight.mul_(1e6)


def underflow(model: ViTPose) -> None:
    """Weights that half precision has two digits of, behind a norm that makes up for them."""
    block = model.backbone.blocks[1]
    block.norm2.weight.mul_(1e4)
    block.norm2.bias.zero_()
    block.mlp.fc1.weight.mul_(1e-6)
    block.mlp.fc1.bias.zero_()
    block.mlp.fc2.weight.mul_(100.0)


def run(model: torch.nn.Module) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(CROPS)).numpy()


def relative(given: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(given - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("head", ["simple", "classic"])
def test_the_evaluation_is_what_torch_computes_in_half_precision(head: str) -> None:
    model = make(head=head)
    exact = run(model)
    wanted = relative(run(Mixed(model, frozenset())), exact)
    seen = evaluate(model, CROPS)
    assert seen.overflow is None
    assert seen.squares is None
    # Both round differently, in sums and inside of GELU, but by as much.
    assert 0.3 * wanted < seen.relative < 3 * wanted < LIMIT
    assert [each.name for each in seen.operators] == list(list_names(model))
    everything = frozenset(list_names(model))
    assert evaluate(model, CROPS, float32=everything).relative == 0
    assert relative(run(Mixed(model, everything)), exact) < 1e-5
    np.testing.assert_array_equal(run(model), exact)  # and nothing stays rounded


@pytest.mark.parametrize("head", ["simple", "classic"])
def test_tflites_spelling_computes_the_network(head: str) -> None:
    model = make(head=head)
    names = frozenset(list_names(model, "tflite"))
    assert evaluate(model, CROPS, spelling="tflite", float32=names).relative == 0
    assert 1e-5 < evaluate(model, CROPS, spelling="tflite").relative < LIMIT
    spelt = half._spell(model, "tflite")
    with torch.inference_mode():
        computed = walk(
            spelt.config, head == "simple", "tflite", lambda _, compute, inputs: compute(spelt, *inputs), torch.from_numpy(CROPS)
        )
    assert relative(computed.numpy(), run(model)) < 1e-5


def test_an_overflow_that_costs_nothing_here_is_one() -> None:
    """Minus infinity, of which ReLU makes zero."""

    def switch_off(model: ViTPose) -> None:
        model.head.bn1.bias[0] = -1e6

    seen = evaluate(make(switch_off, head="classic"), CROPS)
    assert seen.relative < LIMIT
    assert seen.overflow is not None
    with pytest.raises(ConversionError, match=r"head\.deconv1 overflows: it reaches 1e\+06"):
        decide(make(switch_off, head="classic"), "openvino")


def test_what_comes_near_the_end_is_kept_too() -> None:
    reach = float(np.abs(run(make(stream))).max())

    def near(model: ViTPose) -> None:
        stream(model)
        model.head.final.weight.mul_(0.8 * HALF_MAX / reach)
        model.head.final.bias.mul_(0.8 * HALF_MAX / reach)

    chosen = choose_float32(make(near), CROPS, limit=LIMIT)
    assert chosen is not None
    assert "head.final" in chosen.float32


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (stream, "backbone.blocks.0.mlp.fc2"),
        (weights, "backbone.blocks.1.mlp.fc2"),
        (logits, "backbone.blocks.1.attn.scores"),
        (heatmap, "head.final"),
    ],
)
def test_what_overflows_is_named(edit: Callable[[ViTPose], None], where: str) -> None:
    for spelling in ("fused", "tflite"):
        seen = evaluate(make(edit), CROPS, spelling=spelling)
        assert seen.overflow is not None
        assert seen.overflow.name == where
        assert seen.overflow.largest > HALF_MAX
        assert seen.relative > LIMIT


def test_squares_overflow_where_they_are_an_operator() -> None:
    fused = evaluate(make(squares), CROPS)
    assert fused.overflow is None
    assert fused.relative < LIMIT
    assert fused.squares is not None
    assert fused.squares.name == "backbone.blocks.1.norm1"
    assert fused.squares.largest_square == pytest.approx(9000**2, rel=0.1)
    spelt = evaluate(make(squares), CROPS, spelling="tflite")
    assert spelt.overflow is not None
    assert spelt.overflow.name == "backbone.blocks.1.norm1.square"


def test_lost_weights_are_named() -> None:
    seen = evaluate(make(underflow), CROPS)
    assert seen.overflow is None
    assert seen.relative > LIMIT
    assert seen.lost is not None
    assert seen.lost.name == "backbone.blocks.1.mlp.fc1"


def test_the_smallest_mix() -> None:
    mixed = choose_float32(make(heatmap), CROPS, limit=LIMIT)
    assert mixed is not None
    assert mixed.float32 == {"head.final"}
    carried = choose_float32(make(stream), CROPS, limit=LIMIT)
    assert carried is not None
    block = "backbone.blocks.1"
    assert carried.float32 == {
        *("backbone.blocks.0.mlp.fc2", "backbone.blocks.0.mlp.residual", f"{block}.norm1", f"{block}.attn.residual"),
        *(f"{block}.norm2", f"{block}.mlp.residual", "backbone.norm"),
    }
    assert carried.relative < LIMIT
    for name in carried.float32:
        assert not evaluate(make(stream), CROPS, float32=carried.float32 - {name}).relative < LIMIT, f"{name} isn't needed"
    attention = choose_float32(make(logits), CROPS, limit=LIMIT)
    assert attention is not None
    assert attention.float32 == {f"{block}.attn.scores", f"{block}.attn.softmax"}
    lost = choose_float32(make(underflow), CROPS, limit=LIMIT)
    assert lost is not None
    assert "backbone.blocks.1.mlp.fc1" in lost.float32
    assert choose_float32(make(sharp), CROPS, limit=1e-4) is None


def test_a_mixed_network_computes_in_half_precision_elsewhere() -> None:
    model = make(stream)
    mixed = choose_float32(model, CROPS, limit=LIMIT)
    assert mixed is not None
    module = Mixed(model, mixed.float32)
    assert 1e-5 < relative(run(module), run(model)) < LIMIT
    kinds = {name: parameter.dtype for name, parameter in module.module.named_parameters()}
    assert kinds["backbone.blocks.0.mlp.fc2.weight"] == kinds["backbone.blocks.1.norm1.bias"] == torch.float32
    assert kinds["backbone.blocks.0.mlp.fc1.weight"] == kinds["backbone.pos_embed"] == torch.float16
    assert not np.isfinite(run(Mixed(model, frozenset()))).all()


def test_a_scaled_stream_changes_nothing() -> None:
    model = make(squares)
    scaled = scale_stream(model, 2.0**-7)
    assert relative(run(scaled), run(model)) < 1e-6
    assert scaled.backbone.norm.eps == model.backbone.norm.eps * 2.0**-14
    assert evaluate(scaled, CROPS, spelling="tflite").relative < LIMIT


def test_a_scale_is_not_taken_where_small_numbers_are_zero() -> None:
    small = scale_stream(make(), 2.0**-12)
    assert evaluate(small, CROPS, spelling="tflite").relative < evaluate(small, CROPS, spelling="tflite", flush=True).relative
    assert not evaluate(small, CROPS, spelling="tflite", flush=True).relative < LIMIT
    assert evaluate(make(), CROPS, flush=True).relative < LIMIT


def test_names_stand_for_what_lies_within_them() -> None:
    model = make()
    assert expand(["head.final"], model) == {"head.final"}
    assert expand(["backbone.blocks.1.mlp"], model) == {f"backbone.blocks.1.mlp.{part}" for part in ("fc1", "gelu", "fc2", "residual")}
    with pytest.raises(InputError, match=r"no operator 'backbone\.blocks\.2' .*; it has: backbone\.patch_embed, backbone\.pos_embed"):
        expand(["head", "backbone.blocks.2"], model)


def decide(model: ViTPose, target: str, **request: object) -> tuple[Source, HalfRecord]:
    halving = Halving(model, CROPS, limit=LIMIT, request=HalfRequest(**request))
    return halving.decide(Source(module=model, spec=make_spec(model)), target, f"tiny.{target}")


@pytest.mark.parametrize("target", TARGETS)
def test_a_right_model_stays_as_it_is(target: str) -> None:
    model = make()
    source, record = decide(model, target)
    assert source.module is model
    assert record.fit
    assert (record.float32, record.stream_scale, describe_half(record)) == ((), 1.0, "")
    assert 0 < record.relative < LIMIT


@pytest.mark.parametrize("target", TARGETS)
def test_what_overflows_is_refused_with_the_ways_out(target: str) -> None:
    model = make(heatmap)
    with pytest.raises(ConversionError) as caught:
        decide(model, target)
    said = str(caught.value)
    assert f"tiny.{target}: in half precision head.final overflows: it reaches " in said
    assert "--keep-float32 auto" in said
    assert ("--float32-devices" in said) is (target in ("openvino", "litert"))
    halving = Halving(make(sharp), CROPS, limit=1e-4, request=HalfRequest(keep_float32=("auto",)))
    with pytest.raises(ConversionError, match=r"the heatmaps are off by .*; no mix of half precision and float32 helps: write fp32"):
        halving.decide(Source(module=make(sharp), spec=make_spec(model)), target, "sharp")
    with pytest.raises(ConversionError, match=r"fc1 loses its result \(off by"):
        # In TFLite the norm's weight is part of the layer behind it, which so holds ordinary numbers.
        decide(make(underflow), "onnx" if target == "litert" else target)


@pytest.mark.parametrize("target", TARGETS)
def test_only_formats_that_leave_arithmetic_to_the_device_are_kept_for_some(target: str) -> None:
    model = make(heatmap)
    if target in ("onnx", "coreml"):
        with pytest.raises(ConversionError, match="overflows"):
            decide(model, target, float32_devices=True)
        return
    source, record = decide(model, target, float32_devices=True)
    assert source.module is model
    assert not record.fit
    assert describe_half(record).startswith("not for devices that compute in half precision; in half precision head.final overflows")


@pytest.mark.parametrize("target", TARGETS)
def test_float32_that_is_asked_for_is_given(target: str) -> None:
    source, record = decide(make(heatmap), target, keep_float32=("auto",))
    assert source.float32 == {"head.final"}
    assert record.float32 == ("head.final",)
    # TFLite has no way to ask a delegate for it.
    assert record.fit is (target != "litert")
    assert "in float32: head.final" in describe_half(record)
    with pytest.raises(ConversionError, match=r"with backbone\.norm in float32, in half precision head\.final overflows"):
        decide(make(heatmap), target, keep_float32=("backbone.norm",))
    assert decide(make(), target, keep_float32=("head",))[1].float32 == ("head.final", "head.resize")


@pytest.mark.parametrize("target", TARGETS)
def test_squares_are_kept_in_half_precision_by_a_scale(target: str) -> None:
    source, record = decide(make(squares), target)
    assert record.fit
    assert record.stream_scale == 1 / 128
    assert record.note == ""
    assert describe_half(record) == "the residual stream is scaled by 1/128, which changes no result and keeps it in half precision"
    assert source.module.backbone.norm.eps == pytest.approx(1e-6 / 128**2)


@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_beyond_half_precision_is_scaled_where_that_is_enough(target: str) -> None:
    model = make(stream)
    if target == "litert":
        # What is left of the other channels after a scale for the squares is too little.
        with pytest.raises(ConversionError, match=r"backbone\.blocks\.0\.mlp\.fc2 overflows: it reaches"):
            decide(model, target)
        return
    source, record = decide(model, target)
    assert record.fit
    assert relative(run(Mixed(source.module, frozenset())), run(model)) < LIMIT
    assert record.note.startswith("without the scale backbone.blocks.0.mlp.fc2 would overflow, at ")
    assert "not for devices whose LayerNorm squares in half precision: backbone.blocks.1.norm1 reaches" in record.note


def test_the_record_is_read_as_it_was_written() -> None:
    model = make()
    record = decide(model, "onnx")[1]
    spec = make_spec(model).replace_export(ExportRecord(target="onnx", precision="fp16", batch=1, half=record))
    assert ModelSpec.from_json(spec.to_json()).export.half == record
    older = spec.to_json().replace(f',"half":{spec.to_json().partition(chr(34) + "half" + chr(34) + ":")[2].partition("}")[0]}}}', "")
    assert "half" not in older
    assert ModelSpec.from_json(older).export.half is None
