"""The model card, and the file to ship: half-precision weights with their provenance."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from edgepose.distillation.history import Row
from edgepose.distillation.recipe import Phase
from edgepose.distillation.run import BEST, CHECKPOINT, LAST
from edgepose.distillation.state import State, load_state
from edgepose.errors import TrainingError
from edgepose.files import staged_file
from edgepose.models import Checkpoint, load_checkpoint, save_checkpoint
from edgepose.models.sizes import find_size
from edgepose.printable import markdown_code, markdown_text

__all__ = ["Published", "publish_model"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was written.

    Attributes:
        model: half-precision weights.
        card: what they are, in Markdown.
    """

    model: Path
    card: Path


def publish_model(run: Path, out: Path) -> Published:
    """Write a run's best weights in half precision, and their model card.

    Args:
        run: the run's folder; the run may still be going on.
        out: folder to write to.

    Raises:
        TrainingError: the run has no weights yet, or nothing can be written.
    """
    state = load_state(run / CHECKPOINT)
    source = next((path for path in (run / BEST, run / LAST) if path.is_file()), None)
    if source is None:
        raise TrainingError(f"{str(run)!r} has neither {BEST} nor {LAST}: the run hasn't reached its last input size yet")
    checkpoint = load_checkpoint(source)
    name = checkpoint.spec.name
    model, card = out / f"{name}.safetensors", out / f"{name}.md"
    save_checkpoint(checkpoint, model, dtype="fp16")
    try:
        with staged_file(card) as staged:
            staged.write_text(_write_card(state, checkpoint), "utf-8")
    except OSError as error:
        raise TrainingError(f"can't write the model card {str(card)!r}: {error.strerror or error}") from None
    return Published(model=model, card=card)


def _write_card(state: State, checkpoint: Checkpoint) -> str:
    recipe, spec = state.recipe, checkpoint.spec
    shape = spec.architecture
    size = find_size(shape.dim)
    described = f"ViTPose-{size.name.title()}" if size else f"ViTPose with {shape.dim} channels"
    teacher = markdown_text(Path(recipe.teacher.path).name or "none")
    millions = sum(parameter.numel() for parameter in checkpoint.model.parameters()) / 1e6
    lines = [
        f"# {spec.name}",
        "",
        markdown_text(recipe.description or "A ViTPose student."),
        "",
        f"- **Network**: {described}, {shape.head} head, {millions:.1f} M parameters, stored in half precision",
        f"- **Input and output**: {spec.input.height}×{spec.input.width}; {spec.keypoints} keypoints ({markdown_text(spec.skeleton.name)})",
        f"- **Accuracy**: {markdown_text(_accuracy(spec.provenance.notes, recipe.notes))}",
        f"- **Training**: {_training(state)}",
        f"- **Licence of the weights**: {markdown_text(recipe.licence or 'not stated; see the terms of the data below')}",
        "",
        "## Data and terms",
        "",
        *(f"- {markdown_text(note)}" for note in recipe.notes),
        *(f"- {markdown_text(fact)}" for fact in state.facts),
        "",
        "## Recipe",
        "",
        f"{markdown_code(recipe.name)}, seed {recipe.seed}, first weights: {recipe.init.kind}, teacher: {teacher}.",
        "",
        "| phase | images | input | batch | learning rate | cross-entropy | squared error |",
        "|---|--:|---|--:|---|--:|--:|",
        *map(_phase_row, recipe.phases),
        "",
        "## Course",
        "",
        f"{recipe.validation.metric.upper()} of the averaged weights on people held out of training.",
        "",
        "| images seen | input | score |",
        "|--:|---|--:|",
        *_scores(state.history),
        "",
    ]
    return "\n".join(lines)


def _accuracy(notes: Sequence[str], known: Sequence[str]) -> str:
    measured = [note for note in notes if note not in known]
    return measured[-1] if measured else "not measured"


def _training(state: State) -> str:
    return f"{state.position.images:,} images in {state.seconds / 3600:.1f} hours ({state.seconds:,.0f} seconds), averaged weights."


def _phase_row(phase: Phase) -> str:
    final = phase.final_learning_rate
    rate = f"{phase.learning_rate:g}" + ("" if final is None else f" → {final:g}, {phase.curve}")
    size = f"{phase.height}×{phase.width}"
    return f"| {markdown_text(phase.name)} | {phase.images:,} | {size} | {phase.batch} | {rate} | {phase.cross_entropy:g} | {phase.mse:g} |"


def _scores(history: Sequence[Row], limit: int = 25) -> list[str]:
    """About ``limit`` rows, evenly chosen, the last among them."""
    scored = [row for row in history if row.score is not None]
    stride = max(1, -(-len(scored) // limit))
    return [f"| {row.images:,} | {markdown_text(row.input)} | {row.score:.3f} |" for row in scored[::-1][::stride][::-1]]
