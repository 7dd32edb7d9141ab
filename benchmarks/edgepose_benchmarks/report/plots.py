"""Plots as inline SVG: small enough to write out, and they need no library, no script and no network to be seen.

Colours are those of Okabe and Ito, which people with colour blindness tell apart, by runtime; every mark has a tooltip.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgepose_benchmarks.report.columns import View
from edgepose_benchmarks.statistics import Floats

__all__ = ["COLOURS", "Axis", "pick_colour", "plot_latencies", "plot_pareto", "plot_stages"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_RUNTIMES = ("openvino", "onnxruntime", "litert", "coreml", "torch", "mil")
_STAGES = {"crop": "#56B4E9", "inference": "#0072B2", "decode": "#E69F00"}
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 330, 30, 12, 44
ROW = 34
LABEL_LETTERS = 44  # what fits the left margin
BINS = 48
_NICE = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A linear or logarithmic axis from values to pixels.

    Attributes:
        low: the smallest value.
        high: the largest value.
        start_px: where ``low`` is.
        end_px: where ``high`` is.
        logarithmic: whether distances are ratios.
    """

    low: float
    high: float
    start_px: float
    end_px: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value, in pixels."""
        low, high, at = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start_px + (at - low) / ((high - low) or 1.0) * (self.end_px - self.start_px)

    def ticks(self) -> list[float]:
        """Return about six round values."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1.0, 2.0, 5.0) if self.high / self.low < 1e3 else (1.0,)
            values = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) >= 2:
                return inside
        rough = (self.high - self.low) / 6 or 1.0
        magnitude = 10 ** math.floor(math.log10(rough))
        step = next(nice * magnitude for nice in _NICE if nice * magnitude >= rough)
        first = math.ceil(self.low / step)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def pick_colour(runtime: str) -> str:
    """Return the colour of a runtime."""
    return COLOURS[_RUNTIMES.index(runtime)] if runtime in _RUNTIMES else "#666666"


def plot_latencies(views: Sequence[View]) -> str:
    """The distribution of each case's latencies: its shape, the median, and a line from p5 to p95. Empty where nothing has samples."""
    shown = [view for view in views if view.summary.median_s is not None and view.result.runs]
    if not shown:
        return ""
    samples = [1e3 * np.concatenate([np.asarray(run.steady_s) for run in view.result.runs]) for view in shown]
    low = min(float(np.percentile(each, 0.5)) for each in samples) * 0.95
    high = max(float(np.percentile(each, 99)) for each in samples) * 1.05
    height = TOP + ROW * len(shown) + BOTTOM
    axis = Axis(low=low, high=high, start_px=LEFT, end_px=WIDTH - RIGHT, logarithmic=high / low > 5)
    parts = [_grid(axis, height, "latency, ms")]
    for index, (view, name, each) in enumerate(zip(shown, _tell_apart(shown), samples, strict=True)):
        middle = TOP + ROW * (index + 0.5)
        parts.append(_label(name, middle))
        parts.append(_distribution(view, each, axis, middle))
    return _svg(parts, height, "Latency distributions")


def _distribution(view: View, samples: Floats, axis: Axis, middle: float) -> str:
    edges = np.linspace(axis.low, axis.high, BINS + 1)
    if axis.logarithmic:
        edges = np.geomspace(axis.low, axis.high, BINS + 1)
    counts, _ = np.histogram(samples, edges)
    # A light smoothing: bins of few samples flicker.
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    reach = smooth / (smooth.max() or 1.0) * ROW * 0.42
    xs = [axis(float(edge)) for edge in (edges[:-1] + edges[1:]) / 2]
    upper = [f"{x:.1f},{middle - r:.1f}" for x, r in zip(xs, reach, strict=True)]
    lower = [f"{x:.1f},{middle + r:.1f}" for x, r in zip(reversed(xs), reversed(reach), strict=True)]
    low, median, high = (float(value) for value in np.percentile(samples, [5, 50, 95]))
    colour = _colour(view)
    tip = f"{_name(view)}: median {median:.2f} ms, 5 to 95 %: {low:.2f} to {high:.2f} ms, {len(samples)} samples"
    clipped = [min(max(value, axis.low), axis.high) for value in (low, high)]
    return (
        f'<g><title>{html.escape(tip)}</title><polygon points="{" ".join(upper + lower)}" fill="{colour}" fill-opacity="0.35"/>'
        f'<line x1="{axis(clipped[0]):.1f}" x2="{axis(clipped[1]):.1f}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="{colour}" '
        f'stroke-width="2"/>'
        f'<circle cx="{axis(median):.1f}" cy="{middle:.1f}" r="4.5" fill="{colour}"/></g>'
    )


def plot_pareto(views: Sequence[View]) -> str:
    """Accuracy against latency, with the line of those that no other beats in both. Without accuracies, the keypoint shift is taken."""
    timed = [view for view in views if view.summary.median_s is not None and _is_latency(view)]
    given = [view for view in timed if view.accuracy is not None]
    get: Callable[[View], float | None] = (lambda view: view.accuracy) if given else _shift
    points = [(1e3 * (view.summary.median_s or 0.0), value, view) for view in timed if (value := get(view)) is not None]
    if not points:
        return ""
    better = max if given else min
    height = 420
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    margin = 0.08 * ((max(ys) - min(ys)) or abs(max(ys)) or 1.0)
    x_axis = Axis(low=min(xs) * 0.8, high=max(xs) * 1.25, start_px=90, end_px=WIDTH - 220, logarithmic=True)
    y_axis = Axis(low=min(ys) - margin, high=max(ys) + margin, start_px=height - BOTTOM, end_px=TOP)
    label = "accuracy (higher is better)" if given else "mean keypoint shift from the float model, px (lower is better)"
    parts = [_grid(x_axis, height, "median latency, ms"), _side(y_axis, label, WIDTH - 220)]
    front = _front([(x, y) for x, y, _ in points], better)
    parts.append(
        f'<polyline points="{" ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y in front)}" fill="none" stroke="currentColor" '
        'stroke-width="1.5" stroke-dasharray="5 4" opacity="0.6"/>'
    )
    for x, y, view in points:
        best = (x, y) in front
        tip = f"{_name(view)}: {x:.2f} ms, {y:.4g}"
        parts.append(
            f'<g><title>{html.escape(tip)}</title><circle cx="{x_axis(x):.1f}" cy="{y_axis(y):.1f}" r="{6 if best else 4.5}" '
            f'fill="{_colour(view)}" fill-opacity="{1 if best else 0.5}"/>'
            + (
                f'<text x="{x_axis(x) + 8:.1f}" y="{y_axis(y) - 8:.1f}">{html.escape(_shorten(view.result.case.artifact, 32))}</text>'
                if best
                else ""
            )
            + "</g>"
        )
    return _svg(parts, height, "Accuracy against latency")


def _shift(view: View) -> float | None:
    """Hundredths of a pixel: below that, files of one precision differ by the order of their additions alone."""
    shift_px = view.result.model.shift_px
    return None if shift_px is None else round(shift_px, 2)


def _is_latency(view: View) -> bool:
    return view.result.case.scenario == "single-stream" and view.result.case.stage == "inference"


def _front(points: Iterable[tuple[float, float]], better: Callable[[float, float], float]) -> list[tuple[float, float]]:
    """The points that none beats: the fastest one, and each slower one that is more accurate than all faster ones."""
    front: list[tuple[float, float]] = []
    sign = -1 if better(0, 1) == 1 else 1
    for x, y in sorted(set(points), key=lambda point: (point[0], sign * point[1])):
        if not front or (better(y, front[-1][1]) == y and y != front[-1][1]):
            front.append((x, y))
    return front


def plot_stages(views: Sequence[View]) -> str:
    """How a frame's time is divided among crop, inference and decoding."""
    shown = [view for view in views if view.summary.stages_s]
    if not shown:
        return ""
    height = TOP + ROW * len(shown) + BOTTOM + 24
    high = max(sum(view.summary.stages_s.values()) for view in shown) * 1e3
    axis = Axis(low=0.0, high=high * 1.05, start_px=LEFT, end_px=WIDTH - RIGHT)
    parts = [_grid(axis, height - 24, "median of each stage, ms per frame")]
    for index, (view, name) in enumerate(zip(shown, _tell_apart(shown), strict=True)):
        middle = TOP + ROW * (index + 0.5)
        parts.append(_label(name, middle))
        start = 0.0
        for stage, seconds in view.summary.stages_s.items():
            end = start + seconds * 1e3
            tip = f"{_name(view)}: {stage} {seconds * 1e3:.2f} ms"
            parts.append(
                f'<rect x="{axis(start):.1f}" y="{middle - 9:.1f}" width="{max(0.5, axis(end) - axis(start)):.1f}" height="18" '
                f'fill="{_STAGES.get(stage, "#999999")}"><title>{html.escape(tip)}</title></rect>'
            )
            start = end
    for index, (name, colour) in enumerate(_STAGES.items()):
        x = LEFT + 110 * index
        parts.append(
            f'<rect x="{x}" y="{height - 16}" width="12" height="12" fill="{colour}"/><text x="{x + 18}" y="{height - 6}">{name}</text>'
        )
    return _svg(parts, height, "Stages of a frame")


def _svg(parts: Iterable[str], height: float, title: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'


def _grid(axis: Axis, height: float, label: str) -> str:
    base = height - BOTTOM
    lines = "".join(
        f'<line class="grid" x1="{axis(tick):.1f}" x2="{axis(tick):.1f}" y1="{TOP}" y2="{base}"/>'
        f'<text x="{axis(tick):.1f}" y="{base + 16}" text-anchor="middle">{tick:g}</text>'
        for tick in axis.ticks()
    )
    middle = (axis.start_px + axis.end_px) / 2
    return f'{lines}<text x="{middle:.0f}" y="{base + 36}" text-anchor="middle">{html.escape(label)}</text>'


def _side(axis: Axis, label: str, end_px: float) -> str:
    lines = "".join(
        f'<line class="grid" x1="90" x2="{end_px}" y1="{axis(tick):.1f}" y2="{axis(tick):.1f}"/>'
        f'<text x="82" y="{axis(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in axis.ticks()
    )
    middle = (axis.start_px + axis.end_px) / 2
    return f'{lines}<text transform="translate(20 {middle:.0f}) rotate(-90)" text-anchor="middle">{html.escape(label)}</text>'


def _label(name: str, middle: float) -> str:
    return f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{html.escape(_shorten(name, LABEL_LETTERS))}</text>'


def _tell_apart(views: Sequence[View]) -> list[str]:
    """Names without what is the same for all."""
    parts = [_words(view) for view in views]
    differ = [index for index in range(1, len(parts[0])) if len({words[index] for words in parts}) > 1]
    return [", ".join(words[index] for index in (0, *differ) if words[index]) for words in parts]


def _name(view: View) -> str:
    return ", ".join(word for word in _words(view) if word)


def _words(view: View) -> tuple[str, ...]:
    result, case = view.result, view.result.case
    return (
        case.artifact,
        result.session.runtime if result.session else "",
        "" if case.device == "auto" else case.device,
        "" if case.threads is None else f"{case.threads} threads",
        "" if case.batch == 1 else f"batch {case.batch}",
        result.machine.name,
    )


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _colour(view: View) -> str:
    return pick_colour(view.result.session.runtime if view.result.session else "")
