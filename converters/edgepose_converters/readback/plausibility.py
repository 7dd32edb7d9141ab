"""Compare a quantized model's numbers with the float model alone, without the decision between them.

The integers must be the float model's weights within half a level of the stored scale. A decision may move factors between neighbours
(SmoothQuant), and correct biases; what it can't change is their product: a norm's weight times the column behind it, and a row that makes
values times the column of the projection that takes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.errors import VerificationError
from edgepose.models.vitpose import Block, ViTPose
from edgepose.precision import Precision
from edgepose.quantization.layers import list_layers, output_axis
from edgepose.quantization.lowering import QuantizedModel, SimulatedLayer, simulate
from edgepose.quantization.preparation import prepare
from edgepose.quantization.recipe import ActivationRange

__all__ = ["check_against_float"]

Array = NDArray[np.float64]

_HALF_STEP = 0.51
_ROUNDED = 2.0**-9
"""Relative error of a product of numbers in half precision."""

_SIGMAS = 6.0
_TIMES_RMS = 8.0
"""A corrected bias makes up for a mean error, which is smaller than the error's root mean square; the rest is for other pictures."""

_TIMES_RMS_OF_ALL = 2.5
_LARGEST_CUT = 0.05
_LARGEST_CUT_OF_FEW = 0.5
"""Few photos show little of what other pictures reach: whoever calibrated on them has been told so."""

_LARGEST_LOSS = 0.1
_LARGEST_SATURATED = 0.01
_WIDEST = 16.0
_CROPS = 2


def check_against_float(
    quantized: QuantizedModel, model: ViTPose, precision: Precision, crops: NDArray[np.float32], *, few_photos: bool = False
) -> int:
    """Return how many numbers were compared.

    Args:
        quantized: the decision applied, or what ``rebuild`` made of a file.
        model: the float model.
        precision: of the file.
        crops: (N, 3, H, W) float32, normalized: what activations are measured on.
        few_photos: whether ranges were calibrated on so few photos that others may well go beyond them.

    Raises:
        VerificationError: a weight is further than half a level from the model's, a bias further off than rounding explains, or a range
            cuts off what it should span. Names the layer and the channel.
    """
    check = _Check(quantized, prepare(model), corrected=precision.calibrated)
    check.weights()
    check.activations(crops, largest_cut=_LARGEST_CUT_OF_FEW if few_photos else _LARGEST_CUT)
    return check.compared


class _Check:
    def __init__(self, quantized: QuantizedModel, model: ViTPose, *, corrected: bool) -> None:
        self.compared = 0
        self._quantized = quantized
        self._model = model
        self._corrected = corrected
        self._values: dict[str, Array] = {}

    def weights(self) -> None:
        ours, theirs = self._quantized.module, self._model
        self._same("backbone.norm", "weight", _numbers(ours.backbone.norm.weight), _numbers(theirs.backbone.norm.weight))
        self._same("backbone.norm", "bias", _numbers(ours.backbone.norm.bias), _numbers(theirs.backbone.norm.bias))
        self._same("backbone.patch_embed", "position embedding", _numbers(ours.backbone.pos_embed), _numbers(theirs.backbone.pos_embed))
        for layer in list_layers(theirs):
            module = theirs.get_submodule(layer.name)
            axis = output_axis(module)
            wanted, stored, step = (
                _rows(each, axis) for each in (_weight(theirs, layer.name), _weight(ours, layer.name), self._step(layer.name))
            )
            saturated = self._saturated(layer.name, axis)
            loose: Array = np.zeros(1)
            if layer.name.endswith((".qkv", ".fc1")):
                norm, norm_of_ours = (_numbers(self._norm(each, layer.name)) for each in (theirs, ours))
                stored, step, wanted = stored * norm_of_ours, step * np.abs(norm_of_ours), wanted * norm
            if layer.name.endswith(".qkv"):
                wanted = self._with_values(layer.name, stored, step, wanted)
                loose = np.zeros((len(wanted), 1))
                loose[-len(wanted) // 3 :, 0] = self._values[layer.name][1]
            if layer.name.endswith(".proj"):
                factor, loose = self._values[layer.name.replace(".proj", ".qkv")]
                stored, step = stored * factor, step * factor
            self._within(layer.name, stored, wanted, step, saturated, loose)
            self._check_rounded(layer.name)

    def _check_rounded(self, name: str) -> None:
        """What is simulated must be what the integers stand for."""
        layer = self._quantized.layers.get(name)
        if layer is None:
            return
        given, integers = _weight(self._quantized.module, name), layer.weight * self._step(name)
        wrong = ~(np.abs(given - integers) <= np.abs(integers) * 1e-5)
        if wrong.any():
            channel = int(np.nonzero(wrong)[1 if layer.layer.kind == "deconv" else 0][0])
            raise VerificationError(f"{name}, channel {channel}: the simulated weights aren't what the integers stand for")

    def _with_values(self, name: str, stored: Array, step: Array, wanted: Array) -> Array:
        """Scale the rows that make values as the file does; remember by how much, and how well that is known."""
        third = len(wanted) // 3
        rows, noise = stored[-third:], np.sqrt((step[-third:] ** 2).mean(1) / 12)
        base = wanted[-third:]
        power = np.maximum((base**2).sum(1), 1e-30)
        factor = (rows * base).sum(1) / power if self._corrected else np.ones(third)
        factor = np.where(factor > 0, factor, 1.0)
        self._values[name] = np.stack([factor, _SIGMAS * noise / (np.sqrt(power) * factor)])
        return np.concatenate([wanted[:-third], base * factor[:, None]])

    def _within(self, name: str, stored: Array, wanted: Array, step: Array, saturated: NDArray[np.bool_], loose: Array) -> None:
        self.compared += wanted.size
        allowed = _HALF_STEP * step + np.abs(wanted) * (_ROUNDED + loose) + 1e-7
        wrong = ~(np.abs(stored - wanted) <= allowed)
        # Weights beyond the last level are cut off to it; a trained scale may do so to a few.
        beyond = wrong & saturated & (np.abs(stored) < np.abs(wanted))
        if beyond.mean() <= _LARGEST_SATURATED:
            wrong &= ~beyond
        if not wrong.any():
            return
        # A row of values that is wrong shows in the column of the projection that takes it.
        rows, columns = np.nonzero(wrong)
        column = np.bincount(columns).argmax()
        if name.endswith(".proj") and wrong[:, column].mean() > 0.5 and wrong.sum() <= 2 * wrong[:, column].sum():
            other = name.replace(".proj", ".qkv")
            channel = len(wanted) * 2 + int(column)
            raise VerificationError(
                f"{other}, channel {channel}, or {name}, input {int(column)}: the product of the stored weights is "
                f"{_median_ratio(stored[:, column], wanted[:, column]):.3g} times the model's"
            )
        channel, place = int(rows[0]), int(columns[0])
        raise VerificationError(
            f"{name}, channel {channel}: the file holds weights {_median_ratio(stored[channel], wanted[channel]):.3g} times the model's; "
            f"that of input {place} is {stored[channel, place]:.6g}, and should be {wanted[channel, place]:.6g}, to half a level of "
            f"{step[channel, place]:.3g}"
        )

    def _same(self, name: str, what: str, stored: Array, wanted: Array) -> None:
        self.compared += wanted.size
        # 16-bit integers have steps of their own.
        allowed = np.abs(wanted) * _ROUNDED + float(np.abs(wanted).max()) * 2.0**-14 + 1e-7
        wrong = ~(np.abs(stored - wanted) <= allowed)
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            raise VerificationError(
                f"{name}, channel {int(place[-1])}: the file holds the {what} {stored[place]:.6g}, and the model {wanted[place]:.6g}"
            )

    def activations(self, crops: NDArray[np.float32], *, largest_cut: float) -> None:
        """Compare biases and ranges with what layers take and give."""
        exact = _watch(self._model, crops, {})
        ranges = {name: layer.input for name, layer in self._quantized.layers.items()}
        rounded = _watch(simulate(self._quantized), crops, ranges)
        for layer in list_layers(self._model):
            name = layer.name
            factor: Array = np.ones(1)
            if name.endswith(".qkv") and name in self._values:
                third = self._values[name].shape[1]
                factor = np.concatenate([np.ones(2 * third), self._values[name][0]])
            wanted = _numbers(self._model.get_submodule(name).get_parameter("bias")) * factor
            stored = _numbers(self._quantized.module.get_submodule(name).get_parameter("bias"))
            self.compared += wanted.size
            allowed = np.abs(wanted) * _ROUNDED + float(np.abs(wanted).max()) * 2.0**-12 + 1e-6
            if self._corrected and name in self._quantized.layers:
                change = (rounded[name].output - stored) - (exact[name].output * factor - wanted)
                rms = np.sqrt(np.square(change).mean(0))
                rms = np.maximum(rms, np.median(rms))
                # One channel may be far off by chance, not a whole layer.
                together = np.sqrt(np.square((stored - wanted) / (rms + allowed)).mean())
                allowed = allowed + (_TIMES_RMS if together <= _TIMES_RMS_OF_ALL else _TIMES_RMS_OF_ALL) * rms
            wrong = ~(np.abs(stored - wanted) <= allowed)
            if wrong.any():
                channel = int(np.nonzero(wrong)[0][0])
                raise VerificationError(
                    f"{name}, channel {channel}: the file holds the bias {stored[channel]:.6g}, and the model {wanted[channel]:.6g}; "
                    f"rounding explains a difference of {allowed[channel]:.3g}"
                )
            _check_range(name, ranges.get(name), rounded[name], largest_cut)

    def _step(self, name: str) -> Array:
        layer = self._quantized.layers.get(name)
        weight = _weight(self._model, name)
        if layer is None:
            return np.zeros(weight.shape)
        axis = 1 if layer.layer.kind == "deconv" else 0
        scale = layer.scale.astype(np.float64)
        rows = np.moveaxis(weight, axis, 0)
        per_row = scale.reshape(len(rows), -1)
        spread = np.repeat(per_row, rows[0].size // per_row.shape[1], axis=1).reshape(rows.shape)
        return np.moveaxis(spread, 0, axis)

    def _saturated(self, name: str, axis: int) -> NDArray[np.bool_]:
        layer = self._quantized.layers.get(name)
        if layer is None:
            return np.zeros((1, 1), bool)
        largest = 127 if layer.scale.ndim == 1 else 7
        return _rows(np.abs(layer.weight.astype(np.float64)), axis) >= largest

    def _norm(self, model: ViTPose, name: str) -> Tensor:
        block = model.get_submodule(name.rpartition(".attn." if ".attn." in name else ".mlp.")[0])
        assert isinstance(block, Block)  # noqa: S101  # that is where these layers are
        weight: Tensor = (block.norm1 if name.endswith(".qkv") else block.norm2).weight
        return weight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What a layer takes and gives.

    Attributes:
        output: (rows, channels).
        low: smallest value that it takes.
        high: largest.
        cut: share of what it takes that its range cuts off by more than a level.
        lost: how much the range takes away, root mean square, relative to what it takes.
    """

    output: NDArray[np.float32]
    low: float
    high: float
    cut: float
    lost: float


def _watch(model: ViTPose, crops: NDArray[np.float32], ranges: Mapping[str, ActivationRange | None]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    for name, module in model.named_modules():
        whole = isinstance(module, SimulatedLayer)
        if whole or (isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and not name.endswith(".layer")):

            def hook(_module: nn.Module, inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
                (x,) = inputs
                rows = output.movedim(1, -1) if output.ndim == 4 else output
                range_ = ranges.get(name)
                cut = lost = 0.0
                if range_ is not None:
                    beyond = (x < range_.low - range_.scale) | (x > range_.high + range_.scale)
                    cut = float(beyond.float().mean())
                    lost = float((x - x.clamp(range_.low, range_.high)).norm() / x.norm().clamp(min=1e-12))
                ends = float(x.min()), float(x.max())
                seen[name] = _Seen(output=rows.reshape(-1, rows.shape[-1]).numpy(), low=ends[0], high=ends[1], cut=cut, lost=lost)

            module.register_forward_hook(hook)
    with torch.inference_mode():
        model(torch.from_numpy(crops[:_CROPS]))
    return seen


def _check_range(name: str, range_: ActivationRange | None, seen: _Seen, largest_cut: float) -> None:
    if range_ is None:
        return
    reach = max(-seen.low, seen.high, 1e-12)
    # Many values may be cut off by a little: black pixels, where calibration saw few.
    cut_off = seen.cut > largest_cut and seen.lost > _LARGEST_LOSS
    if cut_off or range_.high - range_.low > _WIDEST * 2 * reach:
        mend = "; calibrate on more photos, of people like those on the photos it is verified on" if cut_off else ""
        raise VerificationError(
            f"{name}: its input is rounded to levels from {range_.low:.4g} to {range_.high:.4g}, and reaches from {seen.low:.4g} to "
            f"{seen.high:.4g}: {seen.cut:.1%} is cut off{mend}"
        )


def _median_ratio(stored: Array, wanted: Array) -> float:
    large = np.abs(wanted) >= np.abs(wanted).max() / 4
    return float(np.median(stored[large] / np.where(wanted[large] == 0, 1, wanted[large])))


def _weight(model: ViTPose, name: str) -> Array:
    return _numbers(model.get_submodule(name).get_parameter("weight"))


def _rows(values: Array, axis: int) -> Array:
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _numbers(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)
