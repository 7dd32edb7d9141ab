"""One HTML page that needs nothing else: styles, plots and the few lines that sort its tables are all inside."""

import html
from collections.abc import Sequence

from edgepose.cli.table import format_bytes
from edgepose_benchmarks.report.columns import COLUMNS, KINDS, Column, View, select_profiles, used_columns
from edgepose_benchmarks.report.markdown import format_comparison
from edgepose_benchmarks.report.plots import plot_latencies, plot_pareto, plot_stages
from edgepose_benchmarks.result import Comparison, Machine

__all__ = ["format_page"]

MAX_OPERATORS = 12
# No script, style or picture from anywhere else can be loaded, whatever stands in a name.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0072b2; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; vertical-align: top; }
td.wide { white-space: normal; min-width: 16rem; }
th { position: sticky; top: 0; background: Canvas; cursor: pointer; user-select: none; }
th:focus-visible { outline: 2px solid var(--accent); } tbody tr:hover { background: var(--soft); }
.right { text-align: right; } th[aria-sort=ascending]::after { content: " ▲"; } th[aria-sort=descending]::after { content: " ▼"; }
input { font: inherit; padding: .3rem .6rem; width: 22rem; max-width: 100%; margin: .4rem 0; }
svg { width: 100%; max-width: 960px; height: auto; display: block; } svg text { font-size: 12px; fill: CanvasText; }
.grid { stroke: var(--line); } .note { opacity: .75; max-width: 70rem; } .estimated { border-left: 4px solid #e69f00; padding-left: 1rem; }
""".strip()
_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => {
    const sort = () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = row => row.cells[column].dataset.value;
      const numeric = head.classList.contains("right");
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return (descending ? -1 : 1) * (numeric ? x - y : x.localeCompare(y));
      };
      body.append(...[...body.rows].sort(compare));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\\s+/);
  for (const row of document.querySelectorAll("table.sortable tbody tr"))
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
});
""".strip()
_LATENCIES_NOTE = "Width: how often; dot: median; line: from 5 to 95 %."
_HEAD = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>edgepose benchmark</title>'
)


def format_page(views: Sequence[View], comparisons: Sequence[Comparison]) -> str:
    """Return the page."""
    machines = {view.result.machine.id: view.result.machine for view in views}
    machines |= {comparison.machine.id: comparison.machine for comparison in comparisons}
    measured = [view for view in views if view.result.kind == "measured"]
    title = f"{_count(views, machines)}. Times are of one call or frame; in brackets stand 95 % intervals. Click a column's head to sort."
    parts = [
        "<h1>edgepose benchmark</h1>",
        f'<p class="note">{_escape(title)}</p>',
        '<input id="filter" type="search" placeholder="filter rows: words of file, runtime, machine …" aria-label="filter rows">',
        *(_table(kind, views) for kind in KINDS),
        _plot(
            "Accuracy against latency",
            plot_pareto(measured),
            "Inference alone; the dashed line joins the files that no other beats in both.",
        ),
        *(_plot(f"Latencies, {name}", plot_latencies(group), _LATENCIES_NOTE) for name, group in _group(measured).items()),
        _plot("Stages of a frame", plot_stages(measured), "End to end, from a decoded frame to keypoints."),
        _operators(views),
        _list("Comparisons", [format_comparison(comparison) for comparison in comparisons]),
        _list("Warnings", [f"{view.result.case.label}: {warning}" for view in views for warning in view.result.warnings]),
        _machines(list(machines.values())),
        f"<script>{_SCRIPT}</script>",
    ]
    body = "\n".join(part for part in parts if part)
    return f"{_HEAD}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"


def _group(views: Sequence[View]) -> dict[str, list[View]]:
    """Views by what a sample is: a call, several of them, or a frame."""
    groups: dict[str, list[View]] = {}
    for view in views:
        case = view.result.case
        groups.setdefault(case.scenario if case.stage == "inference" else case.stage, []).append(view)
    return groups


def _count(views: Sequence[View], machines: dict[str, Machine]) -> str:
    if not views:
        return "no results"
    days = sorted({view.result.started[:10] for view in views})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{len(views)} results from {len(machines)} machine{'s' if len(machines) > 1 else ''}, {when}"


def _table(kind: str, report: Sequence[View]) -> str:
    views = [view for view in report if view.result.kind == kind]
    if not views:
        return ""
    columns = [column for column in used_columns(COLUMNS, views, report) if column.key != "warnings"]
    heads = "".join(f'<th title="{_escape(column.help)}"{_side(column)}>{_escape(column.title)}</th>' for column in columns)
    rows = "".join(f"<tr>{''.join(_cell(column, view) for column in columns)}</tr>" for view in views)
    heading = next(text for name, text in KINDS.items() if name == kind)
    return (
        f'<section class="{kind}"><h2>{_escape(heading)}</h2><div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _cell(column: Column, view: View) -> str:
    value = column.value(view)
    side = _side(column) or (' class="wide"' if column.key == "error" else "")
    return f'<td data-value="{_escape("" if value is None else str(value))}"{side}>{_escape(column.text(view))}</td>'


def _side(column: Column) -> str:
    return ' class="right"' if column.numeric else ""


def _plot(heading: str, svg: str, note: str) -> str:
    return f'<section><h2>{heading}</h2>{svg}<p class="note">{note}</p></section>' if svg else ""


def _operators(views: Sequence[View]) -> str:
    sections = []
    for name, view in select_profiles(views).items():
        profile = view.result.profile
        if profile is None:
            continue
        rows = "".join(
            f"<tr><td>{_escape(operator.kind)}</td><td>{_escape(operator.device)}</td><td class=right>{operator.count}</td>"
            f"<td class=right>{'' if operator.seconds is None else f'{operator.seconds * 1e3:.3f}'}</td>"
            f"<td class=right>{operator.share:.1%}</td></tr>"
            for operator in profile.operators[:MAX_OPERATORS]
        )
        rest = len(profile.operators) - MAX_OPERATORS
        more = f"<p class=note>and {rest} more types</p>" if rest > 0 else ""
        shared = "" if profile.accelerated is None else f"; {profile.accelerated:.0%} of the operators run on an accelerator"
        sections.append(
            f"<details><summary>{_escape(f'{name} ({profile.source}{shared})')}</summary>"
            "<table><thead><tr><th>operator<th>on<th class=right>count<th class=right>ms<th class=right>share</tr></thead>"
            f"<tbody>{rows}</tbody></table>{more}</details>"
        )
    return f"<section><h2>Operators</h2>{''.join(sections)}</section>" if sections else ""


def _list(heading: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{_escape(line)}</li>" for line in lines)
    return f"<section><h2>{heading}</h2><ul>{items}</ul></section>" if lines else ""


def _machines(machines: Sequence[Machine]) -> str:
    rows = "".join(
        f"<tr><td>{_escape(machine.name)}</td><td>{_escape(machine.cpu)}{' (virtual)' if machine.virtual else ''}</td>"
        f"<td class=right>{machine.cores}</td><td>{_escape(', '.join(machine.flags))}</td>"
        f"<td class=right>{format_bytes(machine.memory_bytes) if machine.memory_bytes else ''}</td><td>{_escape(machine.system)}</td>"
        f"<td class=wide>{_escape(', '.join(f'{name} {version}' for name, version in machine.packages.items()))}</td></tr>"
        for machine in machines
    )
    heads = "<th>machine<th>CPU<th class=right>cores<th>extensions<th class=right>memory<th>system<th>packages"
    body = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<section><h2>Machines</h2><div class="scroll">{body}</div></section>' if machines else ""


def _escape(text: str) -> str:
    return html.escape(text)
