"""The fastest matrix product that this machine shows, to hold a model's speed against.

A model can't multiply faster than a large, square product of the same precision does; how near it comes says how much is left to gain.
The product runs through OpenVINO where that is installed (on the device that the model ran on), and for float32 on the CPU through NumPy's
BLAS too; the fastest counts. ``OMP_NUM_THREADS`` and ``threads`` bound both alike.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.precision import PRECISIONS, Arithmetic
from edgepose.runtime.signal_stack import kept_signal_stack
from edgepose_benchmarks.result import Peak

__all__ = ["find_arithmetic", "measure_peak"]

SIDE = 1024
CHAIN = 4  # products in one OpenVINO model, so that quantizing its input and reading its output count little
SECONDS = 1.5
MIN_CALLS = 5


def find_arithmetic(target: str, precision: str) -> Arithmetic | None:
    """What the matrix products of a file are computed in.

    Args:
        target: format of the file.
        precision: of the file, as ``edgepose convert`` names it.

    Returns:
        ``None`` for what no product here can be held against, such as Core ML's files.
    """
    known = PRECISIONS.get(precision)
    here = None if known is None else known.formats.get(target)
    return None if here is None else here.arithmetic


def measure_peak(precision: Arithmetic, *, device: str, threads: int | None) -> Peak | None:
    """Measure; ``None`` where nothing here can multiply in that precision on that device.

    Args:
        precision: of the operands.
        device: ``cpu``, or OpenVINO's name of another device.
        threads: CPU threads; NumPy takes its number from the environment instead.
    """
    peaks = []
    if importlib.util.find_spec("openvino") is not None:
        peaks.append(_measure_openvino(precision, device, threads))
    if precision == "f32" and device.lower() == "cpu":
        peaks.append(_measure_numpy())
    known = [peak for peak in peaks if peak is not None]
    return max(known, key=lambda peak: peak.macs_per_s, default=None)


def _measure_numpy() -> Peak:
    left, right = _operand(0), _operand(1)
    out = np.empty((SIDE, SIDE), np.float32)
    seconds = _fastest(lambda: np.matmul(left, right, out=out))
    return Peak(macs_per_s=SIDE**3 / seconds, precision="f32", source=f"numpy {np.__version__}")


@kept_signal_stack()
def _measure_openvino(precision: Arithmetic, device: str, threads: int | None) -> Peak | None:
    from edgepose.runtime.openvino import import_openvino

    openvino = import_openvino()
    core = openvino.Core()
    name = device.upper()
    if name not in core.available_devices:
        return None
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None and name == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    request = core.compile_model(_chain(openvino, precision), name, settings).create_infer_request()
    operand = _operand(0)
    seconds = _fastest(lambda: request.infer([operand], share_inputs=True))
    return Peak(macs_per_s=CHAIN * SIDE**3 / seconds, precision=precision, source=f"openvino {openvino.__version__.split('-')[0]} {name}")


def _chain(openvino: Any, precision: Arithmetic) -> Any:
    """A model of ``CHAIN`` products; for int8, operands pass through FakeQuantize, which OpenVINO folds into int8 products."""
    opset = openvino.opset13
    tensor = start = opset.parameter([SIDE, SIDE], np.float32, name="input")
    for index in range(CHAIN):
        weights = opset.constant(_operand(index + 1) / np.float32(np.sqrt(SIDE)))
        if precision == "int8":
            tensor = opset.fake_quantize(tensor, *(opset.constant(np.float32(end)) for end in (-4, 4, -4, 4)), levels=256)
            weights = opset.fake_quantize(weights, *(opset.constant(np.float32(end)) for end in (-0.125, 0.125, -0.125, 0.125)), levels=255)
        tensor = opset.matmul(tensor, weights, transpose_a=False, transpose_b=False)
    return openvino.Model([opset.result(tensor)], [start], "peak")


def _operand(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest call: what the machine can do, not what it does on average."""
    best = float("inf")
    start = time.perf_counter()
    calls = 0
    while calls < MIN_CALLS or time.perf_counter() - start < SECONDS:
        before = time.perf_counter_ns()
        work()
        best = min(best, (time.perf_counter_ns() - before) * 1e-9)
        calls += 1
    return best
