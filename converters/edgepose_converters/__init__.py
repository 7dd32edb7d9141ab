"""Converters: a ViTPose in torch becomes a verified file for OpenVINO, ONNX, LiteRT (TFLite) and Core ML.

``convert`` writes, executes and compares; ``verify`` compares a file that is already there. A new target is one file here, plus its line in
``targets``.
"""

from edgepose_converters.conversion import Conversion, check_request, convert
from edgepose_converters.halving import HalfRequest
from edgepose_converters.limits import Tolerance, tolerance
from edgepose_converters.published import Verification, verify
from edgepose_converters.targets import TARGETS

__all__ = ["TARGETS", "Conversion", "HalfRequest", "Tolerance", "Verification", "check_request", "convert", "tolerance", "verify"]
