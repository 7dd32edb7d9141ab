"""Results as they might come from a machine, for tests of what is made of them."""

import dataclasses

import numpy as np

from edgepose_benchmarks.case import BenchmarkCase
from edgepose_benchmarks.result import (
    BenchmarkResult,
    Comparison,
    Conditions,
    Interval,
    Machine,
    ModelFacts,
    OperatorShare,
    PairRatio,
    Peak,
    Profiled,
    ReportedTimes,
    Run,
    SessionFacts,
)

__all__ = ["MACHINE", "MODEL", "make_comparison", "make_result", "make_run"]

MACHINE = Machine(
    name="board", id="0123456789ab", cpu="Cortex-A76", architecture="aarch64", cores=4, memory_bytes=8 << 30, system="Linux 6"
)
MODEL = ModelFacts(name="vitpose-s", target="openvino", precision="fp32", size_bytes=98_000_000, macs=5_000_000_000, shift_px=0.01)


def make_run(center_s: float = 0.02, count: int = 200, seed: int = 0, warmup: int = 10, **conditions: object) -> Run:
    """A run whose first ten samples are twice as slow."""
    samples = center_s * (1 + 0.02 * np.random.default_rng(seed).standard_normal(count))
    samples[:warmup] *= 2
    known = Conditions(
        seconds=float(samples.sum()), cpu_cores=1.9, other_cores=0.01, memory_peak_bytes=200_000_000, memory_before_bytes=60_000_000
    )
    return Run(
        load_s=0.4,
        import_s=0.2,
        first_s=0.05,
        samples_s=tuple(samples.tolist()),
        warmup=warmup,
        conditions=dataclasses.replace(known, **conditions),
    )


def make_result(artifact: str = "vitpose-s-fp32.xml", center_s: float = 0.02, **changes: object) -> BenchmarkResult:
    """A measured result of three processes."""
    case = BenchmarkCase(artifact=artifact, sha256="ab" * 32)
    result = BenchmarkResult(
        case=case,
        kind="measured",
        machine=MACHINE,
        model=MODEL,
        started="2026-01-01T00:00:00+00:00",
        edgepose="0.1.0",
        session=SessionFacts(runtime="openvino", version="2026.4", device="CPU", streams=1, batch=1),
        runs=tuple(make_run(center_s, seed=seed) for seed in range(3)),
        peak=Peak(macs_per_s=500e9, precision="f32", source="openvino"),
        profile=Profiled(
            source="OpenVINO PERF_COUNT",
            operators=(OperatorShare(kind="MatMul", device="CPU", count=48, seconds=0.015, share=0.75),),
            accelerated=0.0,
        ),
    )
    return dataclasses.replace(result, **changes)


def make_estimate(mean_s: float = 0.005) -> BenchmarkResult:
    """What vela might say."""
    machine = dataclasses.replace(MACHINE, name="ethos-u85-256", id="ba9876543210")
    reported = ReportedTimes(tool="vela", count=0, mean_s=mean_s)
    return make_result(kind="estimated", machine=machine, session=None, runs=(), profile=None, peak=None, reported=reported)


def make_comparison() -> Comparison:
    """B is three percent slower."""
    pair = PairRatio(a_s=(0.01, 0.02), b_s=(0.0103, 0.0206), b_first=(True, False))
    case = make_result().case
    return Comparison(
        a=case,
        b=dataclasses.replace(case, threads=1),
        machine=MACHINE,
        model_a=MODEL,
        model_b=MODEL,
        started="2026-01-01T00:00:00+00:00",
        edgepose="0.1.0",
        pairs=(pair,) * 8,
        ratio=Interval(value=1.03, low=1.02, high=1.04),
        confidence=0.99,
        verdict="B is slower",
    )
