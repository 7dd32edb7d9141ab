"""Without the decision between them: integers against the float model's weights, biases and ranges against what layers see."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import decisions
import numpy as np
import pytest
import torch
from checkpoints import random_model

from edgepose.errors import VerificationError
from edgepose.models.vitpose import ViTPose
from edgepose.precision import get_precision
from edgepose.quantization import apply
from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.noise import measure_noise
from edgepose_converters.readback.plausibility import check_against_float
from edgepose_converters.verification import run_torch

BLOCK = "backbone.blocks.0"
CROPS = np.random.default_rng(0).standard_normal((4, 3, 64, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> ViTPose:
    return random_model(dim=64, depth=1, heads=2, head="classic", keypoints=5, height=64, width=48)


@pytest.fixture(scope="module", params=["int8", "int8-dynamic", "int4"])
def quantized(request: pytest.FixtureRequest, model: ViTPose) -> QuantizedModel:
    return apply(model, decisions.decide_by_hand(model, request.param, CROPS, smoothing=request.param == "int8"))


def change(quantized: QuantizedModel, name: str, changed: Callable[[QuantizedLayer], QuantizedLayer]) -> QuantizedModel:
    """Change one layer, and what is simulated with it."""
    layer = changed(quantized.layers[name])
    module = deepcopy(quantized.module)
    axis = 1 if layer.layer.kind == "deconv" else 0
    rows = np.moveaxis(layer.weight, axis, 0)
    scale = layer.scale.reshape(len(rows), -1)
    real = rows.reshape(*scale.shape, -1).astype(np.float32) * scale[..., None]
    weight = np.moveaxis(real.reshape(rows.shape), 0, axis)
    state = {"weight": torch.from_numpy(np.ascontiguousarray(weight)), "bias": torch.from_numpy(layer.bias)}
    module.get_submodule(name).load_state_dict(state)
    return replace(quantized, module=module, layers=quantized.layers | {name: layer})


def scaled(layer: QuantizedLayer) -> QuantizedLayer:
    scale = layer.scale.copy()
    scale[5] *= 1.5
    return replace(layer, scale=scale)


def shifted(layer: QuantizedLayer) -> QuantizedLayer:
    return replace(layer, weight=(layer.weight - 1).astype(np.int8))


def reversed_channels(layer: QuantizedLayer) -> QuantizedLayer:
    return replace(layer, scale=layer.scale[::-1].copy())


def check(quantized: QuantizedModel, model: ViTPose) -> int:
    return check_against_float(quantized, model, get_precision(quantized.quantization.recipe.precision), CROPS)


def test_a_right_model_passes(quantized: QuantizedModel, model: ViTPose) -> None:
    assert check(quantized, model) > sum(parameter.numel() for parameter in quantized.module.parameters()) * 0.9


@pytest.mark.parametrize("fault", [scaled, shifted, reversed_channels])
@pytest.mark.parametrize("name", [f"{BLOCK}.attn.qkv", f"{BLOCK}.attn.proj", f"{BLOCK}.mlp.fc1", f"{BLOCK}.mlp.fc2", "head.deconv1"])
def test_wrong_integers_are_named(
    name: str, fault: Callable[[QuantizedLayer], QuantizedLayer], quantized: QuantizedModel, model: ViTPose
) -> None:
    with pytest.raises(VerificationError, match=f"^{name}, channel"):
        check(change(quantized, name, fault), model)


def test_a_row_of_values_shows_in_the_column_that_takes_it(model: ViTPose) -> None:
    """SmoothQuant may scale both against each other; nothing may scale one alone."""
    quantized = apply(model, decisions.decide_by_hand(model, "int8", CROPS, smoothing=True))

    def wrong(layer: QuantizedLayer) -> QuantizedLayer:
        scale = layer.scale.copy()
        scale[2 * 64 + 7] *= 1.5
        return replace(layer, scale=scale)

    with pytest.raises(VerificationError, match=rf"^{BLOCK}.attn.qkv, channel 135, or {BLOCK}.attn.proj, input 7: .* 1\.(5|49|51) times"):
        check(change(quantized, f"{BLOCK}.attn.qkv", wrong), model)


def test_what_is_simulated_is_what_the_integers_say(quantized: QuantizedModel, model: ViTPose) -> None:
    layer = quantized.layers["head.deconv2"]
    step = layer.scale[0] * 0.4
    module = deepcopy(quantized.module)
    with torch.no_grad():
        module.head.deconv2.weight[:, 0] += float(step)
    with pytest.raises(VerificationError, match=r"^head\.deconv2, channel 0"):
        check(replace(quantized, module=module), model)


def test_a_bias_that_nothing_explains_is_named(quantized: QuantizedModel, model: ViTPose) -> None:
    def dropped(layer: QuantizedLayer) -> QuantizedLayer:
        bias = layer.bias.copy()
        bias[3] += 2.0
        return replace(layer, bias=bias)

    with pytest.raises(VerificationError, match=rf"^{BLOCK}\.mlp\.fc1, channel 3: the file holds the bias"):
        check(change(quantized, f"{BLOCK}.mlp.fc1", dropped), model)


@pytest.mark.parametrize("factor", [0.3, 40.0])
def test_a_range_that_doesnt_fit_is_named(factor: float, model: ViTPose) -> None:
    quantized = apply(model, decisions.decide_by_hand(model, "int8", CROPS))
    name = f"{BLOCK}.mlp.fc1"
    right = quantized.layers[name].input
    wrong = replace(quantized.layers[name], input=ActivationRange(low=right.low * factor, high=right.high * factor))
    with pytest.raises(VerificationError, match=rf"^{name}: its input is rounded to levels from") as caught:
        check(replace(quantized, layers=quantized.layers | {name: wrong}), model)
    assert ("calibrate on more photos" in str(caught.value)) == (factor < 1)


def test_few_photos_may_cut_off_more(model: ViTPose) -> None:
    """Calibrated on one person with little contrast, and held against others: a warning was given when it was decided."""
    quantized = apply(model, decisions.decide_by_hand(model, "int8", CROPS[:1] * 0.35))
    with pytest.raises(VerificationError, match="is cut off; calibrate on more photos"):
        check(quantized, model)
    assert check_against_float(quantized, model, get_precision("int8"), CROPS, few_photos=True) > 0


def test_many_values_may_be_cut_off_by_a_little(model: ViTPose) -> None:
    """Black pixels, a few levels below the lowest that calibration saw often, as at the border of a photo."""
    quantized = apply(model, decisions.decide_by_hand(model, "int8", CROPS))
    name = "backbone.patch_embed"
    layer = replace(quantized.layers[name], input=ActivationRange(low=-2.0, high=quantized.layers[name].input.high))
    crops = CROPS.clip(-2.06)
    crops[:, :, :, :12] = -2.06
    check_against_float(replace(quantized, layers=quantized.layers | {name: layer}), model, get_precision("int8"), crops)


def test_noise_is_larger_where_more_is_rounded(model: ViTPose) -> None:
    def noise(precision: str, target: str) -> float:
        held = get_precision(precision)
        quantized = apply(model, decisions.decide_by_hand(model, held.decision, CROPS))
        return measure_noise(quantized, held, target, CROPS, run_torch(quantized.module, CROPS))

    assert noise("int8-dynamic", "coreml") < noise("int8-dynamic", "openvino") < noise("int8-dynamic", "onnx") < 0.1
    assert noise("int8-dynamic", "coreml") == noise("int8-dynamic", "coreml") > 1e-5
