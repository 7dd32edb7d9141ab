"""``edgepose verify``: execute a device file and compare it with the checkpoint it was made from."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.checkpoint import add_checkpoint_options, read_checkpoint
from edgepose.cli.options import add_json_option
from edgepose.cli.parity import format_error, format_runtime, format_shift
from edgepose.cli.table import format_table
from edgepose.document import to_document
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose_converters import Verification

__all__ = ["add_parser", "run"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="execute a device file and compare it with its checkpoint",
        description="Execute a device file and compare it with its checkpoint. The exit code is 1 if it is outside its tolerance.",
    )
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--against", metavar="MODEL", help="checkpoint file, folder or hub id (default: the model in the package)")
    parser.add_argument("--device", default="auto", metavar="[RUNTIME:]DEVICE", help="what executes the file (default: auto)")
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to compare on (default: the sample photo)"
    )
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="the decision behind a quantized file, to compare its numbers exactly")
    add_checkpoint_options(parser)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact

    spec = open_artifact(options.artifact).spec
    # What the artifact says of itself, unless an option says otherwise.
    options.dataset = options.dataset or spec.provenance.dataset or None
    options.input_size = options.input_size or (spec.input.height, spec.input.width)
    checkpoint = read_checkpoint(options.against, options, default_skeleton=spec.skeleton)
    from edgepose_converters import verify

    decision = None
    if options.recipe is not None:
        from edgepose.quantization.recipe import Quantization

        decision = Quantization.load(options.recipe)
    found = verify(options.artifact, checkpoint, decision=decision, device=options.device, photos=options.photos)
    same_source = bool(spec.provenance.sha256) and spec.provenance.sha256 == checkpoint.spec.provenance.sha256
    if options.json:
        document = {
            "artifact": str(options.artifact),
            "parity": to_document(found.parities[0]),
            "tolerance": to_document(found.limit),
            "same_source": same_source,
            "numbers": found.numbers,
            "checked": list(found.checked),
            "unchecked": list(found.unchecked),
        }
        print(json.dumps(document, indent=2))
        return 0
    print(_table(options.artifact, found))
    for each in found.checked:
        print(f"checked: {each}")
    for each in found.unchecked:
        print(f"not checked: {each}")
    if not same_source:
        source = printable(f"{spec.provenance.source}, sha256 {spec.provenance.sha256[:12]}")
        print(f"note: the file names another source than this checkpoint: {source}")
    return 0


def _table(artifact: Path, found: "Verification") -> str:
    limit = found.limit
    if limit.relative is not None:
        (parity,) = found.parities
        error, shift = f"{format_error(parity)} of {limit.relative:.0e}", f"{format_shift(parity)} of {limit.shift_px} px"
        row = [str(artifact), error, shift, format_runtime(parity)]
        return format_table(["file", "max error of allowed", "mean shift of allowed", "executed by"], [row], right=(1, 2))
    rows = []
    for number, parity in enumerate(found.parities):
        error = "–" if parity.relative_rms is None else f"{parity.relative_rms:.2%}"
        if number == 0 and limit.relative_rms is not None:
            error += f" of {limit.relative_rms:.2%}"
        rows.append(["" if number else str(artifact), parity.reference, error, format_shift(parity), format_runtime(parity)])
    return format_table(["file", "against", "heatmap error of allowed", "mean shift", "executed by"], rows, right=(2, 3))
