"""An evaluation from end to end: files in, figures out."""

import dataclasses
import datetime
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgepose
from edgepose.artifact import Artifact
from edgepose.errors import InputError
from edgepose.evaluation.annotations import load_annotations
from edgepose.evaluation.dataset import Annotations, People, Score, select_pictures
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.inference import Found, Pictures
from edgepose.evaluation.keypoint_names import is_unnamed
from edgepose.evaluation.people import annotated_people
from edgepose.evaluation.picture_files import locate_pictures
from edgepose.evaluation.procedures import ProcedureName
from edgepose.evaluation.protocols import Protocol, choose_protocol
from edgepose.evaluation.result import Conditions, Evaluation, Interval, Work
from edgepose.evaluation.running import RunOptions, run_model
from edgepose.evaluation.shards import Shard, ShardRecord, merge_shards, pictures_of_shard
from edgepose.findings import Finding, Findings
from edgepose.pipeline.top_down import check_flip_test
from edgepose.printable import printable
from edgepose.spec import ModelSpec

__all__ = ["DataSet", "Judged", "Request", "bootstrap", "evaluate", "evaluate_shard", "judge", "merge", "open_data"]

RESAMPLES = 1000
_SHOWN_PICTURES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be evaluated on.

    Attributes:
        annotations: the annotation file.
        images: folder of the pictures.
        detections: a detector's boxes; ``None`` takes the annotated ones.
        protocol: its name; ``None`` goes by the annotations.
        min_score: detections below are left out.
        flip_test: average with mirrored crops.
        procedure: crop and decoding; see ``edgepose.evaluation.procedures``.
        skip_missing: evaluate the rest where pictures are missing, instead of refusing.
        keypoints_as_listed: keypoint names that can't be compared with the model's are taken for the same, in their order.
    """

    annotations: Path
    images: Path
    detections: Path | None = None
    protocol: str | None = None
    min_score: float = 0.0
    flip_test: bool = False
    procedure: ProcedureName = "published"
    skip_missing: bool = False
    keypoints_as_listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """Whom to look for, and how to judge what is found.

    Attributes:
        request: where it comes from.
        annotations: what is annotated.
        people: the boxes.
        protocol: how it is judged.
        detections_sha256: of the detections' bytes, or ``None``.
        missing: bool (I,): pictures that have boxes but no file.
        findings: what is odd about the files.
    """

    request: Request
    annotations: Annotations
    people: People
    protocol: Protocol
    detections_sha256: str | None
    missing: NDArray[np.bool_]
    findings: tuple[Finding, ...] = ()

    @property
    def pictures(self) -> Pictures:
        """The pictures of the annotations."""
        return Pictures(names=self.annotations.file_names, sizes=self.annotations.picture_sizes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A model's figures, with what they were made from, for a comparison.

    Attributes:
        evaluation: the result.
        score: the protocol's, over the pictures that could be used.
        kept: bool (I,): those pictures.
        keypoints: float64 (M, K, 3), of all people; NaN where the picture couldn't be used.
        spec: the model's.
    """

    evaluation: Evaluation
    score: Score
    kept: NDArray[np.bool_]
    keypoints: NDArray[np.float64]
    spec: ModelSpec


def open_data(request: Request, spec: ModelSpec, findings: Findings | None = None) -> DataSet:
    """Read annotations and detections, and look whether the pictures are there.

    Args:
        request: what to read.
        spec: of the model.
        findings: is told what is odd about the files, also where an error is raised in the end.

    Raises:
        InputError: a file can't be used, doesn't fit the model's keypoints, pictures are missing, or the flip test is asked for and the
            skeleton has no flip pairs.
        SpecError: a file has wrong content.
    """
    findings = Findings() if findings is None else findings
    if request.flip_test:
        check_flip_test(spec.skeleton)
    if not request.images.is_dir():
        raise InputError(f"no folder {str(request.images)!r} of pictures")
    names = () if is_unnamed(spec.skeleton) else spec.skeleton.keypoints
    annotations = load_annotations(request.annotations, keypoints=spec.keypoints, names=names, findings=findings)
    protocol = choose_protocol(request.protocol, annotations, spec.skeleton, as_listed=request.keypoints_as_listed, findings=findings)
    if request.detections is None:
        people, sha256 = annotated_people(annotations), None
    else:
        people = detected_people(request.detections, annotations, min_score=request.min_score, findings=findings)
        sha256 = hashlib.sha256(request.detections.read_bytes()).hexdigest()
    if not len(people):
        reasons = ", ".join(f"{count} {why}" for why, count in people.skipped.items())
        raise InputError(
            f"{request.annotations}: there is nobody to look for: each of the {len(annotations.ids)} is left out ({reasons}); "
            "people need labelled keypoints and a box: left, top, width, height in pixels"
        )
    wanted = np.zeros(len(annotations.file_names), np.bool_)
    wanted[people.pictures] = True
    located, missing = locate_pictures(request.images, annotations.file_names, wanted, findings)
    if missing.any() and (not request.skip_missing or missing[people.pictures].all()):
        shown_names = ", ".join(printable(annotations.file_names[index]) for index in np.flatnonzero(missing)[:3])
        hint = "name another folder" if missing[people.pictures].all() else "or evaluate the rest with --skip-missing"
        raise InputError(
            f"{missing.sum()} of the {wanted.sum()} pictures with people aren't in {str(request.images)!r} (such as {shown_names}); {hint}"
        )
    return DataSet(
        request=request,
        annotations=dataclasses.replace(annotations, file_names=located),
        people=people,
        protocol=protocol,
        detections_sha256=sha256,
        missing=missing,
        findings=tuple(findings),
    )


def evaluate(
    artifact: Artifact, data: DataSet, run: RunOptions, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Judged:
    """Run an artifact on a data set and compute its figures.

    Args:
        artifact: the model file.
        data: whom to look for.
        run: where it runs.
        progress: is told how many people are done, of how many.

    Raises:
        EdgePoseError: see ``edgepose.load``, ``find_keypoints`` and ``judge``.
    """
    found, conditions, work = _find(artifact, data, run, ~data.missing, progress)
    return judge(data, found, conditions, work, artifact.spec)


def _find(
    artifact: Artifact,
    data: DataSet,
    run: RunOptions,
    only: NDArray[np.bool_],
    progress: Callable[[int, int], None],
) -> tuple[Found, Conditions, Work]:
    request = data.request
    found, work = run_model(
        artifact,
        data.pictures,
        data.people,
        request.images,
        run,
        only=only,
        flip_test=request.flip_test,
        procedure=request.procedure,
        progress=progress,
    )
    return found, _conditions(artifact, data), work


def judge(data: DataSet, found: Found, conditions: Conditions, work: Work, spec: ModelSpec) -> Judged:
    """Compute the figures.

    Pictures that couldn't be used are left out of both sides, annotated people and found ones: nobody is missed in a picture that nobody
    has seen. The result says so.

    Raises:
        InputError: no picture could be used.
    """
    kept = ~data.missing
    kept[list(found.unusable)] = False
    if not kept[data.people.pictures].any():
        raise InputError(f"no picture could be used; the first: {next(iter(found.unusable.values()), 'none is there')}")
    score = data.protocol.score(*select_pictures(data.annotations, data.people, found.keypoints, kept), spec)
    left_out = dict(data.annotations.skipped) | dict(data.people.skipped)
    left_out |= {"missing pictures": int(data.missing.sum()), "unusable pictures": len(found.unusable)}
    names = data.annotations.file_names
    evaluation = Evaluation(
        conditions=conditions,
        work=work,
        metrics={name: None if math.isnan(value) else value for name, value in score.metrics.items()},
        primary=score.primary,
        interval=bootstrap([score], int(kept.sum()), lambda values: values[0]),
        counts=dict(score.counts),
        left_out={reason: count for reason, count in left_out.items() if count},
        unusable=tuple(f"{printable(names[index])}: {printable(why)}" for index, why in sorted(found.unusable.items())[:_SHOWN_PICTURES]),
        complete=bool(kept.all()),
        pictures=found.pictures,
        people=int((~np.isnan(found.keypoints[:, 0, 0])).sum()),
        pictures_sha256=f"{found.digest:064x}",
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        warnings=tuple(finding for finding in data.findings if finding.severity == "warning"),
        notes=tuple(finding for finding in data.findings if finding.severity == "note"),
    )
    return Judged(evaluation=evaluation, score=score, kept=kept, keypoints=found.keypoints, spec=spec)


def bootstrap(scores: Sequence[Score], pictures: int, combine: Callable[[list[float]], float], *, seed: int = 0) -> Interval | None:
    """Return the 95 % interval of a figure, by drawing pictures with replacement, the same ones for every score.

    Args:
        scores: of the same pictures.
        pictures: their number.
        combine: makes the figure from the scores' primary metrics.
        seed: of the draw.

    Returns:
        The interval, or ``None`` where the figure can't be computed.
    """
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(RESAMPLES):
        weights = np.bincount(random.integers(pictures, size=pictures), minlength=pictures)
        draws.append(combine([score.resample(weights) for score in scores]))
    usable = [value for value in draws if not math.isnan(value)]
    if not usable:
        return None
    low, high = np.quantile(usable, [0.025, 0.975])
    return Interval(low=float(low), high=float(high), resamples=len(usable))


def evaluate_shard(
    artifact: Artifact,
    data: DataSet,
    run: RunOptions,
    number: int,
    of: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Shard:
    """Run an artifact on one shard of a data set.

    Raises:
        InputError: there is no such shard, or nobody is in it.
        EdgePoseError: see ``evaluate``.
    """
    only = pictures_of_shard(len(data.annotations.file_names), number, of) & ~data.missing
    found, conditions, work = _find(artifact, data, run, only, progress)
    people = np.flatnonzero(~np.isnan(found.keypoints[:, 0, 0]))
    record = ShardRecord(
        number=number,
        of=of,
        conditions=conditions,
        work=work,
        boxes=len(data.people),
        pictures=found.pictures,
        digest=f"{found.digest:064x}",
        unusable={str(index): why for index, why in found.unusable.items()},
    )
    return Shard(record=record, people=people, keypoints=found.keypoints[people])


def merge(shards: Sequence[Path], data: DataSet, artifact: Artifact) -> Judged:
    """Compute the figures of shards that were evaluated on their own.

    Raises:
        InputError: they don't make the whole, or were made under other conditions than these.
    """
    conditions = _conditions(artifact, data)
    found, first = merge_shards(
        shards, boxes=len(data.people), pictures=len(data.missing), keypoints=artifact.spec.keypoints, conditions=conditions
    )
    work = dataclasses.replace(first.work, seconds=found.seconds, device_seconds=found.device_seconds)
    return judge(data, found, conditions, work, artifact.spec)


def _conditions(artifact: Artifact, data: DataSet) -> Conditions:
    request = data.request
    return Conditions(
        model=artifact.spec.name,
        artifact=artifact.path.name,
        artifact_sha256=artifact.sha256,
        annotations=request.annotations.name,
        annotations_sha256=data.annotations.sha256,
        detections=None if request.detections is None else request.detections.name,
        detections_sha256=data.detections_sha256,
        min_score=request.min_score,
        protocol=data.protocol.name,
        flip_test=request.flip_test,
        procedure=request.procedure,
        keypoints_as_listed=request.keypoints_as_listed,
        edgepose=edgepose.__version__,
    )
