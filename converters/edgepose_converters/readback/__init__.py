"""Read back what was written: every weight, scale, zero point, bias and range of a saved file, and what feeds what, against the decision.

One file per format turns the saved bytes into a ``StoredGraph``; ``layers`` finds the network in it; ``expected`` works out what it must
hold from the model and the decision; ``comparison`` compares. Nothing here is shared with the code that writes.
"""

import importlib
from pathlib import Path

from edgepose.errors import VerificationError
from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision
from edgepose.quantization.lowering import QuantizedModel
from edgepose_converters.readback.comparison import check_network
from edgepose_converters.readback.expected import expect
from edgepose_converters.readback.graph import StoredGraph

__all__ = ["read_back", "read_graph"]


def read_graph(path: Path, format: str) -> StoredGraph:  # noqa: A002
    """Read a file of a format (``openvino``, ``onnx``, ``litert`` or ``coreml``).

    Raises:
        VerificationError: it isn't made as edgepose makes files.
    """
    graph: StoredGraph = importlib.import_module(f"edgepose_converters.readback.{format}").read(path)
    return graph


def read_back(path: Path, module: ViTPose, quantized: QuantizedModel | None, precision: Precision, format: str) -> int:  # noqa: A002
    """Compare the numbers in a saved file with those it was made from; return how many were compared.

    Args:
        path: the file.
        module: the model, BatchNorm folded.
        quantized: the decision, applied; for a quantized precision.
        precision: of the file.
        format: ``openvino``, ``onnx``, ``litert`` or ``coreml``.

    Raises:
        VerificationError: it holds something else. Names the file, the layer and the channel, what is stored and what should be.
    """
    expected = expect(module, quantized, precision, format)
    try:
        return check_network(read_graph(path, format), expected)
    except VerificationError as error:
        raise VerificationError(f"{path.name}: {error}") from None
