"""The graph of a saved file, as far as all formats have it in common: what feeds what, and every constant as it is stored."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import VerificationError

__all__ = ["LAYERS", "Kind", "Levels", "Operator", "Stored", "StoredGraph"]

Kind = Literal["linear", "conv", "deconv", "add", "multiply", "norm", "quantize", "softmax", "activation", "other"]

LAYERS = ("linear", "conv", "deconv")
"""Operators with weights."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A constant.

    Attributes:
        values: floats, or integers unpacked to whole bytes.
        scale: real value of one step of the integers; of as many axes as ``values``, and broadcasting to its shape.
        zero_point: the integer that stands for zero; the same.
    """

    values: NDArray[Any]
    scale: NDArray[np.floating[Any]] | None = None
    zero_point: NDArray[np.integer[Any]] | None = None

    @property
    def half(self) -> bool:
        """Whether its real numbers are stored in half precision."""
        kind: np.dtype[Any] = self.values.dtype if self.scale is None else self.scale.dtype
        return kind == np.float16

    def real(self) -> NDArray[np.float64]:
        """Return the numbers that it stands for."""
        values = self.values.astype(np.float64)
        if self.zero_point is not None:
            values = values - self.zero_point
        return values if self.scale is None else values * self.scale.astype(np.float64)

    def transposed(self, order: tuple[int, ...]) -> "Stored":
        """Return the same with its axes in another order."""
        return Stored(
            values=self.values.transpose(order),
            scale=None if self.scale is None else self.scale.transpose(order),
            zero_point=None if self.zero_point is None else self.zero_point.transpose(order),
        )

    def reshaped(self, shape: tuple[int, ...]) -> "Stored":
        """Return the same in another shape."""
        whole = self.values.shape
        return Stored(
            values=self.values.reshape(shape),
            scale=None if self.scale is None else np.broadcast_to(self.scale, whole).reshape(shape),
            zero_point=None if self.zero_point is None else np.broadcast_to(self.zero_point, whole).reshape(shape),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What the integers of a tensor that is computed stand for.

    Attributes:
        scale: real value of one step.
        zero_point: the level, counted from the lowest one, that stands for zero.
        count: number of levels.
        half: whether ``scale`` is stored in half precision.
    """

    scale: float
    zero_point: float
    count: int
    half: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operator:
    """An operator that computes something.

    Attributes:
        kind: what it does, as far as it matters here.
        name: how the file names it.
        inputs: names of its operands that are computed, in order.
        outputs: names of its results.
        function: what it computes of each value or row, ``gelu``, ``relu``, ``softmax``, ``resize`` or the file's word for another; empty
            for what multiplies, adds, normalizes, rounds or moves values.
        constant: the constant operand of an addition or multiplication; of attention in one operator, what its scores are multiplied by.
        weight: of a layer, in torch's layout; of a norm.
        bias: of a layer or norm, where it is the operator's own.
        levels: of a quantizer, one for each half: rounding, and back to real numbers.
        epsilon: of a norm, in single precision; ``None`` where it is unknown.
    """

    kind: Kind
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: str = ""
    constant: Stored | None = None
    weight: Stored | None = None
    bias: Stored | None = None
    levels: tuple[Levels, ...] = ()
    epsilon: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredGraph:
    """A file's operators in an order in which they can run.

    Attributes:
        operators: each uses the graph's input and results of earlier ones.
        input: name of the one input.
        output: name of the one output.
        levels: for tensors of integers: what they stand for (TFLite keeps it with the tensor).
    """

    operators: tuple[Operator, ...]
    input: str
    output: str
    levels: dict[str, Levels] = field(default_factory=dict)

    def producers(self) -> dict[str, Operator]:
        """Return what computes each tensor.

        Raises:
            VerificationError: an operator uses what nothing before it computes.
        """
        known: dict[str, Operator] = {}
        for operator in self.operators:
            for name in operator.inputs:
                if name not in known and name != self.input:
                    raise VerificationError(f"operator {operator.name!r} uses {name!r}, which nothing before it computes")
            known.update(dict.fromkeys(operator.outputs, operator))
        return known

    def consumers(self) -> dict[str, list[Operator]]:
        """Return who uses each tensor."""
        found: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for name in operator.inputs:
                found.setdefault(name, []).append(operator)
        return found
