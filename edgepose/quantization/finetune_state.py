"""The state of a fine-tuning run between two steps, on the disk: everything it needs to go on as if it had never stopped.

There is no random state in it: order and augmentation are pure functions of the seed and the number of the step.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from edgepose.document import from_document, parse_json, to_document
from edgepose.errors import SpecError, TrainingError
from edgepose.models.training_state import load_training_state, save_training_state
from edgepose.quantization.recipe import Quantization, QuantizationRecipe

__all__ = ["FinetunePlan", "FinetuneState", "load_state", "save_state"]

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetunePlan:
    """What a run does: the same plan gives the same weights.

    Attributes:
        weights_sha256: ``fingerprint`` of the float model.
        recipe: what was asked for.
        photos_sha256: hash of the crops that are trained on.
        steps: of the optimizer.
        learning_rate: the largest; it is reached after a tenth of the steps, and falls to zero along half a cosine.
        batch: crops per step.
        seed: of order and augmentation.
    """

    weights_sha256: str
    recipe: QuantizationRecipe
    photos_sha256: str
    steps: int
    learning_rate: float
    batch: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinetuneState:
    """A run between two steps; by default before the first.

    Attributes:
        plan: what is being done.
        decision: the post-training decision that it began with.
        step: number of steps that are done.
        trained: weights, biases and ranges by name.
        optimizer: the optimizer's ``state_dict``.
    """

    plan: FinetunePlan
    decision: Quantization
    step: int = 0
    trained: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)


def save_state(state: FinetuneState, path: Path) -> None:
    """Write a state; the one before it stays until this one is on the disk.

    Raises:
        TrainingError: it can't be written.
    """
    about = {"version": _VERSION, "plan": to_document(state.plan), "step": state.step, "decision": state.decision.to_json()}
    content = {"about": json.dumps(about), "trained": state.trained, "optimizer": state.optimizer}
    save_training_state(content, path, what="state of the fine-tuning")


def load_state(path: Path, plan: FinetunePlan) -> FinetuneState | None:
    """Read the state of a run with this plan.

    Returns:
        ``None`` where there is no file.

    Raises:
        TrainingError: it can't be read, or belongs to a run with another plan.
    """
    if not path.exists():
        return None
    try:
        content = load_training_state(path)
        about: Any = parse_json(content["about"], where="its description")
        if about["version"] != _VERSION:
            raise SpecError(f"version {about['version']}; this edgepose reads version {_VERSION}")
        state = FinetuneState(
            plan=from_document(FinetunePlan, about["plan"], where="plan"),
            decision=Quantization.from_json(about["decision"], where="decision"),
            step=int(about["step"]),
            trained=dict(content["trained"]),
            optimizer=content["optimizer"],
        )
    except Exception as error:  # torch.load has no common base for what a damaged file makes it raise
        # Of torch's own messages, which advise to run what is in the file, only the kind is shown.
        why = str(error) if isinstance(error, SpecError) else type(error).__name__
        raise TrainingError(f"{path} isn't the state of a fine-tuning, or is damaged ({why}); delete it to start over") from None
    _check_plan(path, state.plan, plan)
    return state


def _check_plan(path: Path, theirs: FinetunePlan, ours: FinetunePlan) -> None:
    words = {
        "weights_sha256": "weights",
        "recipe": "recipe",
        "photos_sha256": "photos or boxes",
        "steps": "--steps",
        "learning_rate": "--lr",
        "batch": "--batch",
        "seed": "--seed",
    }
    other = [name for name in words if getattr(theirs, name) != getattr(ours, name)]
    if not other:
        return
    shown = [
        f"{words[name]} ({getattr(theirs, name)}, not {getattr(ours, name)})" if words[name].startswith("--") else f"other {words[name]}"
        for name in other
    ]
    raise TrainingError(
        f"{path} belongs to an unfinished fine-tuning with {', '.join(shown)}; repeat its options to go on with it, or delete the file to "
        "start over"
    )
