"""Device files and checkpoints."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepose.artifact import open_artifact
from edgepose.checking.annotations import compare_names
from edgepose.checking.report import Checked, Question, refusal, say
from edgepose.errors import EdgePoseError, InputError, MissingDependencyError
from edgepose.findings import Finding, Findings
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons, load_skeleton
from edgepose.spec import ModelSpec

__all__ = ["check_checkpoint", "check_model", "read_model_skeleton"]

_FORMATS = {
    "coreml": "a Core ML",
    "litert": "a TFLite",
    "onnx": "an ONNX",
    "openvino": "an OpenVINO",
    "safetensors": "a safetensors",
}


def check_model(path: Path, question: Question) -> Checked:
    """Check a file that edgepose wrote: its hash, and what its spec says."""
    try:
        artifact = open_artifact(path)
    except EdgePoseError as error:
        refused = refusal(error, path)
        if path.suffix == ".onnx":
            refused = dataclasses.replace(refused, done="`edgepose distill` takes it as a teacher all the same, if it finds keypoints")
        return Checked(path=path, kind="model", summary="a model file", findings=(refused,))
    spec = artifact.spec
    summary = f"{_FORMATS[artifact.format]} file of edgepose, its hash is right: {_describe(spec)}; `edgepose info` shows more"
    facts = {"format": artifact.format, "sha256": artifact.sha256, "size_bytes": artifact.size_bytes, "notes": spec.provenance.notes}
    return Checked(path=path, kind="model", summary=summary, facts=facts, findings=_compare(spec, path, question))


def check_checkpoint(path: Path, question: Question) -> Checked:
    """Load a checkpoint as `edgepose convert` does."""
    refused: tuple[Finding, ...] = ()
    try:
        try:
            spec = _load_spec(path, question, assume=False)
        except InputError as error:
            # Nothing says what its keypoints are, or its size: everything else can be checked with the likeliest.
            refused = (refusal(error, path, "checkpoint-unidentified"),)
            spec = _load_spec(path, question, assume=True)
    except EdgePoseError as error:
        return Checked(path=path, kind="checkpoint", summary="a checkpoint", findings=(refusal(error, path),))
    taken = ", taken for" if refused else ":"
    summary = f"a checkpoint in the {spec.provenance.layout} layout{taken} {_describe(spec)}"
    facts = {"layout": spec.provenance.layout, "sha256": spec.provenance.sha256}
    stated = refused[0].message if refused else ""
    notes = tuple(say("checkpoint-note", "note", note) for note in spec.provenance.notes if note not in stated)
    return Checked(path=path, kind="checkpoint", summary=summary, facts=facts, findings=(*refused, *_compare(spec, path, question), *notes))


def read_model_skeleton(source: str) -> Skeleton:
    """Return the keypoints of a built-in skeleton, a skeleton file, a device file or a checkpoint.

    Raises:
        EdgePoseError: it is none of these, or can't be read.
    """
    from edgepose.checking.recognition import recognise

    if source in list_skeletons():
        return get_skeleton(source)
    path = Path(source)
    form = recognise(path).form
    if form == "model":
        return open_artifact(path).spec.skeleton
    if form == "checkpoint":
        return _load_spec(path, Question(), assume=False).skeleton
    if form == "skeleton":
        return load_skeleton(path)
    raise InputError(f"{path} has no keypoints of a model; expected a skeleton file, a model, or one of {', '.join(list_skeletons())}")


def _load_spec(path: Path, question: Question, *, assume: bool) -> ModelSpec:
    try:
        from edgepose.models import load_checkpoint
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "torch", extra="convert", purpose="Reading a checkpoint") from None
    with _silent(logging.getLogger("edgepose.models.checkpoint")):
        return load_checkpoint(
            path, dataset=question.dataset, skeleton=question.skeleton, input_size=question.input_size, assume=assume
        ).spec


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Hold back warnings that are findings here."""

    def refuse(_record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def _describe(spec: ModelSpec) -> str:
    network = spec.architecture
    return (
        f"{spec.name}, dim {network.dim}, depth {network.depth}, {network.head} head, {spec.input.height}x{spec.input.width}, "
        f"{spec.keypoints} keypoints ({spec.skeleton.name})"
    )


def _compare(spec: ModelSpec, path: Path, question: Question) -> tuple[Finding, ...]:
    findings = Findings()
    if question.skeleton is not None:
        compare_names(question.skeleton, spec.skeleton.keypoints, path, findings)
    return tuple(findings)
