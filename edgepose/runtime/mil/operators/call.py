"""What an operator function gets: one operation with its argument values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgepose.runtime.mil.elements import Array, TensorType

__all__ = ["Call", "Operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The arguments of one operation, at run time.

    Attributes:
        arguments: parameter → its values; most parameters have one.
        outputs: declared types of the results.
    """

    arguments: Mapping[str, tuple[Array, ...]]
    outputs: tuple[TensorType, ...]

    def __contains__(self, parameter: str) -> bool:
        return parameter in self.arguments

    def array(self, parameter: str) -> Array:
        """Return an argument as it is stored.

        Raises:
            ValueError: it is missing.
        """
        values = self.arrays(parameter)
        if len(values) != 1:
            raise ValueError(f"parameter {parameter!r} has {len(values)} values, expected one")
        return values[0]

    def arrays(self, parameter: str) -> tuple[Array, ...]:
        """Return an argument that is a tuple of tensors.

        Raises:
            ValueError: it is missing.
        """
        if parameter not in self.arguments:
            raise ValueError(f"parameter {parameter!r} is missing")
        return self.arguments[parameter]

    def operand(self, parameter: str, default: float | None = None) -> Array:
        """Return an argument to compute with: fp16 widened to fp32, everything else as it is.

        Raises:
            ValueError: it is missing and has no default.
        """
        if default is not None and parameter not in self:
            return np.array(default, np.float32)
        values = self.array(parameter)
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def integers(self, parameter: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return a vector (or a scalar, as one item) of integers.

        Raises:
            ValueError: it is missing and has no default.
        """
        if default is not None and parameter not in self:
            return tuple(default)
        return tuple(int(value) for value in self.array(parameter).reshape(-1))

    def integer(self, parameter: str, default: int | None = None) -> int:
        """Return a scalar integer.

        Raises:
            ValueError: it is missing and has no default, or isn't a scalar.
        """
        (value,) = self.integers(parameter, None if default is None else (default,))
        return value

    def number(self, parameter: str, default: float) -> float:
        """Return a scalar number."""
        return float(self.operand(parameter, default).item())

    def flag(self, parameter: str, *, default: bool = False) -> bool:
        """Return a truth value."""
        return bool(self.array(parameter).item()) if parameter in self else default

    def text(self, parameter: str, default: str) -> str:
        """Return a string."""
        return str(self.array(parameter).item()) if parameter in self else default


Operator = Callable[[Call], Array | Sequence[Array]]
"""Computes the results of a call. fp16 operators compute in fp32 or better; the evaluator rounds results to their declared type."""
