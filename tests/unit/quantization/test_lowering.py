"""A decision applied to weights, and simulated."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import random_crops, random_model

from edgepose.errors import InputError
from edgepose.models.vitpose import ViTPose
from edgepose.quantization.layers import list_layers, output_axis
from edgepose.quantization.lowering import SimulatedLayer, apply, simulate
from edgepose.quantization.preparation import fingerprint, prepare
from edgepose.quantization.recipe import ActivationRange, LayerStatistics, Quantization, QuantizationRecipe, Statistics

RANGE = ActivationRange(low=-2.0, high=3.1)


@pytest.fixture(scope="module")
def network() -> ViTPose:
    return random_model(dim=64, depth=1, heads=2, head="classic", height=64, width=48)


def decide(network: ViTPose, *, bits: int = 8, group: int = 32, **recipe: object) -> Quantization:
    """Make a decision by hand: the largest weight of each channel or group gets the last level."""
    prepared = prepare(network)
    layers = {}
    for layer in list_layers(prepared):
        module = prepared.get_submodule(layer.name)
        rows = module.weight.detach().movedim(output_axis(module), 0).flatten(1).numpy()
        four = bits == 4 and layer.kind == "linear"
        grouped = rows.reshape(len(rows), -1, group if four else rows.shape[1])
        scale = np.abs(grouped).max(-1) / (7 if four else 127)
        layers[layer.name] = LayerStatistics(
            weight_scale=tuple(scale.ravel().tolist()),
            bias=tuple(module.bias.tolist()),
            weight_bits=4 if four else 8,
            input=None if bits == 4 else RANGE,
        )
    settings = QuantizationRecipe(precision="int4" if bits == 4 else "int8", group_size=group, **recipe)  # type: ignore[arg-type]
    return Quantization(model="tiny", weights_sha256=fingerprint(network), recipe=settings, statistics=Statistics(layers=layers))


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_are_rounded_to_their_integers(network: ViTPose, bits: int) -> None:
    quantized = apply(network, decide(network, bits=bits))
    prepared = prepare(network)
    assert set(quantized.layers) == {layer.name for layer in list_layers(prepared)}
    for name, layer in quantized.layers.items():
        exact = prepared.get_submodule(name).weight.detach()
        rounded = quantized.module.get_submodule(name).weight.detach()
        four = bits == 4 and layer.layer.kind == "linear"
        assert layer.weight.shape == tuple(exact.shape)
        assert np.abs(layer.weight).max() == (7 if four else 127)
        step = float(layer.scale.max())
        assert 0 < (rounded - exact).abs().max() <= step * 0.5001
        if not four:
            shape = [1] * exact.ndim
            shape[output_axis(prepared.get_submodule(name))] = -1
            np.testing.assert_allclose(rounded.numpy(), layer.weight * layer.scale.reshape(shape), rtol=1e-6)


def test_float_layers_keep_their_weights(network: ViTPose) -> None:
    quantized = apply(network, decide(network, float_layers=("head.final", "backbone.blocks.0.mlp.fc2")))
    assert "head.final" not in quantized.layers
    assert "head.final" in quantized.every_layer
    for name in ("head.final", "backbone.blocks.0.mlp.fc2"):
        assert torch.equal(quantized.module.get_submodule(name).weight, prepare(network).get_submodule(name).weight)


def test_simulation_rounds_the_inputs_of_quantized_layers(network: ViTPose) -> None:
    quantized = apply(network, decide(network, float_layers=("head.final",)))
    simulated = simulate(quantized)
    seen: dict[str, np.ndarray] = {}
    for name in ("backbone.blocks.0.attn.proj.layer", "head.final"):
        simulated.get_submodule(name).register_forward_hook(
            lambda _module, inputs, _output, key=name: seen.__setitem__(key, inputs[0].numpy())
        )
    with torch.inference_mode():
        simulated(random_crops(network))
    levels = seen["backbone.blocks.0.attn.proj.layer"] / np.float32(RANGE.scale)
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
    assert levels.min() >= -RANGE.zero_point
    assert levels.max() <= 255 - RANGE.zero_point
    final = seen["head.final"] / np.float32(RANGE.scale)
    assert np.abs(final - np.rint(final)).max() > 0.1


def test_a_decision_about_other_weights_is_refused(network: ViTPose) -> None:
    other = random_model(dim=64, depth=1, heads=2, head="classic", height=64, width=48, seed=5)
    with pytest.raises(InputError, match="made for other weights"):
        apply(other, decide(network))


def test_an_unknown_layer_is_refused_with_a_list(network: ViTPose) -> None:
    with pytest.raises(InputError, match=r"'head.last', which the model doesn't have; it has: backbone.patch_embed"):
        apply(network, decide(network, float_layers=("head.last",)))


@pytest.mark.parametrize("change", [{"weight_scale": (0.1,)}, {"bias": ()}, {"weight_scale": (0.0,) * 17}])
def test_numbers_that_dont_fit_the_layer_are_refused(network: ViTPose, change: dict[str, tuple[float, ...]]) -> None:
    quantization = decide(network)
    layers = dict(quantization.statistics.layers)
    layers["head.final"] = replace(layers["head.final"], **change)
    with pytest.raises(InputError, match=r"head\.final"):
        apply(network, replace(quantization, statistics=replace(quantization.statistics, layers=layers)))


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (4, 7)])
def test_weights_beyond_the_last_level_are_cut(network: ViTPose, bits: int, most: int) -> None:
    """Scales of a third: two thirds of the range lie beyond. Each weight is the nearest level of its own channel or group."""
    decision = decide(network, bits=bits)
    layers = {
        name: replace(layer, weight_scale=tuple(scale / 3 for scale in layer.weight_scale))
        for name, layer in decision.statistics.layers.items()
    }
    quantized = apply(network, replace(decision, statistics=replace(decision.statistics, layers=layers)))
    name = "backbone.blocks.0.mlp.fc2"
    weight = prepare(network).get_submodule(name).weight.detach().numpy()
    groups = len(layers[name].weight_scale) // len(weight)
    assert groups == (1 if bits == 8 else 8)
    scale = np.repeat(np.array(layers[name].weight_scale).reshape(len(weight), groups), weight.shape[1] // groups, axis=1)
    expected = np.clip(np.round(weight / scale), -most, most)
    np.testing.assert_array_equal(quantized.layers[name].weight, expected)
    assert (expected.min(), expected.max()) == (-most, most)
    assert (np.abs(expected) == most).mean() > 0.1
    np.testing.assert_allclose(quantized.module.get_submodule(name).weight.detach().numpy(), expected * scale, rtol=1e-6)
    np.testing.assert_array_equal(quantized.layers[name].bias, np.array(layers[name].bias, np.float32))


def test_one_layers_input_alone_is_rounded(network: ViTPose) -> None:
    quantized = apply(network, decide(network))
    name = "backbone.blocks.0.attn.proj"
    rounded = {found for found, module in simulate(quantized, only=name).named_modules() if isinstance(module, SimulatedLayer)}
    assert rounded == {name}
    every = {found for found, module in simulate(quantized).named_modules() if isinstance(module, SimulatedLayer)}
    assert every == set(quantized.layers)
