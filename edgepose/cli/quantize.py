"""``edgepose quantize``: decide how a model is quantized, and fine-tune it for that."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.calibration import add_calibration_options
from edgepose.cli.checkpoint import add_checkpoint_options, read_checkpoint
from edgepose.cli.options import MAX_SEED, add_json_option, real_number, whole_number
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_table
from edgepose.document import from_document, read_json, to_document
from edgepose.errors import InputError, MissingDependencyError
from edgepose.files import check_folder, lock
from edgepose.precision import get_precision
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose.models import Checkpoint
    from edgepose.quantization.agreement import Agreement
    from edgepose.quantization.calibration import CalibrationSet
    from edgepose.quantization.finetune import Finetuned
    from edgepose.quantization.finetune_state import FinetunePlan
    from edgepose.quantization.recipe import Quantization, QuantizationRecipe

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Let NNCF decide how a ViTPose is quantized to 8 bits, and write the decision as DIR/NAME-int8.quantization.json.

With --finetune, train the quantized model to give the float model's heatmaps again, on the same photos and without labels. That writes
DIR/NAME-qat.safetensors and the decision for it, DIR/NAME-qat-int8.quantization.json. An interrupted run goes on when the command is
repeated, to the very same weights."""

_EXAMPLES = """\
examples:
  edgepose quantize vitpose-s.safetensors --calibration photos --boxes boxes.json
  edgepose quantize vitpose-s.safetensors --calibration photos --boxes boxes.json --finetune --steps 500
  edgepose convert models/vitpose-s-qat.safetensors --precision int8 --recipe models/vitpose-s-qat-int8.quantization.json
"""

_FINETUNING = {"steps": 200, "lr": 3e-6, "batch": 8, "seed": 0, "save_every": 60.0}
_SHOWN_PROBLEMS = 5


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "quantize",
        help="decide how a model is quantized to int8, and fine-tune it",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="checkpoint file, Hugging Face folder or hub id (default: the model in the package)"
    )
    add_calibration_options(parser)
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="folder to write to (default: models)")
    parser.add_argument("--name", help="name of the model, used for file names (default: from its size and data set)")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="JSON: the fields of a recipe to decide by, or a decision to take as it is"
    )
    add_checkpoint_options(parser)
    training = parser.add_argument_group("fine-tuning")
    training.add_argument("--finetune", action="store_true", help="train the quantized model against the float model")
    training.add_argument(
        "--steps", type=whole_number(1, 1_000_000), metavar="N", help=f"steps of the optimizer (default: {_FINETUNING['steps']})"
    )
    training.add_argument(
        "--lr", type=real_number(0, 0.1, above=True), metavar="X", help=f"largest learning rate (default: {_FINETUNING['lr']:g})"
    )
    training.add_argument("--batch", type=whole_number(1, 1024), metavar="N", help=f"crops per step (default: {_FINETUNING['batch']})")
    training.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), metavar="N", help=f"of order and augmentation (default: {_FINETUNING['seed']})"
    )
    training.add_argument(
        "--save-every",
        type=real_number(0, 1e7),
        metavar="S",
        help=f"seconds between two states of the run (default: {_FINETUNING['save_every']:g})",
    )
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    _complete(options)
    checkpoint = read_checkpoint(options.model, options, name=options.name)
    from edgepose.boxes import load_boxes
    from edgepose.quantization.calibration import find_photos, load_calibration
    from edgepose.quantization.post_training import import_nncf
    from edgepose.quantization.saved import file_name

    import_nncf()
    check_folder(options.out)
    if not options.calibration:
        raise InputError("no photos: name some, or folders of them, with --calibration")
    boxes = None if options.boxes is None else load_boxes(options.boxes)
    recipe, given = _read_recipe(options.recipe, checkpoint)
    path = options.out / file_name(checkpoint.spec.name, "int8")
    finetuned = None
    with Progress(1) as progress:
        photos = find_photos(options.calibration)
        data = load_calibration(photos, boxes, checkpoint.spec, limit=recipe.calibration_crops, progress=progress.note)
        if options.finetune:
            with lock(options.out, f"{checkpoint.spec.name}-qat.", what=f"fine-tuning of {checkpoint.spec.name}"):
                decision, finetuned = _finetune(options, checkpoint, recipe, given, data, path, progress)
            agreements = [finetuned.before, finetuned.after]
        else:
            decision = given or _decide(checkpoint, recipe, data, path, progress)
            progress.note("comparing")
            agreements = [_measure(checkpoint, decision, data)]
    _report_problems(data.problems)
    if options.json:
        print(json.dumps(_to_json(options.recipe if given else path, agreements, finetuned, data), indent=2))
        return 0
    print(_format(agreements))
    print(f"\ncompared with the float model on {len(data.held_out)} held-out crops: {agreements[0].compared} keypoints")
    print(printable(f"decision: {options.recipe if given else path}; in float: {', '.join(decision.recipe.float_layers) or 'no layer'}"))
    if finetuned:
        print(f"fine-tuned: {finetuned.checkpoint} with {finetuned.decision}")
        if not finetuned.improved:
            print("training didn't help: these files hold what it began with. Try another --lr, more --steps or more photos")
    return 0


def _complete(options: argparse.Namespace) -> None:
    """Fill in the defaults of fine-tuning; without it, its options are a mistake."""
    for name, value in _FINETUNING.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
        elif not options.finetune:
            raise InputError(f"--{name.replace('_', '-')} is about fine-tuning: add --finetune, or leave it out")


def _read_recipe(path: Path | None, checkpoint: "Checkpoint") -> "tuple[QuantizationRecipe, Quantization | None]":
    """Return what is asked for, and the decision if the file holds one."""
    from edgepose.quantization.decision import default_recipe
    from edgepose.quantization.recipe import QuantizationRecipe
    from edgepose.quantization.saved import load_recipe

    recipe, given = default_recipe("int8"), None
    if path is not None:
        document = read_json(path, what="the recipe")
        if isinstance(document, dict) and "edgepose_quantization" not in document:
            recipe = from_document(QuantizationRecipe, document, where=path.name)
        else:
            given = load_recipe(path, checkpoint).quantization
            recipe = given.recipe
    if not get_precision(recipe.precision).calibrated:
        raise InputError(
            f"{path} is of precision {recipe.precision!r}, which is about weights alone and needs no photos: use "
            f"`edgepose convert --precision {recipe.precision}`"
        )
    return recipe, given


def _decide(
    checkpoint: "Checkpoint", recipe: "QuantizationRecipe", data: "CalibrationSet", path: Path, progress: Progress
) -> "Quantization":
    """Return the decision in the file if it is the one that would be made again; else decide, and write it."""
    from edgepose.quantization.decision import decide
    from edgepose.quantization.saved import find_decision

    found = find_decision(path, checkpoint, crops=data.source.sha256)
    if found is not None:
        # Deciding only adds to the layers that stay in float.
        same = dataclasses.replace(found.recipe, float_layers=recipe.float_layers) == recipe
        if same and set(recipe.float_layers) <= set(found.recipe.float_layers):
            return found
    decision = decide(checkpoint, recipe, data, progress.note)
    decision.save(path)
    return decision


def _finetune(
    options: argparse.Namespace,
    checkpoint: "Checkpoint",
    recipe: "QuantizationRecipe",
    given: "Quantization | None",
    data: "CalibrationSet",
    path: Path,
    progress: Progress,
) -> "tuple[Quantization, Finetuned]":
    """Begin a run or go on with one."""
    try:
        from edgepose.quantization.finetune import finetune, make_plan
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "torch", extra="quantize", purpose="Fine-tuning") from None
    from edgepose.quantization.finetune_state import FinetuneState, load_state

    plan: FinetunePlan = make_plan(
        checkpoint, recipe, data, steps=options.steps, learning_rate=options.lr, batch=options.batch, seed=options.seed
    )
    state_path = options.out / f"{checkpoint.spec.name}-qat.state.pt"
    state = load_state(state_path, plan)
    if state is None:
        decision = given or _decide(checkpoint, recipe, data, path, progress)
        state = FinetuneState(plan=plan, decision=decision)
    else:
        progress.print(f"going on after step {state.step} of {plan.steps}")
    result = finetune(checkpoint, state, data, options.out, state_path=state_path, save_every_s=options.save_every, progress=progress.move)
    return state.decision, result


def _measure(checkpoint: "Checkpoint", decision: "Quantization", data: "CalibrationSet") -> "Agreement":
    from edgepose.models import for_export
    from edgepose.quantization.finetune import compute_heatmaps, measure_quantized

    return measure_quantized(checkpoint, decision, data.held_out, compute_heatmaps(for_export(checkpoint.model), data.held_out))


def _report_problems(problems: Sequence[str]) -> None:
    for problem in problems[:_SHOWN_PROBLEMS]:
        print(printable(f"skipped {problem}"), file=sys.stderr)
    if len(problems) > _SHOWN_PROBLEMS:
        print(f"and {len(problems) - _SHOWN_PROBLEMS} more photos were skipped", file=sys.stderr)


def _format(agreements: "Sequence[Agreement]") -> str:
    rows = [
        [
            name,
            f"{agreement.relative_rms:.2%}",
            "–" if agreement.shift_px is None else f"{agreement.shift_px:.3f} px",
            "–" if agreement.p95_shift_px is None else f"{agreement.p95_shift_px:.2f} px",
            "–" if agreement.moved is None else f"{agreement.moved:.1%}",
        ]
        for name, agreement in zip(("int8, post-training", "int8, fine-tuned"), agreements, strict=False)
    ]
    return format_table(["model", "heatmap error", "mean shift", "p95", "> 2 px"], rows, right=(1, 2, 3, 4))


def _to_json(path: Path, agreements: "Sequence[Agreement]", finetuned: "Finetuned | None", data: "CalibrationSet") -> dict[str, object]:
    document: dict[str, object] = {
        "decision": str(path),
        "calibration": to_document(data.source),
        "held_out_crops": len(data.held_out),
        "skipped": list(data.problems),
        "post_training": to_document(agreements[0]),
    }
    if finetuned:
        document["finetuned"] = {
            "checkpoint": str(finetuned.checkpoint),
            "decision": str(finetuned.decision),
            "improved": finetuned.improved,
            **to_document(finetuned.after),
        }
    return document
