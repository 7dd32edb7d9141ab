"""NNCF's fake-quantizers, running on torch's fused kernels.

The modules, their parameters and the gradients' formulas are NNCF's (``nncf.torch.quantization``, Apache-2.0). What they call for the
arithmetic itself is, by default, a C++ extension that NNCF compiles when it first runs: that takes a minute, needs a compiler, and writes
outside our folder. Its stand-in in plain torch (``nncf.torch.quantization.reference``) reads and writes each tensor some thirty times, so
that most of a training step is spent on it. The two functions here compute the same with a third of that, and round exactly as
``lowering.SimulatedLayer`` does.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from edgepose.quantization.post_training import import_nncf
from edgepose.quiet import quiet

__all__ = ["import_quantizers", "quantize_backward", "quantize_forward"]


def import_quantizers() -> Any:
    """Return NNCF's module of quantizers, with the functions below as its arithmetic on the CPU.

    Raises:
        MissingDependencyError: NNCF isn't installed.
    """
    import_nncf()
    with quiet():
        from nncf.torch.quantization import extensions, layers
    # The one place where NNCF keeps what it has compiled; it has no public switch.
    extensions.QuantizedFunctionsCPU._loaded_namespace = SimpleNamespace(
        Quantize_forward=quantize_forward, Quantize_backward=quantize_backward
    )
    return layers


def quantize_forward(x: Tensor, low: Tensor, span: Tensor, levels: int) -> Tensor:
    """Round to evenly spaced levels, of which zero is one.

    Args:
        x: any shape, float32.
        low: the lowest level: one element, or one per channel in a shape that broadcasts to ``x``.
        span: from the lowest to the highest level; the same shape.
        levels: number of levels.
    """
    step = span / (levels - 1)
    zero = (-low / step).round().to(torch.int32).clamp(0, levels - 1)
    if step.numel() == 1:
        return torch.fake_quantize_per_tensor_affine(x, float(step), int(zero), 0, levels - 1)
    axis = next(axis for axis, size in enumerate(step.shape) if size > 1)
    return torch.fake_quantize_per_channel_affine(x, step.flatten(), zero.flatten(), axis, 0, levels - 1)


def quantize_backward(
    gradient: Tensor,
    x: Tensor,
    low: Tensor,
    span: Tensor,
    levels: int,
    level_low: int,
    level_high: int,
    asymmetric: bool,  # noqa: ARG001  NNCF passes it
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``x``, ``low`` and ``span``, by NNCF's formulas.

    Inside the range the gradient passes through, and that of the span is the rounding error relative to it; outside it stops, and moves
    the end of the range that was crossed.

    Args:
        gradient: of the result.
        x: as above.
        low: as above.
        span: as above, positive.
        levels: as above.
        level_low: the integer of the lowest level.
        level_high: the integer of the highest level.
        asymmetric: whether ``low`` is trained, too; its gradient is returned in any case.
    """
    above = x > low + span
    passed = gradient.masked_fill(above | (x < low), 0)
    error = (quantize_forward(x, low, span, levels) - x).mul_(passed).sum_to_size(span.shape)
    outside = (gradient - passed).sum_to_size(low.shape)
    over = (gradient * above).sum_to_size(low.shape)
    return passed, outside, error / span + over + (outside - over) * (level_low / level_high)
