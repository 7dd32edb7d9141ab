"""Explain a failed comparison: which layer of the executed file is the first that is off."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import VerificationError
from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision
from edgepose.quantization.lowering import QuantizedModel, simulate
from edgepose.quantization.preparation import prepare
from edgepose.quiet import quiet
from edgepose_converters.noise import disturb
from edgepose_converters.readback import read_graph
from edgepose_converters.readback.expected import expect
from edgepose_converters.readback.localisation import locate

__all__ = ["explain_failure"]


@contextmanager
def explain_failure(
    path: Path,
    module: ViTPose,
    quantized: QuantizedModel | None,
    precision: Precision,
    format: str,  # noqa: A002
    crops: NDArray[np.float32],
    batch: int | None,
) -> Iterator[None]:
    """Add to a VerificationError that is raised inside which layer and channel of the file is the first that is off.

    Args:
        path: the file.
        module: the model, BatchNorm folded.
        quantized: the decision, applied; for a quantized precision.
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.
        crops: (N, 3, H, W) float32, normalized: what the file was executed on.
        batch: the file's static batch size, or ``None``.
    """
    try:
        yield
    except VerificationError as error:
        with quiet():
            found = _find(path, module, quantized, precision, format, _fill(crops, batch or 1))
        raise VerificationError(f"{error}; {found}" if found else str(error)) from None


def _find(
    path: Path,
    module: ViTPose,
    quantized: QuantizedModel | None,
    precision: Precision,
    format: str,  # noqa: A002
    crops: NDArray[np.float32],
) -> str:
    if quantized is None:
        right = disturbed = prepare(module) if format == "litert" else module
    else:
        right, disturbed = simulate(quantized), disturb(quantized, precision, format)
    try:
        graph = read_graph(path, format)
    except VerificationError:
        return ""
    return locate(path, format, graph, expect(module, quantized, precision, format), right, disturbed, crops)


def _fill(crops: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Return exactly as many crops as the file takes at once."""
    return np.ascontiguousarray(np.resize(crops, (batch, *crops.shape[1:])))
