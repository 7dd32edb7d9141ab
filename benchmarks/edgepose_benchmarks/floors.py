"""How far right quantized files are from the simulation of their decision, as multiples of what rounding alone changes.

    edgepose convert MODEL --precision int8,int8-full,int8-dynamic,int4 --calibration PHOTOS --out DIR
    python -m edgepose_benchmarks.floors MODEL DIR

The limits of ``edgepose_converters.limits`` are a few times these figures; they stand in ``docs/quantization.md``.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import open_artifact
from edgepose.cli.table import format_table
from edgepose.errors import EdgePoseError
from edgepose.models import load_checkpoint
from edgepose.precision import get_precision
from edgepose.quantization.lowering import apply, simulate
from edgepose.quantization.recipe import Quantization
from edgepose.runtime import load
from edgepose_converters.limits import quantized_tolerance
from edgepose_converters.noise import measure_noise, relative_rms
from edgepose_converters.verification import SLOW_VERIFIERS, make_reference, run_torch

__all__ = ["main"]

_CPU = {"openvino": "openvino:cpu", "onnx": "onnxruntime:cpu", "litert": "litert:cpu", "coreml": "mil:cpu"}
_RANDOM_CROPS = 2


def main() -> int:
    """Measure every quantized file in a folder, on the people in the sample photo and on random pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the checkpoint")
    parser.add_argument("folder", type=Path, help="its files, and the decisions behind them")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    decisions = [Quantization.load(path) for path in sorted(options.folder.glob("*.quantization.json"))]
    applied = {decision.sha256(): apply(checkpoint.model, decision) for decision in decisions}
    people = make_reference(checkpoint.model, checkpoint.spec).crops
    shape = (_RANDOM_CROPS, *checkpoint.spec.input_shape)
    random: NDArray[np.float32] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    rows = []
    for path in sorted(options.folder.iterdir()):
        try:
            export = open_artifact(path).spec.export
        except EdgePoseError:
            continue
        if export is None or export.quantization is None or export.quantization.sha256 not in applied:
            continue
        quantized = applied[export.quantization.sha256]
        precision = get_precision(export.precision)
        row = [path.name]
        with load(path, _CPU[export.target]) as session:
            for each in (people, random):
                crops = each[: SLOW_VERIFIERS.get(_CPU[export.target])]
                simulated = run_torch(simulate(quantized), crops)
                noise = measure_noise(quantized, precision, export.target, crops, simulated)
                error = relative_rms(session.run(crops), simulated)
                limit = quantized_tolerance(precision, export.target, noise).relative_rms
                row += [f"{error:.2%}", f"{error / noise:.2f}", f"{limit:.2%}"]
        rows.append(row)
    header = ["file", *["off on people", "times noise", "allowed"], *["off on noise", "times noise", "allowed"]]
    print(format_table(header, rows, right=tuple(range(1, len(header)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
