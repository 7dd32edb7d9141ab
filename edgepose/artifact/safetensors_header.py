"""What the header of a ``.safetensors`` file of edgepose says of its tensors, compared with the network that its spec describes."""

import math
from pathlib import Path

from edgepose.artifact.limits import DECONV_CHANNELS, PATCH, Limits
from edgepose.document import parse_json
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = ["check_tensors", "expected_shapes"]

Shape = tuple[int, ...]
_SHOWN = 5
_SHOWN_LETTERS = 100
_METADATA = "__metadata__"
_COUNTER = "num_batches_tracked"
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}


def check_tensors(path: Path, header: bytes, data_bytes: int, spec: ModelSpec) -> None:
    """Make sure that a file holds exactly the tensors of its network, before a model is made for them.

    Args:
        path: the file.
        header: its JSON header.
        data_bytes: size of what follows the header.
        spec: what the file carries.

    Raises:
        ArtifactError: a tensor is missing, unknown, or of another shape.
        SpecError: the spec describes a network that is too large.
    """
    Limits.of(spec)
    document = parse_json(header, where="its header")
    if not isinstance(document, dict):
        raise ArtifactError(f"{path}: damaged: its header isn't a JSON object")
    expected, end = expected_shapes(spec), 0
    stray = sorted(set(document) - {_METADATA} - set(expected))
    missing = sorted(set(expected) - set(document))
    if stray or missing:
        what, names = ("has unexpected tensors", stray) if stray else ("lacks", missing)
        shown = f"{', '.join(repr(name[:_SHOWN_LETTERS]) for name in names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
        raise ArtifactError(f"{path}: {what} {shown} ({len(names)} in all): it isn't the network that its spec describes")
    for name, shape in expected.items():
        end = max(end, _check_tensor(path, name, shape, document[name], data_bytes))
    if end != data_bytes:
        raise ArtifactError(f"{path}: damaged: {data_bytes} bytes of tensors, of which the header names {end}")


def _check_tensor(path: Path, name: str, shape: Shape, entry: object, data_bytes: int) -> int:
    fields = entry if isinstance(entry, dict) else {}
    kind, given, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(kind, str) or kind not in _BYTES or (kind == "I64") != name.endswith(_COUNTER):
        raise ArtifactError(f"{path}: the tensor {name!r} has element type {str(kind)[:20]!r}")
    if given != list(shape) or any(isinstance(size, bool) for size in given):
        raise ArtifactError(f"{path}: the tensor {name!r} has shape {_show(given)}; expected {shape}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(offset) is int for offset in offsets):
        raise ArtifactError(f"{path}: damaged: the tensor {name!r} is at {str(offsets)[:60]}")
    begin, end = offsets
    if not 0 <= begin <= end <= data_bytes or end - begin != math.prod(shape) * _BYTES[kind]:
        raise ArtifactError(f"{path}: damaged: the tensor {name!r} is at bytes {str(begin)[:20]} to {str(end)[:20]} of {data_bytes}")
    return int(end)


def _show(shape: object) -> str:
    return str(tuple(shape) if isinstance(shape, list) else shape)[:60]


def expected_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """Return name and shape of every tensor of the network, as ``edgepose.models.vitpose`` names them."""
    network = spec.architecture
    dim, hidden = network.dim, 4 * network.dim
    tokens = (spec.input.height // PATCH) * (spec.input.width // PATCH)
    shapes: dict[str, Shape] = {
        "backbone.patch_embed.weight": (dim, 3, PATCH, PATCH),
        "backbone.patch_embed.bias": (dim,),
        "backbone.pos_embed": (1, tokens, dim),
        "backbone.norm.weight": (dim,),
        "backbone.norm.bias": (dim,),
    }
    layers = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
    for block in range(network.depth):
        for norm in ("norm1", "norm2"):
            shapes |= {f"backbone.blocks.{block}.{norm}.{part}": (dim,) for part in ("weight", "bias")}
        for layer, (outputs, inputs) in layers.items():
            shapes[f"backbone.blocks.{block}.{layer}.weight"] = (outputs, inputs)
            shapes[f"backbone.blocks.{block}.{layer}.bias"] = (outputs,)
    if network.head == "classic":
        for number, channels in ((1, dim), (2, DECONV_CHANNELS)):
            shapes[f"head.deconv{number}.weight"] = (channels, DECONV_CHANNELS, 4, 4)
            parts = ("weight", "bias", "running_mean", "running_var")
            shapes |= {f"head.bn{number}.{part}": (DECONV_CHANNELS,) for part in parts}
            shapes[f"head.bn{number}.{_COUNTER}"] = ()
        shapes["head.final.weight"] = (spec.keypoints, DECONV_CHANNELS, 1, 1)
    else:
        shapes["head.final.weight"] = (spec.keypoints, dim, 3, 3)
    shapes["head.final.bias"] = (spec.keypoints,)
    return shapes
