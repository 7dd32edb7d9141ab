"""People → keypoints, for whole data sets: pictures are read, cut and decoded in worker threads while the device runs.

```
reading and cutting (workers) ─→ full batches ─→ the device (as many threads as it has streams) ─→ decoding (workers) ─→ table
```

Each arrow holds a bounded number of batches, so that memory doesn't grow with the data set.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import judge_boxes
from edgepose.errors import InputError
from edgepose.estimator import run_crops
from edgepose.evaluation.dataset import People
from edgepose.evaluation.procedures import PROCEDURES, Procedure, ProcedureName
from edgepose.heatmap import to_image
from edgepose.image import MAX_PIXELS, decode_image
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    """Some people, cut out."""

    people: NDArray[np.intp]
    crops: NDArray[np.float32]
    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.people)

    def part(self, part: slice) -> "_Batch":
        return _Batch(people=self.people[part], crops=self.crops[part], centres=self.centres[part], sizes=self.sizes[part])


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
    run = _Run(session, pictures, people, folder, flip_test, PROCEDURES[procedure], max_pixels)
    with ThreadPoolExecutor(workers, "edgepose-work") as work, ThreadPoolExecutor(session.info.streams, "edgepose-device") as device:
        try:
            begin = time.perf_counter()
            for done in run.go(work, device, wanted, batch, workers):
                progress(done, len(wanted))
            seconds = time.perf_counter() - begin
        except BaseException:
            for executor in (work, device):
                executor.shutdown(wait=False, cancel_futures=True)
            raise
    return run.found(seconds)


def picture_path(folder: Path, name: str) -> Path:
    """Return where a picture is.

    Raises:
        InputError: its name, which comes from a file, leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the picture's name {name!r} leads out of its folder")
    return path


class _Run:
    """One pass over a data set."""

    def __init__(
        self, session: Session, pictures: Pictures, people: People, folder: Path, flip_test: bool, procedure: Procedure, max_pixels: int
    ) -> None:
        self._session = session
        self._spec = session.spec
        self._pictures = pictures
        self._people = people
        self._folder = folder
        self._flip_test = flip_test
        self._procedure = procedure
        self._codec = procedure.codec(session.spec.codec)
        self._max_pixels = max_pixels
        self._keypoints = np.full((len(people), session.spec.keypoints, 3), np.nan)
        self._unusable: dict[int, str] = {}
        self._sizes = np.zeros((len(pictures.names), 2), np.int64)
        self._digests: dict[int, int] = {}
        self._lock = threading.Lock()
        self._device_s = 0.0

    def go(self, work: ThreadPoolExecutor, device: ThreadPoolExecutor, wanted: NDArray[np.intp], size: int, workers: int) -> Iterator[int]:
        """Do the work; yields how many people are done."""
        running: deque[Future[None]] = deque()
        decoding: deque[Future[int]] = deque()
        # Per stream one batch that runs and one that waits, so that the device never does.
        limit = 2 * self._session.info.streams
        done = 0
        for batch in _fill(self._read(work, wanted, workers), size):
            running.append(device.submit(self._infer, batch, work, decoding))
            if len(running) > limit:
                running.popleft().result()
            while len(decoding) > limit:
                done += decoding.popleft().result()
                yield done
        for each in running:
            each.result()
        for last in decoding:
            done += last.result()
            yield done

    def found(self, seconds: float) -> Found:
        return Found(
            keypoints=self._keypoints,
            unusable=self._unusable,
            pictures=len(self._digests),
            sizes=self._sizes,
            digest=sum(self._digests.values()) % 2**256,
            seconds=seconds,
            device_seconds=self._device_s / self._session.info.streams,
        )

    def _read(self, work: ThreadPoolExecutor, wanted: NDArray[np.intp], workers: int) -> Iterator[_Batch]:
        """Yield people in their order, cut out of pictures that are read ahead."""
        ahead: deque[tuple[int, Future[_Batch]]] = deque()
        starts = np.flatnonzero(np.diff(self._people.pictures[wanted], prepend=-1))
        groups = (group[start : start + MAX_CROPS] for group in np.split(wanted, starts[1:]) for start in range(0, len(group), MAX_CROPS))
        while True:
            while len(ahead) < workers + 2 and (group := next(groups, None)) is not None:
                picture = int(self._people.pictures[group[0]])
                ahead.append((picture, work.submit(self._cut, picture, group)))
            if not ahead:
                return
            picture, future = ahead.popleft()
            try:
                batch = future.result()
            except InputError as error:
                self._unusable[picture] = str(error)
                continue
            if len(batch):
                yield batch

    def _cut(self, picture: int, group: NDArray[np.intp]) -> _Batch:
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
        group = group[judged.usable]
        crops = self._procedure.crop(image, judged.boxes_xyxy[judged.usable], self._spec.input, self._codec)
        self._sizes[picture] = image.shape[1::-1]
        self._digests[picture] = int.from_bytes(hashlib.sha256(name.encode() + b"\0" + content).digest(), "big")
        return _Batch(people=group, crops=crops.batch, centres=crops.centres, sizes=crops.sizes)

    def _infer(self, batch: _Batch, work: ThreadPoolExecutor, decoding: "deque[Future[int]]") -> None:
        begin = time.perf_counter()
        heatmaps = run_crops(self._session, batch.crops, flip_test=self._flip_test, codec=self._codec)
        seconds = time.perf_counter() - begin
        with self._lock:
            self._device_s += seconds
        decoding.append(work.submit(self._decode, batch, heatmaps))

    def _decode(self, batch: _Batch, heatmaps: NDArray[np.float32]) -> int:
        places, scores = self._procedure.decode(heatmaps, self._codec)
        size = self._spec.input.heatmap_size
        self._keypoints[batch.people, :, :2] = to_image(places, batch.centres, batch.sizes, size, self._codec)
        self._keypoints[batch.people, :, 2] = scores
        return len(batch)


def _fill(batches: Iterator[_Batch], size: int) -> Iterator[_Batch]:
    """Join and cut batches so that each but the last has ``size`` people."""
    held: list[_Batch] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) < size:
            continue
        joined = _join(held)
        whole = len(joined) - len(joined) % size
        for start in range(0, whole, size):
            yield joined.part(slice(start, start + size))
        held = [joined.part(slice(whole, None))] if whole < len(joined) else []
    if held:
        yield _join(held)


def _join(batches: Sequence[_Batch]) -> _Batch:
    if len(batches) == 1:
        return batches[0]
    people, crops, centres, sizes = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("people", "crops", "centres", "sizes")
    )
    return _Batch(people=people, crops=crops, centres=centres, sizes=sizes)
