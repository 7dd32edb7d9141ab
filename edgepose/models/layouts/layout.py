"""The seam between checkpoint layouts and the code that assembles a model from them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from edgepose.errors import CheckpointError
from edgepose.models.naming import Labels
from edgepose.models.sizes import SIZES, find_size
from edgepose.models.vitpose import PATCH
from edgepose.models.weights import WeightFile
from edgepose.spec import Architecture, Codec, InputSpec, ModelSpec

__all__ = ["Layout", "Reading", "count_blocks", "infer_architecture", "rename", "shape_of", "starred"]

HEAD_ENDS = (".final_layer.weight", "head.conv.weight")
_BLOCK = re.compile(r"\.blocks\.(\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a layout makes of a checkpoint: where each tensor of the model is, and what the file says of itself.

    Attributes:
        layout: name of the layout.
        architecture: the network's shape.
        keypoints: number of heatmaps to take from the head, K.
        sources: from a tensor's name in the model to the names in the file, joined along the first axis; none at all means zeros.
        unused: names in the file that the network has no place for and doesn't miss.
        grid: rows and columns of the position grid, where the file states them.
        expert: the data set whose ViTPose+ expert is taken, or empty.
        head: the data set whose head is taken, where the file tells; else empty.
        stated_dataset: the data set that the training configuration in the file names, or empty.
        labels: reads what the file says about its keypoints; called only where nothing else tells, since it may be wrong.
        codec: how crops and heatmaps were made in training, where the layout tells.
        input: normalization, where the file states it; its size is not looked at.
        notes: what a user of the weights should know.
        spec: the whole spec, in edgepose's own files.
    """

    layout: str
    architecture: Architecture
    keypoints: int
    sources: Callable[[str], tuple[str, ...]]
    unused: frozenset[str] = frozenset()
    grid: tuple[int, int] | None = None
    expert: str = ""
    head: str = ""
    stated_dataset: str = ""
    labels: Callable[[], Labels | None] = lambda: None
    codec: Codec | None = None
    input: InputSpec | None = None
    notes: tuple[str, ...] = ()
    spec: ModelSpec | None = None


class Layout(Protocol):
    """One way of naming and shaping ViTPose's tensors."""

    name: str

    def matches(self, file: WeightFile) -> bool:
        """Say whether the names in ``file`` are of this layout."""
        ...

    def read(self, file: WeightFile, dataset: str | None) -> Reading:
        """Find out what ``file`` holds.

        Args:
            file: the tensors.
            dataset: the data set whose expert and head are wanted, for files that have several.

        Raises:
            CheckpointError: the file lacks what tells its shape, or doesn't have what is wanted.
        """
        ...


def starred(name: str) -> tuple[str, str]:
    """Split off the block's number: ``backbone.blocks.3.norm1.bias`` → ``backbone.blocks.*.norm1.bias``, ``3``."""
    found = _BLOCK.search(name)
    if found is None:
        return name, ""
    return _BLOCK.sub(".blocks.*.", name), found.group(1)


def rename(name: str, modules: Mapping[str, str]) -> str:
    """Translate a tensor name of the model.

    Args:
        name: e.g. ``backbone.blocks.3.norm1.bias``.
        modules: from the model's module names, with ``*`` for the block's number, to the layout's.
    """
    general, number = starred(name)
    module, _, leaf = general.rpartition(".")
    return f"{modules.get(module, module)}.{leaf}".replace("*", number)


def shape_of(file: WeightFile, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor that tells the network's shape.

    Raises:
        CheckpointError: it is missing, or has another number of dimensions.
    """
    if name not in file.tensors:
        if name.endswith(HEAD_ENDS) and not any(other.startswith(name.partition(".")[0]) for other in file.tensors):
            raise CheckpointError(
                f"{file.where}: holds the backbone alone: it has no {name!r}, nor anything else of a head that makes heatmaps. "
                "Training can start from it (edgepose distill, student.init), but there is nothing to convert"
            )
        raise CheckpointError(
            f"{file.where}: lacks the tensor {name!r}, without which its shape can't be told; the file is damaged or incomplete"
        )
    shape = tuple(file.tensors[name].shape)
    if len(shape) != dimensions or 0 in shape:
        raise CheckpointError(
            f"{file.where}: the tensor {name!r} has the shape {shape}; expected {dimensions} dimensions, none of them empty"
        )
    return shape


def count_blocks(file: WeightFile, prefix: str) -> int:
    """Count the transformer blocks in a file.

    Args:
        file: the tensors.
        prefix: what stands before a block's number, e.g. ``backbone.blocks.``.

    Raises:
        CheckpointError: there is none, or one is missing between others.
    """
    numbers = {int(part) for part in _leading_parts(file.tensors, prefix) if part.isdecimal()}
    absent = sorted(set(range(len(numbers))) - numbers)
    if not numbers or absent:
        what = f"block {absent[0]} of the transformer" if absent else "transformer blocks"
        raise CheckpointError(f"{file.where}: lacks {what} ({prefix}*); the file is damaged or incomplete")
    return len(numbers)


def infer_architecture(file: WeightFile, *, patch: str, blocks: str, classic: bool) -> Architecture:
    """Infer the network's shape from a file that doesn't state it; the number of heads follows from the published sizes.

    Args:
        file: the tensors.
        patch: name of the patch embedding's weight.
        blocks: what stands before a block's number.
        classic: whether the head has transposed convolutions.

    Raises:
        CheckpointError: the file lacks what tells its shape, or is of no published width.
    """
    dim, channels, *side = shape_of(file, patch, 4)
    if (channels, *side) != (3, PATCH, PATCH):
        raise CheckpointError(
            f"{file.where}: its patch embedding {patch!r} takes {channels} channels in patches of {side[0]}×{side[1]} pixels; ViTPose "
            f"takes 3 (RGB) in patches of {PATCH}×{PATCH}"
        )
    size = find_size(dim)
    if size is None:
        known = ", ".join(f"{size.dim} ({size.name.title()})" for size in SIZES)
        raise CheckpointError(
            f"{file.where}: has {dim} channels; known: {known}. Other sizes can be read from a Hugging Face folder, whose config.json "
            "states the number of heads"
        )
    kind: Literal["classic", "simple"] = "classic" if classic else "simple"
    return Architecture(dim=dim, depth=count_blocks(file, blocks), heads=size.heads, head=kind)


def _leading_parts(names: Iterable[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
