"""What is measured: one model file, on one device, in one scenario.

A case says everything that changes the meaning of its figures, and nothing about how long to measure: two results of one case can be
compared whatever their length.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgepose.document import to_document
from edgepose.errors import InputError
from edgepose.runtime.request import MAX_THREADS, DeviceRequest

__all__ = ["SCENARIOS", "STAGES", "BenchmarkCase", "Scenario", "Stage", "expand_cases"]

Scenario = Literal["single-stream", "multi-stream", "offline", "server"]
Stage = Literal["inference", "end-to-end"]

SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "offline", "server")
STAGES: tuple[Stage, ...] = ("inference", "end-to-end")
MAX_BATCH = 4096
MULTI_STREAMS = 8
MAX_PEOPLE = 64  # more are estimated in several pieces, whose stages would interleave


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCase:
    """One line of a sweep. The scenarios are those of MLPerf's inference rules (arXiv 1911.02549), on crops instead of samples.

    Attributes:
        artifact: file name of the model.
        sha256: content hash of the artifact, in hex.
        scenario: ``single-stream``: one call after the other, latency; ``multi-stream``: ``streams`` calls at once, time until the last
            is answered; ``offline``: always ``streams`` calls under way, throughput; ``server``: calls arrive at random (Poisson), the
            highest rate at which 99 % are answered within ``bound_s``.
        stage: ``inference``: normalized crops to heatmaps; ``end-to-end``: a decoded frame with ``people`` boxes to keypoints.
        device: device string, as ``edgepose.load`` takes it.
        threads: CPU threads in all, or ``None`` for the runtime's choice.
        options: settings of the runtime.
        batch: crops per call (``inference``).
        streams: calls under way at once, or ``None`` for the runtime's choice; 1 in ``single-stream``.
        people: boxes per frame (``end-to-end``), else ``None``.
        bound_s: latency bound (``server``), else ``None``.
    """

    artifact: str
    sha256: str
    scenario: Scenario = "single-stream"
    stage: Stage = "inference"
    device: str = "auto"
    threads: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    batch: int = 1
    streams: int | None = 1
    people: int | None = None
    bound_s: float | None = None

    def __post_init__(self) -> None:
        DeviceRequest.parse(self.device, threads=self.threads, options=self.options)
        if not 1 <= self.batch <= MAX_BATCH:
            raise InputError(f"batch is {self.batch}; allowed: 1 to {MAX_BATCH}")
        if self.streams is not None and not 1 <= self.streams <= MAX_THREADS:
            raise InputError(f"streams is {self.streams}; allowed: 1 to {MAX_THREADS}")
        if self.scenario == "single-stream" and self.streams != 1:
            raise InputError(f"the single-stream scenario has one stream, but streams is {self.streams}; use multi-stream or offline")
        if self.stage == "end-to-end" and (self.scenario != "single-stream" or self.batch != 1):
            raise InputError("the end-to-end stage is measured in the single-stream scenario with batch 1: its batch is the people")
        if (self.people is None) != (self.stage == "inference") or (self.people is not None and not 1 <= self.people <= MAX_PEOPLE):
            raise InputError(f"people is {self.people}; allowed: 1 to {MAX_PEOPLE} end to end, none for inference")
        if (self.bound_s is None) != (self.scenario != "server") or (self.bound_s is not None and not 0 < self.bound_s < 3600):
            raise InputError(f"the latency bound is {self.bound_s} s; the server scenario needs one above 0, the others take none")

    def key(self, machine: str) -> str:
        """Name of this case on a machine: 16 hex digits that a sweep finds a finished result by."""
        text = json.dumps([machine, to_document(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The case in a few words, for progress bars and errors."""
        parts = [self.artifact, self.device, self.scenario if self.stage == "inference" else f"end-to-end, {self.people} people"]
        if self.threads is not None:
            parts.append(f"{self.threads} threads")
        if self.batch != 1:
            parts.append(f"batch {self.batch}")
        if self.streams != 1:
            parts.append(f"{self.streams or 'auto'} streams")
        return ", ".join(parts)


def expand_cases(
    artifact: tuple[str, str],
    *,
    devices: Sequence[str],
    threads: Sequence[int | None],
    batches: Sequence[int],
    streams: Sequence[int | None],
    scenarios: Sequence[Scenario],
    stages: Sequence[Stage],
    options: dict[str, str],
    people: int,
    bound_s: float,
) -> list[BenchmarkCase]:
    """Make every combination that has a meaning, each once: a single stream has no number of streams, a frame no batch.

    Args:
        artifact: file name and content hash.
        devices: device strings.
        threads: CPU threads.
        batches: crops per call.
        streams: calls at once, for the scenarios that have several; multi-stream takes 8 for ``None``, as MLPerf does.
        scenarios: ``inference`` is measured in all of these.
        stages: ``end-to-end`` is measured in the single-stream scenario.
        options: settings of the runtime, for all.
        people: boxes per frame, for ``end-to-end``.
        bound_s: latency bound, for ``server``.

    Raises:
        InputError: a value out of range.
    """
    cases: dict[str, BenchmarkCase] = {}
    for device, count, scenario, stage in itertools.product(devices, threads, scenarios, stages):
        whole = stage == "end-to-end"
        if whole and scenario != "single-stream":
            continue
        for batch, width in itertools.product([1] if whole else batches, [1] if scenario == "single-stream" else streams):
            case = BenchmarkCase(
                artifact=artifact[0],
                sha256=artifact[1],
                scenario=scenario,
                stage=stage,
                device=device,
                threads=count,
                options=options,
                batch=batch,
                streams=MULTI_STREAMS if width is None and scenario == "multi-stream" else width,
                people=people if whole else None,
                bound_s=bound_s if scenario == "server" else None,
            )
            cases[case.key("")] = case
    return list(cases.values())
