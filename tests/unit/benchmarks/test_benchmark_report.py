"""Reports: what their tables and plots hold, and that the page works in a browser without a network."""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest
from sample_results import MACHINE, make_comparison, make_estimate, make_result

from edgepose_benchmarks.report.columns import COLUMNS, SHORT_COLUMNS, make_views, select_profiles
from edgepose_benchmarks.report.comma_separated import format_csv
from edgepose_benchmarks.report.markdown import format_report, format_rows
from edgepose_benchmarks.report.page import format_page
from edgepose_benchmarks.report.plots import Axis, plot_pareto

SLOW = make_result("slow<&>.onnx", center_s=0.04, warnings=("spread: it | spreads",))
RESULTS = [make_result(), SLOW, make_estimate(), make_result("gone.tflite", kind="failed", runs=(), session=None, error="it crashed")]
SHARES = {"crop": 0.1, "inference": 0.8, "decode": 0.1}


def stage(run):
    """The run with its samples split into stages."""
    return dataclasses.replace(run, stages_s={name: tuple(value * share for value in run.samples_s) for name, share in SHARES.items()})


STAGED = make_result(
    "staged.xml",
    case=dataclasses.replace(make_result("staged.xml").case, stage="end-to-end", people=8),
    runs=tuple(map(stage, make_result().runs)),
)


def test_rows_are_sorted_by_speed_and_kinds_are_never_mixed():
    text = format_rows(make_views(RESULTS), SHORT_COLUMNS)
    measured, estimated, failed = re.split(r"Estimated, without the hardware:|Failed:", text)
    assert measured.index("vitpose-s-fp32.xml") < measured.index("slow&lt;&&gt;.onnx")
    assert "vela" not in measured
    assert "vela" in estimated
    assert "openvino" not in estimated
    assert "it crashed" in failed
    assert re.search(r"20\.\d \[[\d.]+, [\d.]+\]", measured)
    # Columns that are empty everywhere aren't there.
    assert "streams" not in measured


def test_a_markdown_report_is_complete():
    text = format_report(make_views([*RESULTS, STAGED]), [make_comparison()])
    for words in ("Cortex-A76, 4 cores", "## Stages, median ms", "## Comparisons", "MatMul", "B is slower", "it \\| spreads"):
        assert words in text
    assert "|   2.0" in text.split("## Stages")[1]


def test_the_machine_is_a_column_where_there_are_several():
    assert "| machine " not in format_rows(make_views([make_result(), SLOW]), COLUMNS)
    text = format_rows(make_views([make_result(), make_estimate()]), COLUMNS)
    # In the table of each kind, although each holds one machine.
    assert text.count("| machine ") == 2


def test_a_profile_is_shown_once_for_all_scenarios():
    offline = make_result()
    offline = dataclasses.replace(offline, case=dataclasses.replace(offline.case, scenario="offline"))
    single = make_result()
    other = make_result(machine=dataclasses.replace(MACHINE, name="other", id="1" * 12))
    views = make_views([offline, single, other, STAGED])
    chosen = select_profiles(views)
    assert [(view.result.case.artifact, view.result.machine.name) for view in chosen.values()] == [
        ("vitpose-s-fp32.xml", "board"),
        ("vitpose-s-fp32.xml", "other"),
        ("staged.xml", "board"),
    ]
    assert next(iter(chosen.values())).result is single
    assert format_report(views, []).count("MatMul") == 3


def test_csv_holds_plain_numbers():
    rows = list(csv.DictReader(io.StringIO(format_csv(make_views(RESULTS, {"vitpose-s-fp32.xml": 73.5})))))
    assert len(rows) == 4
    first = next(row for row in rows if row["artifact"] == "vitpose-s-fp32.xml" and row["kind"] == "measured")
    assert float(first["p50_ms"]) == pytest.approx(20, rel=0.01)
    assert float(first["accuracy"]) == 73.5
    assert float(first["memory_mb"]) == 200
    assert next(row for row in rows if row["kind"] == "estimated")["mean_ms"] == "5.0"
    assert list(csv.DictReader(io.StringIO(format_csv([])))) == []


class Page(HTMLParser):
    """Tags that are opened and closed, and what the page would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data", "action"):
                self.loads.append((tag, value))
        if tag in ("svg", "g", "table", "section", "details", "script", "style", "ul", "div"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_escapes_names():
    text = format_page(make_views([*RESULTS, STAGED], {"vitpose-s-fp32.xml": 73.5, "slow<&>.onnx": 70.0}), [make_comparison()])
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert "default-src 'none'" in text
    assert "http://" not in text
    assert "https://" not in text
    assert "slow<&>" not in text
    assert "slow&lt;&amp;&gt;.onnx" in text
    assert text.count("<svg") == 4
    assert "no results" in format_page([], [])


def test_the_front_is_of_those_that_no_other_beats():
    results = [make_result(f"{name}.xml", center_s=center) for name, center in (("a", 0.01), ("b", 0.02), ("c", 0.03), ("d", 0.04))]
    views = make_views(results, {"a.xml": 60, "b.xml": 70, "c.xml": 65, "d.xml": 80})
    svg = plot_pareto(views)
    front = re.findall(r"<text[^>]*>(\w)\.xml</text>", svg)
    assert sorted(front) == ["a", "b", "d"]
    # Without accuracies, the smaller keypoint shift is the better one.
    shifts = zip(results, (0.4, 0.3, 0.35, 0.1), strict=True)
    shifted = [dataclasses.replace(result, model=dataclasses.replace(result.model, shift_px=shift)) for result, shift in shifts]
    assert sorted(re.findall(r"<text[^>]*>(\w)\.xml</text>", plot_pareto(make_views(shifted)))) == ["a", "b", "d"]
    assert plot_pareto([]) == ""


@pytest.mark.parametrize(
    ("low", "high", "logarithmic"),
    [(0.0, 0.3, False), (18.0, 21.0, False), (1.0, 5000.0, True), (3.0, 4.0, True), (5.0, 5.0, False)],
)
def test_an_axis_has_a_few_round_ticks(low, high, logarithmic):
    axis = Axis(low=low, high=high, start_px=100, end_px=500, logarithmic=logarithmic)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    if high > low:
        assert (axis(low), axis(high)) == (100, 500)


CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if path), None)
CHECK = """
<script>
{
const table = document.querySelector("section.measured table");
const heads = [...table.querySelectorAll("th")];
const column = heads.findIndex(head => head.textContent === "p50 ms");
const values = () => [...table.tBodies[0].rows].map(row => +row.cells[column].dataset.value);
heads[column].click();
const up = values();
heads[column].click();
const down = values();
const filter = document.getElementById("filter");
filter.value = "board SLOW";
filter.dispatchEvent(new Event("input"));
const shown = [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden && row.closest("section.measured")).length;
const wide = Math.max(...[...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().width));
document.title = JSON.stringify({up, down, shown, wide: wide > 300, empty: document.querySelectorAll("svg circle, svg rect").length > 5});
}
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_sorts_and_filters_in_a_browser(tmp_path):
    text = format_page(make_views([*RESULTS, STAGED]), [])
    path = tmp_path / "report.html"
    path.write_text(text.replace("</body>", CHECK + "</body>"), "utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command.append("--host-resolver-rules=MAP * ~NOTFOUND")
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    if not done.stdout:
        pytest.skip(f"Chromium doesn't start here: {done.stderr[-300:]}")
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, "the page's script failed"
    found = json.loads(unescape(title.group(1)))
    assert found["up"] == sorted(found["up"])
    assert found["down"] == found["up"][::-1]
    assert len(found["up"]) == 3
    assert found["shown"] == 1
    assert found["wide"]
    assert found["empty"]


def test_machines_are_merged():
    other = dataclasses.replace(MACHINE, name="laptop", id="another00000")
    text = format_report(make_views([make_result(), make_result(machine=other)]), [])
    assert "**board**" in text
    assert "**laptop**" in text
