"""What a sink is told of the stream, and how a frame is drawn and written out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepose.drawing import draw_poses
from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.protocols import SourceInfo
from edgepose.skeleton import Skeleton

__all__ = ["SinkContext", "describe_result", "draw_result", "explain_write_error", "prepare_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkContext:
    """The stream that is written.

    Attributes:
        info: its source.
        skeleton: keypoints of its poses.
        looked_for: how people were looked for, in words; stands in every document.
        min_score: keypoints from this score on are drawn.
        find_image_id: returns COCO's id of a picture by its name, as ``BoxFile.find_image_id`` of annotations does; without it, names
            that are numbers are the ids.
    """

    info: SourceInfo
    skeleton: Skeleton
    looked_for: str
    min_score: float = 0.3
    find_image_id: Callable[[str], int | None] | None = None


def draw_result(result: FramePoses, context: SinkContext) -> npt.NDArray[np.uint8]:
    """Return the frame with its poses, and ids where there are some."""
    return draw_poses(result.image, result.poses, min_score=context.min_score, ids=result.ids)


def describe_result(result: FramePoses | Failure, context: SinkContext) -> dict[str, Any]:
    """Return plain JSON values: ``index``, ``time_s``, ``name`` and either ``failure`` or the people.

    With poses there are ``width``, ``height``, ``looked_for``, ``detected``, ``dropped`` and what ``Poses.to_document`` gives, with an
    ``id`` for each person of a tracked stream.
    """
    place = {"index": result.index, "time_s": None if result.time_s is None else round(result.time_s, 6), "name": result.name}
    if isinstance(result, Failure):
        return place | {"failure": result.reason}
    height, width = result.image.shape[:2]
    document = result.poses.to_document()
    people: Any = document["people"]
    if result.ids is not None:
        people = [{"id": int(number)} | person for number, person in zip(result.ids, people, strict=True)]
    facts = {"width": width, "height": height, "looked_for": context.looked_for, "detected": result.detected, "dropped": result.dropped}
    return place | facts | document | {"people": people}


def prepare_file(path: Path, context: SinkContext) -> None:
    """Make the folder of a file that will be written.

    Raises:
        InputError: it is a folder, the source itself, or can't be written.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; expected the name of a file to write")
    source = Path(context.info.name)
    if source.exists() and path.exists() and path.samefile(source):
        raise InputError(f"{str(path)!r} is the source itself: write to another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise explain_write_error(path, error) from None


def explain_write_error(path: Path | str, error: OSError) -> InputError:
    """Return the error for a file that can't be written."""
    return InputError(f"can't write {str(path)!r}: {error.strerror or error}")
