"""Compare what a saved file holds with what it must hold, number by number."""

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import VerificationError
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.readback.expected import Array, ExpectedLayer, ExpectedNetwork, ExpectedNorm
from edgepose_converters.readback.graph import Levels, Stored, StoredGraph
from edgepose_converters.readback.layers import StoredFunctions, StoredLayer, find_layers
from edgepose_converters.readback.reach import check_reach, check_span

__all__ = ["check_network", "check_structure"]

_SINGLE = 4e-6
"""Relative error of numbers in single precision, a multiplication or two included."""

_HALF = 2.0**-11
"""Relative error of rounding to half precision."""

_LEAST_HALF = 2.0**-24
"""Absolute error of rounding to half precision below its smallest normal number; Core ML's tools write a step where others write zero."""

_HALF_STEP = 0.501
_BYTE = 256
_WIDEST = 64.0
"""16-bit ranges may span this many times what was seen: they have levels enough."""


def check_network(graph: StoredGraph, expected: ExpectedNetwork) -> int:
    """Compare a file's graph with what it must hold; return how many numbers were compared.

    Raises:
        VerificationError: it holds something else. Says which layer, which channel, what it holds and what it should.
    """
    compared = 0
    for stored, wanted in zip(check_structure(graph, expected), expected.layers, strict=True):
        compared += _Comparison(stored, wanted).run()
    if expected.whole:
        _check_ends(graph, expected)
    if expected.statistics is not None:
        check_reach(graph, expected.statistics, len(expected.layers[0].bias))
    return compared


def check_structure(graph: StoredGraph, expected: ExpectedNetwork) -> tuple[StoredLayer, ...]:
    """Return a file's layers in the order of the network, after making sure that it is the same network.

    Raises:
        VerificationError: it has other layers, or one takes its input from others than in the model.
    """
    network = find_layers(graph)
    if len(network.layers) != len(expected.layers):
        raise VerificationError(f"it has {len(network.layers)} operators with weights, and the model has {len(expected.layers)}")
    names = [_title(layer) for layer in expected.layers]
    for stored, wanted in zip(network.layers, expected.layers, strict=True):
        _check_sources(_title(wanted), stored.sources, wanted.sources, names)
        _check_shape(stored, wanted)
        _check_between(_title(wanted), stored.between, StoredFunctions(names=wanted.functions, factor=wanted.multiplied))
    _check_sources("the output", network.sources, frozenset({len(names) - 1}), names)
    _check_between("the output", network.between, StoredFunctions(names=(), factor=1.0))
    return network.layers


class _Comparison:
    def __init__(self, stored: StoredLayer, expected: ExpectedLayer) -> None:
        self._stored = stored
        self._expected = expected
        self._compared = 0

    def run(self) -> int:
        self._check_kind()
        units = self._units()
        self._check_inputs()
        if self._expected.levels is None:
            self._check_float_weight()
        else:
            self._check_integers(units)
        self._check_bias(units)
        self._check_output(units)
        if self._expected.norm is not None:
            self._check_norm(self._expected.norm)
        if self._expected.positions is not None:
            self._same("position embedding", self._stored.positions, self._expected.positions, axis=-1)
        return self._compared

    def _check_kind(self) -> None:
        weight = self._stored.operator.weight
        integer = weight is not None and weight.scale is not None
        if integer != (self._expected.levels is not None):
            held, wanted = ("integers", "floats") if integer else ("floats", "integers")
            raise VerificationError(f"{self._title}: its weights are {held}; the decision says {wanted}")

    def _units(self) -> Array:
        """Return what the file multiplies each output channel by, which the layer's own numbers are divided by."""
        if self._stored.units is None:
            return np.ones(len(self._expected.bias))
        units = self._stored.units.real().reshape(-1)
        if self._expected.output is None or not (units > 0).all():
            raise VerificationError(f"{self._title}: its output is multiplied by {units[:3]}…, which nothing asks for")
        return units

    def _check_integers(self, units: Array) -> None:
        weight = self._stored.operator.weight
        levels, scale = self._expected.levels, self._expected.scale
        assert weight is not None  # noqa: S101
        assert weight.scale is not None  # noqa: S101
        assert levels is not None  # noqa: S101
        assert scale is not None  # noqa: S101
        integers = weight.values.astype(np.int16)
        if weight.zero_point is not None:
            middle = 128 if weight.values.dtype == np.uint8 else 0
            zero = np.broadcast_to(weight.zero_point, weight.values.shape)
            self._equal("weight zero point", zero, np.full(zero.shape, middle), np.zeros(zero.shape))
            integers = integers - middle
        self._equal("weight", integers, levels.astype(np.int16), np.zeros(levels.shape))
        along = [1] * levels.ndim
        along[self._axis] = -1
        wanted = scale / units.reshape(along)
        stored = np.broadcast_to(weight.scale.astype(np.float64), levels.shape)
        # Units are rounded themselves where nothing in the file is float.
        loose = self._unit_error(units).reshape(along)
        self._equal("weight scale", stored, wanted, _rounding(wanted, half=weight.half) + wanted * loose)

    def _check_float_weight(self) -> None:
        assert self._expected.weight is not None  # noqa: S101
        self._same("weight", self._stored.operator.weight, self._expected.weight.astype(np.float64), axis=self._axis)

    def _check_bias(self, units: Array) -> None:
        wanted = self._expected.bias / units
        stored = self._stored.bias
        real = np.zeros(len(wanted)) if stored is None else stored.real().reshape(-1)
        allowed = _tolerance(stored, wanted) + np.abs(wanted) * self._unit_error(units)
        if stored is not None and stored.scale is not None:
            self._check_bias_scale(stored)
        self._equal("bias", real, wanted, allowed, axis=0)

    def _check_bias_scale(self, bias: Stored) -> None:
        """Integer kernels take a bias for a multiple of the product of the scales of input and weight."""
        weight = self._stored.operator.weight
        assert weight is not None  # noqa: S101
        assert weight.scale is not None  # noqa: S101
        assert bias.scale is not None  # noqa: S101
        if not self._stored.inputs:
            raise VerificationError(f"{self._title}: its bias is an integer, and its input isn't")
        first = np.moveaxis(np.broadcast_to(weight.scale, weight.values.shape), self._axis, 0).reshape(len(self._expected.bias), -1)[:, 0]
        product = first.astype(np.float64) * self._stored.inputs[0].scale
        self._equal("bias scale", bias.scale.astype(np.float64).reshape(-1), product, _rounding(product, half=False), axis=0)

    def _check_inputs(self) -> None:
        decided, wide = self._expected.input, self._expected.wide_input
        if decided is None and wide is None:
            if self._stored.inputs:
                raise VerificationError(f"{self._title}: its input is rounded to {self._stored.inputs[0]}; nothing asks for that")
            return
        if not self._stored.inputs:
            raise VerificationError(f"{self._title}: its input isn't rounded; the decision says {decided or wide}")
        for levels in self._stored.before:
            reach = decided or wide
            if reach is not None:
                check_span(f"{self._title}: what its input is made of", levels, reach.low, reach.high)
        for levels in self._stored.inputs:
            if decided is not None:
                _check_levels(f"{self._title}: its input", levels, decided)
            elif wide is not None:
                _check_wide(f"{self._title}: its input", levels, np.array([wide.low, wide.high]))

    def _check_output(self, units: Array) -> None:
        expected, stored = self._expected.output, self._stored.output
        if expected is None:
            if stored is not None:
                raise VerificationError(f"{self._title}: its output is rounded to {stored}; nothing asks for that")
            return
        if stored is None:
            raise VerificationError(f"{self._title}: its output isn't rounded; this format's kernels write integers")
        low, high = expected / units
        if stored.count != _BYTE:
            _check_wide(f"{self._title}: its output", stored, np.array([low.min(), high.max()]))
            return
        span = max(float(high.max() - low.min()), 1e-6)
        _check_levels(f"{self._title}: its output", stored, ActivationRange(low=float(low.min()), high=float(low.min()) + span), loose=2e-5)

    def _check_norm(self, expected: ExpectedNorm) -> None:
        stored = self._stored.norm
        if stored is None:
            raise VerificationError(f"{expected.name}: there is no normalization in front of {self._title}")
        if stored.epsilon is not None and not np.isclose(stored.epsilon, expected.epsilon, rtol=1e-5, atol=0):
            raise VerificationError(f"{expected.name}: its epsilon is {stored.epsilon:.3g}; the model's is {expected.epsilon:.3g}")
        for what, given, wanted in (("weight", stored.weights, expected.weight), ("bias", stored.biases, expected.bias)):
            neutral = 1.0 if what == "weight" else 0.0
            if len(given) > 1:
                raise VerificationError(f"{expected.name}: it has {len(given)} constants for its {what}; expected one at most")
            if given:
                allowed = _tolerance(given[0], wanted)
                self._equal(what, given[0].real().reshape(-1), wanted, allowed, axis=0, title=expected.name)
            else:
                self._equal(what, np.full(wanted.shape, neutral), wanted, np.full(wanted.shape, _SINGLE), axis=0, title=expected.name)

    def _same(self, what: str, stored: Stored | None, expected: Array, *, axis: int) -> None:
        """Compare real numbers, as far as they can be stored; a constant that was left out stands for zeros."""
        if stored is None:
            self._equal(what, np.zeros(expected.shape), expected, np.full(expected.shape, 1e-12), axis=axis)
            return
        if stored.values.size != expected.size:
            raise VerificationError(f"{self._title}: its {what} has shape {stored.values.shape}; the model's has {expected.shape}")
        self._equal(what, stored.real().reshape(expected.shape), expected, _tolerance(stored, expected), axis=axis)

    def _unit_error(self, units: Array) -> Array:
        stored = self._stored.units
        if stored is None or stored.scale is None:
            return np.full(units.shape, _SINGLE if stored is not None else 0.0)
        error: Array = _HALF_STEP * float(stored.scale.max()) / units
        return error

    def _equal(
        self,
        what: str,
        stored: NDArray[np.generic],
        wanted: NDArray[np.generic],
        allowed: Array,
        *,
        axis: int | None = None,
        title: str = "",
    ) -> None:
        self._compared += wanted.size
        difference = np.abs(stored.astype(np.float64) - wanted.astype(np.float64))
        # Written so that a NaN is wrong.
        wrong = ~(difference <= allowed)
        if not wrong.any():
            return
        axis = self._axis if axis is None else axis % wanted.ndim
        channels = np.unique(np.nonzero(wrong)[axis])
        place = tuple(np.argwhere(wrong)[np.nonzero(wrong)[axis].argmin()])
        first = int(channels[0]) + (0 if title else self._expected.first)
        more = "" if len(channels) == 1 else f" ({len(channels)} of {wanted.shape[axis]} channels differ)"
        raise VerificationError(
            f"{title or self._title}, channel {first}: the file holds the {what} {_number(stored[place])}, and it should be "
            f"{_number(wanted[place])}{more}"
        )

    @property
    def _axis(self) -> int:
        return 1 if self._expected.layer.kind == "deconv" else 0

    @property
    def _title(self) -> str:
        return _title(self._expected)


def _title(layer: ExpectedLayer) -> str:
    return layer.layer.name


def _check_shape(stored: StoredLayer, wanted: ExpectedLayer) -> None:
    weight = stored.operator.weight
    given = wanted.levels if wanted.levels is not None else wanted.weight
    assert weight is not None  # noqa: S101  # a layer has weights
    assert given is not None  # noqa: S101  # one of them is there
    if (stored.operator.kind, weight.values.shape) != (wanted.layer.kind, given.shape):
        raise VerificationError(
            f"{_title(wanted)}: it is a {stored.operator.kind} with weights {weight.values.shape}; the model has a {wanted.layer.kind} "
            f"with {given.shape}"
        )


def _check_sources(title: str, stored: frozenset[int], wanted: frozenset[int], names: list[str]) -> None:
    if stored == wanted:
        return
    given, right = (", ".join(dict.fromkeys(names[number] for number in sorted(numbers))) or "the input" for numbers in (stored, wanted))
    raise VerificationError(f"{title} is made of what {given} give; in the model it is made of what {right} give")


def _check_between(title: str, stored: StoredFunctions, wanted: StoredFunctions) -> None:
    """Shapes don't show what becomes of a layer's output on its way to the next; on a small random network, heatmaps hardly do."""
    if stored.names != wanted.names:
        given, right = (", ".join(each.names) or "nothing" for each in (stored, wanted))
        raise VerificationError(f"{title}: {given} stands in front of it; in the model it is {right}")
    if not np.isclose(stored.factor, wanted.factor, rtol=2 * _HALF, atol=0):
        raise VerificationError(
            f"{title}: values in front of it are multiplied by {stored.factor:.6g}; in the model by {wanted.factor:.6g}"
        )


def _check_ends(graph: StoredGraph, expected: ExpectedNetwork) -> None:
    """Input and output of a file without floats are integers too: callers convert by what it says of them."""
    first, last = expected.layers[0], expected.layers[-1]
    for name, title in ((graph.input, "the file's input"), (graph.output, "the file's output")):
        if name not in graph.levels:
            raise VerificationError(f"{title} isn't rounded; in a file without floats it must be")
    decided = first.input or first.wide_input
    if decided is not None:
        _check_levels("the file's input", graph.levels[graph.input], decided)
    if last.output is not None:
        _check_wide("the file's output", graph.levels[graph.output], np.array([last.output[0].min(), last.output[1].max()]))


def _check_levels(title: str, stored: Levels, wanted: ActivationRange, *, loose: float = 1e-5) -> None:
    if stored.count != _BYTE:
        raise VerificationError(f"{title} is rounded to {stored.count} levels; the decision says {_BYTE}")
    scale = float(np.float16(wanted.scale)) if stored.half else wanted.scale
    if not np.isclose(stored.scale, scale, rtol=loose + (_HALF if stored.half else 0), atol=_LEAST_HALF if stored.half else 0):
        raise VerificationError(f"{title} has the scale {stored.scale:.6g}, and it should be {wanted.scale:.6g}")
    if round(stored.zero_point) != wanted.zero_point:
        raise VerificationError(f"{title} has its zero at level {round(stored.zero_point)} of 255, and it should be {wanted.zero_point}")


def _check_wide(title: str, stored: Levels, ends: Array) -> None:
    low, high = -stored.zero_point * stored.scale, (stored.count - 1 - stored.zero_point) * stored.scale
    slack = stored.scale
    if low > ends[0] + slack or high < ends[1] - slack or high - low > _WIDEST * 2 * max(float(np.abs(ends).max()), 1e-6):
        raise VerificationError(f"{title} spans {low:.4g} to {high:.4g}, and it must span {ends[0]:.4g} to {ends[1]:.4g}, not much more")


def _tolerance(stored: Stored | None, wanted: Array) -> Array:
    """Return how far each stored number may be off: half a step of its type."""
    if stored is None:
        return np.full(wanted.shape, 1e-12)
    if stored.scale is not None and stored.values.dtype.kind in "iu":
        steps = np.broadcast_to(stored.scale.astype(np.float64), stored.values.shape).reshape(wanted.shape)
        return _HALF_STEP * steps + _rounding(wanted, half=False)
    return _rounding(wanted, half=stored.half)


def _rounding(wanted: Array, *, half: bool) -> Array:
    return np.abs(wanted) * (_HALF + _SINGLE) + _LEAST_HALF if half else np.abs(wanted) * _SINGLE


def _number(value: np.generic) -> str:
    return f"{float(value):.6g}" if np.issubdtype(value.dtype, np.floating) else str(int(value))
