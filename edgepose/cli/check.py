"""``edgepose check``: what files are, what is odd about them, what would be repaired and what refused."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepose.cli.options import add_json_option, add_max_pixels_option, input_size
from edgepose.cli.progress import Progress
from edgepose.cli.table import format_table
from edgepose.printable import printable

if TYPE_CHECKING:
    from edgepose.checking import Checked, Question
    from edgepose.findings import Finding

__all__ = ["add_parser", "run"]

_LEAST_LABELLED = 6
_SEVERITIES = {"error": "refused", "warning": "warning", "note": "note"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        help="say what is odd about data sets, detections, checkpoints and other files",
        description="Say what files are, what is odd about them, what other commands repair and what they refuse, and change nothing. "
        "Exit code 1: something would be refused.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="annotations, detections, boxes, skeletons, models, checkpoints, pictures, or a folder of them",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the pictures that annotations name")
    parser.add_argument(
        "--keypoints", type=_keypoints, metavar="NAME|FILE", help="compare keypoint names with these: coco, a skeleton file, a model"
    )
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="what detections and results belong to")
    parser.add_argument("--against", type=Path, metavar="FILE", help="other annotations, such as those trained on: what do both share?")
    parser.add_argument("--against-images", type=Path, metavar="DIR", help="folder of their pictures (default: --images)")
    parser.add_argument("--dataset", help="what checkpoints were trained on, where they don't say: see `edgepose convert`")
    parser.add_argument("--input-size", type=input_size, metavar="HxW", help="height and width of their input, where they don't say")
    parser.add_argument("--decode", action="store_true", help="decode every picture instead of reading its header")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write a copy of one annotation file with what can be repaired with certainty"
    )
    add_max_pixels_option(parser)
    add_json_option(parser)
    parser.set_defaults(refuse_usage=parser.error)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.checking import check_paths, count_refused, to_report

    if options.write and len(options.paths) != 1:
        options.refuse_usage(f"--write writes a copy of one file, not of {len(options.paths)}")
    question = _read_question(options)
    if options.write:
        from edgepose.checking.repair import write_repaired

        write_repaired(options.paths[0], options.write, question)
        options.paths.append(options.write)
    with Progress(len(options.paths)) as progress:
        checked = list(check_paths(options.paths, question, progress.move))
    if options.json:
        print(json.dumps(to_report(checked), indent=2))
    else:
        for each in checked:
            _print(each)
        refused = count_refused(checked)
        print(f"{len(checked)} checked, {refused} would be refused" if refused else f"{len(checked)} checked, nothing would be refused")
    return int(count_refused(checked) > 0)


def _keypoints(text: str) -> str:
    from edgepose.skeleton import list_skeletons

    if not text or (text not in list_skeletons() and not Path(text).exists()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a file nor a built-in skeleton ({', '.join(list_skeletons())})")
    return text


def _read_question(options: argparse.Namespace) -> "Question":
    from edgepose.checking import Question
    from edgepose.checking.models import read_model_skeleton

    return Question(
        images=options.images,
        skeleton=read_model_skeleton(options.keypoints) if options.keypoints else None,
        annotations=options.annotations,
        against=options.against,
        against_images=options.against_images,
        dataset=options.dataset,
        input_size=options.input_size,
        decode=options.decode,
        max_pixels=options.max_pixels,
    )


def _print(checked: "Checked") -> None:
    print(printable(f"{checked.path}: {checked.summary}"))
    if least := _least_labelled(checked):
        print(printable(f"  labelled least: {least}"))
    counted = [finding for finding in checked.findings if finding.count or finding.example]
    if counted:
        print(format_table(["", "count", "what", "example", "what is done"], list(_rows(counted)), right=(1,)))
    for finding in checked.findings:
        if finding not in counted:
            # A sentence doesn't fit into a table.
            print(printable(f"  {_name(finding)}: {finding}", continuation="    "))
    if not checked.findings:
        print("  nothing odd")
    print()


def _rows(findings: "Iterable[Finding]") -> "Iterable[list[str]]":
    for finding in findings:
        yield [_name(finding), str(finding.count or ""), finding.message, finding.example, finding.done]


def _name(finding: "Finding") -> str:
    return "repaired" if finding.repaired else _SEVERITIES[finding.severity]


def _least_labelled(checked: "Checked") -> str:
    shares = checked.facts.get("labelled_share")
    if not isinstance(shares, dict) or not shares:
        return ""
    least = [item for item in sorted(shares.items(), key=lambda item: item[1]) if item[1] < 1][:_LEAST_LABELLED]
    return ", ".join(f"{name.partition(' ')[2]} {share:.0%}" for name, share in least)
