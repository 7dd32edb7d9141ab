"""Markdown: tables that are read as they are, too."""

from collections.abc import Sequence

from edgepose.cli.table import format_bytes, format_table
from edgepose.printable import markdown_text, printable
from edgepose_benchmarks.report.columns import COLUMNS, KINDS, Column, View, select_profiles, used_columns
from edgepose_benchmarks.result import Comparison, Machine

__all__ = ["format_comparison", "format_report", "format_rows"]

MAX_OPERATORS = 8


def format_rows(views: Sequence[View], columns: Sequence[Column]) -> str:
    """One table for each kind of result, with a heading where there are several."""
    parts = []
    for kind, heading in KINDS.items():
        rows = [view for view in views if view.result.kind == kind]
        if not rows:
            continue
        if kind != "measured":
            parts.append(f"{heading}:\n")
        used = used_columns(columns, rows, views)
        right = [index for index, column in enumerate(used) if column.numeric]
        cells = [[markdown_text(column.text(view)) for column in used] for view in rows]
        parts.append(format_table([column.title for column in used], cells, right=right) + "\n")
    return "\n".join(parts)


def format_comparison(comparison: Comparison) -> str:
    """One line."""
    ratio = comparison.ratio
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.4f}, {ratio.high:.4f}]"
    return (
        f"{printable(comparison.b.label)} takes {ratio.value:.4f}{interval} times as long as {printable(comparison.a.label)} "
        f"({comparison.confidence:.0%} interval, {len(comparison.pairs)} pairs of processes): {printable(comparison.verdict)}"
    )


def format_report(views: Sequence[View], comparisons: Sequence[Comparison]) -> str:
    """The whole report."""
    machines = {view.result.machine.id: view.result.machine for view in views}
    machines |= {comparison.machine.id: comparison.machine for comparison in comparisons}
    parts = ["# Benchmark results", *(_describe(machine) for machine in machines.values())]
    if views:
        parts.append(format_rows(views, [column for column in COLUMNS if column.key != "warnings"]).rstrip())
    parts.extend(_section("Stages, median ms", _stages(views)))
    parts.extend(_section("Operators", _operators(views)))
    parts.extend(_section("Comparisons", "\n".join(f"- {markdown_text(format_comparison(comparison))}" for comparison in comparisons)))
    warned = [
        "- " + markdown_text(f"{view.result.case.label} on {view.result.machine.name}: {'; '.join(view.result.warnings)}")
        for view in views
        if view.result.warnings
    ]
    parts.extend(_section("Warnings", "\n".join(warned)))
    return "\n\n".join(parts) + "\n"


def _section(heading: str, text: str) -> list[str]:
    return [f"## {heading}", text] if text else []


def _describe(machine: Machine) -> str:
    memory = format_bytes(machine.memory_bytes) if machine.memory_bytes else "unknown memory"
    extensions = ", ".join(machine.flags) or "no known instruction set extensions"
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    virtual = ", virtual machine" if machine.virtual else ""
    described = (
        f"{machine.cpu}, {machine.cores} cores ({machine.architecture}; {extensions}), {memory}, {machine.system}"
        f"{virtual}, Python {machine.python}; {packages or 'packages unknown'}"
    )
    return f"**{markdown_text(machine.name)}**: {markdown_text(described)}"


def _stages(views: Sequence[View]) -> str:
    staged = [view for view in views if view.summary.stages_s]
    if not staged:
        return ""
    names = list(staged[0].summary.stages_s)
    rows = [
        [
            markdown_text(view.result.case.label),
            markdown_text(view.result.machine.name),
            *(f"{view.summary.stages_s[name] * 1e3:.2f}" for name in names),
            f"{(view.summary.median_s or 0) * 1e3:.2f}",
        ]
        for view in staged
    ]
    return format_table(["case", "machine", *map(markdown_text, names), "whole frame"], rows, right=range(2, 3 + len(names)))


def _operators(views: Sequence[View]) -> str:
    rows = []
    for name, view in select_profiles(views).items():
        profile = view.result.profile
        for operator in profile.operators[:MAX_OPERATORS] if profile else ():
            time = "" if operator.seconds is None else f"{operator.seconds * 1e3:.3f}"
            what = map(markdown_text, (name, operator.kind, operator.device))
            rows.append([*what, str(operator.count), time, f"{operator.share:.0%}"])
    return format_table(["file", "operator", "on", "count", "ms", "share"], rows, right=(3, 4, 5)) if rows else ""
