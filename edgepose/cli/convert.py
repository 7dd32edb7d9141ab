"""``edgepose convert``: a checkpoint becomes verified device files."""

import argparse
import json
from pathlib import Path

from edgepose.cli.checkpoint import add_checkpoint_options, read_checkpoint
from edgepose.cli.options import add_json_option, batch_size, comma_list
from edgepose.cli.parity import format_error, format_runtime, format_shift
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_bytes, format_table
from edgepose.document import to_document

__all__ = ["add_parser", "run"]

_TARGETS = ("openvino", "onnx", "litert", "coreml")
_PRECISIONS = ("fp32", "fp16")


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "convert",
        help="convert a checkpoint to verified device files",
        description="Convert a ViTPose checkpoint to device files. Each is executed and compared with the torch model before it is kept.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="checkpoint file, Hugging Face folder or hub id (default: the model in the package)"
    )
    parser.add_argument("--to", type=comma_list, default=list(_TARGETS), metavar="TARGETS", help=f"{','.join(_TARGETS)} (default: all)")
    parser.add_argument("--precision", type=comma_list, default=["fp16"], metavar="PRECISIONS", help="fp32,fp16 (default: fp16)")
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="folder to write to (default: models)")
    parser.add_argument("--batch", type=batch_size, default=1, metavar="N|dynamic", help="batch size of the files (default: 1)")
    parser.add_argument("--name", help="name of the model, used for file names (default: from its size and data set)")
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to verify on (default: the sample photo)"
    )
    add_checkpoint_options(parser)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    checkpoint = read_checkpoint(options.model, options, name=options.name)
    from edgepose_converters import convert

    failed = False
    results = []
    with Progress(len(set(options.to)) * len(set(options.precision))) as progress:
        for conversion in convert(
            checkpoint,
            targets=options.to,
            precisions=options.precision,
            out=options.out,
            batch=options.batch,
            photos=options.photos,
            progress=progress.note,
        ):
            progress.step()
            results.append(conversion)
            if conversion.error:
                failed = True
                progress.print(f"edgepose convert: {conversion.error}")
    if options.json:
        documents = [to_document(result) | {"path": str(result.path) if result.path else None} for result in results]
        print(json.dumps(documents, indent=2))
        return int(failed)
    rows = []
    for result in results:
        if result.path is None:
            rows.append([f"{result.target} {result.precision}: failed", "", "", "", "", f"{result.seconds:.1f}"])
        for parity in result.parity:
            size = format_bytes(result.size_bytes)
            rows.append(
                [str(result.path), size, format_error(parity), format_shift(parity), format_runtime(parity), f"{result.seconds:.1f}"]
            )
    print(format_table(["file", "size", "max error", "mean shift", "executed by", "seconds"], rows, right=(1, 2, 3, 5)))
    return int(failed)
