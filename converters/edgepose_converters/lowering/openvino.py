"""OpenVINO: compressed weights, and FakeQuantize in front of the layers whose input is quantized.

This is the form that NNCF itself writes. The CPU, GPU and NPU plug-ins turn it into integer kernels when they compile it.
"""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.quantization.lowering import QuantizedLayer, QuantizedModel
from edgepose.quantization.recipe import ActivationRange
from edgepose_converters.lowering.matching import match_layers
from edgepose_converters.lowering.operators import OperatorNames
from edgepose_converters.nibbles import pack_nibbles

__all__ = ["lower", "save_mixed"]

_WEIGHTED = ("MatMul", "Convolution", "ConvolutionBackpropData")
_KINDS = {"Add": "add", "MatMul": "matmul", "Softmax": "softmax", "ScaledDotProductAttention": "attention", "Relu": "relu"}
_MODULE = "__module."
_KEPT = {"name": "precise", "version": "0"}
"""What marks an operator whose precision no plug-in may lower, in every release."""


def lower(model: Any, quantized: QuantizedModel) -> None:
    """Put the integer weights and the quantizers of ``quantized`` into the float OpenVINO ``model`` that was made from its module."""
    weighted = (node for node in model.get_ordered_ops() if node.get_type_name() in _WEIGHTED)
    found = [(node, weight.data) for node in weighted if (weight := node.input_value(1).get_node()).get_type_name() == "Constant"]
    for layer, node in list(match_layers(quantized, found)):
        lowered = quantized.layers.get(layer.name)
        if lowered is None:
            node.input(1).replace_source_output(_halved(node.input_value(1).get_node().data).output(0))
            continue
        node.input(1).replace_source_output(_weight(lowered).output(0))
        if lowered.input is not None:
            node.input(0).replace_source_output(_quantizer(node.input_value(0), lowered.input).output(0))


def save_mixed(model: Any, path: Path, float32: frozenset[str], *, simple: bool) -> None:
    """Save a model with its constants in half precision, but for those of the operators named, which it marks to compute in float32.

    Args:
        model: OpenVINO's form of a torch model.
        path: where to.
        float32: operators, named as in ``edgepose_converters.walk``.
        simple: whether the network has the simple head.
    """
    import openvino

    kept = _find_kept(model, float32, OperatorNames(simple=simple))
    # The mark can't be set from Python: it is written into a file of full precision, and read from there.
    marked = path.with_name(f"{path.stem}-marked.xml")
    openvino.save_model(model, marked, compress_to_fp16=False)
    document = ET.parse(marked)  # noqa: S314  # just written
    for layer in document.iterfind("./layers/layer"):
        if layer.get("name") in kept:
            facts = layer.find("rt_info")
            if facts is None:
                facts = ET.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, facts)
            ET.SubElement(facts, "attribute", _KEPT)
    document.write(marked)
    openvino.save_model(openvino.Core().read_model(marked), path, compress_to_fp16=True)
    for file in (marked, marked.with_suffix(".bin")):
        file.unlink()
    # Later releases write the mark in a form of their own, which earlier ones pass over; they read both.
    document = ET.parse(path)  # noqa: S314  # just written
    for layer in document.iterfind("./layers/layer"):
        for fact in layer.iterfind("./rt_info/attribute[@name='DisablePrecisionConversion']") if layer.get("name") in kept else ():
            fact.attrib.clear()
            fact.attrib.update(_KEPT)
    document.write(path)


def _find_kept(model: Any, float32: frozenset[str], names: OperatorNames) -> set[str]:
    """Return the nodes of the operators named, with their constants, by OpenVINO's names."""
    kept: set[str] = set()
    for node in model.get_ordered_ops():
        name, kind = node.get_friendly_name(), node.get_type_name()
        sources = [port.get_source_output().get_node() for port in node.inputs()]
        module, slash, _ = name.removeprefix(_MODULE).partition("/")
        if kind == "Result" and sources[0].get_friendly_name() in kept:
            # Else what a kept operator gives would be rounded on its way out.
            kept.add(name)
        elif slash and name.startswith(_MODULE) and kind != "Constant" and names.name(module, _KINDS.get(kind, "")) & float32:
            constants = (each for each in sources if each.get_type_name() == "Constant" and each.get_element_type().is_real())
            kept |= {name, *(each.get_friendly_name() for each in constants)}
    return kept


def _weight(layer: QuantizedLayer) -> Any:
    from openvino import Type, opset15

    if layer.scale.ndim == 2:
        return _grouped(layer)
    levels = opset15.constant(layer.weight)
    shape = [1] * layer.weight.ndim
    shape[1 if layer.layer.kind == "deconv" else 0] = -1
    return opset15.multiply(opset15.convert(levels, Type.f32), opset15.constant(layer.scale.reshape(shape)))


def _grouped(layer: QuantizedLayer) -> Any:
    """4-bit levels as (out, groups, group), scaled, then reshaped to the weight's own shape."""
    from openvino import Tensor, Type, opset15

    out, groups = layer.scale.shape
    shape = [out, groups, layer.weight.size // (out * groups)]
    levels = opset15.constant(Tensor(pack_nibbles(layer.weight), shape, Type.i4), shared_memory=False)
    scaled = opset15.multiply(opset15.convert(levels, Type.f32), opset15.constant(layer.scale[..., None]))
    return opset15.reshape(scaled, opset15.constant(np.array(layer.weight.shape, np.int64)), special_zero=False)


def _halved(weight: NDArray[np.float32]) -> Any:
    """OpenVINO's own compression leaves quantized models alone, so the layers that stay in float are halved here."""
    from openvino import Type, opset15

    return opset15.convert(opset15.constant(weight.astype(np.float16)), Type.f32)


def _quantizer(source: Any, levels: ActivationRange) -> Any:
    from openvino import opset15

    low, high = (opset15.constant(np.float32(value)) for value in (levels.low, levels.high))
    return opset15.fake_quantize(source, low, high, low, high, 256)
