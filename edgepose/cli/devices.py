"""``edgepose devices``: runtimes, their versions and devices on this machine."""

import argparse
import json

from edgepose.cli.options import add_json_option
from edgepose.cli.table import format_table
from edgepose.document import to_document

__all__ = ["add_parser", "run"]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "devices", help="list runtimes and devices on this machine", description="List runtimes and devices on this machine."
    )
    add_json_option(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.runtime import list_runtimes

    reports = list_runtimes()
    if options.json:
        print(json.dumps([to_document(report) for report in reports], indent=2))
        return 0
    rows = []
    for report in reports:
        devices = ", ".join(f"{report.name}:{device.lower()}" for device in report.devices) or report.reason
        rows.append([report.name, report.version or "–", ", ".join(report.formats), devices])
    print(format_table(["runtime", "version", "opens", "devices (for --device)"], rows))
    return 0
