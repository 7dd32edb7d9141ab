"""People held out for validation, and the near duplicates that must then not be trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.distillation.packing import Pack

__all__ = ["Split", "split_people"]

BLOCK = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Numbers of people in the pack.

    Attributes:
        train: those that are trained on.
        validation: those that are measured on.
        duplicates: how many were left out because they look like one of those.
    """

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    duplicates: int


def split_people(pack: Pack, *, source: int | None, count: int, near_duplicate: float, seed: int, most: float = 1.0) -> Split:
    """Hold people out of a source.

    Args:
        pack: everybody.
        source: number of the source; ``None`` holds nobody out.
        count: how many; 0 is all of the source.
        near_duplicate: correlation of thumbnails above which two pictures are the same scene.
        seed: of the choice.
        most: largest share of the source's labelled people.
    """
    everybody = np.arange(len(pack))
    if source is None:
        return Split(train=everybody, validation=everybody[:0], duplicates=0)
    candidates = np.flatnonzero((pack.sources == source) & (pack.truth[:, :, 2] > 0).any(axis=1))
    count = int(most * len(candidates)) if count == 0 else min(count, int(most * len(candidates)))
    chosen = np.sort(np.random.default_rng([seed, 3]).permutation(candidates)[:count])
    if not len(chosen):
        return Split(train=everybody, validation=chosen, duplicates=0)
    rest = np.setdiff1d(everybody, chosen)
    close = _likeness(pack.thumbnails[rest], pack.thumbnails[chosen]) > near_duplicate
    return Split(train=rest[~close], validation=chosen, duplicates=int(close.sum()))


def _likeness(thumbnails: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """For each thumbnail the largest correlation with any of the others, as it is or mirrored."""
    flat = others.reshape(len(others), -1)
    mirrored = others[:, :, ::-1].reshape(len(others), -1)
    both = np.concatenate([flat, mirrored]).T
    parts = [
        (thumbnails[start : start + BLOCK].reshape(-1, both.shape[0]) @ both).max(axis=1, initial=-1)
        for start in range(0, len(thumbnails), BLOCK)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
