"""``edgepose verify``: execute a device file and compare it with the checkpoint it was made from."""

import argparse
import json
from pathlib import Path

from edgepose.cli.checkpoint import add_checkpoint_options, read_checkpoint
from edgepose.cli.options import add_json_option
from edgepose.cli.parity import format_error, format_runtime, format_shift
from edgepose.cli.table import format_table
from edgepose.document import to_document
from edgepose.precision import get_precision
from edgepose.printable import printable

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
    checkpoint = read_checkpoint(options.against, options)
    from edgepose_converters import tolerance, verify

    parity = verify(options.artifact, checkpoint, device=options.device, photos=options.photos)
    same_source = bool(spec.provenance.sha256) and spec.provenance.sha256 == checkpoint.spec.provenance.sha256
    limit = tolerance(get_precision(spec.export.precision if spec.export else "fp32"))
    if options.json:
        document = {
            "artifact": str(options.artifact),
            "parity": to_document(parity),
            "tolerance": to_document(limit),
            "same_source": same_source,
        }
        print(json.dumps(document, indent=2))
        return 0
    error, shift = f"{format_error(parity)} of {limit.relative:.0e}", f"{format_shift(parity)} of {limit.shift_px} px"
    row = [str(options.artifact), error, shift, format_runtime(parity)]
    print(format_table(["file", "max error of allowed", "mean shift of allowed", "executed by"], [row], right=(1, 2)))
    if not same_source:
        source = printable(f"{spec.provenance.source}, sha256 {spec.provenance.sha256[:12]}")
        print(f"note: the file names another source than this checkpoint: {source}")
    return 0
