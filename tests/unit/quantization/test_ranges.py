"""What is measured between the layers, and which layers are said to hurt, against plain arithmetic on a small network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import make_spec, random_crops, random_model
from test_lowering import decide

from edgepose.errors import ConversionError
from edgepose.models import Checkpoint
from edgepose.models.vitpose import ViTPose
from edgepose.quantization.bounds import Bound, limit_loss
from edgepose.quantization.lowering import QuantizedModel, apply, simulate
from edgepose.quantization.preparation import prepare
from edgepose.quantization.ranges import measure_ranges
from edgepose.quantization.recipe import LayerSensitivity, Quantization
from edgepose.quantization.sensitivity import choose_float_layers, rank_layers


@pytest.fixture(scope="module")
def network() -> ViTPose:
    return random_model(dim=64, depth=2, heads=2, head="classic", height=64, width=48)


@pytest.fixture(scope="module")
def quantization(network: ViTPose) -> Quantization:
    return decide(network)


@pytest.fixture(scope="module")
def quantized(network: ViTPose, quantization: Quantization) -> QuantizedModel:
    return apply(network, quantization)


@pytest.fixture(scope="module")
def crops(network: ViTPose) -> np.ndarray:
    return np.concatenate([random_crops(network).numpy() * factor for factor in (1.0, 0.2, 2.0, 0.5, 1.1)])[:11]


def test_ranges_are_the_extremes_of_what_flows(quantization: Quantization, quantized: QuantizedModel, crops: np.ndarray) -> None:
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    simulated = simulate(quantized)
    for name, module in simulated.named_modules():
        module.register_forward_hook(
            lambda _module, inputs, output, name=name: seen.__setitem__(name, (inputs[0].double(), output.double()))
        )
    with torch.inference_mode():
        simulated(torch.from_numpy(crops))
    measured = measure_ranges(quantization, quantized, crops).statistics
    for name in ("backbone.patch_embed", "backbone.blocks.1.mlp.fc1", "head.final"):
        layer = next(layer for layer in measured.layers if layer.startswith(name))
        output = seen[layer][1]
        channels = output.movedim(1, -1) if output.ndim == 4 else output
        flat = channels.reshape(-1, channels.shape[-1])
        ranges = measured.layers[layer].output
        assert ranges is not None
        # Zero always lies inside.
        np.testing.assert_allclose(ranges.low, flat.amin(0).clip(max=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ranges.high, flat.amax(0).clip(min=0), rtol=1e-5, atol=1e-6)
    for name in ("backbone.blocks.0.norm1", "backbone.blocks.1.norm2"):
        x = seen[name][0]
        norm = measured.norms[name]
        sums = (x * x).sum(-1)
        assert norm.largest_input == pytest.approx(float(x.abs().max()), rel=1e-5)
        assert norm.least_sum == pytest.approx(float(sums.min()), rel=1e-5)
        assert norm.largest_sum == pytest.approx(float(sums.max()), rel=1e-5)
        divided = x / (sums / x.shape[-1]).sqrt()[..., None]
        assert norm.largest_output == pytest.approx(float(divided.abs().max()), rel=1e-5)
    name = "backbone.blocks.1.attn"
    q, k, _ = seen[f"{name}.qkv"][1].chunk(3, dim=-1)
    scores = [
        (q[person, :, part] @ k[person, :, part].T).abs().max() / 32**0.5
        for person in range(len(crops))
        for part in (slice(0, 32), slice(32, 64))
    ]
    assert measured.scores[name] == pytest.approx(float(max(scores)), rel=1e-5)


def test_ranges_of_a_part_lie_inside(quantization: Quantization, quantized: QuantizedModel, crops: np.ndarray) -> None:
    whole, part = (measure_ranges(quantization, quantized, some).statistics for some in (crops, crops[8:]))
    for name, layer in whole.layers.items():
        within = part.layers[name].output
        assert layer.output is not None
        assert within is not None
        assert (np.array(layer.output.low) <= np.array(within.low) + 1e-6).all()
        assert (np.array(layer.output.high) >= np.array(within.high) - 1e-6).all()
    for name, norm in whole.norms.items():
        assert norm.least_sum <= part.norms[name].least_sum * (1 + 1e-6)
        assert norm.largest_sum >= part.norms[name].largest_sum * (1 - 1e-6)


def test_layers_are_ranked_by_the_error_that_each_makes_alone(network: ViTPose, quantized: QuantizedModel, crops: np.ndarray) -> None:
    prepared = prepare(network).eval()
    told: list[str] = []
    ranking = rank_layers(prepared, quantized, crops, told.append)
    assert told[-1] == f"ranking layers: {len(quantized.layers)}/{len(quantized.layers)}"
    assert {entry.layer for entry in ranking} == set(quantized.layers)
    errors = [entry.error for entry in ranking]
    assert errors == sorted(errors, reverse=True)
    with torch.inference_mode():
        exact = prepared(torch.from_numpy(crops)).double()
        for entry in (ranking[0], ranking[len(ranking) // 2], ranking[-1]):
            alone = prepare(network).eval()
            parent, _, child = entry.layer.rpartition(".")
            simulated = simulate(quantized, only=entry.layer)
            setattr(alone.get_submodule(parent), child, simulated.get_submodule(entry.layer))
            difference = alone(torch.from_numpy(crops)).double() - exact
            expected = float((difference.square().mean() / exact.square().mean()).sqrt())
            assert entry.error == pytest.approx(expected, rel=1e-3)
    # What was tried is put back.
    with torch.inference_mode():
        assert torch.equal(prepared(torch.from_numpy(crops)).double(), exact)


def rank(quantized: QuantizedModel, **errors: float) -> tuple[LayerSensitivity, ...]:
    """A ranking by made-up errors: of layers by the end of their name, the others get nothing."""
    found = {name: next((error for end, error in errors.items() if name.replace(".", "_").endswith(end)), 0.0) for name in quantized.layers}
    return tuple(LayerSensitivity(layer=name, error=error) for name, error in sorted(found.items(), key=lambda item: -item[1]))


def test_layers_that_dominate_stay_in_float_while_they_are_small(quantized: QuantizedModel) -> None:
    sizes = {name: layer.layer.parameters for name, layer in quantized.layers.items()}
    small = min(sizes, key=lambda name: sizes[name])
    assert sizes[small] <= 0.03 * sum(sizes.values())
    end = small.replace(".", "_")
    assert choose_float_layers(rank(quantized, **{end: 1.0}), quantized) == (small,)
    # The largest is too large, wherever it ranks; the small one behind it isn't.
    large = max(sizes, key=lambda name: sizes[name]).replace(".", "_")
    assert choose_float_layers(rank(quantized, **{large: 2.0, end: 1.0}), quantized) == (small,)
    # More than five percent of the squared errors: one of less than twenty.
    assert choose_float_layers(rank(quantized, **{large: 2 * 18.9**0.5, end: 2.0}), quantized) == (small,)
    assert choose_float_layers(rank(quantized, **{large: 2 * 19.1**0.5, end: 2.0}), quantized) == ()


def test_all_that_stays_in_float_is_three_percent_of_the_weights(quantized: QuantizedModel) -> None:
    names = sorted(quantized.layers)[:4]
    ranking = tuple(LayerSensitivity(layer=name, error=2.0 - number / 10) for number, name in enumerate(names))

    def layers_of(*parameters: int) -> QuantizedModel:
        made = {
            name: replace(quantized.layers[name], layer=replace(quantized.layers[name].layer, parameters=number))
            for name, number in zip(names, parameters, strict=True)
        }
        return replace(quantized, layers=made)

    assert choose_float_layers(ranking, layers_of(15, 15, 1, 969)) == (names[0], names[1])
    assert choose_float_layers(ranking, layers_of(15, 16, 15, 954)) == (names[0], names[2])
    assert choose_float_layers(ranking, layers_of(30, 1, 1, 968)) == (names[0],)
    assert choose_float_layers(ranking, layers_of(31, 30, 1, 938)) == (names[1],)


@pytest.mark.parametrize("kind", ["px", "oks"])
def test_the_loss_is_bounded_with_the_fewest_layers(
    kind: str, network: ViTPose, quantization: Quantization, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of ten minus the number of layers in float: as many return as it takes, the first of the ranking."""
    ranking = tuple(LayerSensitivity(layer=name, error=float(-number)) for number, name in enumerate(quantization.statistics.layers))
    decision = replace(quantization, statistics=replace(quantization.statistics, sensitivity=ranking))
    checkpoint = Checkpoint(model=network, spec=make_spec(network))
    boxes = np.tile([0.0, 0.0, 48.0, 64.0], (len(crops), 1))
    counts: list[int] = []

    def apply_counted(_model: ViTPose, made: Quantization) -> int:
        counts.append(len(made.recipe.float_layers))
        return counts[-1]

    monkeypatch.setattr("edgepose.quantization.bounds.apply", apply_counted)
    monkeypatch.setattr("edgepose.quantization.bounds.simulate", lambda count: count)
    monkeypatch.setattr("edgepose.quantization.bounds._run", lambda model, _crops: model)

    def lose(count: object, _reference: object, *rest: object) -> float:
        assert kind == "px" or rest[-1] is not None
        return 10.0 - float(count) if isinstance(count, int) else 0.0

    monkeypatch.setattr("edgepose.quantization.bounds.oks_loss", lose)
    monkeypatch.setattr("edgepose.quantization.bounds.measure_agreement", lambda *given: type("", (), {"shift_px": lose(*given[:2])}))
    for wanted in (0, 1, 3, len(ranking) - 1):
        bound = Bound(kind=kind, largest=10.0 - wanted)  # type: ignore[arg-type]  # one of the two
        bounded = limit_loss(checkpoint, decision, crops, bound, boxes_xyxy=boxes)
        assert (bounded.before, bounded.after) == (10.0, 10.0 - wanted)
        assert bounded.reverted == tuple(entry.layer for entry in ranking[:wanted])
        assert set(bounded.quantization.recipe.float_layers) == set(bounded.reverted)
    with pytest.raises(ConversionError, match=f"all layers but {ranking[-1].layer} in float"):
        limit_loss(checkpoint, decision, crops, Bound(kind=kind, largest=10.5 - len(ranking)), boxes_xyxy=boxes)  # type: ignore[arg-type]
