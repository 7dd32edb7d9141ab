"""What becomes of an fp16 file whose network half precision doesn't hold: scaled, mixed with float32, marked, or refused."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import ConversionError
from edgepose.models.vitpose import ViTPose
from edgepose.spec import HalfRecord
from edgepose_converters.half import HALF_MAX, MARGIN, Half, Operator, choose_float32, evaluate, expand, scale_stream
from edgepose_converters.target import Source
from edgepose_converters.walk import Spelling

__all__ = ["AUTO", "HalfRequest", "Halving"]

AUTO = "auto"

_SPELLINGS: dict[str, Spelling] = {"litert": "tflite"}
_HALF_GRAPHS = ("onnx", "coreml")
"""Targets whose fp16 files are half precision themselves, wherever they run."""

_SQUARES = (".square", ".mean", ".rsqrt")
_CROPS = 4
_STREAM = ("backbone.patch_embed", "backbone.pos_embed", ".proj", ".fc2", ".residual")


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfRequest:
    """What the user wants of fp16 files that half precision alone doesn't hold.

    Attributes:
        keep_float32: operators to keep in float32, by name or by the name of what they are in; ``("auto",)`` means as few as are needed.
        float32_devices: keep files of formats that leave arithmetic to the device, marked as not for those that compute in half precision.
    """

    keep_float32: tuple[str, ...] = ()
    float32_devices: bool = False


class Halving:
    """Decides for the targets of one conversion, each thing once.

    Args:
        model: as it is exported.
        crops: (N, 3, H, W) float32, normalized; the first few are used.
        limit: largest heatmap error in half precision, relative to the largest value.
        request: what the user wants.

    Raises:
        InputError: the request names operators that the model doesn't have.
    """

    def __init__(self, model: ViTPose, crops: NDArray[np.float32], *, limit: float, request: HalfRequest) -> None:
        self._model, self._crops, self._limit, self._request = model, crops[:_CROPS], limit, request
        self._named = frozenset[str]() if request.keep_float32 in ((), (AUTO,)) else expand(request.keep_float32, model)
        self._evaluated: dict[tuple[Spelling, float, frozenset[str], bool], Half] = {}
        self._chosen: list[Half | None] = []
        # One at a time: the largest models leave no room for more.
        self._scaled: dict[float, ViTPose] = {}

    def decide(self, source: Source, target: str, name: str) -> tuple[Source, HalfRecord]:
        """Return the model to write, and what its file's spec says of half precision.

        Args:
            source: the float model.
            target: name of the target.
            name: of the file, for errors.

        Raises:
            ConversionError: half precision doesn't hold the network, and nothing that was asked for mends it.
        """
        spelling = _SPELLINGS.get(target, "fused")
        if self._named:
            return self._mix(source, target, spelling, self._named, name)
        plain = self._evaluate(spelling, 1.0)
        holds = self._holds(plain)
        if holds and plain.squares is None:
            return source, _record(plain)
        # Float32 that is asked for is given, but where the format has no way to say so.
        if holds or not self._request.keep_float32 or spelling == "tflite":
            for factor in _find_factors(plain):
                scaled = self._evaluate(spelling, factor)
                # A scale makes small numbers smaller, which no device may take for zero.
                if self._holds(scaled) and self._holds(self._evaluate(spelling, factor, flush=True)):
                    return replace(source, module=self._scale(factor)), _record(scaled, scale=factor, before=plain)
        if holds:
            return source, _record(plain)
        return self._fall_back(source, target, spelling, plain, name)

    def _fall_back(self, source: Source, target: str, spelling: Spelling, plain: Half, name: str) -> tuple[Source, HalfRecord]:
        """Do what was asked for where half precision fails."""
        if self._request.keep_float32:
            if not self._chosen:
                self._chosen.append(choose_float32(self._model, self._crops, limit=self._limit))
            chosen = self._chosen[0]
            if chosen is None:
                raise ConversionError(f"{name}: {self._explain(plain)}; no mix of half precision and float32 helps: write fp32 instead")
            return self._mix(source, target, spelling, chosen.float32, name)
        if self._request.float32_devices and target not in _HALF_GRAPHS:
            return source, _record(plain, fit=False, note=self._explain(plain))
        ways = "keep it in float32 (--keep-float32 auto, or names), or write fp32"
        if target not in _HALF_GRAPHS:
            ways += "; or keep the file for devices that compute in float32 alone (--float32-devices)"
        raise ConversionError(f"{name}: {self._explain(plain)}; {ways}")

    def _mix(self, source: Source, target: str, spelling: Spelling, float32: frozenset[str], name: str) -> tuple[Source, HalfRecord]:
        half = self._evaluate(spelling, 1.0, float32)
        if not self._holds(half):
            raise ConversionError(
                f"{name}: with {', '.join(sorted(float32))} in float32, {self._explain(half)}; "
                "keep more (--keep-float32 auto), or write fp32"
            )
        source = replace(source, float32=float32)
        if target not in _SPELLINGS:
            return source, _record(half)
        alone = self._evaluate(spelling, 1.0)
        fit = self._holds(alone)
        note = "" if fit else f"{self._explain(alone)}; TFLite can't say which operators need float32, only their weights are stored so"
        return source, replace(_record(half, fit=fit, note=note), float32=tuple(sorted(float32)))

    def _evaluate(self, spelling: Spelling, factor: float, float32: frozenset[str] = frozenset(), *, flush: bool = False) -> Half:
        key = spelling, factor, float32, flush
        if key not in self._evaluated:
            self._evaluated[key] = evaluate(self._scale(factor), self._crops, spelling=spelling, float32=float32, flush=flush)
        return self._evaluated[key]

    def _scale(self, factor: float) -> ViTPose:
        if factor != 1.0 and factor not in self._scaled:
            self._scaled = {factor: scale_stream(self._model, factor)}
        return self._model if factor == 1.0 else self._scaled[factor]

    def _holds(self, half: Half) -> bool:
        return half.overflow is None and half.relative <= self._limit

    def _explain(self, half: Half) -> str:
        """Say which operator fails, and how."""
        if (over := half.overflow) is not None:
            count = sum(each.largest > HALF_MAX and each.name not in half.float32 for each in half.operators)
            more = f", and {count - 1} more operators do" if count > 1 else ""
            return f"in half precision {over.name} overflows: it reaches {over.largest:.3g}, half precision ends at {HALF_MAX:.0f}{more}"
        lost = half.lost
        where = "" if lost is None else f": {lost.name} loses its result (off by {lost.error:.0%}, largest value {lost.largest:.3g})"
        return f"in half precision the heatmaps are off by {half.relative:.1e} of the largest value, allowed: {self._limit:.0e}{where}"


def _find_factors(half: Half) -> list[float]:
    """Return the powers of two by which the residual stream may be scaled: to keep its squares in half precision, or itself at least."""
    stream = max(each.largest for each in half.operators if each.name.endswith(_STREAM))
    squares = max(each.largest_square for each in half.operators)
    needed = [reach * margin for reach in ((squares / HALF_MAX) ** 0.5, stream / HALF_MAX) for margin in (MARGIN, 1.0)]
    return list(dict.fromkeys(2.0 ** -math.ceil(math.log2(each)) for each in needed if each > 1))


def _find_beyond(half: Half) -> Operator | None:
    """Return the first operator that overflows by more than what LayerNorm squares."""
    return next((each for each in half.operators if each.largest > HALF_MAX and not each.name.endswith(_SQUARES)), None)


def _record(half: Half, *, scale: float = 1.0, before: Half | None = None, fit: bool = True, note: str = "") -> HalfRecord:
    largest = max(half.operators, key=lambda each: each.largest)
    worst = half.overflow or largest
    if before is not None and (beyond := _find_beyond(before)) is not None:
        note = f"without the scale {beyond.name} would overflow, at {beyond.largest:.3g}"
    if fit and (squares := half.squares) is not None:
        caution = f"not for devices whose LayerNorm squares in half precision: {squares.name} reaches {squares.largest_square:.3g} there"
        note = f"{note}; {caution}" if note else caution
    return HalfRecord(
        fit=fit,
        operator=worst.name,
        largest=worst.largest,
        relative=half.relative if math.isfinite(half.relative) else None,
        float32=tuple(sorted(half.float32)),
        stream_scale=scale,
        note=note,
    )
