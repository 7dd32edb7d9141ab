"""Say where an executed file goes wrong: run it with the output of every layer shown, and compare layer by layer with the simulation.

The first layer that is further off than rounding explains is where the fault is; what follows only passes it on.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgepose.files import temporary_folder
from edgepose.models.vitpose import ViTPose
from edgepose.runtime.signal_stack import kept_signal_stack
from edgepose_converters.readback.comparison import check_structure
from edgepose_converters.readback.expected import ExpectedLayer, ExpectedNetwork
from edgepose_converters.readback.graph import StoredGraph

__all__ = ["locate"]

logger = logging.getLogger(__name__)

_TIMES_NOISE = 4.0
_OF_CHANNEL = 1.5
"""Single channels of a right layer may be further off by chance."""

_LEAST = 2e-3
"""A layer may be off by this share of its output without being blamed."""


def locate(
    path: Path,
    format: str,  # noqa: A002
    graph: StoredGraph,
    expected: ExpectedNetwork,
    right: ViTPose,
    disturbed: ViTPose,
    crops: NDArray[np.float32],
) -> str:
    """Return a sentence that names the first layer and channel that is off, or an empty string where none is, or nothing can be said.

    Args:
        path: the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        graph: what was read from it.
        expected: what it should hold.
        right: computes what it should.
        disturbed: the same, with the errors that the format's runtime makes.
        crops: as many as the file takes at once.
    """
    try:
        layers = check_structure(graph, expected)
        given = _RUNNERS[format](path, [layer.result for layer in layers], crops)
    except Exception as error:  # runtimes raise exceptions of many kinds, and this is help on the way out of another failure
        logger.warning("%s: can't be compared layer by layer: %s", path.name, error)
        return ""
    names = {layer.layer.name for layer in expected.layers}
    wanted, noisy = _watch(right, names, crops), _watch(disturbed, names, crops)
    for stored, layer, values in zip(layers, expected.layers, given, strict=True):
        real = values.astype(np.float64)
        if stored.result in graph.levels:
            levels = graph.levels[stored.result]
            real = (real - np.iinfo(values.dtype).min - levels.zero_point) * levels.scale
        if format == "litert" and layer.layer.kind != "linear":
            real = np.moveaxis(real, -1, 1)
        ours, theirs, noise = (_channels(each, layer) for each in (real, _part(wanted, layer), _part(noisy, layer)))
        power = np.sqrt(np.square(theirs).mean())
        off = np.sqrt(np.square(ours - theirs).mean(1))
        allowed = _TIMES_NOISE * np.sqrt(np.square(noise - theirs).mean(1)) + _LEAST * power
        if not np.sqrt(np.square(off).mean()) <= np.sqrt(np.square(allowed).mean()) or not (off <= _OF_CHANNEL * allowed).all():
            channel = int(np.argmax(np.nan_to_num(off / allowed, nan=np.inf)))
            return (
                f"the first layer that is off is {layer.layer.name}, most of all its channel {layer.first + channel}: by "
                f"{off[channel] / (np.sqrt(np.square(theirs[channel]).mean()) or 1.0):.1%} (root mean square); "
                f"{int((~(off <= allowed)).sum())} of {len(off)} channels are"
            )
    return ""


def _watch(model: ViTPose, names: set[str], crops: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    seen: dict[str, NDArray[np.float64]] = {}
    handles = []
    for name in names:

        def hook(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor, name: str = name) -> None:
            seen[name] = output.numpy().astype(np.float64)

        handles.append(model.get_submodule(name).register_forward_hook(hook))
    with torch.inference_mode():
        model(torch.from_numpy(crops))
    for handle in handles:
        handle.remove()
    return seen


def _part(seen: dict[str, NDArray[np.float64]], layer: ExpectedLayer) -> NDArray[np.float64]:
    values = seen[layer.layer.name]
    count = len(layer.bias)
    axis = -1 if layer.layer.kind == "linear" else 1
    if values.shape[axis] == count:
        return values
    return np.take(values, range(layer.first, layer.first + count), axis) * layer.factor


def _channels(values: NDArray[np.float64], layer: ExpectedLayer) -> NDArray[np.float64]:
    """Return (channels, everything else)."""
    return np.moveaxis(values, -1 if layer.layer.kind == "linear" else 1, 0).reshape(len(layer.bias), -1)


@kept_signal_stack()
def _run_openvino(path: Path, names: Sequence[str], crops: NDArray[np.float32]) -> list[NDArray[Any]]:
    from edgepose.runtime.openvino import import_openvino

    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(path)
    nodes = {node.get_friendly_name(): node for node in model.get_ops()}
    shown = []
    for name in names:
        node, _, port = name.rpartition(":")
        shown.append(nodes[node].output(int(port)))
    results = [openvino.opset15.result(output) for output in shown]
    model.add_results(results)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled.create_infer_request().infer([crops])
    return [np.array(found[number + 1]) for number in range(len(names))]


def _run_onnx(path: Path, names: Sequence[str], crops: NDArray[np.float32]) -> list[NDArray[Any]]:
    import onnx
    from onnx import ValueInfoProto

    from edgepose.runtime.packages import import_package

    model = onnx.load(path)
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    ort = import_package("onnxruntime", extra="onnx", purpose="running an ONNX file")
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(list(names), {model.graph.input[0].name: crops})
    return found


def _run_litert(path: Path, names: Sequence[str], crops: NDArray[np.float32]) -> list[NDArray[Any]]:
    import flatbuffers
    from ai_edge_litert import interpreter as litert
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    graph.outputs = list(dict.fromkeys([*graph.outputs, *map(int, names)]))
    model.signatureDefs = []
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    with temporary_folder() as folder:
        shown = folder / "shown.tflite"
        shown.write_bytes(bytes(builder.Output()))
        runner = litert.Interpreter(model_path=str(shown), num_threads=1)
        runner.allocate_tensors()
        (source,) = runner.get_input_details()
        values: NDArray[Any] = crops
        if source["dtype"] != np.float32:
            scale, zero_point = source["quantization"]
            limits = np.iinfo(source["dtype"])
            values = np.clip(np.rint(crops / np.float32(scale)) + zero_point, limits.min, limits.max).astype(source["dtype"])
        runner.set_tensor(source["index"], values)
        runner.invoke()
        return [runner.get_tensor(int(name)) for name in names]


def _run_coreml(path: Path, names: Sequence[str], crops: NDArray[np.float32]) -> list[NDArray[Any]]:
    import dataclasses

    from edgepose.runtime.mil.operators import OPERATORS
    from edgepose.runtime.mil.package import read_package
    from edgepose.runtime.mil.program import MilProgram

    program = read_package(path, {*OPERATORS, "const"})
    shown = dataclasses.replace(program, outputs=tuple(dict.fromkeys([*program.outputs, *names])))
    (source,) = program.inputs
    found = MilProgram(path, shown).run({source: crops})
    return [found[name] for name in names]


_RUNNERS = {"openvino": _run_openvino, "onnx": _run_onnx, "litert": _run_litert, "coreml": _run_coreml}
