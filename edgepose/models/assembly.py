"""From a checkpoint's tensors to a model: joined, checked and converted, with every fault named as the file names its tensors."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from edgepose.errors import CheckpointError
from edgepose.models.layouts import Reading
from edgepose.models.positions import fold_class_slot, resize_positions
from edgepose.models.vitpose import ViTPose, VitPoseConfig
from edgepose.models.weights import WeightFile

__all__ = ["assemble"]

_POSITIONS = "backbone.pos_embed"
_COUNTER = "num_batches_tracked"
_LISTED = 3
_ADAPTER = re.compile(r"\blora_|\.(lokr|loha|hada|ia3)_|adapter")


def assemble(file: WeightFile, reading: Reading, *, config: VitPoseConfig, grid: tuple[int, int]) -> ViTPose:
    """Build the model.

    Args:
        file: the tensors.
        reading: where each of them goes.
        config: the network to build; its input size may differ from the checkpoint's.
        grid: rows and columns of the checkpoint's positions.

    Returns:
        The model in eval mode, in float32, with memory of its own.

    Raises:
        CheckpointError: tensors are missing, unexpected, of the wrong shape or type, or not finite.
    """
    with torch.device("meta"):
        model = ViTPose(config)
    wanted = model.state_dict()
    sources = {name: reading.sources(name) for name in wanted}
    _check_names(file, reading, sources)
    state = {name: _build(file, name, tensor, sources[name], grid=grid, config=config) for name, tensor in wanted.items()}
    model.load_state_dict(state, assign=True)
    return model.eval()


def _check_names(file: WeightFile, reading: Reading, sources: Mapping[str, tuple[str, ...]]) -> None:
    used = {source for group in sources.values() for source in group}
    # Files of older versions of PyTorch and of other tools lack BatchNorm's counter, which inference doesn't use.
    missing = [source for source in used - file.tensors.keys() if not source.endswith(_COUNTER)]
    unexpected = file.tensors.keys() - used - reading.unused
    faults = [f"{kind} {_list(names)}" for kind, names in (("lacks", missing), ("has unexpected", unexpected)) if names]
    if adapters := [name for name in unexpected if _ADAPTER.search(name)]:
        raise CheckpointError(
            f"{file.where}: has low-rank adapters beside its weights ({_list(adapters)}): without them it computes something else than was "
            "trained; merge them first (peft: model.merge_and_unload())"
        )
    if faults:
        raise CheckpointError(f"{file.where}: read in the {reading.layout} layout, it {' and '.join(faults)}")


def _list(names: "list[str] | set[str]") -> str:
    listed = ", ".join(map(repr, sorted(names)[:_LISTED]))
    more = f", … ({len(names)} in all)" if len(names) > _LISTED else ""
    return f"{'tensor' if len(names) == 1 else 'tensors'} {listed}{more}"


def _build(
    file: WeightFile, name: str, wanted: Tensor, sources: tuple[str, ...], *, grid: tuple[int, int], config: VitPoseConfig
) -> Tensor:
    if name.endswith(_COUNTER) or not sources:
        return torch.zeros(wanted.shape, dtype=wanted.dtype)
    label = " + ".join(map(repr, sources))
    parts = [_to_float(file, source) for source in sources]
    try:
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
    except RuntimeError:
        shapes = " and ".join(str(tuple(part.shape)) for part in parts)
        raise CheckpointError(f"{file.where}: {label} have the shapes {shapes}, which don't fit together") from None
    expected = tuple(wanted.shape)
    if name == _POSITIONS:
        tokens = grid[0] * grid[1]
        if tuple(tensor.shape) not in ((1, tokens, config.dim), (1, tokens + 1, config.dim)):
            raise CheckpointError(f"{file.where}: {label} has the shape {tuple(tensor.shape)}; expected {(1, tokens + 1, config.dim)}")
        tensor = resize_positions(fold_class_slot(tensor, grid), grid, config.grid)
    elif name.startswith("head.final."):
        tensor = tensor[: config.keypoints]
    if tuple(tensor.shape) != expected:
        raise CheckpointError(f"{file.where}: {label} has the shape {tuple(tensor.shape)}; expected {expected}")
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{file.where}: {label} has NaN or infinite values; the training may have diverged, or the file is damaged")
    # A copy where nothing above made one: a mapped file may change or vanish while the model lives.
    return tensor.clone(memory_format=torch.contiguous_format)


def _to_float(file: WeightFile, name: str) -> Tensor:
    tensor = file.tensors[name]
    if tensor.is_meta:
        raise CheckpointError(f"{file.where}: {name!r} has a shape but no values: the model was saved before its weights were loaded")
    if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        # A view of one number that claims to be a matrix takes no room in the file.
        raise CheckpointError(f"{file.where}: {name!r} has the shape {tuple(tensor.shape)}, but fewer values than that in the file")
    if tensor.layout != torch.strided or tensor.is_quantized or not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(f"{file.where}: {name!r} holds {kind} values; allowed: dense float16, bfloat16, float32 or float64")
    return tensor.detach().to(torch.float32)
