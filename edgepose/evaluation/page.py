"""A comparison as one HTML page that needs no network: figures, shifts by keypoint, and the people that changed most."""

import base64
import html
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgepose.drawing import draw_poses
from edgepose.errors import InputError
from edgepose.estimator import Poses
from edgepose.evaluation.comparison import Change
from edgepose.evaluation.evaluation import DataSet, Judged
from edgepose.evaluation.inference import picture_path
from edgepose.evaluation.result import Comparison, Evaluation, Interval
from edgepose.image import read_image

__all__ = ["format_page"]

_SIDE_PX = 320
_MARGIN = 0.3
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #1b1e23; background: #fff }
table { border-collapse: collapse } th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left }
.right { text-align: right; font-variant-numeric: tabular-nums } .note { color: #667 } .warning { color: #a40000 }
.people { display: grid; grid-template-columns: repeat(auto-fill, minmax(31em, 1fr)); gap: 1.2em }
figure { margin: 0 } figcaption { color: #667; font-size: 90% } figure img { width: 49%; background: #eee }
.bar { display: inline-block; height: .7em; background: #4878a8; vertical-align: baseline }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16181c } th, td { border-color: #333 } }
"""


def format_page(data: DataSet, judged: Judged, baseline: Judged, comparison: Comparison, changes: Sequence[Change]) -> str:
    """Return the page.

    Args:
        data: what both ran on.
        judged: the model.
        baseline: the baseline.
        comparison: of the two.
        changes: the people to draw, baseline left, model right.
    """
    result = judged.evaluation
    figures = [_person(data, judged, baseline, change) for change in changes]
    title = f"{result.conditions.artifact} against {comparison.baseline.artifact}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="note">{html.escape(_where(result))}</p>',
        "" if result.complete else '<p class="warning">Only a part of the data set could be used; see the JSON result.</p>',
        *(f'<p class="warning">Warning: {html.escape(str(warning))}</p>' for warning in result.warnings),
        *(f'<p class="note">{html.escape(str(note))}</p>' for note in result.notes),
        _metrics(result, comparison),
        f"<p>{html.escape(_verdict(comparison))}</p>",
        _shifts(comparison),
        "<h2>The people that changed most</h2>",
        f'<p class="note">Left: {html.escape(comparison.baseline.artifact)}; right: {html.escape(result.conditions.artifact)}.</p>',
        f'<div class="people">{"".join(figures)}</div>',
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
    )
    return f"{head}\n<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"


def _where(result: Evaluation) -> str:
    boxes = result.conditions.detections or "annotated boxes"
    return (
        f"{result.people:,} people in {result.pictures:,} pictures of {result.conditions.annotations}, {boxes}, protocol "
        f"{result.conditions.protocol}; {result.work.runtime}"
    )


def _metrics(result: Evaluation, comparison: Comparison) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="right">{_percent(comparison.baseline_metrics.get(name))}</td>'
        f'<td class="right">{_percent(value)}</td></tr>'
        for name, value in result.metrics.items()
    )
    return (
        f'<table><thead><tr><th>metric</th><th class="right">{html.escape(comparison.baseline.artifact)}</th>'
        f'<th class="right">{html.escape(result.conditions.artifact)}</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _verdict(comparison: Comparison) -> str:
    interval = comparison.drop_interval
    drop = "–" if comparison.drop is None else f"{comparison.drop:+.2f} points"
    oks = "" if comparison.oks_drop is None else f" Mean loss of OKS (against the {comparison.reference}): {comparison.oks_drop:.4f}."
    return (
        f"{comparison.primary} lost: {drop}{_range(interval)}. Keypoints moved by {comparison.shift_px:.2f} px of the model's input on "
        f"average.{oks}"
    )


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval.level:.0%} interval {interval.low:+.2f} to {interval.high:+.2f})"


def _shifts(comparison: Comparison) -> str:
    largest = max((shift.p95_px for shift in comparison.shifts), default=0.0) or 1.0
    rows = "".join(
        f'<tr><td>{html.escape(shift.keypoint)}</td><td class="right">{shift.mean_px:.2f}</td><td class="right">{shift.median_px:.2f}</td>'
        f'<td class="right">{shift.p95_px:.2f}</td>'
        f'<td><span class="bar" style="width:{12 * shift.p95_px / largest:.2f}em"></span></td></tr>'
        for shift in comparison.shifts
    )
    return (
        "<h2>Shift by keypoint</h2><table><thead><tr><th>keypoint</th><th class=right>mean, px</th><th class=right>median, px</th>"
        f"<th class=right>95 %, px</th><th></th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _person(data: DataSet, judged: Judged, baseline: Judged, change: Change) -> str:
    name = data.annotations.file_names[int(data.people.pictures[change.person])]
    try:
        image = read_image(picture_path(data.request.images, name))
    except InputError:
        return ""  # it was there a moment ago; the figures stand without the drawing
    drawn = "".join(
        f'<img alt="" src="data:image/jpeg;base64,{_draw(image, data.people.boxes_xyxy[change.person], each, change.person)}">'
        for each in (baseline, judged)
    )
    oks = "" if math.isnan(change.oks_drop) else f"OKS {-change.oks_drop:+.3f}, "
    return f"<figure>{drawn}<figcaption>{html.escape(name)}: {oks}mean shift {change.shift_px:.1f} px</figcaption></figure>"


def _draw(image: NDArray[np.uint8], box: NDArray[np.float64], judged: Judged, person: int) -> str:
    """The person, enlarged, with the pose, as JPEG in base64."""
    sides = box[2:] - box[:2]
    low = np.maximum(np.floor(box[:2] - _MARGIN * sides), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + _MARGIN * sides), image.shape[1::-1]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    scale = _SIDE_PX / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    found = judged.keypoints[person]
    poses = Poses(
        keypoints_xy=((found[None, :, :2] - low) * scale).astype(np.float32),
        scores=found[None, :, 2].astype(np.float32),
        boxes_xyxy=((box.reshape(1, 2, 2) - low) * scale).reshape(1, 4).astype(np.float32),
        skeleton=judged.spec.skeleton,
    )
    canvas = draw_poses(cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).astype(np.uint8), poses)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return base64.b64encode(encoded.tobytes()).decode()


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
