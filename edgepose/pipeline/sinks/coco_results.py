"""COCO's keypoint results, as ``COCO.loadRes`` of pycocotools reads them."""

import json
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgepose.files import staged_file
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, explain_write_error, prepare_file

__all__ = ["CocoResultsSink"]

_PERSON = 1
_DECIMALS = 2
_NUMBER = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,18})", re.ASCII)


class CocoResultsSink:
    """A list of people with ``image_id``, ``category_id`` 1, ``keypoints`` (x, y, score) and ``score``, written as they come; the file gets
    its name when it is whole.

    ``image_id`` is the number that a COCO picture's name is, else the frame's index, from 0. ``score`` is the mean of the keypoints'
    scores, times the box's where there is one, as COCO's evaluations rank people.
    """  # noqa: D205  # one sentence and what the fields are

    def __init__(self, path: Path, context: SinkContext) -> None:
        prepare_file(path, context)
        if not path.stat().st_size:
            path.unlink()
        self._path = path
        self._pictures = context.info.kind == "pictures"
        self._staging = staged_file(path)
        self._file: IO[str] | None = self._staging.__enter__().open("w", encoding="utf-8")
        self._first = True

    def write(self, result: FramePoses | Failure) -> None:
        """Add the people of a frame."""
        if isinstance(result, Failure) or self._file is None:
            return
        poses = result.poses
        number = _NUMBER.fullmatch(Path(result.name).stem) if self._pictures else None
        for row in np.flatnonzero(poses.usable):
            points = np.concatenate([poses.keypoints_xy[row], poses.scores[row][:, None]], axis=1).astype(np.float64)
            score = float(poses.scores[row].mean()) * (1.0 if poses.box_scores is None else float(poses.box_scores[row]))
            left, top, right, bottom = poses.boxes_xyxy[row].astype(np.float64)
            self._put(
                {
                    "image_id": int(number.group(1)) if number else result.index,
                    "category_id": _PERSON,
                    "keypoints": points.round(_DECIMALS).reshape(-1).tolist(),
                    "bbox": np.round([left, top, right - left, bottom - top], _DECIMALS).tolist(),
                    "score": round(score, 6),
                }
            )

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.write("[]\n" if self._first else "\n]\n")
            file.close()
            self._staging.__exit__(None, None, None)
        except OSError as error:
            raise explain_write_error(self._path, error) from None

    def _put(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(("[\n" if self._first else ",\n") + json.dumps(entry))
        except OSError as error:
            raise explain_write_error(self._path, error) from None
        self._first = False
