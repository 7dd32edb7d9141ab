"""``edgepose models``: which models there are to convert."""

import argparse
import json
from dataclasses import asdict

from edgepose.cli.options import add_json_option
from edgepose.cli.table import format_table

__all__ = ["add_parser", "run"]

# Published COCO val2017 AP at 256x192 with the official detections (ViTPose and ViTPose++ papers); none is measured by edgepose.
_PUBLISHED = (
    ("usyd-community/vitpose-plus-small", "S+", "classic", "24.3 M", "75.8"),
    ("usyd-community/vitpose-base-simple", "B", "simple", "85.8 M", "75.5"),
    ("usyd-community/vitpose-base", "B", "classic", "90.0 M", "75.8"),
    ("usyd-community/vitpose-plus-base", "B+", "classic", "90.0 M", "77.0"),
    ("usyd-community/vitpose-plus-large", "L+", "classic", "308.5 M", "78.6"),
    ("usyd-community/vitpose-plus-huge", "H+", "classic", "637 M", "79.4"),
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "models",
        help="list models that can be converted, and weights that go by name",
        description="List the model in the package and published checkpoints, by what `edgepose convert` takes as MODEL, and the weights "
        "that other commands know by name. Files in the original ViTPose, mmpose 1.x, easy_ViTPose, Hugging Face and edgepose layouts are "
        "read too.",
    )
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact
    from edgepose.assets import DEFAULT_MODEL
    from edgepose.weights import WEIGHTS, has_weights

    spec = open_artifact(DEFAULT_MODEL).spec
    keys = ("model", "size", "head", "parameters", "published_coco_ap")
    rows = [dict(zip(keys, row, strict=True)) for row in _PUBLISHED]
    weights = [{"name": name, "installed": has_weights(name)} | asdict(entry) for name, entry in WEIGHTS.items()]
    if options.json:
        print(
            json.dumps({"embedded": {"name": spec.name, "notes": spec.provenance.notes}, "published": rows, "weights": weights}, indent=2)
        )
        return 0
    print(f"in the package (no MODEL): {spec.name}, {spec.keypoints} keypoints, {spec.architecture.head} head")
    for note in spec.provenance.notes:
        print(f"  {note}")
    print("\nfrom the hub:")
    print(format_table(["MODEL", "size", "head", "parameters", "published COCO AP"], [list(row.values()) for row in rows], right=(3, 4)))
    print("\nby name (edgepose-weights):")
    table = [
        [name, entry.kind, f"{entry.size_bytes / 1e6:.1f} MB", entry.licence, "yes" if has_weights(name) else "no", entry.title]
        for name, entry in WEIGHTS.items()
    ]
    print(format_table(["name", "for", "size", "licence", "installed", "what"], table, right=(2,)))
    return 0
