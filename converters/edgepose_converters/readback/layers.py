"""Find a network's layers in the graph of a saved file, by what feeds what: names and the order in the file aren't trusted."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from edgepose.errors import VerificationError
from edgepose_converters.readback.graph import LAYERS, Levels, Operator, Stored, StoredGraph

__all__ = ["StoredFunctions", "StoredLayer", "StoredNetwork", "StoredNorm", "find_layers"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredNorm:
    """The normalization in front of a layer.

    Attributes:
        weights: constants that multiply what was normalized.
        biases: constants that are added to it.
        epsilon: in single precision, or ``None`` where it is unknown.
    """

    weights: tuple[Stored, ...]
    biases: tuple[Stored, ...]
    epsilon: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFunctions:
    """What happens between layers, beside norms and additions.

    Attributes:
        names: functions, in the order of the alphabet; see ``Operator.function``.
        factor: product of the single numbers that values are multiplied by.
    """

    names: tuple[str, ...]
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredLayer:
    """A layer.

    Attributes:
        operator: its operator.
        result: the tensor that holds its output, bias and units included.
        bias: what is added to its output, or ``None``.
        inputs: what its input is rounded to, once for each operator that has a say in it.
        before: what that was made of, back to the last operator that computes, where all of it is integers.
        output: what its output is rounded to, where it is rounded.
        units: what its output is multiplied by, per channel, or ``None``.
        positions: what is added to its output after the bias, or ``None``.
        norm: the normalization in front of it, or ``None``.
        sources: numbers, in the order of the network, of the layers that it takes its input from with no other layer in between.
        between: what happens between them and it.
    """

    operator: Operator
    result: str
    bias: Stored | None
    inputs: tuple[Levels, ...]
    before: tuple[Levels, ...]
    output: Levels | None
    units: Stored | None
    positions: Stored | None
    norm: StoredNorm | None
    sources: frozenset[int]
    between: "StoredFunctions"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredNetwork:
    """The layers in the order in which they run.

    Attributes:
        layers: three in the place of each ``qkv`` where the file splits it: queries, keys, values.
        sources: numbers of the layers that make the output.
        between: what happens between them and it.
    """

    layers: tuple[StoredLayer, ...]
    sources: frozenset[int]
    between: "StoredFunctions"


def find_layers(graph: StoredGraph) -> StoredNetwork:
    """Return the layers of a graph.

    Raises:
        VerificationError: the graph isn't a network: an operator uses what nothing computes.
    """
    reader = _Reader(graph)
    order = sorted((operator for operator in graph.operators if operator.kind in LAYERS), key=reader.place)
    numbers = {id(operator): number for number, operator in enumerate(order)}
    layers = tuple(reader.layer(operator, numbers) for operator in order)
    sources = frozenset(numbers[id(source)] for source in reader.sources(graph.output))
    return StoredNetwork(layers=layers, sources=sources, between=reader.between(graph.output))


class _Reader:
    def __init__(self, graph: StoredGraph) -> None:
        self._graph = graph
        self._producers = graph.producers()
        self._consumers = graph.consumers()
        self._sources: dict[str, frozenset[int]] = {graph.input: frozenset()}
        self._operators = {id(operator): operator for operator in graph.operators}
        self._between: dict[str, frozenset[int]] = {graph.input: frozenset()}
        self._depths: dict[int, int] = {}
        for operator in graph.operators:
            before = frozenset().union(*(self._sources[name] for name in operator.inputs))
            passed = frozenset().union(*(self._between[name] for name in operator.inputs))
            if operator.kind in LAYERS:
                passed = frozenset()
                self._depths[id(operator)] = 1 + max((self._depths[source] for source in before), default=0)
                before = frozenset({id(operator)})
            if operator.function or _factor(operator) != 1:
                passed |= {id(operator)}
            self._sources.update(dict.fromkeys(operator.outputs, before))
            self._between.update(dict.fromkeys(operator.outputs, passed))

    def between(self, tensor: str) -> StoredFunctions:
        """Return what happens between a tensor and the layers that it is made from."""
        passed = [self._operators[each] for each in self._between[tensor]]
        names = sorted(each.function for each in passed if each.function)
        return StoredFunctions(names=tuple(names), factor=math.prod(map(_factor, passed)))

    def sources(self, tensor: str) -> list[Operator]:
        """Return the layers that a tensor is made from, with no other layer in between."""
        if tensor not in self._sources:
            raise VerificationError(f"nothing computes the output {tensor!r}")
        return [self._operators[source] for source in self._sources[tensor]]

    def place(self, operator: Operator) -> tuple[int, bool, int]:
        """Return the place of a layer in the order: how many run before it, then queries, keys, values by what takes them."""
        join = self._follow(operator.outputs[0])
        port, taker = (0, None) if join is None else join
        feeds_softmax = taker is not None and any(next_.kind == "softmax" for next_ in self._consumers.get(taker.outputs[0], []))
        return self._depths[id(operator)], not feeds_softmax, port

    def layer(self, operator: Operator, numbers: dict[int, int]) -> StoredLayer:
        source = operator.inputs[0]
        behind = list(self._behind(operator.outputs[0]))
        channels = _channels(operator)
        bias, units, positions = operator.bias, None, None
        result = operator.outputs[0]
        for each in behind:
            assert each.constant is not None  # noqa: S101  # the walk yields no other
            size = each.constant.values.size
            if each.kind == "multiply" and units is None and size == channels:
                units, result = each.constant, each.outputs[0]
            elif each.kind == "add" and bias is None and size == channels:
                bias, result = each.constant, each.outputs[0]
            elif each.kind == "add" and positions is None:
                positions = each.constant
        return StoredLayer(
            operator=operator,
            result=result,
            bias=bias,
            inputs=(self._graph.levels[source],) if source in self._graph.levels else tuple(self._rounding(source)),
            before=tuple(self._before(source)),
            output=self._graph.levels.get(operator.outputs[0]),
            units=units,
            positions=positions,
            norm=self._norm(source),
            sources=frozenset(numbers[id(found)] for found in self.sources(source)),
            between=self.between(source),
        )

    def _rounding(self, tensor: str) -> Iterator[Levels]:
        while (operator := self._producers.get(tensor)) is not None and operator.kind == "quantize":
            yield from operator.levels
            (tensor,) = operator.inputs

    def _before(self, tensor: str) -> Iterator[Levels]:
        while (operator := self._producers.get(tensor)) is not None and len(operator.inputs) == 1:
            if operator.function or operator.kind not in ("quantize", "other"):
                return
            (tensor,) = operator.inputs
            if tensor in self._graph.levels:
                yield self._graph.levels[tensor]

    def _behind(self, tensor: str) -> Iterator[Operator]:
        """Walk on from a layer's output, as long as it goes one way and stays linear, and yield additions and multiplications."""
        while len(takers := self._consumers.get(tensor, [])) == 1:
            (operator,) = takers
            if len(operator.inputs) != 1 or operator.kind not in ("add", "multiply", "quantize", "other") or len(operator.outputs) != 1:
                return
            if operator.kind in ("add", "multiply"):
                yield operator
            tensor = operator.outputs[0]

    def _follow(self, tensor: str) -> tuple[int, Operator] | None:
        """Walk on from a layer's output to the first operator that joins it with something else; return its port there."""
        while len(takers := self._consumers.get(tensor, [])) == 1:
            (operator,) = takers
            if operator.kind in LAYERS or operator.kind == "norm":
                return None
            if len(operator.inputs) > 1:
                return operator.inputs.index(tensor), operator
            tensor = operator.outputs[0]
        return None

    def _norm(self, tensor: str) -> StoredNorm | None:
        """Walk back from a layer's input to the normalization, if there is one before anything is joined."""
        weights: list[Stored] = []
        biases: list[Stored] = []
        while (operator := self._producers.get(tensor)) is not None and len(operator.inputs) == 1:
            if operator.kind in LAYERS:
                return None
            if operator.kind == "norm":
                weights += [] if operator.weight is None else [operator.weight]
                biases += [] if operator.bias is None else [operator.bias]
                return StoredNorm(weights=tuple(weights), biases=tuple(biases), epsilon=operator.epsilon)
            if operator.constant is not None:
                (weights if operator.kind == "multiply" else biases).append(operator.constant)
            tensor = operator.inputs[0]
        return None


def _factor(operator: Operator) -> float:
    """Return the single number that an operator multiplies all values by."""
    constant = operator.constant
    if constant is None or constant.values.size != 1 or not (operator.kind == "multiply" or operator.function == "softmax"):
        return 1.0
    return float(constant.real().item())


def _channels(operator: Operator) -> int:
    assert operator.weight is not None  # noqa: S101  # a layer has weights
    return int(operator.weight.values.shape[1 if operator.kind == "deconv" else 0])
