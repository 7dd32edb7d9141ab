"""Tables for spreadsheets and pandas: a row for each person of each frame."""

import csv
from pathlib import Path

import numpy as np

from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, prepare_file
from edgepose.pipeline.sinks.text_file import TextFile

__all__ = ["CsvSink"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DECIMALS = 3


class CsvSink:
    """Columns: frame, time_s, name, id, left, top, right, bottom, box_score, and x, y and score of each keypoint. Frames without people and
    failures have no row; numbers that there aren't are empty.
    """  # noqa: D205  # one sentence and its exceptions

    def __init__(self, path: Path, context: SinkContext) -> None:
        prepare_file(path, context)
        self._file = TextFile(path)
        self._rows = csv.writer(self._file, lineterminator="\n")
        columns = ["frame", "time_s", "name", "id", "left", "top", "right", "bottom", "box_score"]
        self._rows.writerow([*columns, *(f"{name}_{what}" for name in context.skeleton.keypoints for what in ("x", "y", "score"))])

    def write(self, result: FramePoses | Failure) -> None:
        """Write the people of a frame."""
        if isinstance(result, Failure):
            return
        poses = result.poses
        # A spreadsheet takes a text that begins like this for a formula.
        name = "'" + result.name if result.name.startswith(_FORMULA) else result.name
        time_s = "" if result.time_s is None else f"{result.time_s:.6f}"
        for row in range(len(poses)):
            number = "" if result.ids is None else int(result.ids[row])
            score = None if poses.box_scores is None else poses.box_scores[row]
            points = np.concatenate([poses.keypoints_xy[row], poses.scores[row][:, None]], axis=1).reshape(-1)
            numbers = [*poses.boxes_xyxy[row], np.nan if score is None else score, *points]
            self._rows.writerow([result.index, time_s, name, number, *(_plain(float(value)) for value in numbers)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(value: float) -> str:
    return f"{value:.{_DECIMALS}f}" if np.isfinite(value) else ""
