"""Training checkpoints: everything a run needs to go on as if it had never stopped.

There is no random state in them: order, augmentation and dropped branches are pure functions of the recipe's seed and the number of the
sample or step, so the position in the run is enough.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.distillation.history import Row
from edgepose.distillation.recipe import Recipe
from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import SpecError, TrainingError
from edgepose.models.training_state import load_training_state, save_training_state

__all__ = ["Position", "State", "load_state", "optimizer_state", "rebase", "restore_optimizer", "save_state"]

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands.

    Attributes:
        phase: number of the phase.
        done: images of that phase that have been seen.
        first: images seen before that phase.
    """

    phase: int = 0
    done: int = 0
    first: int = 0

    @property
    def images(self) -> int:
        """Images of the whole run that have been seen."""
        return self.first + self.done


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """A run between two steps.

    Attributes:
        recipe: what is being done.
        position: how far it is.
        model: the student's weights.
        average: its averaged weights.
        optimizer: AdamW's state by parameter name.
        extra: weights of what trains beside the student, and the knowledge token.
        best: best validation score by input size, ``height×width``.
        seconds: of training so far.
        history: its rows.
        data: the folder of the data.
        facts: about the data and the machine, for the model card; one line each.
    """

    recipe: Recipe
    position: Position = Position()
    model: Mapping[str, Tensor] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    history: tuple[Row, ...] = ()
    data: str = ""
    facts: tuple[str, ...] = ()


def save_state(state: State, path: Path) -> None:
    """Write a checkpoint; the one before it stays until this one is on the disk.

    Raises:
        TrainingError: it can't be written.
    """
    about = {
        "version": VERSION,
        "recipe": to_document(state.recipe),
        "position": to_document(state.position),
        "best": dict(state.best),
        "seconds": state.seconds,
        "history": [to_document(row) for row in state.history],
        "data": state.data,
        "facts": list(state.facts),
    }
    content = {
        "about": json.dumps(about),
        "model": dict(state.model),
        "average": dict(state.average),
        "optimizer": {name: dict(values) for name, values in state.optimizer.items()},
        "extra": dict(state.extra),
    }
    save_training_state(content, path, what="checkpoint")


def load_state(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        TrainingError: it can't be read, or isn't one.
    """
    try:
        content = load_training_state(path)
        about: Any = parse_json(content["about"], where="its description")
        if about["version"] != VERSION:
            raise TrainingError(f"{path}: a checkpoint of version {about['version']}; this edgepose reads version {VERSION}")
        return State(
            recipe=from_document(Recipe, about["recipe"], where="recipe"),
            position=from_document(Position, about["position"], where="position"),
            model=content["model"],
            average=content["average"],
            optimizer=content["optimizer"],
            extra=content["extra"],
            best=about["best"],
            seconds=about["seconds"],
            history=tuple(from_document(Row, row, where="history") for row in about["history"]),
            data=about.get("data", ""),
            facts=tuple(about.get("facts", ())),
        )
    except FileNotFoundError:
        raise TrainingError(f"no training checkpoint {str(path)!r}: nothing to resume") from None
    except TrainingError:
        raise
    except SpecError as error:
        raise TrainingError(f"{path}: {error}") from None
    except Exception as error:  # torch.load has no common base for what a damaged file makes it raise
        raise TrainingError(f"{path}: not a training checkpoint of edgepose, or damaged ({type(error).__name__}: {error})") from None


def rebase(state: State, recipe: Recipe) -> State:
    """Return the state with another recipe: longer phases, say, or other ones to come.

    Raises:
        TrainingError: the state doesn't fit the recipe.
    """
    old, here = state.recipe, state.position.phase
    if (recipe.student.model, recipe.student.skeleton) != (old.student.model, old.student.skeleton):
        raise TrainingError(f"the run trains {old.student.model} on {old.student.skeleton}, which can't change; start a new run")
    if here >= len(recipe.phases):
        raise TrainingError(f"the run is in phase {here} of {len(old.phases)}; the changed recipe has only {len(recipe.phases)}")
    phase, before = recipe.phases[here], old.phases[here]
    if (phase.height, phase.width) != (before.height, before.width) or state.position.done % phase.batch:
        raise TrainingError(
            f"the run has seen {state.position.done} images of phase {before.name!r} at {before.height}x{before.width} in batches of "
            f"{before.batch}; its input size can't change now, and its batch only to a divisor of those images"
        )
    return dataclasses.replace(state, recipe=recipe)


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """AdamW's state by parameter name, so that it fits an optimizer with other groups; the tensors are the live ones."""
    return {name: dict(optimizer.state[parameter]) for name, parameter in parameters.items() if parameter in optimizer.state}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put back what ``optimizer_state`` returned; parameters that have changed shape begin anew."""
    for name, parameter in parameters.items():
        values = state.get(name)
        if values and values["exp_avg"].shape == parameter.shape:
            optimizer.state[parameter] = {key: value.to(parameter.device, copy=True) for key, value in values.items()}
