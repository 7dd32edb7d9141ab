"""``edgepose convert --accept-if``: converted files have to be as accurate as asked."""

import argparse
from typing import TYPE_CHECKING

from edgepose.cli.evaluation_options import read_request
from edgepose.cli.progress import Progress
from edgepose.errors import InputError
from edgepose.files import temporary_folder

if TYPE_CHECKING:
    from edgepose.evaluation.acceptance import Acceptance
    from edgepose.models import Checkpoint

__all__ = ["check_acceptance", "open_acceptance"]


def check_acceptance(options: argparse.Namespace) -> None:
    """Look at the options before anything that takes minutes.

    Raises:
        InputError: a condition has another form, or the annotations or pictures to judge by aren't named.
    """
    if options.accept_if is None:
        if options.annotations or options.images or options.detections:
            raise InputError(
                "--annotations, --images and --detections are for --accept-if; give a condition, such as --accept-if 'ap_drop<0.5'"
            )
        return
    from edgepose.evaluation.gate import parse_conditions

    parse_conditions(options.accept_if)
    if options.annotations is None or options.images is None:
        raise InputError("--accept-if needs --annotations FILE and --images DIR to judge by")


def open_acceptance(checkpoint: "Checkpoint", options: argparse.Namespace, progress: Progress) -> "Acceptance | None":
    """Evaluate the checkpoint itself, and return what judges the files made from it; ``None`` without ``--accept-if``."""
    if options.accept_if is None:
        return None
    from edgepose.artifact import open_artifact
    from edgepose.evaluation.acceptance import Acceptance
    from edgepose.evaluation.evaluation import evaluate, open_data
    from edgepose.evaluation.gate import parse_conditions
    from edgepose.evaluation.running import RunOptions
    from edgepose.models import save_checkpoint

    data = open_data(read_request(options), checkpoint.spec)
    for finding in data.findings:
        progress.print(f"edgepose convert: {finding.severity}: {finding}")
    run = RunOptions()
    with temporary_folder() as folder:
        original = folder / f"{checkpoint.spec.name}.safetensors"
        save_checkpoint(checkpoint, original, dtype="fp32")
        baseline = evaluate(
            open_artifact(original), data, run, lambda done, total: progress.note(f"evaluating the checkpoint: {done} of {total} people")
        )
    return Acceptance(
        parse_conditions(options.accept_if), data, baseline, run, lambda done, total: progress.note(f"evaluating: {done} of {total} people")
    )
