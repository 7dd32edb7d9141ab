"""Many images at once, for throughput: images are read, cut and decoded in worker threads while the device runs full batches.

```
reading and cutting (workers) ─→ full batches ─→ the device (as many threads as it has streams) ─→ decoding (workers) ─→ results
```

Each arrow holds a bounded number of batches, so that memory doesn't grow with the number of images.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.crop import Crops
from edgepose.errors import InputError
from edgepose.pipeline.top_down import TopDown

__all__ = ["BatchEngine", "Cut", "Located", "Unusable"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """Some people of one image, or of several, cut out.

    Attributes:
        people: (N,), whoever they are to the caller.
        crops: N crops.
    """

    people: npt.NDArray[np.intp]
    crops: Crops

    def __len__(self) -> int:
        return len(self.people)

    def part(self, part: slice) -> "Cut":
        """Return some of them."""
        crops = self.crops
        return Cut(people=self.people[part], crops=Crops(batch=crops.batch[part], centres=crops.centres[part], sizes=crops.sizes[part]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Located:
    """Where some people's keypoints are.

    Attributes:
        people: (N,), as in ``Cut``.
        keypoints_xy: float64 (N, K, 2), image pixels.
        scores: float32 (N, K).
    """

    people: npt.NDArray[np.intp]
    keypoints_xy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """An image that couldn't be read or cut.

    Attributes:
        image: its number, as the caller gave it.
        reason: why, for people.
    """

    image: int
    reason: str


class BatchEngine:
    """Runs a model over images; each object once.

    Args:
        top_down: crop, run and decode.
        streams: calls to the device at the same time.
        batch: people per call; only the last may have fewer.
        workers: threads that read, cut and decode.
    """

    def __init__(self, top_down: TopDown, *, streams: int, batch: int, workers: int) -> None:
        self._top_down = top_down
        self._streams = streams
        self._batch = batch
        self._workers = workers
        # Per stream one batch that runs and one that waits, so that the device never does.
        self._limit = 2 * streams
        self._unusable: deque[Unusable] = deque()
        self._lock = threading.Lock()
        self._device_s = 0.0

    @property
    def device_s(self) -> float:
        """Seconds in which a call to the device was running, averaged over the streams."""
        return self._device_s / self._streams

    def run(self, images: Iterable[tuple[int, Callable[[], Cut]]]) -> Generator[Located | Unusable, None, None]:
        """Do the work; a generator, which ends the threads when it is closed.

        Args:
            images: numbers, and what reads an image and cuts its people out. That runs in a worker; an ``InputError`` in it makes the
                image unusable and ends nothing else. An image may come in several parts.

        Yields:
            In the order of the images, but for those that are unusable, which come as soon as that is known.

        Raises:
            InputError: the model gave heatmaps that aren't finite.
            EdgePoseError: the runtime failed.
        """
        with (
            ThreadPoolExecutor(self._workers, "edgepose-work") as work,
            ThreadPoolExecutor(self._streams, "edgepose-device") as device,
        ):
            try:
                yield from self._go(work, device, images)
            except BaseException:
                for executor in (work, device):
                    executor.shutdown(wait=False, cancel_futures=True)
                raise

    def _go(
        self, work: ThreadPoolExecutor, device: ThreadPoolExecutor, images: Iterable[tuple[int, Callable[[], Cut]]]
    ) -> Iterator[Located | Unusable]:
        running: deque[Future[Future[Located]]] = deque()
        decoding: deque[Future[Located]] = deque()
        for batch in _fill(self._read(work, images), self._batch):
            running.append(device.submit(self._infer, batch, work))
            if len(running) > self._limit:
                decoding.append(running.popleft().result())
            while len(decoding) > self._limit:
                yield decoding.popleft().result()
            yield from self._take_unusable()
        for each in running:
            decoding.append(each.result())
        for last in decoding:
            yield last.result()
        yield from self._take_unusable()

    def _take_unusable(self) -> Iterator[Unusable]:
        while self._unusable:
            yield self._unusable.popleft()

    def _read(self, work: ThreadPoolExecutor, images: Iterable[tuple[int, Callable[[], Cut]]]) -> Iterator[Cut]:
        """Yield people in their order, cut out of images that are read ahead."""
        source = iter(images)
        ahead: deque[tuple[int, Future[Cut]]] = deque()
        while True:
            while len(ahead) < self._workers + 2 and (following := next(source, None)) is not None:
                ahead.append((following[0], work.submit(following[1])))
            if not ahead:
                return
            image, future = ahead.popleft()
            try:
                cut = future.result()
            except InputError as error:
                self._unusable.append(Unusable(image=image, reason=str(error)))
                continue
            if len(cut):
                yield cut

    def _infer(self, batch: Cut, work: ThreadPoolExecutor) -> Future[Located]:
        begin = time.perf_counter()
        heatmaps = self._top_down.infer(batch.crops.batch)
        seconds = time.perf_counter() - begin
        with self._lock:
            self._device_s += seconds
        return work.submit(self._decode, batch, heatmaps)

    def _decode(self, batch: Cut, heatmaps: npt.NDArray[np.float32]) -> Located:
        keypoints_xy, scores = self._top_down.decode(heatmaps, batch.crops.centres, batch.crops.sizes)
        return Located(people=batch.people, keypoints_xy=keypoints_xy, scores=scores)


def _fill(cuts: Iterator[Cut], size: int) -> Iterator[Cut]:
    """Join and divide cuts so that each but the last has ``size`` people."""
    held: list[Cut] = []
    for cut in cuts:
        held.append(cut)
        if sum(map(len, held)) < size:
            continue
        joined = _join(held)
        whole = len(joined) - len(joined) % size
        for start in range(0, whole, size):
            yield joined.part(slice(start, start + size))
        held = [joined.part(slice(whole, None))] if whole < len(joined) else []
    if held:
        yield _join(held)


def _join(cuts: Sequence[Cut]) -> Cut:
    if len(cuts) == 1:
        return cuts[0]
    batch, centres, sizes = (np.concatenate([getattr(cut.crops, name) for cut in cuts]) for name in ("batch", "centres", "sizes"))
    return Cut(people=np.concatenate([cut.people for cut in cuts]), crops=Crops(batch=batch, centres=centres, sizes=sizes))
