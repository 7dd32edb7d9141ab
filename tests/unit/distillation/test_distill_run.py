"""Whole runs of a tiny network."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import make_spec, random_model
from people import RECIPE, write_coco, write_recipe
from torch import Tensor

from edgepose.distillation import Options, State, carry_out, load_recipe, load_state, publish_model
from edgepose.distillation.learner import Learner
from edgepose.errors import InputError, TrainingError
from edgepose.models import Checkpoint, load_checkpoint, save_checkpoint


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def advance(self, images: int, total: int, note: str) -> None:
        self.last = (images, total, note)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco(tmp_path / "data", 12)
    write_recipe(tmp_path / "tiny.toml")
    return tmp_path


def begin(folder: Path, *overrides: tuple[str, str]) -> State:
    return State(recipe=load_recipe(folder / "tiny.toml", overrides=overrides), data=str(folder / "data"))


def options(folder: Path, name: str, **changes: object) -> Options:
    # A device of any machine, so that results don't depend on it.
    return Options(**{"out": folder / name, "cache": folder / "cache", "device": "cpu", "workers": 0, "log_every": 2} | changes)


def weights(path: Path) -> dict[str, Tensor]:
    return load_checkpoint(path).model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_learns_logs_and_keeps_its_best(folder: Path) -> None:
    notes = Notes()
    recipe = [("phases.coarse.images", "1200"), ("phases.fine.images", "200"), ("validation.every", "600")]
    outcome = carry_out(begin(folder, *recipe), options(folder, "run", log_every=10), notes)
    assert outcome.images == 1400
    losses = [row.loss for row in outcome.history if row.phase == "coarse"]
    assert losses[-1] < 0.7 * losses[0]
    assert outcome.score == max(row.score for row in outcome.history if row.score is not None and row.input == "96x64")
    assert outcome.score > 0.2
    assert notes.last[:2] == (1400, 1400)
    assert any("3 people held out" in line for line in notes.lines)
    run = folder / "run"
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [int(row["images"]) for row in rows] == [row.images for row in outcome.history]
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    best = load_checkpoint(run / "best.safetensors")
    assert (best.spec.input.height, best.spec.input.width) == (96, 64)
    assert f"{outcome.score:.3f} on 3 people" in best.spec.provenance.notes[-1]
    assert load_checkpoint(run / "best-64x48.safetensors").spec.input.width == 48


def test_going_on_gives_the_same_weights(folder: Path) -> None:
    """From each phase's middle and end, with and without workers, the run ends where an uninterrupted one does."""
    carry_out(begin(folder), options(folder, "whole"), Notes())
    whole = weights(folder / "whole" / "last.safetensors")
    interrupted = options(folder, "broken", save_every_s=0.0)

    class Killed(Exception):
        pass

    class Stopper(Notes):
        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

        def advance(self, images: int, total: int, note: str) -> None:
            if note.startswith("decoding"):
                return
            if images >= self.at:
                raise Killed

    state = begin(folder)
    for at in (32, 64):
        with pytest.raises(Killed):
            carry_out(state, interrupted, Stopper(at))
        state = load_state(folder / "broken" / "checkpoint.pt")
        assert 0 < state.position.images < at
    outcome = carry_out(state, dataclasses.replace(interrupted, workers=1), Notes())
    assert same(whole, weights(folder / "broken" / "last.safetensors"))
    assert [row.images for row in outcome.history] == sorted({row.images for row in outcome.history})
    ended = load_state(folder / "whole" / "after-coarse.pt")
    carry_out(ended, options(folder, "branch"), Notes())
    assert same(whole, weights(folder / "branch" / "last.safetensors"))
    # The log is the same, too, but for times.
    assert [row.loss for row in outcome.history] == [row.loss for row in load_state(folder / "whole" / "checkpoint.pt").history]


def test_a_longer_phase_branches_off(folder: Path) -> None:
    carry_out(begin(folder), options(folder, "run"), Notes())
    state = load_state(folder / "run" / "after-coarse.pt")
    phases = (dataclasses.replace(state.recipe.phases[0], images=64), *state.recipe.phases[1:])
    outcome = carry_out(
        dataclasses.replace(state, recipe=dataclasses.replace(state.recipe, phases=phases)), options(folder, "longer"), Notes()
    )
    assert outcome.images == 64 + 24
    direct = carry_out(begin(folder, ("phases.coarse.images", "64")), options(folder, "direct"), Notes())
    assert direct.images == outcome.images
    assert same(weights(folder / "direct" / "last.safetensors"), weights(folder / "longer" / "last.safetensors"))


def test_a_loss_that_is_not_finite_stops_and_says_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_step = Learner.step
    steps = []

    def step(self: Learner, *arguments: object) -> tuple[Tensor, Tensor]:
        loss, gradient = true_step(self, *arguments)
        steps.append(1)
        return (loss * math.nan if len(steps) == 5 else loss), gradient

    monkeypatch.setattr(Learner, "step", step)
    with pytest.raises(TrainingError, match=r"the loss is nan.*phase 'coarse', step 5 of 6.*last good checkpoint is .*checkpoint.pt"):
        carry_out(begin(folder), options(folder, "run", save_every_s=0.0), Notes())
    assert load_state(folder / "run" / "checkpoint.pt").position.done == 32
    assert all(tensor.isfinite().all() for tensor in load_state(folder / "run" / "checkpoint.pt").model.values())


def test_a_diverging_run_is_found_on_its_own(folder: Path) -> None:
    changes = [
        ("phases.coarse.learning_rate", "10"),
        ("optimizer.clip", "0"),
        ("phases.coarse.images", "4000"),
        ("phases.coarse.mse", "1000.0"),
    ]
    changes += [("optimizer.betas", "[0.0, 0.0]"), ("optimizer.weight_decay", "10.0")]
    with pytest.raises(TrainingError, match="no checkpoint had been written yet|last good checkpoint"):
        carry_out(begin(folder, *changes), options(folder, "run", log_every=50), Notes())


def test_learning_from_a_larger_vitpose_with_and_without_the_token(folder: Path) -> None:
    model = random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)
    model.head.final.weight.data *= 0.05
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), folder / "teacher.safetensors")
    teacher = ("teacher.path", str(folder / "teacher.safetensors"))
    notes = Notes()
    token = [("teacher.knowledge_token", "true"), ("teacher.token_images", "16"), ("phases.fine.token", "false")]
    with_token = carry_out(begin(folder, teacher, *token), options(folder, "token"), notes)
    without = carry_out(begin(folder, teacher), options(folder, "plain"), Notes())
    alone = carry_out(begin(folder), options(folder, "alone"), Notes())
    assert any("knowledge token: the teacher's loss is" in line for line in notes.lines)
    assert not same(weights(folder / "token" / "last.safetensors"), weights(folder / "plain" / "last.safetensors"))
    assert without.history[0].loss != alone.history[0].loss
    scored = [(row.phase, row.score_with_token is not None) for row in with_token.history if row.score is not None]
    assert scored[0] == ("coarse", True)
    assert scored[-1] == ("fine", False)
    # What comes out is a plain ViTPose, and the token is in the checkpoint: going on doesn't learn another.
    state = load_state(folder / "token" / "after-coarse.pt")
    assert state.extra["knowledge.token"].shape == (1, 1, 48)
    carry_out(state, options(folder, "again"), Notes())
    assert same(weights(folder / "token" / "last.safetensors"), weights(folder / "again" / "last.safetensors"))


def test_photos_learn_from_a_teacher_alone(folder: Path) -> None:
    model = random_model(dim=48, depth=1, heads=3, head="simple", height=64, width=48)
    save_checkpoint(Checkpoint(model=model, spec=make_spec(model)), folder / "teacher.safetensors")
    (folder / "data" / "people.json").unlink()
    text = RECIPE.replace('path = "people.json"', 'path = "."\nlabels = "teacher"').replace('source = "people"', 'source = ""')
    recipe = load_recipe(write_recipe(folder / "photos.toml", text), overrides=[("teacher.path", str(folder / "teacher.safetensors"))])
    outcome = carry_out(State(recipe=recipe, data=str(folder / "data")), options(folder, "run"), Notes())
    assert outcome.score is None
    assert outcome.model.name == "last.safetensors"
    without = dataclasses.replace(recipe, teacher=dataclasses.replace(recipe.teacher, path=""))
    with pytest.raises(InputError, match="12 of 12 people have no label and there is no teacher"):
        carry_out(State(recipe=without, data=str(folder / "data")), options(folder, "other"), Notes())


def test_a_token_needs_a_vitpose(folder: Path) -> None:
    with pytest.raises(InputError, match="name one with --teacher"):
        carry_out(begin(folder, ("teacher.knowledge_token", "true")), options(folder, "run"), Notes())
    token = [("teacher.knowledge_token", "true"), ("teacher.path", "movenet.onnx")]
    with pytest.raises(InputError, match="is an ONNX file"):
        carry_out(begin(folder, *token), options(folder, "run"), Notes())


def test_publishing(folder: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        publish_model(folder / "run", folder / "models")
    carry_out(begin(folder, ("notes", '["Drawn people."]')), options(folder, "run"), Notes())
    published = publish_model(folder / "run", folder / "models")
    half, full = weights(published.model), weights(folder / "run" / "best.safetensors")
    assert published.model.stat().st_size < 0.7 * (folder / "run" / "best.safetensors").stat().st_size
    for name, tensor in full.items():
        np.testing.assert_allclose(half[name], tensor, atol=2e-3, rtol=2e-3)
    card = published.card.read_text()
    for part in ("# tiny", "Drawn people.", "PCK@0.2", "| coarse | 48 |", "people: 12 people", "seconds", "trained on"):
        assert part in card
