"""``edgepose distill``: train a ViTPose student."""

import argparse
import dataclasses
import json
import os
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.options import add_json_option, key_value, real_number, whole_number
from edgepose.cli.progress import Progress
from edgepose.errors import InputError, MissingDependencyError
from edgepose.files import lock

if TYPE_CHECKING:
    from edgepose.distillation.state import State

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Train a ViTPose student, from labels and from a larger teacher.

A recipe decides what is learned: network, data, phases, losses, augmentation. The options below decide where, and on what
machine. DIR/best.safetensors is the result: `edgepose convert` takes it. history.csv and curve.png show the course."""

_EXAMPLES = """\
recipes: default, vitpose-ti-lsp, vitpose-s-coco, or a TOML file of your own (docs/training.md explains every field)

data: by the recipe's paths below --data DIR; the default recipe takes what --data names: a COCO keypoint .json, an LSP .npz,
or a folder of photos, which the teacher labels

teacher: a ViTPose checkpoint (its heatmaps are learned), or an .onnx file that gives keypoints, such as MoveNet (they become labels)

examples:
  edgepose distill --data people.json --student vitpose-ti-simple --teacher vitpose-b.pth --out runs/ti
  edgepose distill --recipe vitpose-ti-lsp --data data --out runs/box --set optimizer.weight_decay=0.1
  edgepose distill --resume --out runs/box                     go on after an interruption, to the very same weights
  edgepose distill --resume runs/box/after-coarse.pt --set phases.coarse.images=400000 --out runs/longer
  edgepose distill --out runs/box --publish models             write models/NAME.safetensors (fp16) and its model card
  torchrun --nproc-per-node 8 -m edgepose.cli distill --recipe vitpose-s-coco --teacher vitpose-h.pth --data coco --out runs/s
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "distill",
        help="train a student from labels and a larger teacher",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--publish", type=Path, metavar="DIR", help="write the best weights as fp16, with a model card; alone: of a run so far"
    )
    what = parser.add_argument_group("what is learned")
    what.add_argument("--recipe", metavar="NAME|FILE", help="built-in recipe or TOML file (default: default; with --resume: the run's own)")
    what.add_argument(
        "--resume", nargs="?", type=Path, const=Path(), metavar="FILE", help="go on from checkpoint.pt in the run's folder, or from FILE"
    )
    what.add_argument("--data", type=Path, metavar="PATH", help="folder of the recipe's data; with the default recipe, the data themselves")
    what.add_argument("--teacher", metavar="MODEL", help="ViTPose checkpoint, folder or hub id, or a keypoint model as .onnx")
    what.add_argument("--student", metavar="NAME", help="vitpose-ti, -s, -b, -l, -h, each also with -simple")
    what.add_argument(
        "--set", action="append", type=key_value, default=[], dest="overrides", metavar="KEY=VALUE", help="replace a field; may be repeated"
    )
    how = parser.add_argument_group("how it is carried out")
    how.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto takes a GPU where there is one (default: auto)")
    how.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the arithmetic (default: fp32)")
    how.add_argument("--workers", type=whole_number(0, 1024), default=2, metavar="N", help="processes that prepare batches (default: 2)")
    how.add_argument("--compile", action="store_true", help="let torch.compile fuse the network")
    how.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for decoded pictures; runs may share it (default: in the run's folder)"
    )
    how.add_argument(
        "--save-every", type=real_number(0, 1e7), default=300.0, metavar="S", help="seconds between checkpoints (default: 300)"
    )
    how.add_argument(
        "--log-every", type=whole_number(1, 10**9), default=20, metavar="N", help="steps between rows of the log (default: 20)"
    )
    how.add_argument("--tensorboard", action="store_true", help="write TensorBoard events, too")
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    try:
        import_module("edgepose.distillation.session")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "accelerate", extra="distill", purpose="Training") from None

    # Of several processes of torchrun the first one writes.
    with lock(options.out, what="a training run") if os.environ.get("RANK", "0") == "0" else nullcontext():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    from edgepose.distillation.card import publish_model
    from edgepose.distillation.run import CHECKPOINT, Options
    from edgepose.distillation.session import carry_out

    result: dict[str, object] = {}
    changes = options.recipe or options.data or options.teacher or options.student or options.overrides
    if options.resume is not None or not options.publish or changes:
        if options.resume is None and (options.out / CHECKPOINT).exists():
            raise InputError(f"{str(options.out)!r} holds a run already: go on with --resume, or name another folder")
        how = Options(
            out=options.out,
            cache=options.cache,
            device=options.device,
            precision=options.precision,
            workers=options.workers,
            compile=options.compile,
            save_every_s=options.save_every,
            log_every=options.log_every,
            tensorboard=options.tensorboard,
        )
        state = _begin(options) if options.resume is None else _resume(options)
        with Progress(1) as progress:
            outcome = carry_out(state, how, _Screen(progress))
        result |= {"model": str(outcome.model), "score": outcome.score, "images": outcome.images, "seconds": outcome.seconds}
        metric = state.recipe.validation.metric.upper()
        if not options.json and outcome.main:
            score = "" if outcome.score is None else f", {metric} {outcome.score:.4f}"
            print(f"{outcome.model}{score}; {outcome.images} images in {outcome.seconds:.0f} s")
    if options.publish:
        published = publish_model(options.out, options.publish)
        result |= {"published": str(published.model), "card": str(published.card)}
        if not options.json:
            print(f"{published.model}\n{published.card}")
    if options.json:
        print(json.dumps(result, indent=2))
    return 0


def _begin(options: argparse.Namespace) -> "State":
    """Describe a new run."""
    from edgepose.distillation.recipe_files import load_recipe
    from edgepose.distillation.state import State

    if options.data is None:
        raise InputError("no data: name them with --data, or go on with a run with --resume")
    recipe = load_recipe(options.recipe or "default", overrides=_overrides(options))
    return State(recipe=recipe, data=str(options.data.resolve()))


def _resume(options: argparse.Namespace) -> "State":
    """Read the run to go on with, and change its recipe where that is asked for."""
    from edgepose.distillation.recipe_files import load_recipe, override_recipe
    from edgepose.distillation.run import CHECKPOINT
    from edgepose.distillation.state import load_state, rebase

    own = options.out / CHECKPOINT
    source = own if options.resume == Path() else options.resume
    state = load_state(source)
    if source.resolve() != own.resolve():
        if own.exists():
            raise InputError(f"{str(options.out)!r} holds a run of its own: name another folder with --out, or leave {str(source)!r} out")
        # Scores are kept with the weights that reached them, and those stay in the other run's folder.
        state = dataclasses.replace(state, best={})
    if options.data is not None:
        state = dataclasses.replace(state, data=str(options.data.resolve()))
    overrides = _overrides(options)
    recipe = load_recipe(options.recipe, overrides=overrides) if options.recipe else override_recipe(state.recipe, overrides)
    return state if recipe == state.recipe else rebase(state, recipe)


def _overrides(options: argparse.Namespace) -> list[tuple[str, str]]:
    overrides = list(options.overrides)
    if options.student:
        overrides.append(("student.model", json.dumps(options.student)))
    if options.teacher:
        path = Path(options.teacher)
        overrides.append(("teacher.path", json.dumps(str(path.resolve()) if path.exists() else options.teacher)))
    return overrides


class _Screen:
    """Shows a run as a progress bar, with the measurements above it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def advance(self, images: int, total: int, note: str) -> None:
        self._progress.move(images, total, note)

    def say(self, line: str) -> None:
        self._progress.print(line)
