"""Losses, first weights, optimizer, schedule, averages, scores, checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import random_model
from people import NAMES, write_recipe
from torch import nn

from edgepose.distillation.history import Row
from edgepose.distillation.initialization import initialize, resize_network
from edgepose.distillation.losses import cross_entropy, squared_error
from edgepose.distillation.optimization import add_drop_path, average_weights, learning_rate, make_optimizer, memory
from edgepose.distillation.recipe import Initialization, Optimizer, Phase
from edgepose.distillation.recipe_files import load_recipe, override_recipe
from edgepose.distillation.state import Position, State, load_state, optimizer_state, rebase, restore_optimizer, save_state
from edgepose.distillation.targets import draw_targets
from edgepose.distillation.validation import mean_oks
from edgepose.errors import InputError, TrainingError
from edgepose.evaluation.protocols.pck import pck
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.skeleton import Skeleton, get_skeleton

TINY = VitPoseConfig(dim=24, depth=2, heads=3, head="simple", keypoints=17, height=64, width=48)
COCO = get_skeleton("coco")


def targets() -> tuple[torch.Tensor, torch.Tensor]:
    keypoints = torch.tensor([[[20.0, 30.0, 1.0], [40.0, 50.0, 0.5], [9.0, 9.0, 0.0]]])
    return draw_targets(keypoints, (16, 12), (64, 48))


def test_losses_are_zero_for_the_target_and_count_weights() -> None:
    heatmaps, weights = targets()
    for loss in (cross_entropy, squared_error):
        assert float(loss(heatmaps, heatmaps, weights)) == pytest.approx(0, abs=1e-5)
        wrong = heatmaps.clone()
        wrong[:, 2] = 9.0
        assert float(loss(wrong, heatmaps, weights)) == pytest.approx(0, abs=1e-5)
        wrong[:, 0] = heatmaps[:, 1]
        twice = wrong.clone()
        twice[:, 0], twice[:, 1] = heatmaps[:, 0], heatmaps[:, 0]
        # The second keypoint weighs half as much as the first.
        assert float(loss(wrong, heatmaps, weights)) > 1.5 * float(loss(twice, heatmaps, weights)) > 0
    assert float(squared_error(torch.zeros_like(heatmaps), heatmaps, weights)) == pytest.approx(1, abs=0.03)
    assert float(cross_entropy(heatmaps + 3.0, heatmaps, weights)) == pytest.approx(0, abs=1e-4)


def test_losses_without_any_label_are_zero_and_finite() -> None:
    heatmaps, weights = targets()
    guess = torch.full_like(heatmaps, math.inf).requires_grad_(False)
    for loss in (cross_entropy, squared_error):
        assert float(loss(guess, heatmaps, weights * 0)) == 0


def test_mimetic_attention_looks_at_like_tokens() -> None:
    model = initialize(TINY, Initialization(kind="mimetic"), seed=0)
    attention = model.backbone.blocks[0].attn
    queries, keys, values = attention.qkv.weight.detach().split(24)
    product = torch.stack([queries[part].T @ keys[part] for part in torch.arange(24).split(8)]).sum(0)
    output = attention.proj.weight.detach() @ values
    assert product.diagonal().mean() > 4 * product.flatten()[1:].view(23, 25)[:, :-1].abs().mean()
    assert output.diagonal().mean() == pytest.approx(-0.4, abs=0.1)
    assert not torch.equal(initialize(TINY, Initialization(), seed=1).backbone.pos_embed, torch.zeros(1, 12, 24))


def test_first_weights_follow_the_seed() -> None:
    first, again, other = (initialize(TINY, Initialization(), seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.patch_embed.weight"], other["backbone.patch_embed.weight"])


def test_resizing_keeps_all_weights_but_positions() -> None:
    model = initialize(TINY, Initialization(), seed=0).train()
    larger = resize_network(model, 96, 64)
    assert larger.config.grid == (6, 4)
    assert larger.training
    assert torch.equal(larger.backbone.blocks[0].attn.qkv.weight, model.backbone.blocks[0].attn.qkv.weight)
    assert larger.backbone.blocks[0].attn.qkv.weight is not model.backbone.blocks[0].attn.qkv.weight
    assert resize_network(model, 64, 48) is model


def test_layer_wise_rates_and_weight_decay() -> None:
    model = ViTPose(TINY)
    extra = nn.Linear(2, 2, bias=False)
    optimizer = make_optimizer(model, extra.parameters(), Optimizer(layer_decay=0.5, weight_decay=0.1))
    of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    scales = {name: of[id(parameter)]["scale"] for name, parameter in model.named_parameters()}
    assert scales["backbone.pos_embed"] == scales["backbone.patch_embed.weight"] == 0.125
    assert scales["backbone.blocks.0.norm1.weight"] == 0.25
    assert scales["backbone.blocks.1.mlp.fc1.weight"] == 0.5
    assert scales["backbone.norm.weight"] == scales["head.final.weight"] == of[id(extra.weight)]["scale"] == 1
    decays = {name: of[id(parameter)]["weight_decay"] for name, parameter in model.named_parameters()}
    assert {decays[name] for name in decays if name.endswith("bias") or "norm" in name or "pos" in name} == {0}
    assert decays["head.final.weight"] == decays["backbone.patch_embed.weight"] == 0.1
    assert len(of) == len(list(model.parameters())) + 1


def test_learning_rates() -> None:
    constant = Phase(name="a", images=1000, batch=10, learning_rate=1.0, warmup=100)
    assert [learning_rate(constant, done) for done in (0, 40, 90, 500, 990)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    linear = Phase(name="a", images=1000, batch=10, learning_rate=1.0, final_learning_rate=0.2, curve="linear")
    assert [learning_rate(linear, done) for done in (0, 500, 1000, 2000)] == pytest.approx([1, 0.6, 0.2, 0.2])
    cosine = Phase(name="a", images=1000, batch=10, learning_rate=1.0, final_learning_rate=0.0)
    assert [learning_rate(cosine, done) for done in (0, 250, 500, 1000)] == pytest.approx([1, 0.853553, 0.5, 0])


def test_averages_forget_by_half_lives() -> None:
    average, current = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(average.weight, 0.0)
    current.num_batches_tracked += 5
    for _ in range(10):
        average_weights(average, current, keep=memory(100, batch=10, seen=10_000))
    assert average.weight.tolist() == pytest.approx([0.5, 0.5])
    assert int(average.num_batches_tracked) == 5
    assert memory(100, batch=10, seen=100) < memory(100, batch=10, seen=500) < memory(100, batch=10, seen=1000)


def test_dropped_branches_keep_the_mean_and_only_in_training() -> None:
    model = random_model(dim=24, depth=3, heads=3, head="simple", height=64, width=48)
    x = torch.randn(2, 3, 64, 48)
    plain = model(x)
    add_drop_path(model, 0.5)
    assert torch.equal(model(x), plain)
    branch = model.backbone.blocks[2].mlp
    tokens = torch.randn(2000, 2, 24)
    whole = branch(tokens)
    branch.train()
    torch.manual_seed(0)
    dropped = branch(tokens)
    kept = dropped.abs().sum(dim=(1, 2)) > 0
    assert 0.45 < kept.float().mean() < 0.55
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
    first = model.backbone.blocks[0].mlp.train()
    torch.testing.assert_close(first(tokens), first.eval()(tokens))


def test_pck_counts_limbs_within_a_fifth_of_the_torso() -> None:
    truth = np.zeros((2, 17, 3), np.float32)
    truth[:, :, 2] = 1
    truth[:, NAMES.index("right_hip"), :2] = (30, 40)
    found = truth[:, :, :2].astype(np.float64)
    found[0, NAMES.index("left_wrist")] += (9.9, 0)
    found[0, NAMES.index("right_wrist")] += (0, 10.1)
    found[0, NAMES.index("nose")] += 999
    # The second person's torso isn't labelled: nothing of it counts.
    truth[1, NAMES.index("left_shoulder"), 2] = 0
    found[1] += 999
    score, each = pck(found, truth, COCO)
    assert score == pytest.approx(11 / 12)
    assert (each["left_wrist"], each["right_wrist"]) == (1, 0)
    assert "nose" not in each
    with pytest.raises(InputError, match="oks"):
        pck(found, truth, Skeleton.unnamed(17))


def test_mean_oks_is_cocos() -> None:
    truth = np.zeros((1, 17, 3), np.float32)
    truth[0, :2, 2] = 1
    found = truth[:, :, :2].astype(np.float64)
    found[0, 0] = (3, 4)
    area = 0.53 * 100 * 200
    expected = (math.exp(-25 / (2 * area * (2 * 0.026) ** 2)) + 1) / 2
    assert mean_oks(found, truth, np.array([[0.0, 0, 100, 200]]), COCO)[0] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InputError, match="pck"):
        mean_oks(found, truth, np.array([[0.0, 0, 100, 200]]), Skeleton.unnamed(17))


@pytest.fixture
def state(tmp_path: Path) -> State:
    model = ViTPose(TINY)
    row = Row(images=8, phase="coarse", step=1, seconds=1.0, learning_rate=0.1, loss=2.0, gradient=1.0, images_per_s=3.0, waited=0.1)
    return State(
        recipe=load_recipe(write_recipe(tmp_path / "tiny.toml")),
        position=Position(phase=0, done=16),
        model=model.state_dict(),
        average=model.state_dict(),
        best={"64x48": 0.5},
        seconds=3.5,
        history=(row,),
        data="somewhere",
        facts=("one",),
    )


def test_checkpoints_come_back_whole(state: State, tmp_path: Path) -> None:
    save_state(state, tmp_path / "checkpoint.pt")
    loaded = load_state(tmp_path / "checkpoint.pt")
    for name in ("recipe", "position", "best", "seconds", "history", "data", "facts"):
        assert getattr(loaded, name) == getattr(state, name)
    assert all(torch.equal(loaded.model[name], tensor) for name, tensor in state.model.items())


def test_damaged_checkpoints_are_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(TrainingError, match="nothing to resume"):
        load_state(path)
    save_state(state, path)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"hello"):
        path.write_bytes(broken)
        with pytest.raises(TrainingError, match="not a training checkpoint of edgepose, or damaged"):
            load_state(path)


def test_an_unwritable_checkpoint_leaves_the_one_before(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_state(state, path)
    before = path.read_bytes()

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="No space left.*the checkpoint before it is untouched"):
        save_state(state, path)
    assert path.read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.pt", "tiny.toml"}


def test_optimizer_state_by_name() -> None:
    model = ViTPose(TINY)
    optimizer = make_optimizer(model, (), Optimizer())
    model(torch.randn(1, 3, 64, 48)).sum().backward()
    optimizer.step()
    names = dict(model.named_parameters())
    kept = optimizer_state(optimizer, names)
    larger = resize_network(model, 96, 64)
    other = make_optimizer(larger, (), Optimizer(layer_decay=0.5))
    parameters = dict(larger.named_parameters())
    restore_optimizer(other, parameters, kept)
    assert torch.equal(other.state[parameters["head.final.weight"]]["exp_avg"], kept["head.final.weight"]["exp_avg"])
    assert parameters["backbone.pos_embed"] not in other.state


def test_changing_the_recipe_of_a_run(state: State) -> None:
    def change(key: str, value: str) -> State:
        return rebase(state, override_recipe(state.recipe, [(key, value)]))

    assert change("phases.coarse.images", "800").recipe.phases[0].images == 800
    assert change("phases.coarse.batch", "4").recipe.phases[0].batch == 4
    with pytest.raises(TrainingError, match="start a new run"):
        change("student.model", "vitpose-ti")
    with pytest.raises(TrainingError, match="its input size can't change now"):
        change("phases.coarse.height", "128")
    with pytest.raises(TrainingError, match="only to a divisor"):
        change("phases.coarse.batch", "5")
