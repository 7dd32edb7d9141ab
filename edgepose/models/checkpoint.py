"""Load a ViTPose from any checkpoint, and save one as edgepose's own ``.safetensors``."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from edgepose.artifact import embed_spec
from edgepose.errors import ArtifactError, CheckpointError, InputError, SpecError
from edgepose.files import staged_file
from edgepose.models.assembly import assemble
from edgepose.models.datasets import Dataset, find_dataset, get_dataset
from edgepose.models.hub import download, is_hub_id
from edgepose.models.layouts import Reading, recognise
from edgepose.models.naming import dataset_of_count, sanitize
from edgepose.models.positions import infer_grid
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
    input_size: tuple[int, int] | None = None,
    name: str | None = None,
) -> Checkpoint:
    """Load a ViTPose or ViTPose+; layout, size, head, experts and keypoints are inferred from the tensors' names and shapes.

    Args:
        source: a file (``.pth`` of the original, of mmpose 1.x or of easy_ViTPose, or edgepose's ``.safetensors``), a folder in the form of
            Hugging Face, or a hub id such as ``usyd-community/vitpose-plus-small``, which is downloaded.
        dataset: for ViTPose+, whose expert and head to take (default: COCO's, or the one that fits a lone head). For others, what the head
            was trained on, where the checkpoint doesn't say.
        skeleton: the keypoints of the head, instead of what the checkpoint says.
        input_size: height and width in pixels, multiples of 16; positions are interpolated where it isn't the checkpoint's own.
        name: the model's name; by default made of size, head and data set.

    Raises:
        CheckpointError: the checkpoint can't be read, isn't a ViTPose, or doesn't fit ``dataset`` or ``skeleton``.
        IntegrityError: a file of edgepose has changed since it was written.
        InputError: ``dataset`` or ``input_size`` is not allowed.
    """
    wanted = None if dataset is None else get_dataset(dataset)
    size = None if input_size is None else _check_input_size(input_size)
    file = _open(source)
    reading = recognise(file).read(file, dataset)
    grid = reading.grid or _infer_grid(file, reading, size)
    try:
        spec = _describe(file, reading, wanted=wanted, skeleton=skeleton, size=size or (grid[0] * PATCH, grid[1] * PATCH), name=name)
    except SpecError as error:
        raise CheckpointError(f"{file.where}: {error}") from None
    model = assemble(file, reading, config=VitPoseConfig.from_spec(spec), grid=grid)
    for note in reading.notes:
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
    height, width = input_size
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


def _describe(
    file: WeightFile, reading: Reading, *, wanted: Dataset | None, skeleton: Skeleton | None, size: tuple[int, int], name: str | None
) -> ModelSpec:
    """Put together what is known: arguments first, then the file, then what the number of keypoints suggests."""
    keypoints, owner = _choose_keypoints(file, reading, wanted, skeleton)
    known = reading.spec
    height, width = size
    if known is not None:
        provenance = known.provenance
        return dataclasses.replace(
            known,
            name=name or known.name,
            skeleton=keypoints,
            codec=owner.codec if owner else known.codec,
            input=dataclasses.replace(known.input, height=height, width=width),
            provenance=dataclasses.replace(
                provenance, sha256=provenance.sha256 or file.sha256(), dataset=owner.name if owner else provenance.dataset
            ),
        )
    dataset = reading.expert or (owner.name if owner else "")
    return ModelSpec(
        name=name or _make_name(reading, dataset or keypoints.name),
        architecture=reading.architecture,
        skeleton=keypoints,
        input=dataclasses.replace(reading.input or InputSpec(), height=height, width=width),
        codec=reading.codec or (owner.codec if owner else Codec()),
        provenance=Provenance(source=file.source, sha256=file.sha256(), layout=reading.layout, dataset=dataset, notes=reading.notes),
    )


def _choose_keypoints(
    file: WeightFile, reading: Reading, wanted: Dataset | None, skeleton: Skeleton | None
) -> tuple[Skeleton, Dataset | None]:
    """Return the keypoints, and the data set whose head it is, where that is known and isn't already in the file's spec."""
    # With one head for all experts, ``wanted`` chose the expert; it says nothing about the head.
    stated = wanted if wanted and (not reading.expert or reading.head == wanted.name) else None
    if skeleton is not None:
        return _check_count(file, reading, skeleton, "the skeleton"), stated or find_dataset(skeleton)
    if stated is not None:
        return _check_count(file, reading, stated.skeleton, "the data set"), stated
    if reading.spec is not None:
        return reading.spec.skeleton, None
    named = _read_names(file, reading)
    if named is not None:
        return _check_count(file, reading, named, "the checkpoint's own description"), find_dataset(named)
    owner = get_dataset(reading.head) if reading.head else dataset_of_count(reading.keypoints)
    if owner is not None:
        return _check_count(file, reading, owner.skeleton, "the data set"), owner
    logger.warning(
        "%s: nothing names its %d keypoints; describe them with --skeleton FILE or name their --dataset", file.where, reading.keypoints
    )
    return Skeleton.unnamed(reading.keypoints), None


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


def _infer_grid(file: WeightFile, reading: Reading, size: tuple[int, int] | None) -> tuple[int, int]:
    (source,) = reading.sources("backbone.pos_embed")
    positions = file.tensors.get(source)
    if positions is None or positions.ndim != 3:
        raise CheckpointError(f"{file.where}: lacks the positions ({source!r}), or they aren't of the form (1, tokens, channels)")
    stated = None if size is None else (size[0] // PATCH, size[1] // PATCH)
    grid = infer_grid(positions.shape[1], stated=stated)
    if grid is None:
        raise CheckpointError(
            f"{file.where}: has {positions.shape[1]} positions, the grid of neither a 4:3 portrait nor a square; name the input size it "
            "was trained for with --input-size HEIGHTxWIDTH"
        )
    return grid
