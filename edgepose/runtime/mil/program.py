"""Run a Core ML program from its saved bytes, operator by operator, in numpy."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import ArtifactError, InputError
from edgepose.runtime.mil.elements import Array, TensorType
from edgepose.runtime.mil.memory import MAX_BYTES_PER_ITEM, count_elements
from edgepose.runtime.mil.operators import OPERATORS, Call
from edgepose.runtime.mil.package import Operation, Program, read_package

__all__ = ["MilProgram", "TensorInfo"]

_CONST = "const"
_ELEMENT_BYTES = 4
"""Of what operators compute in; stored types are at most as wide, but for a few integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """An input or output.

    Attributes:
        name: its name.
        dtype: NumPy's name of its element type.
        shape: ``None`` for a size that is known only at run time.
        limits: smallest and largest size of each dimension (``None``: no limit).
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    limits: tuple[tuple[int, int | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """An operation, and the values that nothing needs after it."""

    operation: Operation
    released: tuple[str, ...]


class MilProgram:
    """A Core ML program, ready to run: the reference against which converted packages are verified on every operating system.

    Each operator computes in fp32 or better and its results are rounded to the type that the file declares, as Core ML does on a CPU: fp16
    values between operators, wider sums inside them. Values are freed after their last use, and an operation that would take more memory
    than is allowed isn't begun. Safe to use from several threads at once.

    Attributes:
        package: the folder that it was read from.
        inputs: what ``run`` takes.
        outputs: what ``run`` returns.
        operators: how often each operator type occurs.
        metadata: the user-defined metadata of the package.
    """

    def __init__(self, package: Path, program: Program, memory_bytes: int = MAX_BYTES_PER_ITEM) -> None:
        self.package = package
        self._memory_bytes = memory_bytes
        self.metadata = dict(program.metadata)
        self.operators = Counter(operation.operator for operation in program.operations)
        self._constants: dict[str, Array] = {}
        self._types: dict[str, TensorType] = dict(program.inputs)
        self._steps = self._plan(program)
        self.inputs = tuple(_info(name, kind, program.ranges.get(name)) for name, kind in program.inputs.items())
        self.outputs = tuple(_info(name, self._types[name], None) for name in program.outputs)

    @classmethod
    def read(cls, package: str | Path, *, memory_bytes: int = MAX_BYTES_PER_ITEM) -> "MilProgram":
        """Read a saved ``.mlpackage``.

        Args:
            package: the folder.
            memory_bytes: how much all values of a run may take together, for each item of the input's first dimension.

        Raises:
            ArtifactError: it is damaged, incomplete, no ML program of one function, or uses an operator that isn't supported.
        """
        package = Path(package)
        return cls(package, read_package(package, {*OPERATORS, _CONST}), memory_bytes)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        """Evaluate the program.

        Args:
            inputs: an array for each input, of the declared shape; converted to the declared type.

        Returns:
            An array for each output, in memory of its own.

        Raises:
            InputError: an input is missing, unknown, or of another shape.
            ArtifactError: an operator can't be evaluated, or its result isn't what the file declares.
        """
        bound = self._bind(inputs)
        budget = self._memory_bytes * max([1, *(len(value) for value in bound.values() if value.ndim)])
        values = self._constants | bound
        # Overflow to infinity is a result like any other: the comparison with the original model shows it.
        with np.errstate(all="ignore"):
            for step in self._steps:
                live = sum(value.nbytes for name, value in values.items() if name not in self._constants)
                values.update(self._evaluate(step.operation, values, budget - live))
                for name in step.released:
                    del values[name]
        return {info.name: np.array(values[info.name], order="C") for info in self.outputs}

    def _plan(self, program: Program) -> tuple[_Step, ...]:
        last_use: dict[str, int] = {}
        operations: list[Operation] = []
        for operation in program.operations:
            for name in (value for values in operation.arguments.values() for value in values if isinstance(value, str)):
                self._require(name, f"operator {operation.operator} {operation.name!r}")
                last_use[name] = len(operations)
            self._types.update(operation.outputs)
            if operation.operator == _CONST:
                self._keep_constant(operation)
                continue
            last_use.update((name, len(operations)) for name, _ in operation.outputs)
            operations.append(operation)
        for name in program.outputs:
            self._require(name, "the list of outputs")
        kept = {*program.outputs, *self._constants}
        released: list[list[str]] = [[] for _ in operations]
        for name, index in last_use.items():
            if name not in kept:
                released[index].append(name)
        return tuple(_Step(operation=operation, released=tuple(names)) for operation, names in zip(operations, released, strict=True))

    def _keep_constant(self, operation: Operation) -> None:
        value = operation.arguments.get("val", ())
        if len(value) != 1 or isinstance(value[0], str) or len(operation.outputs) != 1:
            raise ArtifactError(f"{self.package}: damaged: the constant {operation.name!r} has no value")
        ((name, kind),) = operation.outputs
        if not kind.holds(value[0].shape):
            raise ArtifactError(f"{self.package}: damaged: the constant {name!r} has shape {value[0].shape}; the file declares {kind}")
        self._constants[name] = value[0]

    def _require(self, name: str, user: str) -> None:
        if name not in self._types:
            raise ArtifactError(f"{self.package}: damaged: {user} uses {name!r}, which nothing before it computes")

    def _bind(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        names = [info.name for info in self.inputs]
        if set(inputs) != set(names):
            raise InputError(f"{self.package.name} takes the input(s) {', '.join(names)}; got: {', '.join(inputs) or 'none'}")
        bound = {}
        for info in self.inputs:
            array = np.asarray(inputs[info.name])
            fits = array.ndim == len(info.shape) and all(
                low <= size and (high is None or size <= high) for size, (low, high) in zip(array.shape, info.limits, strict=True)
            )
            if not fits:
                allowed = ", ".join(str(low) if low == high else f"{low}…{high or ''}" for low, high in info.limits)
                raise InputError(f"input {info.name!r} has shape {array.shape}; {self.package.name} takes ({allowed})")
            bound[info.name] = array.astype(self._types[info.name].element.dtype, copy=False)
        return bound

    def _evaluate(self, operation: Operation, values: Mapping[str, Array], free_bytes: int) -> dict[str, Array]:
        arguments = {
            parameter: tuple(values[value] if isinstance(value, str) else value for value in given)
            for parameter, given in operation.arguments.items()
        }
        kinds = tuple(kind for _, kind in operation.outputs)
        call = Call(arguments=arguments, outputs=kinds)
        try:
            needed = _ELEMENT_BYTES * count_elements(operation.operator, call)
            if needed > free_bytes:
                raise ValueError(f"it takes {needed >> 20} MiB, and {max(0, free_bytes) >> 20} are left")
            found = OPERATORS[operation.operator](call)
            results = (found,) if isinstance(found, np.ndarray | np.generic) else tuple(found)
            rounded = [np.asarray(result).astype(kind.element.dtype, copy=False) for result, kind in zip(results, kinds, strict=True)]
        except (ValueError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError) as error:
            raise ArtifactError(f"{self.package}: operator {operation.operator} {operation.name!r} can't be evaluated: {error}") from error
        for (name, kind), result in zip(operation.outputs, rounded, strict=True):
            if not kind.holds(result.shape):
                raise ArtifactError(
                    f"{self.package}: operator {operation.operator} gives {name!r} the shape {result.shape}; the file declares {kind}"
                )
        return {name: result for (name, _), result in zip(operation.outputs, rounded, strict=True)}


def _info(name: str, kind: TensorType, limits: tuple[tuple[int, int | None], ...] | None) -> TensorInfo:
    if limits is None or len(limits) != len(kind.shape):
        limits = tuple((0, None) if size is None else (size, size) for size in kind.shape)
    return TensorInfo(name=name, dtype=kind.element.dtype.name, shape=kind.shape, limits=limits)
