"""Accuracy-aware quantization: as many layers stay in float as it takes to keep the loss within bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgepose.errors import ConversionError
from edgepose.models import Checkpoint
from edgepose.models.vitpose import ViTPose
from edgepose.quantization.agreement import measure_agreement, oks_loss
from edgepose.quantization.lowering import apply, simulate
from edgepose.quantization.recipe import Quantization

__all__ = ["Bound", "Bounded", "limit_loss"]

_CROPS = 32
_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The largest loss against the float model that is accepted.

    Attributes:
        kind: ``px``: mean keypoint shift in input pixels; ``oks``: 1 minus the mean OKS.
        largest: above zero.
    """

    kind: Literal["px", "oks"]
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A decision within bounds.

    Attributes:
        quantization: the decision.
        before: the loss of the decision that it was made from.
        after: its own loss.
        reverted: the layers that went back to float.
    """

    quantization: Quantization
    before: float
    after: float
    reverted: tuple[str, ...]


def limit_loss(
    checkpoint: Checkpoint,
    quantization: Quantization,
    crops: NDArray[np.float32],
    bound: Bound,
    progress: Callable[[str], None] = lambda _: None,
    *,
    boxes_xyxy: NDArray[np.float64] | None = None,
) -> Bounded:
    """Return layers to float, the most sensitive first, until the loss on ``crops`` is within ``bound``.

    The number of layers is found by bisection, so that it takes about six runs of the simulated model and no new calibration.

    Args:
        checkpoint: the model.
        quantization: a decision with a ranking of its layers.
        crops: (N, 3, H, W) float32, normalized, that calibration hasn't seen.
        bound: the largest loss.
        progress: is told what is going on.
        boxes_xyxy: (N, 4), the people's boxes on their photos, for the areas of OKS; see ``oks_loss``.

    Raises:
        ConversionError: the loss is above the bound even with one layer quantized.
    """
    crops = crops[:_CROPS]
    boxes = None if boxes_xyxy is None else boxes_xyxy[:_CROPS]
    reference = _run(checkpoint.model.eval(), crops)
    ranking = [entry.layer for entry in quantization.statistics.sensitivity if entry.layer not in quantization.recipe.float_layers]

    def loss(count: int) -> float:
        progress(f"measuring the loss with {count} layers reverted")
        heatmaps = _run(simulate(apply(checkpoint.model, quantization.with_float(tuple(ranking[:count])))), crops)
        if bound.kind == "oks":
            return oks_loss(heatmaps, reference, checkpoint.spec, boxes)
        shift = measure_agreement(heatmaps, reference, reference, checkpoint.spec).shift_px
        if shift is None:
            raise ConversionError("the float model is sure of no keypoint, so there is no loss to bound; is it trained?")
        return shift

    before = after = loss(0)
    low, high = 0, 0
    if before > bound.largest:
        high = len(ranking) - 1
        after = loss(high)
        if after > bound.largest:
            raise ConversionError(
                f"the loss is {after:.3g} with all layers but {ranking[-1]} in float, above the bound of {bound.largest:g}: "
                "allow more, calibrate on more photos, or use fp16"
            )
        while high - low > 1:
            middle = (low + high) // 2
            reached = loss(middle)
            if reached <= bound.largest:
                high, after = middle, reached
            else:
                low = middle
    reverted = tuple(ranking[:high])
    return Bounded(quantization=quantization.with_float(reverted), before=before, after=after, reverted=reverted)


def _run(model: ViTPose, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(crops[start : start + _BATCH])).numpy() for start in range(0, len(crops), _BATCH)])
