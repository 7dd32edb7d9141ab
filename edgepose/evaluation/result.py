"""The result of an evaluation: the figures, and everything that they depend on. Versioned JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgepose.document import describe, from_document, read_json, to_document
from edgepose.errors import SpecError
from edgepose.evaluation.procedures import ProcedureName
from edgepose.files import write_text
from edgepose.findings import Finding

__all__ = ["Comparison", "Conditions", "Evaluation", "Interval", "KeypointShift", "Work", "load_evaluation", "save_evaluation"]

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A bootstrap interval over pictures.

    Attributes:
        low: lower end.
        high: upper end.
        level: share of the resamples inside.
        resamples: their number.
    """

    low: float
    high: float
    level: float = 0.95
    resamples: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the figures depend on: equal conditions and equal pictures give equal figures, up to rounding on the device.

    Attributes:
        model: name in the artifact's spec.
        artifact: file name.
        artifact_sha256: the content hash inside the artifact, in hex.
        annotations: file name.
        annotations_sha256: of its bytes.
        detections: file name, or ``None`` where annotated boxes were used.
        detections_sha256: of its bytes.
        min_score: detections below were left out.
        protocol: name of the protocol.
        flip_test: whether heatmaps were averaged with those of mirrored crops.
        procedure: how boxes became crops, and heatmaps keypoints.
        edgepose: version.
        keypoints_as_listed: whether keypoint names that can't be compared with the model's were taken for the same.
    """

    model: str
    artifact: str
    artifact_sha256: str
    annotations: str
    annotations_sha256: str
    detections: str | None
    detections_sha256: str | None
    min_score: float
    protocol: str
    flip_test: bool
    procedure: ProcedureName
    edgepose: str
    keypoints_as_listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Where the model ran, and how fast.

    Attributes:
        runtime: runtime, version and device.
        threads: CPU threads asked for, or ``None`` where the runtime decides.
        streams: calls that ran at the same time.
        batch: crops per call.
        machine: processor and system.
        seconds: wall time of the run; shards are added up.
        device_seconds: of them, the time in which a call to the device was running.
    """

    runtime: str
    threads: int | None
    streams: int
    batch: int
    machine: str
    seconds: float
    device_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointShift:
    """How far one keypoint of a model lies from the baseline's, over all people, in pixels of the model's input.

    Attributes:
        keypoint: its name.
        mean_px: mean distance.
        median_px: median distance.
        p95_px: 95th percentile.
    """

    keypoint: str
    mean_px: float
    median_px: float
    p95_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An artifact against a baseline, on the same people.

    Attributes:
        baseline: the baseline's conditions.
        baseline_work: where it ran.
        baseline_metrics: its metrics.
        primary: the metric compared.
        drop: the baseline's minus the artifact's, in percentage points: above zero is a loss.
        drop_interval: of ``drop``, both models resampled alike.
        reference: what ``oks`` is measured against: ``labels``, or ``baseline`` where people are detections.
        oks_drop: mean over people: baseline's OKS minus the artifact's (``labels``), or 1 minus the OKS between the two (``baseline``);
            ``None`` where the skeleton has no sigmas.
        oks_drop_p95: 95th percentile over people.
        shift_px: mean keypoint distance, in pixels of the model's input.
        shifts: by keypoint.
        compared: number of people.
    """

    baseline: Conditions
    baseline_work: Work
    baseline_metrics: dict[str, float | None]
    primary: str
    drop: float | None
    drop_interval: Interval | None
    reference: Literal["labels", "baseline"]
    oks_drop: float | None
    oks_drop_p95: float | None
    shift_px: float
    shifts: tuple[KeypointShift, ...]
    compared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was measured.

    Attributes:
        conditions: what the figures depend on.
        work: where it ran.
        metrics: name → 0 to 1, or ``None`` where nothing could be measured.
        primary: the metric that models are compared by.
        interval: of the primary metric.
        counts: what was counted.
        left_out: reason → number of annotations, boxes or pictures that were left out.
        unusable: up to 20 pictures that could not be used, with the reasons.
        complete: whether every picture of the data set was used; figures of a part aren't those of the data set.
        pictures: number of pictures read.
        people: number of boxes that the model ran on.
        pictures_sha256: hash over names and bytes of all pictures read, whatever their order.
        date: ISO 8601, UTC.
        comparison: with a baseline, if one was given.
        warnings: what is odd about the files, so that figures may not mean what they seem to.
        notes: what was mended or chosen, and doesn't change what the figures mean.
    """

    conditions: Conditions
    work: Work
    metrics: dict[str, float | None]
    primary: str
    interval: Interval | None
    counts: dict[str, int]
    left_out: dict[str, int]
    unusable: tuple[str, ...]
    complete: bool
    pictures: int
    people: int
    pictures_sha256: str
    date: str
    comparison: Comparison | None = field(default=None)
    warnings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()

    def to_json(self) -> str:
        """Return indented JSON text with the format's version."""
        return json.dumps({"edgepose_evaluation": VERSION} | to_document(self), indent=2, allow_nan=False) + "\n"

    @staticmethod
    def is_document(document: object) -> bool:
        """Return whether parsed JSON is a result of an evaluation, of whatever version."""
        return isinstance(document, dict) and "edgepose_evaluation" in document

    @classmethod
    def from_document(cls, document: object, *, where: str) -> "Evaluation":
        """Read the parsed form of what ``to_json`` wrote.

        Raises:
            SpecError: it is something else, or of another version.
        """
        if not isinstance(document, dict) or not cls.is_document(document):
            raise SpecError(f"{where} isn't the result of `edgepose evaluate`")
        if document["edgepose_evaluation"] != VERSION:
            raise SpecError(
                f"{where} has version {describe(document['edgepose_evaluation'])}; this edgepose reads version {VERSION}: evaluate again"
            )
        return from_document(cls, {key: value for key, value in document.items() if key != "edgepose_evaluation"}, where=where)

    def with_comparison(self, comparison: Comparison) -> "Evaluation":
        """Return a copy with a comparison."""
        return dataclasses.replace(self, comparison=comparison)


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write a result, whole or not at all.

    Raises:
        InputError: the file can't be written.
    """
    write_text(path, evaluation.to_json(), what="the result")


def load_evaluation(path: Path) -> Evaluation:
    """Read what ``save_evaluation`` wrote.

    Raises:
        InputError: the file can't be read.
        SpecError: it isn't a result of an evaluation, or of another version.
    """
    return Evaluation.from_document(read_json(path, what="the result"), where=str(path))
