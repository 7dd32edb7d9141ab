"""Batches, made ahead of time by other processes.

Batch ``step`` of a phase is a pure function of the seed and the number of its first sample: neither the number of worker processes nor
the number of devices nor an interruption changes what is trained on.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgepose.distillation.augmentation import Body, augment
from edgepose.distillation.order import Order
from edgepose.distillation.packing import Pack
from edgepose.distillation.recipe import Augmentation, Phase
from edgepose.spec import Codec, InputSpec

__all__ = ["Batch", "Batches", "stream"]

AHEAD = 4  # batches each worker prepares in advance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Training samples as they come from the workers.

    Attributes:
        images: (N, height, width, 3) uint8, RGB.
        keypoints: (N, K, 3) float32: x, y in input pixels, weight.
        people: (N,) numbers of the people in the pack.
    """

    images: Tensor
    keypoints: Tensor
    people: Tensor

    def pin_memory(self) -> "Batch":
        """What ``DataLoader`` calls to make copies to a GPU fast."""
        return Batch(images=self.images.pin_memory(), keypoints=self.keypoints.pin_memory(), people=self.people)


class Batches(Dataset[Batch]):
    """The batches of one phase, by step.

    Args:
        pack: everybody.
        order: which of them is which sample.
        phase: input size and batch size.
        first: number of the phase's first sample in the whole run.
        augmentation: how much of everything.
        body: mirror pairs and halves.
        seed: of the run.
        part: which part of each batch this process takes, of how many.
    """

    def __init__(
        self,
        pack: Pack,
        order: Order,
        phase: Phase,
        *,
        first: int,
        augmentation: Augmentation,
        body: Body,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._pack = pack
        self._order = order
        self._phase = phase
        self._first = first
        self._augmentation = augmentation
        self._body = body
        self._seed = seed
        self._part = part
        self._size = InputSpec(height=phase.height, width=phase.width)

    def __len__(self) -> int:
        return self._phase.steps

    def __getitem__(self, step: int) -> Batch:
        index, parts = self._part
        begin = self._first + step * self._phase.batch
        mine = range(begin + self._phase.batch * index // parts, begin + self._phase.batch * (index + 1) // parts)
        images = np.empty((len(mine), self._phase.height, self._phase.width, 3), np.uint8)
        keypoints = np.empty((len(mine), *self._pack.keypoints.shape[1:]), np.float32)
        people = np.empty(len(mine), np.int64)
        for place, sample in enumerate(mine):
            people[place] = self._order[sample]
            images[place], keypoints[place] = self._make(sample, int(people[place]))
        return Batch(images=torch.from_numpy(images), keypoints=torch.from_numpy(keypoints), people=torch.from_numpy(people))

    def _make(self, sample: int, person: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        made = augment(
            self._pack.image(person),
            self._pack.boxes_xyxy[person],
            self._pack.keypoints[person],
            size=self._size,
            codec=Codec(),
            body=self._body,
            strength=self._augmentation,
            random=np.random.default_rng([self._seed, 4, sample]),
        )
        return made.image, made.keypoints


def stream(batches: Batches, *, begin: int, workers: int, pin: bool = False) -> Iterator[Batch]:
    """Yield the batches from step ``begin`` on, in order.

    Args:
        batches: of one phase.
        begin: the first step.
        workers: processes that prepare them; 0 prepares them in this one.
        pin: whether they go to a GPU.
    """
    yield from DataLoader(
        batches,
        batch_size=None,
        sampler=range(begin, len(batches)),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=pin,
        # A fork would inherit OpenCV's and OpenMP's locks, but not the threads that hold them.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_prepare,
    )


def _prepare(_worker: int) -> None:
    """Leave Ctrl-C to the main process, and threads to the other workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
