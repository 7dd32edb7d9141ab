"""``edgepose convert``: a checkpoint becomes verified device files."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.acceptance import check_acceptance, open_acceptance
from edgepose.cli.calibration import add_calibration_options
from edgepose.cli.checkpoint import add_checkpoint_options, read_checkpoint
from edgepose.cli.evaluation_options import add_data_options
from edgepose.cli.options import add_json_option, batch_size, comma_list, real_number
from edgepose.cli.parity import format_error, format_runtime, format_shift
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_bytes, format_table
from edgepose.document import to_document
from edgepose.errors import InputError
from edgepose.files import check_folder
from edgepose.precision import PRECISIONS, get_precision
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose.models import Checkpoint
    from edgepose.quantization.saved import Decided
    from edgepose_converters import Conversion

__all__ = ["add_parser", "run"]

_TARGETS = ("openvino", "onnx", "litert", "coreml")
_VERIFIED_CROPS = 16
_SHOWN_PROBLEMS = 5
_SHOWN_LAYERS = 5


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
    parser.add_argument("--to", type=comma_list, metavar="TARGETS", help=f"{','.join(_TARGETS)} (default: all that hold the precision)")
    parser.add_argument(
        "--precision",
        type=comma_list,
        default=["fp16"],
        metavar="PRECISIONS",
        help=f"{','.join(PRECISIONS)} (default: fp16)",
    )
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="DIR", help="folder to write to (default: models)")
    parser.add_argument("--batch", type=batch_size, default=1, metavar="N|dynamic", help="batch size of the files (default: 1)")
    parser.add_argument("--name", help="name of the model, used for file names (default: from its size and data set)")
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos to verify on (default: the sample photo)"
    )
    add_checkpoint_options(parser)
    add_calibration_options(parser)
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="quantize as this file says (NAME-int8.quantization.json of an earlier run)"
    )
    bounds = parser.add_mutually_exclusive_group()
    bounds.add_argument(
        "--max-drop",
        type=real_number(0, 1000, above=True),
        metavar="PX",
        help="int8: return layers to float until keypoints move no more than this",
    )
    bounds.add_argument(
        "--max-drop-oks",
        type=real_number(0, 1, above=True),
        metavar="X",
        help="int8: … until the mean OKS to the float model is at least 1 - X",
    )
    half = parser.add_argument_group(
        "fp16",
        "Each file is evaluated in half-precision arithmetic too, which a CPU may not use. What overflows is refused.",
    )
    half.add_argument(
        "--keep-float32",
        type=comma_list,
        default=[],
        metavar="OPERATORS|auto",
        help="keep these in float32: names such as backbone.blocks.3.mlp.fc2, or of what they are in, or auto: as few as are needed",
    )
    half.add_argument(
        "--float32-devices",
        action="store_true",
        help="openvino, litert: keep the file nonetheless, marked as not for devices that compute in half precision",
    )
    gate = parser.add_argument_group("acceptance by accuracy")
    gate.add_argument(
        "--accept-if",
        metavar="CONDITIONS",
        help="keep a file only if, on annotated pictures, e.g. 'ap_drop<0.5' against the checkpoint; also ap_drop_high (upper end of the "
        "95%% interval), oks_drop, shift_px",
    )
    add_data_options(gate, required=False)
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    checkpoint = read_checkpoint(options.model, options, name=options.name)
    from edgepose_converters import HalfRequest, check_request, convert

    # Before anything that takes minutes.
    check_request(checkpoint, targets=options.to, precisions=options.precision, batch=options.batch)
    check_acceptance(options)
    check_folder(options.out)
    failed = False
    results = []
    with Progress(len(set(options.to or _TARGETS)) * len(set(options.precision))) as progress:
        decided = _decide(checkpoint, options, progress)
        held_out = next((each.held_out for each in decided if each.held_out is not None), None)
        for conversion in convert(
            checkpoint,
            targets=options.to,
            precisions=options.precision,
            out=options.out,
            batch=options.batch,
            photos=options.photos,
            crops=None if options.photos or held_out is None else held_out[:_VERIFIED_CROPS],
            quantizations=[each.quantization for each in decided],
            half=HalfRequest(keep_float32=tuple(options.keep_float32), float32_devices=options.float32_devices),
            accept=open_acceptance(checkpoint, options, progress),
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
    exact = [result for result in results if not get_precision(result.precision).quantized]
    if exact:
        print(format_table(["file", "size", "max error", "mean shift", "executed by", "seconds"], _exact_rows(exact), right=(1, 2, 3, 5)))
    quantized = [result for result in results if get_precision(result.precision).quantized]
    if quantized:
        header = ["file", "size", "against", "heatmap error", "mean shift", "p95", "> 2 px", "executed by", "seconds"]
        print(format_table(header, _quantized_rows(quantized), right=(1, 3, 4, 5, 6, 8)))
    for result in results:
        for note in result.notes:
            print(f"{result.path}: {note}")
    for each in decided:
        _report(each)
    return int(failed)


def _decide(checkpoint: "Checkpoint", options: argparse.Namespace, progress: Progress) -> "list[Decided]":
    """Return a decision for each quantized precision."""
    wanted = dict.fromkeys(decision for name in options.precision if (decision := get_precision(name).decision) is not None)
    if not wanted:
        return []
    from edgepose.boxes import load_boxes
    from edgepose.quantization.bounds import Bound
    from edgepose.quantization.saved import decide_from_photos, load_recipe

    boxes = None if options.boxes is None else load_boxes(options.boxes)
    if options.recipe is not None:
        given = load_recipe(options.recipe, checkpoint, photos=options.calibration, boxes=boxes, progress=progress.note)
        if given.quantization.recipe.precision not in wanted:
            raise InputError(
                f"{options.recipe} is a recipe for {given.quantization.recipe.precision}, but --precision asks for "
                f"{','.join(options.precision)}"
            )
        if options.max_drop is not None or options.max_drop_oks is not None:
            raise InputError("--max-drop changes a decision while it is made; with --recipe, edit its float_layers instead")
        wanted.pop(given.quantization.recipe.precision)
        decided = [given]
    else:
        decided = []
    bound = None
    if options.max_drop is not None:
        bound = Bound(kind="px", largest=options.max_drop)
    elif options.max_drop_oks is not None:
        bound = Bound(kind="oks", largest=options.max_drop_oks)
    for precision in wanted:
        decided.append(
            decide_from_photos(
                checkpoint, precision, photos=options.calibration, boxes=boxes, out=options.out, bound=bound, progress=progress.note
            )
        )
    return decided


def _exact_rows(results: "list[Conversion]") -> list[list[str]]:
    rows = []
    for result in results:
        if result.path is None:
            rows.append([f"{result.target} {result.precision}: failed", "", "", "", "", f"{result.seconds:.1f}"])
        for parity in result.parity:
            size = format_bytes(result.size_bytes)
            rows.append(
                [str(result.path), size, format_error(parity), format_shift(parity), format_runtime(parity), f"{result.seconds:.1f}"]
            )
    return rows


def _quantized_rows(results: "list[Conversion]") -> list[list[str]]:
    rows = []
    for result in results:
        if result.path is None:
            rows.append([f"{result.target} {result.precision}: failed", *[""] * 7, f"{result.seconds:.1f}"])
        for number, parity in enumerate(result.parity):
            first = number == 0
            rows.append(
                [
                    str(result.path) if first else "",
                    format_bytes(result.size_bytes) if first else "",
                    parity.reference,
                    "" if parity.relative_rms is None else f"{parity.relative_rms:.1%}",
                    format_shift(parity),
                    "–" if parity.p95_shift_px is None else f"{parity.p95_shift_px:.2f} px",
                    "–" if parity.moved is None else f"{parity.moved:.1%}",
                    format_runtime(parity),
                    f"{result.seconds:.1f}" if first else "",
                ]
            )
    return rows


def _report(decided: "Decided") -> None:
    """Say what was decided, what was left out, and where it is written."""
    quantization = decided.quantization
    calibration = quantization.statistics.calibration
    source = "" if calibration is None else f" from {calibration.crops} crops of {calibration.photos} photos"
    print(f"{'taken' if decided.reused else 'decided'}{source}: {decided.path}")
    for problem in decided.problems[:_SHOWN_PROBLEMS]:
        print(printable(f"  skipped {problem}"))
    if len(decided.problems) > _SHOWN_PROBLEMS:
        print(f"  and {len(decided.problems) - _SHOWN_PROBLEMS} more photos were skipped")
    if quantization.recipe.float_layers:
        print(printable(f"  in float: {', '.join(quantization.recipe.float_layers)}"))
    ranking = ", ".join(f"{entry.layer} {entry.error:.2%}" for entry in quantization.statistics.sensitivity[:_SHOWN_LAYERS])
    if ranking:
        print(printable(f"  most sensitive (heatmap error when quantized alone): {ranking}"))
    if decided.bounded is not None:
        reverted = ", ".join(decided.bounded.reverted) or "nothing"
        print(f"  loss on held-out crops {decided.bounded.before:.3g} → {decided.bounded.after:.3g}; returned to float: {reverted}")
