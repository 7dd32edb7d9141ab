"""LiteRT (TFLite)."""

from pathlib import Path

from edgepose.errors import InputError
from edgepose.precision import Precision, held_precisions
from edgepose.quantization.preparation import prepare
from edgepose_converters.lowering import litert as lowering
from edgepose_converters.target import NOT_EXECUTED, Source, Written, installed_versions
from edgepose_converters.tflite.graph import Graph
from edgepose_converters.tflite.integer import emit_integers
from edgepose_converters.tflite.network import emit

__all__ = ["TARGET", "LiteRTTarget"]


_NO_BLOCKS = "LiteRT's reference kernels ignore the scales of blocks"


class LiteRTTarget:
    """``.tflite``. Float constants are fp16 in all files but fp32, widened on load; GPU delegates compute in fp16 on their own."""

    name = "litert"
    suffix = ".tflite"
    precisions = held_precisions("litert")
    # TFLite's graphs have one batch size.
    dynamic_batch = False
    # Flatbuffers address their content with signed 32-bit offsets.
    max_parameters = 500_000_000
    # XNNPACK, LiteRT's own kernels for devices without it, and its reference kernels.
    verifiers = ("litert:cpu", "litert:builtin", "litert:reference")

    def write(self, source: Source, path: Path, *, precision: Precision, batch: int | None) -> Written:
        """See ``Target.write``."""
        if batch is None:
            raise InputError("TFLite files have a static batch size")
        path.write_bytes(_build(source, precision, batch).serialize(source.spec.name))
        details = {NOT_EXECUTED: f"litert:reference ({_NO_BLOCKS})"} if precision.weight_bits == 4 else {}
        return Written(tools=installed_versions("ai-edge-litert", "torch"), details=details)


def _build(source: Source, precision: Precision, batch: int) -> Graph:
    if source.quantized is None:
        graph = emit(prepare(source.module), batch, keep_norm_weights=frozenset())
        if precision.float_constants == "float32":
            return graph
        return lowering.store_half_precision(graph, float32=source.float32)
    if precision.whole:
        return emit_integers(source.quantized, batch)
    graph = emit(source.module, batch, keep_norm_weights=frozenset(source.quantized.layers))
    return lowering.store_half_precision(lowering.lower(graph, source.quantized))


TARGET = LiteRTTarget()
