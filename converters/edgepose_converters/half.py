"""Half-precision arithmetic: what a float16 file computes on a device that has no float32, or doesn't use it.

CPUs run OpenVINO's and TFLite's fp16 files in float32, so executing a file there says nothing about GPUs and NPUs. Here the network is
evaluated operator by operator with weights and results rounded to half precision, and accumulation in float32, as such devices do. A
product and its bias are one operator, as are GELU and softmax. LayerNorm is one operator too, whose inside is float32 (ONNX prescribes it;
OpenVINO and Core ML leave it to the device), but in TFLite it is spelt out as the operators that ``edgepose_converters.tflite`` writes.
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.errors import InputError
from edgepose.models.vitpose import Block, ViTPose
from edgepose.quantization.preparation import prepare, residual_writers
from edgepose_converters.walk import Compute, Spelling, is_simple, list_holders, list_names, walk

__all__ = [
    "HALF_MAX",
    "MARGIN",
    "Half",
    "Operator",
    "choose_float32",
    "evaluate",
    "expand",
    "scale_stream",
]

HALF_MAX = 65504.0
"""The largest number of half precision."""

_SMALLEST = 2.0**-24
"""The smallest number of half precision above zero."""

_SMALLEST_NORMAL = 2.0**-14

MARGIN = 2.0
"""Other photos reach further than those at hand: what is kept away from the end of half precision is kept this far away."""

_MOST_LOST = 12
"""Operators that may be kept in float32 because their results are lost, beside those that overflow."""

_LOST = 0.05
"""An operator whose result is off by this share (root mean square) has lost what it computes."""


@dataclass(slots=True, kw_only=True)
class Operator:
    """What was seen of one operator.

    Attributes:
        name: see the module.
        largest: largest absolute value that it takes, holds as a weight or gives, in exact arithmetic.
        largest_square: of what LayerNorm squares: its input about its mean; 0 elsewhere.
        error: root mean square of its result's error, relative to the result.
    """

    name: str
    largest: float = 0.0
    largest_square: float = 0.0
    error: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """What a network computes in half precision.

    Attributes:
        operators: in the order in which they run.
        relative: largest heatmap error, relative to the largest value; infinite where a heatmap isn't finite.
        float32: the operators that computed in float32.
    """

    operators: tuple[Operator, ...]
    relative: float
    float32: frozenset[str] = field(default_factory=frozenset)

    @property
    def overflow(self) -> Operator | None:
        """The first operator beyond half precision."""
        return next((each for each in self.operators if each.name not in self.float32 and each.largest > HALF_MAX), None)

    @property
    def squares(self) -> Operator | None:
        """The first LayerNorm that overflows on devices that square its input in half precision, where it is one operator."""
        return next((each for each in self.operators if each.name not in self.float32 and each.largest_square > HALF_MAX), None)

    @property
    def lost(self) -> Operator | None:
        """The first operator whose result is lost, or else the one where the error grows most."""
        first = next((each for each in self.operators if not each.error <= _LOST), None)
        if first is not None or len(self.operators) < 2:
            return first
        steps = zip(self.operators, self.operators[1:], strict=False)
        return max(steps, key=lambda step: step[1].error - step[0].error)[1]


def evaluate(
    model: ViTPose,
    crops: NDArray[np.float32],
    *,
    spelling: Spelling = "fused",
    float32: frozenset[str] = frozenset(),
    flush: bool = False,
) -> Half:
    """Evaluate a network in half precision beside itself in float32.

    Args:
        model: as it is exported; see ``Source``.
        crops: (N, 3, H, W) float32, normalized.
        spelling: how the format spells LayerNorm.
        float32: operators that compute in float32.
        flush: take numbers below half precision's normal ones for zero, as many GPUs do.
    """
    model = _spell(model, spelling)
    names = list_names(model, spelling)
    # TFLite's parts of a LayerNorm stay with it.
    kept = frozenset(name for name in names if name in float32 or (".norm" in name and name.rpartition(".")[0] in float32))
    operators = {name: Operator(name=name) for name in names}
    for name, weight in _weights(model):
        # What is folded into the layer behind is one in TFLite.
        operators[name].largest = max(operators[name].largest, float(weight.abs().max()))
    seen = _Comparison(model, kept, spelling, operators, _flush if flush else _to_half)
    worst = largest = 0.0
    with torch.inference_mode():
        for crop in crops:
            x = torch.from_numpy(crop[None])
            exact, half = walk(model.config, is_simple(model), spelling, seen.run, (x, x))
            difference = float((exact - half).abs().max())
            worst = max(worst, difference if np.isfinite(difference) else float("inf"))
            largest = max(largest, float(exact.abs().max()))
    return Half(operators=seen.finish(), relative=worst / (largest or 1.0), float32=kept)


def choose_float32(model: ViTPose, crops: NDArray[np.float32], *, limit: float) -> Half | None:
    """Return an evaluation that keeps as few operators in float32 as bring the heatmaps within ``limit``.

    An operator must be kept whose operands, weights or result are beyond half precision, or so near that another photo may take them there.
    Where that isn't enough, those whose results are lost follow, one at a time.

    Args:
        model: as for ``evaluate``.
        crops: as for ``evaluate``.
        limit: largest heatmap error, relative to the largest value.

    Returns:
        ``None`` where no such mix helps.
    """
    half = evaluate(model, crops)
    kept = {each.name for each in half.operators if MARGIN * each.largest > HALF_MAX}
    for _ in range(_MOST_LOST):
        half = evaluate(model, crops, float32=frozenset(kept))
        if half.relative <= limit:
            return half
        remaining = [each for each in half.operators if each.name not in kept]
        if not remaining:
            return None
        lost = next((each for each in remaining if not each.error <= _LOST), None)
        kept.add((lost or max(remaining, key=lambda each: each.error)).name)
    return None


@torch.no_grad()
def scale_stream(model: ViTPose, factor: float) -> ViTPose:
    """Return a copy whose residual stream is ``factor`` times that of ``model``, and which computes the same: LayerNorms divide it out.

    Args:
        model: as it is exported.
        factor: a power of two, so that nothing is rounded.
    """
    scaled = copy.deepcopy(model)
    for parameter, _ in residual_writers(scaled):
        parameter.mul_(factor)
    for module in scaled.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps *= factor**2
    return scaled


def expand(names: Iterable[str], model: ViTPose) -> frozenset[str]:
    """Return the operators that names stand for: a name means itself and all that lie within it.

    Raises:
        InputError: a name that means nothing.
    """
    known = list_names(model)
    chosen: set[str] = set()
    for name in names:
        meant = {each for each in known if each == name or each.startswith(f"{name}.")}
        if not meant:
            raise InputError(f"the model has no operator {name!r} to keep in float32; it has: {', '.join(known)}")
        chosen |= meant
    return frozenset(chosen)


class _Comparison:
    """Runs each operator exactly and in half precision, without a second copy of the weights."""

    def __init__(
        self,
        model: ViTPose,
        kept: frozenset[str],
        spelling: Spelling,
        operators: dict[str, Operator],
        to_half: Callable[[Tensor], Tensor],
    ) -> None:
        self._to_half = to_half
        self._model, self._kept, self._operators = model, kept, operators
        self._smallest = _SMALLEST if spelling == "fused" else 0.0
        self._holders = dict(list_holders(model))
        self._sums = dict.fromkeys(operators, (0.0, 0.0))

    def run(self, name: str, compute: Compute, inputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        seen = self._operators[name]
        exact = compute(self._model, *(pair[0] for pair in inputs))
        if name in self._kept:
            half = compute(self._model, *(pair[1] for pair in inputs))
        else:
            with self._rounded(name):
                half = self._to_half(compute(self._model, *(self._to_half(pair[1]) for pair in inputs)))
        seen.largest = max(seen.largest, *(float(pair[0].abs().max()) for pair in inputs), float(exact.abs().max()))
        if name.rpartition(".")[2] in ("norm", "norm1", "norm2"):
            x = inputs[0][0]
            seen.largest_square = max(seen.largest_square, float((x - x.mean(-1, keepdim=True)).square().max()))
        off, size = self._sums[name]
        self._sums[name] = off + float((exact - half).square().sum()), size + float(exact.square().sum())
        return exact, half

    @contextlib.contextmanager
    def _rounded(self, name: str) -> Iterator[None]:
        """Round the constants of one operator for as long as it runs."""
        holder = self._holders.get(name) or self._holders.get(name.rpartition(".")[0])
        parameters = [self._model.backbone.pos_embed] if name == "backbone.pos_embed" else []
        parameters += [] if holder is None else list(holder.parameters())
        exact = [parameter.data for parameter in parameters]
        epsilon = holder.eps if isinstance(holder, nn.LayerNorm) else 0.0
        try:
            for parameter in parameters:
                parameter.data = self._to_half(parameter.data)
            if isinstance(holder, nn.LayerNorm):
                # Core ML makes the smallest number of what would become zero.
                holder.eps = max(float(np.float16(epsilon)), self._smallest)
            yield
        finally:
            for parameter, values in zip(parameters, exact, strict=True):
                parameter.data = values
            if isinstance(holder, nn.LayerNorm):
                holder.eps = epsilon

    def finish(self) -> tuple[Operator, ...]:
        for name, (off, size) in self._sums.items():
            self._operators[name].error = float(np.sqrt(off / size)) if size > 0 else float(off > 0)
        return tuple(replace(each) for each in self._operators.values())


@torch.no_grad()
def _spell(model: ViTPose, spelling: Spelling) -> ViTPose:
    """Return the network as the format holds it: in TFLite, LayerNorms' weights and the scores' scale are in the layers behind."""
    if spelling == "fused":
        return model
    model = prepare(model)
    for block in model.backbone.blocks:
        assert isinstance(block, Block)  # noqa: S101
        for norm, linear in ((block.norm1, block.attn.qkv), (block.norm2, block.mlp.fc1)):
            linear.weight.mul_(norm.weight)
            norm.weight.fill_(1.0)
        for parameter in block.attn.qkv.parameters():
            parameter[: model.config.dim] *= block.attn.scale
        block.attn.scale = 1.0
    return model


def _weights(model: ViTPose) -> list[tuple[str, Tensor]]:
    """Return the weights, each with the operator that has them."""
    found = [(name, weight.data) for name, holder in list_holders(model) for weight in holder.parameters()]
    return [*found, ("backbone.pos_embed", model.backbone.pos_embed.data)]


def _to_half(values: Tensor) -> Tensor:
    return values.half().float()


def _flush(values: Tensor) -> Tensor:
    halved = _to_half(values)
    return torch.where(halved.abs() < _SMALLEST_NORMAL, torch.zeros_like(halved), halved)
