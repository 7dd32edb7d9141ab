"""People → keypoints, for whole data sets, in the batches of ``edgepose.pipeline``."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import judge_boxes
from edgepose.errors import InputError
from edgepose.evaluation.dataset import People
from edgepose.evaluation.procedures import PROCEDURES, ProcedureName
from edgepose.image import MAX_PIXELS, decode_image
from edgepose.pipeline.batches import BatchEngine, Cut, Unusable
from edgepose.pipeline.top_down import TopDown
from edgepose.runtime.session import Session

__all__ = ["Found", "Pictures", "find_keypoints", "picture_path"]

MAX_CROPS = 32
"""People of one picture that are cut at a time: bounds memory where a picture has hundreds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """I pictures of a folder.

    Attributes:
        names: file names, relative to the folder.
        sizes: int64 (I, 2), width and height that they must have; 0 for any.
    """

    names: Sequence[str]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What a model found.

    Attributes:
        keypoints: float64 (M, K, 3): x and y in image pixels, score; NaN for people whose picture or box couldn't be used.
        unusable: index of a picture that couldn't be used → why.
        pictures: number of pictures read.
        sizes: int64 (I, 2), width and height of the pictures read; 0 of the others, and of all where shards were put together.
        digest: the sum of the SHA-256 of each picture's name and bytes, modulo 2**256: the same in any order, and of all shards together.
        seconds: from the first picture to the last keypoint.
        device_seconds: of them, the time in which a call to the device was running, averaged over its streams.
    """

    keypoints: NDArray[np.float64]
    unusable: Mapping[int, str]
    pictures: int
    sizes: NDArray[np.int64]
    digest: int
    seconds: float
    device_seconds: float


def find_keypoints(
    session: Session,
    pictures: Pictures,
    people: People,
    folder: Path,
    *,
    only: NDArray[np.bool_] | None = None,
    flip_test: bool = False,
    procedure: ProcedureName = "published",
    batch: int = 8,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Found:
    """Run a model on people.

    Args:
        session: the model; as many batches run at once as it has streams.
        pictures: where the people are.
        people: whom to look for.
        folder: where the pictures are.
        only: bool (I,), the pictures to look at; all by default. Rows of people in others are NaN.
        flip_test: average with the mirrored crops.
        procedure: crop and decoding: as published, or as another program does them.
        batch: crops per call; files of a static batch size are filled up.
        workers: threads that read, cut and decode.
        max_pixels: larger pictures are refused.
        progress: is told how many people are done, of how many.

    Raises:
        InputError: there is nobody to look for, or the model gave heatmaps that aren't finite.
        EdgePoseError: the runtime failed.
    """
    wanted = np.arange(len(people)) if only is None else np.flatnonzero(only[people.pictures])
    if not len(wanted):
        raise InputError("there is nobody to look for: no box is left to run the model on")
    top_down = TopDown.of(session, flip_test=flip_test, procedure=PROCEDURES[procedure])
    reader = _Reader(top_down, pictures, people, folder, max_pixels)
    engine = BatchEngine(top_down, streams=session.info.streams, batch=batch, workers=workers)
    keypoints = np.full((len(people), session.spec.keypoints, 3), np.nan)
    unusable: dict[int, str] = {}
    done, begin = 0, time.perf_counter()
    with contextlib.closing(engine.run(reader.jobs(wanted))) as results:
        for result in results:
            if isinstance(result, Unusable):
                unusable[result.image] = result.reason
                continue
            keypoints[result.people, :, :2] = result.keypoints_xy
            keypoints[result.people, :, 2] = result.scores
            done += len(result.people)
            progress(done, len(wanted))
    return Found(
        keypoints=keypoints,
        unusable=unusable,
        pictures=len(reader.digests),
        sizes=reader.sizes,
        digest=sum(reader.digests.values()) % 2**256,
        seconds=time.perf_counter() - begin,
        device_seconds=engine.device_s,
    )


def picture_path(folder: Path, name: str) -> Path:
    """Return where a picture is.

    Raises:
        InputError: its name, which comes from a file, leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the picture's name {name!r} leads out of its folder")
    return path


class _Reader:
    """Reads a data set's pictures and cuts the people out of them; in several threads at once.

    Attributes:
        sizes: see ``Found``.
        digests: number of each picture that was read → SHA-256 of its name and bytes.
    """

    def __init__(self, top_down: TopDown, pictures: Pictures, people: People, folder: Path, max_pixels: int) -> None:
        self.sizes = np.zeros((len(pictures.names), 2), np.int64)
        self.digests: dict[int, int] = {}
        self._top_down = top_down
        self._pictures = pictures
        self._people = people
        self._folder = folder
        self._max_pixels = max_pixels

    def jobs(self, wanted: NDArray[np.intp]) -> Iterator[tuple[int, Callable[[], Cut]]]:
        """Yield the pictures on which the people ``wanted`` are, in their order, and what cuts them out."""
        starts = np.flatnonzero(np.diff(self._people.pictures[wanted], prepend=-1))
        for group in np.split(wanted, starts[1:]):
            picture = int(self._people.pictures[group[0]])
            for start in range(0, len(group), MAX_CROPS):
                yield picture, partial(self._cut, picture, group[start : start + MAX_CROPS])

    def _cut(self, picture: int, group: NDArray[np.intp]) -> Cut:
        name = self._pictures.names[picture]
        path = picture_path(self._folder, name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"can't read the image {name!r}: {error.strerror or error}") from None
        image = decode_image(content, name, max_pixels=self._max_pixels)
        width, height = (int(side) for side in self._pictures.sizes[picture])
        if width and height and (height, width) != image.shape[:2]:
            turned = " (turned by its EXIF orientation, or exchanged)" if (width, height) == image.shape[:2] else ""
            raise InputError(f"the picture is {image.shape[1]}×{image.shape[0]} pixels, but the annotations say {width}×{height}{turned}")
        judged = judge_boxes(self._people.boxes_xyxy[group], image.shape, form_is_known=True)
        # One bad box doesn't lose the others: its row stays NaN, as that of a person whom the model wasn't run on.
        crops = self._top_down.cut(image, judged.boxes_xyxy[judged.usable])
        self.sizes[picture] = image.shape[1::-1]
        self.digests[picture] = int.from_bytes(hashlib.sha256(name.encode() + b"\0" + content).digest(), "big")
        return Cut(people=group[judged.usable], crops=crops)
