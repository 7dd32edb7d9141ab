"""Load a ViTPose from any checkpoint, and save one as edgepose's own ``.safetensors``."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from edgepose.artifact import embed_spec
from edgepose.document import describe
from edgepose.errors import ArtifactError, CheckpointError, InputError, SpecError
from edgepose.files import staged_file
from edgepose.models.assembly import assemble
from edgepose.models.datasets import Dataset, find_dataset, get_dataset
from edgepose.models.hub import download, is_hub_id
from edgepose.models.layouts import Reading, recognise
from edgepose.models.naming import datasets_of_count, sanitize
from edgepose.models.positions import infer_grid, list_grids
from edgepose.models.sizes import SIZES
from edgepose.models.vitpose import PATCH, ViTPose, VitPoseConfig
from edgepose.models.weights import WeightFile, read_weights
from edgepose.skeleton import Skeleton
from edgepose.spec import Codec, InputSpec, ModelSpec, Provenance

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model and its description.

    Attributes:
        model: the network; in eval mode and float32 where ``load_checkpoint`` made it.
        spec: everything else there is to know; it describes ``model``.
    """

    model: ViTPose
    spec: ModelSpec


def load_checkpoint(
    source: str | Path,
    *,
    dataset: str | None = None,
    skeleton: Skeleton | None = None,
    default_skeleton: Skeleton | None = None,
    input_size: tuple[int, int] | None = None,
    trained_size: tuple[int, int] | None = None,
    name: str | None = None,
    assume: bool = True,
) -> Checkpoint:
    """Load a ViTPose or ViTPose+; layout, size, head, experts and keypoints are inferred from the tensors' names and shapes.

    Args:
        source: a file (``.pth`` of the original, of mmpose 1.x or of easy_ViTPose, or edgepose's ``.safetensors``), a folder in the form of
            Hugging Face, or a hub id such as ``usyd-community/vitpose-plus-small``, which is downloaded.
        dataset: for ViTPose+, whose expert and head to take (default: COCO's, or the one that fits a lone head). For others, what the head
            was trained on, where the checkpoint doesn't say: 17 keypoints without a name are taken for COCO's, and the result says so.
        skeleton: the keypoints of the head, instead of what the checkpoint says.
        default_skeleton: the keypoints of the head, where neither the checkpoint nor ``dataset`` says them.
        input_size: height and width in pixels, multiples of 16; positions are interpolated where it isn't the checkpoint's own. Where the
            checkpoint doesn't say what that is, and has as many positions as this size, it is this.
        trained_size: height and width that the checkpoint was trained at, where it doesn't say and ``input_size`` is another.
        name: the model's name; by default made of size, head and data set.
        assume: whether to take the likeliest for what neither file nor arguments say (keypoints, trained size), with a warning and a note
            in the provenance; else that is an error, as in the commands: a wrong guess makes every keypoint wrong.

    Raises:
        CheckpointError: the checkpoint can't be read, isn't a ViTPose, or doesn't fit ``dataset`` or ``skeleton``.
        IntegrityError: a file of edgepose has changed since it was written.
        InputError: ``dataset``, ``input_size`` or ``trained_size`` is not allowed, or has to be stated.
    """
    wanted = None if dataset is None else get_dataset(dataset)
    size = None if input_size is None else _check_input_size(input_size)
    trained = None if trained_size is None else _check_input_size(trained_size)
    file = _open(source)
    reading = recognise(file).read(file, dataset)
    grid, assumed = _find_grid(file, reading, size=size, trained=trained)
    try:
        identity = _identify(file, reading, wanted, skeleton, default_skeleton)
        assumptions = (*identity.assumptions, *assumed)
        if assumptions and not assume:
            raise InputError(f"{file.where}: {'. And '.join(assumptions)}")
        spec = _describe(
            file,
            replace(reading, notes=(*file.notes, *reading.notes, *assumptions)),
            identity=identity,
            size=size or (grid[0] * PATCH, grid[1] * PATCH),
            name=name,
        )
    except SpecError as error:
        raise CheckpointError(f"{file.where}: {error}") from None
    model = assemble(file, reading, config=VitPoseConfig.from_spec(spec), grid=grid)
    for note in (*file.notes, *reading.notes, *assumptions):
        logger.warning("%s: %s", file.where, note)
    return Checkpoint(model=model, spec=spec)


def save_checkpoint(checkpoint: Checkpoint, path: str | Path, *, dtype: Literal["fp32", "fp16"] = "fp32") -> None:
    """Write a model as edgepose's own ``.safetensors``, its spec inside and sealed; whole or not at all.

    Args:
        checkpoint: the model and its spec.
        path: where to; an existing file is replaced.
        dtype: how weights are stored; ``load_checkpoint`` returns float32 in any case.

    Raises:
        CheckpointError: model and spec don't belong together, or the file can't be written.
    """
    path = Path(path)
    if VitPoseConfig.from_spec(checkpoint.spec) != checkpoint.model.config:
        raise CheckpointError(f"{path}: not written: the spec describes another network than the model: {checkpoint.model.config}")
    kind = torch.float16 if dtype == "fp16" else torch.float32
    state = {
        name: (tensor.detach().to("cpu", kind) if tensor.is_floating_point() else tensor.detach().cpu()).contiguous()
        for name, tensor in checkpoint.model.state_dict().items()
    }
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{path}: not written: {broken[0]!r} has NaN or infinite values, or values beyond {dtype}")
    try:
        with staged_file(path) as staged:
            save_file(state, staged)
            embed_spec(staged, checkpoint.spec)
    except (OSError, SafetensorError, ArtifactError) as error:
        raise CheckpointError(f"{path}: can't be written: {error}") from None


def _check_input_size(input_size: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(input_size) if isinstance(input_size, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise InputError(f"the input size is {describe(input_size)}; expected height and width in whole pixels, such as (256, 192)")
    height, width = sides
    try:
        InputSpec(height=height, width=width)
    except SpecError as error:
        raise InputError(str(error)) from None
    return height, width


def _open(source: str | Path) -> WeightFile:
    path = Path(source)
    if isinstance(source, str) and not path.exists() and is_hub_id(source):
        return read_weights(download(source), where=source, source=source)
    return read_weights(path, where=str(source), source=path.resolve().name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What a head's heatmaps stand for.

    Attributes:
        skeleton: the keypoints.
        dataset: whose head it is, where that is known and isn't already in the file's spec.
        codec: how crops and heatmaps were made, where all that it may be agree; else ``None``.
        assumptions: what nobody said and was taken to be so, each with the way to say it.
    """

    skeleton: Skeleton
    dataset: Dataset | None
    codec: Codec | None = None
    assumptions: tuple[str, ...] = ()


def _describe(file: WeightFile, reading: Reading, *, identity: _Identity, size: tuple[int, int], name: str | None) -> ModelSpec:
    """Put together what is known: arguments first, then the file, then what the number of keypoints suggests."""
    owner = identity.dataset
    known = reading.spec
    height, width = size
    if known is not None:
        provenance = known.provenance
        return replace(
            known,
            name=name or known.name,
            skeleton=identity.skeleton,
            codec=owner.codec if owner else known.codec,
            input=replace(known.input, height=height, width=width),
            provenance=replace(provenance, sha256=provenance.sha256 or file.sha256(), dataset=owner.name if owner else provenance.dataset),
        )
    dataset = reading.expert or (owner.name if owner else "")
    return ModelSpec(
        name=name or _make_name(reading, dataset or identity.skeleton.name),
        architecture=reading.architecture,
        skeleton=identity.skeleton,
        input=replace(reading.input or InputSpec(), height=height, width=width),
        codec=reading.codec or (owner.codec if owner else identity.codec or Codec()),
        provenance=Provenance(source=file.source, sha256=file.sha256(), layout=reading.layout, dataset=dataset, notes=reading.notes),
    )


def _identify(file: WeightFile, reading: Reading, wanted: Dataset | None, skeleton: Skeleton | None, default: Skeleton | None) -> _Identity:
    # With one head for all experts, ``wanted`` chose the expert; it says nothing about the head.
    stated = wanted if wanted and (not reading.expert or reading.head == wanted.name) else None
    if skeleton is not None:
        return _Identity(skeleton=_check_count(file, reading, skeleton, "the skeleton"), dataset=stated or find_dataset(skeleton))
    if stated is not None:
        return _Identity(skeleton=_check_count(file, reading, stated.skeleton, "the data set"), dataset=stated)
    if reading.spec is not None:
        return _Identity(skeleton=reading.spec.skeleton, dataset=None)
    named = _read_names(file, reading)
    if named is not None:
        return _Identity(skeleton=_check_count(file, reading, named, "the checkpoint's own description"), dataset=find_dataset(named))
    if owner := reading.head or reading.stated_dataset:
        dataset = get_dataset(owner)
        return _Identity(skeleton=_check_count(file, reading, dataset.skeleton, "the data set"), dataset=dataset)
    if default is not None:
        return _Identity(skeleton=_check_count(file, reading, default, "the skeleton"), dataset=find_dataset(default))
    return _guess_identity(reading.keypoints)


def _guess_identity(keypoints: int) -> _Identity:
    """What the number alone suggests: COCO for 17, which most published models were trained on; no names where orders differ."""
    possible = datasets_of_count(keypoints)
    names = " or ".join(dataset.name for dataset in possible)
    if len(possible) == 1:
        return _Identity(skeleton=possible[0].skeleton, dataset=possible[0])
    if not possible:
        note = (
            f"nothing names its {keypoints} keypoints, nor how its crops were made (taken: ViTPose's own, UDP); describe them with "
            "--skeleton FILE or name their --dataset"
        )
        logger.warning("%s", note)
        return _Identity(skeleton=Skeleton.unnamed(keypoints), dataset=None)
    if any(dataset.name == "coco" for dataset in possible):
        coco = get_dataset("coco")
        note = f"nothing says which {keypoints} keypoints its head has: COCO's are the likeliest; say so with --dataset ({names})"
        return _Identity(skeleton=coco.skeleton, dataset=coco, assumptions=(note,))
    codecs = {dataset.codec for dataset in possible}
    note = f"nothing says which {keypoints} keypoints its head has: their names differ; say so with --dataset ({names})"
    return _Identity(
        skeleton=Skeleton.unnamed(keypoints), dataset=None, codec=codecs.pop() if len(codecs) == 1 else None, assumptions=(note,)
    )


def _read_names(file: WeightFile, reading: Reading) -> Skeleton | None:
    try:
        labels = reading.labels()
        return labels.to_skeleton() if labels else None
    except (SpecError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file.where}: what it says about its keypoints can't be used ({error!r}); describe them with --skeleton FILE"
        ) from None


def _check_count(file: WeightFile, reading: Reading, skeleton: Skeleton, what: str) -> Skeleton:
    if len(skeleton.keypoints) != reading.keypoints:
        raise CheckpointError(
            f"{file.where}: the head has {reading.keypoints} keypoints; {what} {skeleton.name!r} has {len(skeleton.keypoints)}"
        )
    return skeleton


def _make_name(reading: Reading, keypoints: str) -> str:
    """Join size, experts, head and, but for COCO, the keypoints: ``vitpose-s``, ``vitpose-b-simple``, ``vitpose-l-plus-wholebody``."""
    shape = reading.architecture
    known = next((size.name for size in SIZES if (size.dim, size.depth, size.heads) == (shape.dim, shape.depth, shape.heads)), None)
    parts = ["vitpose", known or f"{shape.dim}x{shape.depth}"]
    if reading.expert:
        parts.append("plus")
    if shape.head == "simple":
        parts.append("simple")
    if keypoints != "coco":
        parts.append(sanitize(keypoints))
    return "-".join(parts)


def _find_grid(
    file: WeightFile, reading: Reading, *, size: tuple[int, int] | None, trained: tuple[int, int] | None
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the grid that the positions were trained at, and what had to be assumed about it."""
    (source,) = reading.sources("backbone.pos_embed")
    positions = file.tensors.get(source)
    if positions is None or positions.ndim != 3:
        raise CheckpointError(f"{file.where}: lacks the positions ({source!r}), or they aren't of the form (1, tokens, channels)")
    slots = positions.shape[1]
    if trained is not None:
        grid = (trained[0] // PATCH, trained[1] // PATCH)
        if reading.grid not in (None, grid):
            raise InputError(f"{file.where} was trained at {_spell(reading.grid)}, as it says itself, not at {_spell(grid)}")
        if grid[0] * grid[1] not in (slots, slots - 1):
            raise InputError(f"{file.where} has {slots} positions; one trained at {_spell(grid)} would have {grid[0] * grid[1]}")
        return grid, ()
    if reading.grid is not None:
        return reading.grid, ()
    stated = None if size is None else (size[0] // PATCH, size[1] // PATCH)
    found = infer_grid(slots, stated=stated)
    if found is None:
        raise CheckpointError(
            f"{file.where}: has {slots} positions, the grid of neither a 4:3 portrait nor a square; name the input size it was trained for "
            "with --input-size HEIGHTxWIDTH, or with --trained-size where the model is to have another"
        )
    likely = list_grids(slots)
    if found == stated or len(likely) < 2:
        return found, ()
    option = "--input-size" if stated is None else "--trained-size"
    choices = " or ".join(map(_spell, likely))
    note = (
        f"nothing says at which input size its {slots} positions were trained: {_spell(found)} (height × width) is the likeliest; "
        f"say so with {option} ({choices})"
    )
    return found, (note,)


def _spell(grid: tuple[int, int] | None) -> str:
    return "an unknown size" if grid is None else f"{grid[0] * PATCH}x{grid[1] * PATCH}"
