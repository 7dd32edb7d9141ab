"""``edgepose info``: what a model file is, and what was measured when it was made."""

import argparse
import json

from edgepose.cli.isolation import add_untrusted_option
from edgepose.cli.options import add_json_option
from edgepose.cli.parity import format_error, format_runtime, format_shift
from edgepose.cli.table import format_bytes
from edgepose.printable import printable
from edgepose.spec import describe_half

__all__ = ["add_parser", "run"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "info", help="show what a model file is", description="Show what a model file is, after checking its content hash."
    )
    parser.add_argument("artifact", nargs="?", metavar="ARTIFACT", help="a file that edgepose wrote (default: the model in the package)")
    add_json_option(parser)
    add_untrusted_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.artifact import open_artifact
    from edgepose.assets import DEFAULT_MODEL
    from edgepose.runtime.untrusted import inspect_untrusted

    path = options.artifact or DEFAULT_MODEL
    artifact = inspect_untrusted(path) if options.untrusted else open_artifact(path)
    spec = artifact.spec
    if options.json:
        facts = {"path": str(artifact.path), "format": artifact.format, "size_bytes": artifact.size_bytes, "sha256": artifact.sha256}
        print(json.dumps(facts | {"spec": json.loads(spec.to_json())}, indent=2))
        return 0
    network, source = spec.architecture, spec.provenance
    lines = [
        ("file", f"{artifact.path} ({artifact.format}, {format_bytes(artifact.size_bytes)})"),
        ("sha256", f"{artifact.sha256} (checked)"),
        ("model", f"{spec.name}: dim {network.dim}, depth {network.depth}, heads {network.heads}, {network.head} head"),
        ("input", f"{spec.input.height}x{spec.input.width} (height x width) RGB, mean {spec.input.mean}, std {spec.input.std}"),
        (
            "keypoints",
            f"{spec.keypoints} ({spec.skeleton.name}): {', '.join(spec.skeleton.keypoints[:6])}{', …' if spec.keypoints > 6 else ''}",
        ),
        ("codec", f"{spec.codec.kind}, box padding {spec.codec.padding}, blur kernel {spec.codec.blur_kernel}"),
        ("source", f"{source.source} ({source.layout} layout{', ' + source.dataset if source.dataset else ''})"),
    ]
    if source.licence:
        lines.append(("licence", source.licence))
    lines += [("note", note) for note in source.notes]
    if spec.export is not None:
        batch = "any" if spec.export.batch is None else str(spec.export.batch)
        tools = ", ".join(f"{name} {version}" for name, version in spec.export.tools.items())
        details = ", ".join(f"{name} {value}" for name, value in spec.export.details.items())
        lines.append(
            ("export", f"{spec.export.target} {spec.export.precision}, batch {batch}, by {tools}{'; ' + details if details else ''}")
        )
        if spec.export.half is not None and (text := describe_half(spec.export.half)):
            lines.append(("half", text))
        lines += [
            (
                "verified",
                f"max error {format_error(parity)}, mean shift {format_shift(parity)} ({parity.crops} crops, {format_runtime(parity)})",
            )
            for parity in spec.export.parity
        ]
    for name, text in lines:
        print(f"{name:<10} {printable(text)}")
    return 0
