"""Rewriting a network without changing what it computes."""

import numpy as np
import pytest
import torch
from checkpoints import random_crops, random_model

from edgepose.errors import InputError
from edgepose.models.vitpose import ViTPose
from edgepose.quantization.layers import list_layers
from edgepose.quantization.preparation import fingerprint, prepare, smooth


@pytest.fixture(params=["classic", "simple"])
def model(request: pytest.FixtureRequest) -> ViTPose:
    return random_model(dim=48, depth=2, heads=3, head=request.param, height=64, width=48)


def heatmaps(model: ViTPose, crops: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model(crops).numpy()


def assert_same(model: ViTPose, other: ViTPose) -> None:
    crops = random_crops(model)
    wanted = heatmaps(model, crops)
    np.testing.assert_allclose(heatmaps(other, crops), wanted, atol=2e-5 * np.abs(wanted).max())


def test_prepared_computes_the_same(model: ViTPose) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert_same(model, prepare(model))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), f"prepare changed {name} of the model it was given"


def test_prepared_has_a_centred_stream_and_no_norm_biases(model: ViTPose) -> None:
    prepared = prepare(model)
    for block in prepared.backbone.blocks:
        assert not block.norm1.bias.any()
        assert not block.norm2.bias.any()
        assert block.attn.proj.weight.mean(0).abs().max() < 1e-6
        assert block.mlp.fc2.bias.mean().abs() < 1e-6
    assert prepared.backbone.pos_embed.mean(-1).abs().max() < 1e-6
    assert prepared.backbone.embed(random_crops(model)).mean(-1).abs().max() < 1e-5


def test_preparing_twice_changes_nothing_more(model: ViTPose) -> None:
    once = prepare(model)
    assert_same(once, prepare(once)) if model.config.head == "simple" else None
    first = once.state_dict()
    for block in ("backbone.blocks.0.attn.qkv.weight", "backbone.blocks.1.mlp.fc2.weight"):
        torch.testing.assert_close(first[block], prepare(model).state_dict()[block])


def test_smoothing_moves_scale_from_inputs_to_weights(model: ViTPose) -> None:
    prepared = prepare(model)
    generator = np.random.default_rng(0)
    names = [f"backbone.blocks.{block}.{layer}" for block in (0, 1) for layer in ("attn.qkv", "attn.proj", "mlp.fc1")]
    factors = {name: tuple(generator.uniform(0.2, 5, 48).tolist()) for name in names}
    smoothed = smooth(prepared, factors)
    assert_same(prepared, smoothed)
    seen: dict[str, torch.Tensor] = {}
    for network, label in ((prepared, "before"), (smoothed, "after")):
        for name in names:
            network.get_submodule(name).register_forward_hook(
                lambda _module, inputs, _output, key=f"{label} {name}": seen.__setitem__(key, inputs[0])
            )
        heatmaps(network, random_crops(model))
    for name in names:
        expected = seen[f"before {name}"] * torch.tensor(factors[name])
        torch.testing.assert_close(seen[f"after {name}"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"backbone.blocks.0.mlp.fc2": (1.0,) * 192}, "can be folded"),
        ({"backbone.blocks.7.attn.qkv": (1.0,) * 48}, "can be folded"),
        ({"head.final": (1.0,) * 48}, "can be folded"),
        ({"backbone.blocks.0.attn.qkv": (1.0,) * 47}, "expected 48"),
        ({"backbone.blocks.0.attn.qkv": (0.0,) + (1.0,) * 47}, "above zero"),
    ],
)
def test_wrong_factors_are_refused(factors: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        smooth(prepare(random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)), factors)


def test_the_fingerprint_sees_every_weight() -> None:
    model = random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)
    before = fingerprint(model)
    assert fingerprint(random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)) == before
    for parameter in model.parameters():
        original = parameter.data.clone()
        parameter.data.view(-1)[-1] += 1e-3
        assert fingerprint(model) != before
        parameter.data.copy_(original)


def test_layers_are_listed_in_the_order_in_which_they_run(model: ViTPose) -> None:
    prepared = prepare(model)
    order: list[str] = []
    for layer in list_layers(prepared):
        prepared.get_submodule(layer.name).register_forward_hook(lambda _module, _inputs, _output, name=layer.name: order.append(name))
    heatmaps(prepared, random_crops(model))
    assert order == [layer.name for layer in list_layers(prepared)]
    kinds = {layer.name: layer.kind for layer in list_layers(prepared)}
    assert kinds["backbone.patch_embed"] == "conv"
    assert kinds.get("head.deconv1", "deconv") == "deconv"
