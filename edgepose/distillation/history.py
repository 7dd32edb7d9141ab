"""The course of a run: rows of figures, as CSV, and as a picture."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.errors import MissingDependencyError
from edgepose.files import staged_file

__all__ = ["EventLog", "Row", "plot_history", "write_history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What happened between two log lines.

    Attributes:
        images: training samples seen since the run began.
        phase: name of the phase.
        step: of the phase.
        seconds: of training so far, over all sessions; validation and interruptions don't count.
        learning_rate: of the head.
        loss: mean since the last row.
        gradient: mean norm of the gradient before clipping.
        images_per_s: speed since the last row.
        waited: share of the time since the last row that training waited for data.
        score: of the averaged weights on the validation set, where it was measured here; else ``None``.
        score_with_token: likewise with the knowledge token, where the phase trains with one.
        input: height×width.
    """

    images: int
    phase: str
    step: int
    seconds: float
    learning_rate: float
    loss: float
    gradient: float
    images_per_s: float
    waited: float
    score: float | None = None
    score_with_token: float | None = None
    input: str = ""


def write_history(rows: Sequence[Row], path: Path) -> None:
    """Write all rows as CSV; whole or not at all."""
    with staged_file(path) as staged, staged.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        for row in rows:
            values = dataclasses.asdict(row)
            writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()})


class EventLog:
    """Rows as TensorBoard events, in a folder ``events``.

    Args:
        out: the run's folder.

    Raises:
        MissingDependencyError: TensorBoard isn't installed.
    """

    def __init__(self, out: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            raise MissingDependencyError("tensorboard", extra="distill", purpose="--tensorboard") from None
        self._writer: Any = SummaryWriter(str(out / "events"))

    def add(self, row: Row) -> None:
        """Write one row; the images seen are its step."""
        for name in ("loss", "gradient", "learning_rate", "images_per_s", "waited", "score", "score_with_token"):
            value = getattr(row, name)
            if value is not None:
                self._writer.add_scalar(name, value, row.images)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def plot_history(rows: Sequence[Row], path: Path, *, metric: str) -> None:
    """Draw score, loss and learning rate over the images seen; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    scored = [row for row in rows if row.score is not None]
    for size in dict.fromkeys(row.input for row in scored):
        some = [row for row in scored if row.input == size]
        top.plot([row.images for row in some], [row.score or 0.0 for row in some], marker="o", markersize=3, label=size)
    top.set_ylabel(metric)
    for phase in dict.fromkeys(row.phase for row in rows):
        some = [row for row in rows if row.phase == phase]
        middle.plot([row.images for row in some], [row.loss for row in some], label=phase)
    middle.set_ylabel("loss")
    bottom.plot([row.images for row in rows], [row.learning_rate for row in rows], color="0.4")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("images seen")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="best", fontsize=8)
    with staged_file(path) as staged:
        figure.savefig(staged, format="png")
