"""Which person is the n-th training sample: a pure function, so that nothing needs to be stored to go on where a run stopped.

Samples come in rounds. In each, every source has its share, in random places; within a source, people come in random order, each once
before any comes again. Both orders follow from the seed and a number alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Order", "resolve_shares"]

ROUND = 1000


class Order:
    """The order of the training samples.

    Args:
        groups: for each source the numbers of its people, not empty.
        shares: of each source; positive numbers that sum to 1.
        seed: of the run.
    """

    def __init__(self, groups: Sequence[npt.NDArray[np.int64]], shares: Sequence[float], seed: int) -> None:
        self._groups = [np.asarray(group) for group in groups]
        self._seed = seed
        # Largest remainders: whole numbers that sum to the round.
        exact = np.asarray(shares, np.float64) / sum(shares) * ROUND
        self._counts = np.floor(exact).astype(np.int64)
        late = np.argsort(self._counts - exact, kind="stable")[: ROUND - int(self._counts.sum())]
        self._counts[late] += 1
        self._remember()

    def _remember(self) -> None:
        self._round = lru_cache(maxsize=8)(self._make_round)
        self._epoch = lru_cache(maxsize=4 * len(self._groups))(self._make_epoch)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_round", "_epoch")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._remember()

    def __getitem__(self, sample: int) -> int:
        """Return the number of the person who is sample ``sample``."""
        turn, place = divmod(sample, ROUND)
        which, rank = self._round(turn)
        source = int(which[place])
        epoch, position = divmod(turn * int(self._counts[source]) + int(rank[place]), len(self._groups[source]))
        return int(self._epoch(source, epoch)[position])

    def _make_round(self, turn: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each place in a round: its source, and how many of that source come before it in the round."""
        which = np.repeat(np.arange(len(self._groups)), self._counts)
        np.random.default_rng([self._seed, 1, turn]).shuffle(which)
        rank = np.empty_like(which)
        for source, count in enumerate(self._counts):
            rank[which == source] = np.arange(count)
        return which, rank

    def _make_epoch(self, source: int, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self._seed, 2, source, epoch]).permutation(self._groups[source])


def resolve_shares(shares: Sequence[float | None], counts: Sequence[int]) -> list[float]:
    """Give sources without a share what the others leave, by their number of people. The result sums to 1."""
    stated = sum(share for share in shares if share is not None)
    open_count = sum(count for share, count in zip(shares, counts, strict=True) if share is None)
    rest = max(0.0, 1.0 - stated) / open_count if open_count else 0.0
    filled = [share if share is not None else count * rest for share, count in zip(shares, counts, strict=True)]
    total = sum(filled)
    return [share / total for share in filled]
