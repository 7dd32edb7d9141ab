"""ViTPose+: which of its experts to join to ``fc2``."""

from dataclasses import dataclass

from edgepose.errors import CheckpointError
from edgepose.models.datasets import DATASETS, EXPERTS

__all__ = ["Expert", "choose_expert", "index_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """The expert to use with a head.

    Attributes:
        dataset: the data set it was trained on.
        index: its number.
        head: the data set that the head belongs to, as far as its number of keypoints tells; else empty.
        notes: what a user should know of the combination.
    """

    dataset: str
    index: int
    head: str
    notes: tuple[str, ...]


def choose_expert(dataset: str | None, *, experts: int, keypoints: int, where: str) -> Expert:
    """Choose the expert for a checkpoint that has one head for all its experts.

    Args:
        dataset: what the user wants; ``None`` takes the expert that fits the head.
        experts: how many there are.
        keypoints: how many the head has.
        where: how errors name the checkpoint.

    Raises:
        CheckpointError: there is no such expert.
    """
    head = next((name for name in EXPERTS if DATASETS[name].keypoints == keypoints), "")
    chosen = dataset or head or EXPERTS[0]
    notes: tuple[str, ...] = ()
    if chosen != head:
        owner = f"the one head in the checkpoint is that of {head}" if head else "the head belongs to none of ViTPose+'s data sets"
        notes = (f"the expert of {chosen} is joined, but {owner}: the combination wasn't trained",)
    return Expert(dataset=chosen, index=index_of(chosen, experts, what="expert", where=where), head=head, notes=notes)


def index_of(dataset: str, available: int, *, what: str, where: str) -> int:
    """Return the number of a data set's expert or head.

    Raises:
        CheckpointError: the checkpoint doesn't have it.
    """
    known = EXPERTS[:available]
    if dataset not in known:
        raise CheckpointError(f"{where}: has no {what} of the data set {dataset!r}; it has those of {', '.join(known)}")
    return known.index(dataset)
