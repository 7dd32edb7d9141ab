"""Shapes and work of a graph's operators, computed without computing anything else.

``Tally`` keeps the values of a graph as it is read, in the order in which it runs, and stops at the first operator that would need more
than the limits allow. The functions below it are what the operators of all formats have in common.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgepose.artifact.limits import Limits
from edgepose.errors import ArtifactError
from edgepose.spec import ModelSpec

__all__ = [
    "Shape",
    "Tally",
    "Value",
    "broadcast",
    "concatenate",
    "convolve",
    "convolve_transposed",
    "multiply",
    "permute",
    "reshape",
    "round_axis",
    "split",
    "spread_evenly",
]

Shape = tuple[int, ...]
MAX_DIMENSIONS = 8
_MAX_WINDOW = 64
_MAX_MESSAGE = 600
# Some files store it in half precision, and none smaller than that can hold.
_EPSILON_ERROR, _HALF_EPSILON = 1.05, 1e-4
MAX_SMALL_ELEMENTS = 64
"""Constants of up to this many elements are read: shapes, axes, factors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value of the graph.

    Attributes:
        shape: its sizes, for a batch of ``Limits.batch``.
        numbers: what it holds, for a small constant.
    """

    shape: Shape
    numbers: NDArray[Any] | None = None

    def integers(self) -> tuple[int, ...]:
        """Return the whole numbers of a small constant.

        Raises:
            ValueError: it isn't one.
        """
        if self.numbers is None:
            raise ValueError("what should be a small constant isn't one")
        return tuple(int(number) for number in self.numbers.reshape(-1))


class Tally:
    """The values of a graph, and what they take together.

    Args:
        path: the artifact, for error messages.
        spec: what the file says it is.
    """

    def __init__(self, path: Path, spec: ModelSpec) -> None:
        self.path = path
        self.limits = Limits.of(spec)
        self._spec = spec
        self._values: dict[str | int, Value] = {}
        self._operators = self._elements = self._multiplications = self._weights = self._attentions = 0

    def get(self, name: str | int) -> Value:
        """Return a value.

        Raises:
            ArtifactError: nothing before has defined it.
        """
        if name not in self._values:
            raise self.refuse(f"an operator uses {name!r}, which nothing before it computes")
        return self._values[name]

    def refuse(self, what: str) -> ArtifactError:
        """Return the error that says what is wrong with the graph."""
        # Names out of the file may be of any length.
        shown = what if len(what) <= _MAX_MESSAGE else f"{what[: _MAX_MESSAGE // 2]} … {what[-_MAX_MESSAGE // 2 :]}"
        return ArtifactError(f"{self.path}: not a graph that edgepose wrote: {shown}")

    def add_input(self, name: str | int, shape: Shape) -> None:
        """Define the graph's input."""
        if self._spec.export is None and shape:
            # A file that doesn't say its batch size has the one of its input.
            self.limits = Limits.of(self._spec, batch=shape[0])
        wanted = (self.limits.batch, *self._spec.input_shape)
        if shape[1:] == wanted[1:] and shape != wanted:
            raise self.refuse(f"it is compiled for batch size {shape[0]}, but its spec says {wanted[0]}")
        if shape != wanted:
            raise self.refuse(f"it takes {shape}, and its spec says {wanted}")
        self._define(name, Value(shape=shape))

    def add_constant(self, name: str | int, shape: Shape, numbers: NDArray[Any] | None = None) -> None:
        """Define a constant; ``numbers`` are needed for small ones alone."""
        if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
            raise self.refuse(f"the constant {name!r} has shape {shape}")
        self.add_weights(math.prod(shape))
        self._count_operator(name)
        self._define(name, Value(shape=shape, numbers=numbers))

    def add_weights(self, elements: int) -> None:
        """Count constants."""
        self._weights += elements
        if self._weights > self.limits.weights[1]:
            raise self.refuse(f"it has more than {self.limits.weights[1]} weights, and its spec describes a network of fewer")

    def add_results(self, operator: str, names: Sequence[str | int], shapes: Sequence[Shape], *, multiplications: int = 0) -> None:
        """Define what an operator computes.

        Raises:
            ArtifactError: there are too many, they are too large, or it takes too long.
        """
        if len(names) > len(shapes):
            raise self.refuse(f"operator {operator} has {len(names)} results; expected {len(shapes)}")
        self._count_operator(names[0] if names else "")
        elements = 0
        for shape in shapes:
            if len(shape) > MAX_DIMENSIONS or any(size < 1 for size in shape):
                raise self.refuse(f"operator {operator} gives {names[0]!r} the shape {shape}")
            count = math.prod(shape)
            if count > self.limits.tensor_elements:
                raise self.refuse(
                    f"operator {operator} gives {names[0]!r} the shape {shape}, {count} numbers; a ViTPose of its spec has values of at "
                    f"most {self.limits.tensor_elements}"
                )
            elements += count
        self._elements += elements
        self._multiplications += max(multiplications, elements)
        if self._elements > self.limits.total_elements or self._multiplications > self.limits.multiplications:
            raise self.refuse(f"up to operator {operator} {names[0]!r} it computes more than a ViTPose of its spec")
        for name, shape in zip(names, shapes, strict=False):
            self._define(name, Value(shape=shape))

    def add_alias(self, name: str | int, value: Value) -> None:
        """Define a value that is another one, such as a constant in another type."""
        self._count_operator(name)
        self._define(name, value)

    def add_attention(self, scores: Shape, axis: int = -1) -> None:
        """Note a softmax, over scores of this shape."""
        if round_axis(axis, len(scores)) != len(scores) - 1:
            raise self.refuse(f"its attention is normalized over axis {axis} of {scores}")
        network, tokens = self._spec.architecture, self.limits.tokens
        self._attentions += 1
        if math.prod(scores) != self.limits.batch * network.heads * tokens**2 or scores[-1] != tokens:
            raise self.refuse(f"its attention has scores of shape {scores}; its spec says {network.heads} heads and {tokens} tokens")

    def check_normalization(self, x: Shape, axes: Sequence[int], epsilon: float) -> None:
        """Make sure that a norm is over channels, and its epsilon no larger than the spec's; where the stream is scaled down, it is too."""
        largest = max(_EPSILON_ERROR * self._spec.architecture.layer_norm_eps, _HALF_EPSILON)
        if [round_axis(axis, len(x)) for axis in axes] != [len(x) - 1] or not 0 <= epsilon <= largest:
            raise self.refuse(f"a norm of {x} is over axes {tuple(axes)} with epsilon {epsilon:g}; its spec allows {largest:g}")

    def finish(self, outputs: Sequence[str | int]) -> None:
        """Compare the whole with the spec.

        Raises:
            ArtifactError: it gives something else, has other numbers of blocks or weights.
        """
        if len(outputs) != 1:
            raise self.refuse(f"it has {len(outputs)} outputs; expected one")
        given, wanted = self.get(outputs[0]).shape, (self.limits.batch, *self._spec.heatmap_shape)
        if given != wanted:
            raise self.refuse(f"it gives {given}, and its spec says {wanted}")
        if self._attentions != self._spec.architecture.depth:
            raise self.refuse(f"it has {self._attentions} attention blocks, and its spec says {self._spec.architecture.depth}")
        if self._weights < self.limits.weights[0]:
            raise self.refuse(f"it has {self._weights} weights, and its spec describes a network of at least {self.limits.weights[0]}")

    def _count_operator(self, name: str | int) -> None:
        self._operators += 1
        if self._operators > self.limits.operators:
            raise self.refuse(f"at {name!r} it has more than {self.limits.operators} operators, enough for a ViTPose of its spec")

    def _define(self, name: str | int, value: Value) -> None:
        if name in self._values:
            raise self.refuse(f"{name!r} is defined twice")
        self._values[name] = value


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape of elementwise results, by numpy's rule."""
    length = max(map(len, shapes))
    padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
    result = []
    for sizes in zip(*padded, strict=True):
        size = max(sizes)
        if any(each not in (1, size) for each in sizes):
            raise ValueError(f"shapes {', '.join(map(str, shapes))} don't fit together")
        result.append(size)
    return tuple(result)


def multiply(x: Shape, y: Shape, *, transpose_x: bool = False, transpose_y: bool = False) -> tuple[Shape, int]:
    """Return the shape of a matrix product, and the multiplications that it takes."""
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"a product of {x} and {y}: both must be matrices")
    rows, inner = x[-2:][::-1] if transpose_x else x[-2:]
    other, columns = y[-2:][::-1] if transpose_y else y[-2:]
    if inner != other:
        raise ValueError(f"a product of {x} and {y}: {inner} and {other} differ")
    shape = (*broadcast(x[:-2], y[:-2]), rows, columns)
    return shape, math.prod(shape) * inner


def convolve(
    x: Shape, weight: Shape, *, strides: Sequence[int], pads: Sequence[tuple[int, int]], dilations: Sequence[int], groups: int = 1
) -> tuple[Shape, int]:
    """Return the shape of a convolution of (N, C, …) with weights (out, C / groups, …), and its multiplications."""
    _check_windows(x, weight, strides, pads, dilations)
    if groups < 1 or x[1] != weight[1] * groups or weight[0] % groups:
        raise ValueError(f"{x[1]} channels, and weights {weight} in {groups} groups")
    spatial = []
    for size, taps, stride, (before, after), dilation in zip(x[2:], weight[2:], strides, pads, dilations, strict=True):
        room = size + before + after - ((taps - 1) * dilation + 1)
        if room < 0:
            raise ValueError(f"windows of {weight[2:]} are larger than {x[2:]}")
        spatial.append(room // stride + 1)
    shape = (x[0], weight[0], *spatial)
    return shape, math.prod(shape) * math.prod(weight[1:])


def convolve_transposed(
    x: Shape,
    weight: Shape,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    extra: Sequence[int],
    groups: int = 1,
) -> tuple[Shape, int]:
    """Return the shape of a transposed convolution of (N, C, …) with weights (C, out / groups, …), and its multiplications."""
    _check_windows(x, weight, strides, pads, dilations)
    if groups < 1 or x[1] != weight[0] or x[1] % groups:
        raise ValueError(f"{x[1]} channels, and weights {weight} in {groups} groups")
    spatial = tuple(
        (size - 1) * stride + (taps - 1) * dilation + 1 - before - after + more
        for size, taps, stride, (before, after), dilation, more in zip(x[2:], weight[2:], strides, pads, dilations, extra, strict=True)
    )
    return (x[0], weight[1] * groups, *spatial), math.prod(x) * math.prod(weight[1:])


def reshape(x: Shape, target: Iterable[int], *, zero_keeps: bool) -> Shape:
    """Return the shape after a reshape; -1 stands for what is left, and 0 for the size in ``x`` where ``zero_keeps``."""
    shape = [x[axis] if size == 0 and zero_keeps and axis < len(x) else size for axis, size in enumerate(target)]
    rest = [axis for axis, size in enumerate(shape) if size == -1]
    known = math.prod(size for size in shape if size != -1)
    if len(rest) == 1 and known > 0:
        shape[rest[0]] = math.prod(x) // known
    if any(size < 1 for size in shape) or math.prod(shape) != math.prod(x):
        raise ValueError(f"{x} can't take the shape {tuple(shape)}")
    return tuple(shape)


def permute(x: Shape, order: Sequence[int]) -> Shape:
    """Return the shape after a transpose."""
    axes = [round_axis(axis, len(x)) for axis in order]
    if sorted(axes) != list(range(len(x))):
        raise ValueError(f"{x} can't be transposed by {tuple(order)}")
    return tuple(x[axis] for axis in axes)


def round_axis(axis: int, dimensions: int) -> int:
    """Return an axis that may be counted from the end."""
    if not -dimensions <= axis < dimensions:
        raise ValueError(f"axis {axis} of {dimensions} dimensions")
    return axis % dimensions


def split(x: Shape, axis: int, sizes: Sequence[int], parts: int) -> list[Shape]:
    """Return the shapes of parts of given sizes; -1 stands for what is left."""
    axis = round_axis(axis, len(x))
    if len(sizes) != parts or sizes.count(-1) > 1:
        raise ValueError(f"{x} can't be split in {tuple(sizes)} along axis {axis}")
    rest = x[axis] - sum(size for size in sizes if size != -1)
    whole = [rest if size == -1 else size for size in sizes]
    if min(whole) < 1 or sum(whole) != x[axis]:
        raise ValueError(f"{x} can't be split in {tuple(sizes)} along axis {axis}")
    return [(*x[:axis], size, *x[axis + 1 :]) for size in whole]


def spread_evenly(x: Shape, axis: int, parts: int) -> list[Shape]:
    """Return the shapes of equal parts."""
    axis = round_axis(axis, len(x))
    if not 1 <= parts <= MAX_SMALL_ELEMENTS or x[axis] % parts:
        raise ValueError(f"{x} can't be split in {parts} equal parts along axis {axis}")
    return [(*x[:axis], x[axis] // parts, *x[axis + 1 :])] * parts


def concatenate(shapes: Sequence[Shape], axis: int) -> Shape:
    """Return the shape of values joined along an axis."""
    axis = round_axis(axis, len(shapes[0]))
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(rest) != 1 or len({len(shape) for shape in shapes}) != 1:
        raise ValueError(f"shapes {', '.join(map(str, shapes))} can't be joined along axis {axis}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _check_windows(x: Shape, weight: Shape, strides: Sequence[int], pads: Sequence[tuple[int, int]], dilations: Sequence[int]) -> None:
    lengths = {len(x) - 2, len(weight) - 2, len(strides), len(pads), len(dilations)}
    if lengths != {2}:
        raise ValueError(f"a convolution of {x} with {weight}: expected two dimensions")
    sides = [side for pair in pads for side in pair]
    if min(*strides, *dilations, *weight) < 1 or min(sides) < 0:
        raise ValueError(f"a convolution of {x} with {weight}, strides {tuple(strides)}, dilations {tuple(dilations)}, pads {tuple(pads)}")
    if max(*strides, *dilations, *sides) > _MAX_WINDOW:
        raise ValueError(f"strides {tuple(strides)}, dilations {tuple(dilations)}, pads {tuple(pads)}; allowed: up to {_MAX_WINDOW}")
