"""Fine-tuning: what NNCF's quantizers compute here, the way from a decision to a trainable network and back, runs and their states."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import make_spec, random_model
from torch import nn

from edgepose.errors import InputError, MissingDependencyError, TrainingError
from edgepose.models import Checkpoint, for_export, load_checkpoint
from edgepose.models.vitpose import ViTPose
from edgepose.quantization import CalibrationSet, Quantization, QuantizationRecipe, apply, simulate
from edgepose.quantization.fake_quantization import quantize_backward, quantize_forward
from edgepose.quantization.finetune import Batches, compute_heatmaps, finetune, make_plan, train
from edgepose.quantization.finetune_state import FinetunePlan, FinetuneState, load_state, save_state
from edgepose.quantization.layers import list_layers, output_axis
from edgepose.quantization.lowering import SimulatedLayer
from edgepose.quantization.preparation import fingerprint, prepare, smooth
from edgepose.quantization.recipe import ActivationRange, Calibration, LayerStatistics, Statistics
from edgepose.quantization.trainable import TrainableLayer, TrainableNetwork

HEIGHT, WIDTH = 64, 48
FLOAT = ("head.final", "backbone.blocks.1.attn.proj")


def make_crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, HEIGHT, WIDTH)).astype(np.float32)


def make_model(head: str = "simple") -> ViTPose:
    return random_model(dim=48, depth=2, heads=3, head=head, height=HEIGHT, width=WIDTH)


def decide(model: ViTPose, *, float_layers: tuple[str, ...] = FLOAT) -> Quantization:
    """A decision as NNCF's, without NNCF: half the range of weights, smoothing, corrected biases, ranges of what is seen."""
    random = np.random.default_rng(1)
    block = "backbone.blocks.0"
    smoothing = {f"{block}.{name}": tuple(random.uniform(0.5, 2, 48).tolist()) for name in ("attn.qkv", "attn.proj", "mlp.fc1")}
    network = smooth(prepare(model), smoothing)
    seen: dict[str, tuple[float, float]] = {}
    for layer in list_layers(network):
        network.get_submodule(layer.name).register_forward_pre_hook(
            lambda _module, inputs, name=layer.name: seen.__setitem__(name, (float(inputs[0].min()), float(inputs[0].max())))
        )
    with torch.no_grad():
        network(torch.from_numpy(make_crops(8)))
    layers = {}
    for layer in list_layers(network):
        module = network.get_submodule(layer.name)
        weight = module.weight.detach().movedim(output_axis(module), 0).flatten(1)
        bias = module.bias.detach().numpy() + 0.01 * random.standard_normal(len(weight)).astype(np.float32)
        low, high = seen[layer.name]
        low, high = min(low, 0.0), max(high, 0.0)
        step = (high - low) / 255
        zero = round(-low / step)
        layers[layer.name] = LayerStatistics(
            weight_scale=tuple((weight.abs().amax(1) / 63.5).tolist()),
            bias=tuple(bias.tolist()),
            input=ActivationRange(low=-zero * step, high=(255 - zero) * step),
        )
    return Quantization(
        model="tiny",
        weights_sha256=fingerprint(model),
        recipe=QuantizationRecipe(precision="int8", float_layers=float_layers),
        statistics=Statistics(layers=layers, smoothing=smoothing),
    )


def make_checkpoint(head: str = "simple") -> Checkpoint:
    model = make_model(head)
    return Checkpoint(model=model, spec=make_spec(model, name="tiny"))


def make_data(count: int = 12) -> CalibrationSet:
    source = Calibration(photos=20, skipped=0, crops=count, sha256="photos")
    return CalibrationSet(crops=make_crops(count), held_out=make_crops(4, seed=7), source=source, problems=())


def begin(checkpoint: Checkpoint, data: CalibrationSet, *, steps: int = 4, learning_rate: float = 3e-5) -> FinetuneState:
    decision = decide(checkpoint.model)
    plan = make_plan(checkpoint, decision.recipe, data, steps=steps, learning_rate=learning_rate, batch=3, seed=5)
    return FinetuneState(plan=plan, decision=decision)


def run(start: FinetuneState, checkpoint: Checkpoint, path: Path, *, crops: np.ndarray | None = None) -> TrainableNetwork:
    crops = make_data().crops if crops is None else crops
    return train(checkpoint, start, crops, state_path=path, save_every_s=0, progress=lambda *_: None)


def error_of(given: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.square(given - wanted).mean() / np.square(wanted).mean()))


@pytest.mark.parametrize(
    ("shape", "scale_shape", "levels", "level_low", "level_high"),
    [((4, 9, 30), (1,), 256, 0, 255), ((12, 30), (12, 1), 129, -64, 64), ((6, 12, 4, 4), (1, 12, 1, 1), 255, -127, 127)],
)
def test_the_arithmetic_is_nncfs(shape, scale_shape, levels, level_low, level_high) -> None:
    reference = pytest.importorskip("nncf.torch.quantization.reference").torch_executor
    torch.manual_seed(0)
    x, gradient = 3 * torch.randn(shape), torch.randn(shape)
    if level_low:
        span = 2 * (1 + torch.rand(scale_shape) * 4)
        low = -span / 2
    else:
        low, span = torch.tensor([-100 * 0.03]), torch.tensor([255 * 0.03])
    torch.testing.assert_close(quantize_forward(x, low, span, levels), reference.forward(x, low, span, levels), rtol=1e-5, atol=1e-5)
    wanted = reference.backward(gradient, x, low, span, levels, level_low, level_high)
    for ours, theirs in zip(quantize_backward(gradient, x, low, span, levels, level_low, level_high, True), wanted, strict=True):
        torch.testing.assert_close(ours, theirs.sum_to_size(ours.shape), rtol=1e-4, atol=1e-4)
    assert (x > low + span).any()
    assert (x < low).any()


@pytest.mark.parametrize("head", ["simple", "classic"])
def test_the_start_is_what_the_decision_simulates(head: str) -> None:
    model = make_model(head)
    decision = decide(model, float_layers=(*FLOAT, "head.deconv1") if head == "classic" else FLOAT)
    network = TrainableNetwork(model, decision)
    simulated = simulate(apply(model, decision))
    for name, module in simulated.named_modules():
        if isinstance(module, SimulatedLayer):
            ours = network.network.get_submodule(name)
            assert isinstance(ours, TrainableLayer)
            rounded = ours.weight_quantizer(ours.layer.weight)
            torch.testing.assert_close(rounded, module.layer.weight, rtol=0, atol=1e-6)
            x = torch.linspace(-9, 9, 999)
            wanted = torch.fake_quantize_per_tensor_affine(x, module.scale, module.zero_point, 0, 255)
            torch.testing.assert_close(ours.input_quantizer(x), wanted, rtol=0, atol=1e-5)
    wrapped = {name for name, module in network.network.named_modules() if isinstance(module, TrainableLayer)}
    assert wrapped == {layer.name for layer in list_layers(model)} - set(decision.recipe.float_layers)
    crops = make_crops(4)
    given, wanted, exact = (compute_heatmaps(each, crops) for each in (network, simulated, for_export(model)))
    assert error_of(given, wanted) < 0.1 * error_of(wanted, exact)


@pytest.mark.parametrize("head", ["simple", "classic"])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_what_was_trained_is_what_is_written(head: str, reduce_range: bool, tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(head), make_data()
    start = begin(checkpoint, data)
    if not reduce_range:
        recipe = replace(start.decision.recipe, reduce_range=False)
        layers = {
            name: replace(layer, weight_scale=tuple(scale / 2 for scale in layer.weight_scale))
            for name, layer in start.decision.statistics.layers.items()
        }
        start = replace(
            start, decision=replace(start.decision, recipe=recipe, statistics=replace(start.decision.statistics, layers=layers))
        )
    before = TrainableNetwork(checkpoint.model, start.decision)
    network = run(start, checkpoint, tmp_path / "state.pt")
    for name, parameter in network.trained().items():
        # The lower end of a range moves only where something lies below it.
        assert not torch.equal(parameter, before.trained()[name]) or name.endswith("input_low"), f"{name} wasn't trained"
    result = finetune(checkpoint, start, data, tmp_path, state_path=tmp_path / "state.pt")
    assert result.improved
    written = load_checkpoint(result.checkpoint)
    assert written.spec.name == "tiny-qat"
    assert "Fine-tuned for int8 by edgepose quantize --finetune (4 steps of 3 crops" in written.spec.provenance.notes[-1]
    # A plain ViTPose, whose preparation changes nothing any more.
    plain = network.to_model().state_dict()
    for name, tensor in written.model.state_dict().items():
        torch.testing.assert_close(tensor, plain[name], rtol=0, atol=1e-6)
    prepared = prepare(written.model)
    for name, parameter in network.network.named_parameters():
        if "_quantizer." not in name:
            layer = network.network.get_submodule(name.partition(".layer.")[0]) if ".layer." in name else None
            wanted = layer.settle() if layer is not None and name.endswith("weight") else parameter.data
            torch.testing.assert_close(prepared.get_parameter(name.replace(".layer.", ".")).data, wanted, rtol=0, atol=1e-6)
            assert float((wanted - parameter.data).abs().max()) < 1e-4
    decision = Quantization.load(result.decision)
    assert decision.statistics.smoothing == {}
    assert decision.model == "tiny-qat"
    assert set(decision.statistics.norms) == set(_norms(written.model))
    quantized = apply(written.model, decision)
    largest = max(int(np.abs(layer.weight).max()) for layer in quantized.every_layer.values())
    assert largest <= (64 if reduce_range else 127)
    crops = make_crops(4, seed=3)
    given, wanted = compute_heatmaps(simulate(quantized), crops), compute_heatmaps(network, crops)
    exact = compute_heatmaps(for_export(checkpoint.model), crops)
    assert error_of(given, wanted) < 0.15 * error_of(wanted, exact)
    for name, layer in network.network.named_modules():
        if isinstance(layer, TrainableLayer):
            rounded = layer.weight_quantizer(layer.layer.weight)
            torch.testing.assert_close(quantized.module.get_submodule(name).weight, rounded, rtol=0, atol=1e-6)
            assert quantized.layers[name].output is not None


def _norms(model: ViTPose) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]


def test_projection_keeps_what_a_decision_can_describe(tmp_path: Path) -> None:
    checkpoint = make_checkpoint()
    network = run(begin(checkpoint, make_data(), learning_rate=1e-2), checkpoint, tmp_path / "state.pt")
    backbone = network.network.backbone
    assert float(backbone.pos_embed.detach().mean(-1).abs().max()) < 1e-6
    for block in backbone.blocks:
        assert not block.norm1.bias.any()
        assert not block.norm2.bias.any()
        proj = block.attn.proj.layer if isinstance(block.attn.proj, TrainableLayer) else block.attn.proj
        for writer in (proj, block.mlp.fc2.layer):
            assert float(writer.weight.detach().mean(0).abs().max()) < 1e-6
            assert abs(float(writer.bias.detach().mean())) < 1e-6
    for layer in network.network.modules():
        if isinstance(layer, TrainableLayer):
            assert (layer.layer.weight.abs() <= layer.weight_quantizer.scale * (1 + 1e-6)).all()


def test_a_range_that_shrinks_takes_its_weights_along() -> None:
    model = make_model()
    network = TrainableNetwork(model, decide(model))
    crops = torch.from_numpy(make_crops(2))
    layers = [layer for layer in network.network.modules() if isinstance(layer, TrainableLayer)]
    with torch.no_grad():
        for layer in layers:
            layer.weight_quantizer.scale.mul_(0.5)
        wanted = [layer.weight_quantizer.scale.clone() for layer in layers]
        before = network(crops)
        network.project()
        after = network(crops)
    for layer, scale in zip(layers, wanted, strict=True):
        # Centring may push a weight out of the range again, and the range follows it.
        torch.testing.assert_close(layer.weight_quantizer.scale.data, scale, rtol=0.1, atol=0)
    assert error_of(after.numpy(), before.numpy()) < 0.05


def test_training_helps_and_leaves_no_state(tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), make_data(24)
    result = finetune(checkpoint, begin(checkpoint, data, steps=12), data, tmp_path, state_path=tmp_path / "state.pt", save_every_s=0)
    assert result.improved
    assert result.after.relative_rms < 0.97 * result.before.relative_rms
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-qat-int8.quantization.json", "tiny-qat.safetensors"]


def test_the_start_is_kept_where_training_does_not_help(tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), make_data()
    start = begin(checkpoint, data, steps=3, learning_rate=0.1)
    result = finetune(checkpoint, start, data, tmp_path, state_path=tmp_path / "state.pt")
    assert not result.improved
    assert result.after.relative_rms == pytest.approx(result.before.relative_rms, rel=0.05)
    written = load_checkpoint(result.checkpoint)
    assert "Training didn't help" in written.spec.provenance.notes[-1]
    wanted = compute_heatmaps(for_export(checkpoint.model), data.held_out)
    # Biases have been corrected for int8: the float model is nearly, not exactly, the one it began with.
    assert error_of(compute_heatmaps(for_export(written.model), data.held_out), wanted) < 0.2


def test_batches_are_pure_functions_of_seed_and_step() -> None:
    checkpoint, crops = make_checkpoint(), make_crops(6)
    size = checkpoint.spec.input
    one, two = (Batches(crops, size, batch=3, seed=seed) for seed in (0, 0))
    assert one[4].shape == (3, 3, HEIGHT, WIDTH)
    assert one[4].dtype == torch.float32
    for step in (4, 0, 4):
        assert torch.equal(one[step], two[step])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], Batches(crops, size, batch=3, seed=1)[0])
    # One crop: its changes alone differ, between steps, within a batch, and between seeds.
    alone, other = (Batches(crops[:1], size, batch=2, seed=seed) for seed in (0, 1))
    assert not torch.equal(alone[0], alone[1])
    assert not torch.equal(alone[0][0], alone[0][1])
    assert not torch.equal(alone[0], other[0])


def test_batches_hold_each_photo_once_in_an_epoch_and_look_like_it() -> None:
    checkpoint = make_checkpoint()
    # One grey each: colours change by a few percent, places don't matter but for the black border.
    greys = np.linspace(-1.8, 1.8, 4, dtype=np.float32)
    crops = np.broadcast_to(greys[:, None, None, None], (4, 3, HEIGHT, WIDTH)).copy()
    batches = Batches(crops, checkpoint.spec.input, batch=2, seed=0)
    middles = torch.cat([batches[0], batches[1]])[:, :, HEIGHT // 2, WIDTH // 2].mean(1)
    assert np.allclose(np.sort(middles.numpy()), greys, atol=0.55)


def test_an_interrupted_run_ends_at_the_same_weights(tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), make_data()
    start = begin(checkpoint, data)
    whole = run(start, checkpoint, tmp_path / "whole.pt")

    def stop(done: int, _total: int, _note: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    path = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, start, data.crops, state_path=path, save_every_s=0, progress=stop)
    state = load_state(path, start.plan)
    assert state is not None
    assert state.step == 2
    assert state.decision == start.decision
    resumed = run(state, checkpoint, path)
    for name, parameter in whole.trained().items():
        assert torch.equal(parameter, resumed.trained()[name]), name


def test_a_loss_that_is_not_finite_stops_training(tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), make_data()
    crops = data.crops.copy()
    path = tmp_path / "state.pt"
    start = begin(checkpoint, data)
    broken = Batches(crops, checkpoint.spec.input, batch=3, seed=5)._order
    crops[broken[6]] = np.nan
    with pytest.raises(TrainingError, match="loss is nan .* step 3 of 4; .* last good state is kept in .*state.pt; delete it and start"):
        run(start, checkpoint, path, crops=crops)
    state = load_state(path, start.plan)
    assert state is not None
    assert state.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in state.trained.values())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights_sha256", "other", "with other weights; repeat its options"),
        ("recipe", QuantizationRecipe(precision="int8", bias_correction=False), "with other recipe; repeat"),
        ("photos_sha256", "other", "with other photos or boxes; repeat"),
        ("steps", 9, r"with --steps \(4, not 9\); repeat"),
        ("learning_rate", 0.01, r"with --lr \(3e-05, not 0.01\); repeat"),
        ("batch", 2, r"with --batch \(3, not 2\); repeat"),
        ("seed", 6, r"with --seed \(5, not 6\); repeat"),
    ],
)
def test_a_state_of_another_run(field: str, value: object, message: str, tmp_path: Path) -> None:
    plan = FinetunePlan(
        weights_sha256="w",
        recipe=QuantizationRecipe(precision="int8"),
        photos_sha256="p",
        steps=4,
        learning_rate=3e-5,
        batch=3,
        seed=5,
    )
    path = tmp_path / "state.pt"
    assert load_state(path, plan) is None
    decision = Quantization(model="m", weights_sha256="w", recipe=plan.recipe, statistics=Statistics(layers={}))
    save_state(FinetuneState(plan=plan, decision=decision, step=2, trained={"a": torch.ones(2)}, optimizer={}), path)
    state = load_state(path, plan)
    assert state is not None
    assert state.step == 2
    with pytest.raises(TrainingError, match=message):
        load_state(path, replace(plan, **{field: value}))


def test_a_damaged_state(tmp_path: Path) -> None:
    checkpoint, data = make_checkpoint(), make_data()
    path = tmp_path / "state.pt"
    path.write_bytes(b"nonsense")
    with pytest.raises(TrainingError, match="isn't the state of a fine-tuning, or is damaged .* delete it to start over"):
        load_state(path, begin(checkpoint, data).plan)
    with pytest.raises(InputError, match="belong to another network"):
        TrainableNetwork(checkpoint.model, decide(checkpoint.model)).load({"a": torch.ones(1)})


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("batch", 0), ("seed", -1), ("learning_rate", 0.0), ("learning_rate", float("nan"))]
)
def test_numbers_out_of_range(name: str, value: float) -> None:
    checkpoint = make_checkpoint()
    numbers = {"steps": 1, "learning_rate": 1e-4, "batch": 1, "seed": 0} | {name: value}
    with pytest.raises(InputError, match="allowed: "):
        make_plan(checkpoint, QuantizationRecipe(precision="int8"), make_data(), **numbers)


def test_decisions_that_can_not_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    decision = decide(model)
    with pytest.raises(InputError, match="made for other weights"):
        TrainableNetwork(random_model(dim=48, depth=2, heads=3, head="simple", height=HEIGHT, width=WIDTH, seed=3), decision)
    layers = {name: replace(layer, input=None) for name, layer in decision.statistics.layers.items()}
    with pytest.raises(InputError, match="no range for the input of backbone.patch_embed; fine-tuning needs one of precision 'int8'"):
        TrainableNetwork(model, replace(decision, statistics=replace(decision.statistics, layers=layers)))
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingDependencyError, match=r"edgepose\[quantize\]"):
        TrainableNetwork(model, decision)
