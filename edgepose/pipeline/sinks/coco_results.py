"""COCO's keypoint results, as ``COCO.loadRes`` of pycocotools reads them."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np

from edgepose.errors import InputError
from edgepose.files import staged_file
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, explain_write_error, prepare_file
from edgepose.pipeline.sinks.text_file import TextFile

__all__ = ["CocoResultsSink"]

_PERSON = 1
_DECIMALS = 2
_NUMBER = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{1,18})", re.ASCII)


class CocoResultsSink:
    """A list of people with ``image_id``, ``category_id`` 1, ``keypoints`` (x, y, score) and ``score``, written as they come; the file gets
    its name when it is whole.

    ``image_id`` is what ``SinkContext.find_image_id`` says; else the number that a COCO picture's name is, if the first one's is; else the
    frame's index, from 0. ``score`` is the mean of the keypoints' scores, times the box's where there is one, as COCO's evaluations rank
    people. Where the disk is full, the file has those who were written before.
    """  # noqa: D205  # one sentence and what the fields are

    def __init__(self, path: Path, context: SinkContext) -> None:
        prepare_file(path, context)
        if not path.stat().st_size:
            path.unlink()
        self._path = path
        self._ids = _ImageIds(context)
        self._staging = contextlib.ExitStack()
        try:
            staged = self._staging.enter_context(staged_file(path))
        except OSError as error:
            raise explain_write_error(path, error) from None
        self._file: TextFile | None = TextFile(staged, tail="\n]\n", final=path)
        self._file.write("[\n")
        self._comma = ""

    def write(self, result: FramePoses | Failure) -> None:
        """Add the people of a frame.

        Raises:
            InputError: it can't be written; or a picture would get another one's ``image_id``.
        """
        if isinstance(result, Failure) or self._file is None:
            return
        poses, image_id = result.poses, self._ids.find(result)
        for row in np.flatnonzero(poses.usable):
            points = np.concatenate([poses.keypoints_xy[row], poses.scores[row][:, None]], axis=1).astype(np.float64)
            score = float(poses.scores[row].mean()) * (1.0 if poses.box_scores is None else float(poses.box_scores[row]))
            left, top, right, bottom = poses.boxes_xyxy[row].astype(np.float64)
            entry = {
                "image_id": image_id,
                "category_id": _PERSON,
                "keypoints": points.round(_DECIMALS).reshape(-1).tolist(),
                "bbox": np.round([left, top, right - left, bottom - top], _DECIMALS).tolist(),
                "score": round(score, 6),
            }
            self._file.write(self._comma + json.dumps(entry))
            self._comma = ",\n"

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with self._staging:  # takes the file away where it can't be finished
                file.close()
        except OSError as error:
            raise explain_write_error(self._path, error) from None


class _ImageIds:
    """Numbers for frames, no two pictures the same: otherwise an evaluation would take the people of both for those of one."""

    def __init__(self, context: SinkContext) -> None:
        self._find = context.find_image_id
        self._numbered = None if context.info.kind == "pictures" else False
        self._taken: set[int] = set()

    def find(self, result: FramePoses) -> int:
        if self._find is not None:
            number = self._find(result.name)
            if number is None:
                raise InputError(f"can't give {result.name!r} an image_id: the annotations have no image of this file_name")
            return self._take(number, result.name)
        match = _NUMBER.fullmatch(Path(result.name).stem)
        if self._numbered is None:
            self._numbered = match is not None
        if not self._numbered:
            return result.index
        if match is None:
            raise InputError(
                f"can't give {result.name!r} an image_id: the pictures before it are named by their numbers, and this isn't one; give "
                "annotations that have all of them, or look at these pictures in a run of their own"
            )
        return self._take(int(match.group(1)), result.name)

    def _take(self, number: int, name: str) -> int:
        if number in self._taken:
            raise InputError(f"can't give {name!r} the image_id {number}: another picture has it; look at them in runs of their own")
        self._taken.add(number)
        return number
