"""Verify a file that is already there against the checkpoint, and the decision, that it should have been made from."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.artifact import Artifact, open_artifact
from edgepose.document import describe
from edgepose.errors import InputError, VerificationError
from edgepose.models import Checkpoint, for_export
from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision, get_precision
from edgepose.quantization.calibration import ENOUGH_PHOTOS
from edgepose.quantization.lowering import QuantizedModel, apply, simulate
from edgepose.quantization.recipe import Quantization
from edgepose.quiet import quiet
from edgepose.runtime import Session, load
from edgepose.spec import Parity
from edgepose_converters.fault import explain_failure
from edgepose_converters.half import scale_stream
from edgepose_converters.limits import Tolerance, quantized_tolerance, tolerance
from edgepose_converters.noise import measure_noise
from edgepose_converters.readback import read_back, read_graph
from edgepose_converters.readback.plausibility import check_against_float
from edgepose_converters.readback.rebuild import rebuild
from edgepose_converters.verification import SLOW_VERIFIERS, Reference, compare_and_judge, make_reference, run_torch

__all__ = ["Verification", "verify"]

_TIMES_RECORDED = 2.0
"""Other pictures: a file may be this many times as far from the float model as it was on those that it was published with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What verifying a file showed.

    Attributes:
        parities: how far it is off, first from what it is held to.
        limit: what that was held to.
        numbers: how many stored numbers were compared with those that they should be.
        checked: what was compared, in words.
        unchecked: what can't be compared with what is at hand, in words.
    """

    parities: tuple[Parity, ...]
    limit: Tolerance
    numbers: int
    checked: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


def verify(
    path: Path,
    checkpoint: Checkpoint,
    *,
    decision: Quantization | None = None,
    device: str = "auto",
    photos: Sequence[Path] = (),
) -> Verification:
    """Compare an artifact that is already there with the checkpoint it should have been made from.

    Its numbers are read back and compared with the checkpoint's, exactly where the decision behind a quantized file is given, and to half a
    level of the stored scales where it isn't. Then it is executed.

    Args:
        path: the artifact.
        checkpoint: read at the artifact's input size and data set.
        decision: what a quantized artifact was made from.
        device: what executes the artifact, as for ``load``.
        photos: photos to compare on, each taken whole; none means the people in the sample photo.

    Raises:
        InputError: the checkpoint's input or keypoints differ from the artifact's; or the decision is another one than the artifact names.
        VerificationError: the artifact holds other numbers, its spec describes other inputs or keypoints, or it is outside the tolerance
            of its precision.
    """
    artifact = open_artifact(path)
    _check_shapes(artifact, checkpoint)
    _check_spec(artifact, checkpoint)
    export = artifact.spec.export
    precision = get_precision(export.precision if export else "fp32")
    if decision is not None:
        _check_decision(artifact, precision, decision)
    reference = make_reference(checkpoint.model, artifact.spec, photos)
    with load(path, device) as session:
        reference = reference.first(SLOW_VERIFIERS.get(f"{session.info.runtime}:{session.info.device}"))
        if precision.quantized:
            return _verify_quantized(artifact, checkpoint, precision, decision, session, reference)
        return _verify_float(artifact, checkpoint, precision, session, reference)


def _verify_float(artifact: Artifact, checkpoint: Checkpoint, precision: Precision, session: Session, reference: Reference) -> Verification:
    numbers = 0
    if artifact.spec.export is not None:
        with quiet():
            numbers = read_back(artifact.path, _written_model(artifact, checkpoint), None, precision, artifact.format)
    limit = tolerance(precision, artifact.format)
    parities = compare_and_judge(artifact.path, session, reference, limit)
    checked = (f"{numbers} stored numbers against the checkpoint",) if numbers else ()
    return Verification(parities=parities, limit=limit, numbers=numbers, checked=(*checked, "heatmaps against the checkpoint"))


def _written_model(artifact: Artifact, checkpoint: Checkpoint) -> ViTPose:
    """Return the model as its file holds it: the residual stream of an fp16 file may be scaled."""
    model, export = for_export(checkpoint.model), artifact.spec.export
    half = None if export is None else export.half
    return model if half is None or half.stream_scale == 1 else scale_stream(model, half.stream_scale)


def _verify_quantized(
    artifact: Artifact,
    checkpoint: Checkpoint,
    precision: Precision,
    decision: Quantization | None,
    session: Session,
    reference: Reference,
) -> Verification:
    path = artifact.path
    unchecked: tuple[str, ...] = ()
    with quiet():
        if decision is None:
            quantized = _rebuild(artifact, checkpoint, precision)
            numbers = _check_against_float(artifact, quantized, checkpoint, precision, reference)
            weights = f"{numbers} stored numbers against the checkpoint: weights to half a level, biases to what rounding explains"
            checked = [weights, "heatmaps against a simulation of what the file holds"]
            if precision.calibrated:
                unchecked = ("corrections of biases and ranges of activations, beyond what is plausible (--recipe FILE would)",)
        else:
            quantized = apply(checkpoint.model, decision)
            numbers = read_back(path, quantized.module, quantized, precision, artifact.format)
            checked = [f"{numbers} stored numbers against the decision", "heatmaps against the decision's simulation"]
        simulated = run_torch(simulate(quantized), reference.crops)
        noise = measure_noise(quantized, precision, artifact.format, reference.crops, simulated)
    limit = quantized_tolerance(precision, artifact.format, noise)
    with explain_failure(path, quantized.module, quantized, precision, artifact.format, reference.crops, session.info.batch):
        parities = compare_and_judge(path, session, dataclasses.replace(reference, simulated=simulated), limit)
    recorded, seen = _recorded(artifact), parities[-1].relative_rms
    if recorded is not None and seen is not None:
        allowed = _TIMES_RECORDED * recorded + (limit.relative_rms or 0.0)
        if seen > allowed:
            raise VerificationError(
                f"{path.name}: heatmaps differ from the float model by {seen:.1%} (root mean square), and by {recorded:.1%} when it was "
                f"published; allowed: {allowed:.1%}"
            )
        checked.append("the distance to the float model against the one that the file records")
    return Verification(parities=parities, limit=limit, numbers=numbers, checked=tuple(checked), unchecked=unchecked)


def _check_against_float(
    artifact: Artifact, quantized: QuantizedModel, checkpoint: Checkpoint, precision: Precision, reference: Reference
) -> int:
    export = artifact.spec.export
    crops = export.quantization.calibration_crops if export and export.quantization else None
    few = crops is not None and crops < ENOUGH_PHOTOS
    try:
        return check_against_float(quantized, checkpoint.model, precision, reference.crops, few_photos=few)
    except VerificationError as error:
        raise VerificationError(f"{artifact.path.name}: {error}") from None


def _rebuild(artifact: Artifact, checkpoint: Checkpoint, precision: Precision) -> QuantizedModel:
    try:
        return rebuild(read_graph(artifact.path, artifact.format), checkpoint.model, precision, artifact.format)
    except VerificationError as error:
        raise VerificationError(f"{artifact.path.name}: {error}") from None


def _check_shapes(artifact: Artifact, checkpoint: Checkpoint) -> None:
    spec, ours = artifact.spec, checkpoint.spec
    if (spec.input_shape, spec.heatmap_shape) != (ours.input_shape, ours.heatmap_shape):
        raise InputError(
            f"{artifact.path.name} maps {spec.input_shape} to {spec.heatmap_shape}, but the checkpoint maps {ours.input_shape} to "
            f"{ours.heatmap_shape}: they aren't the same model"
        )


def _check_spec(artifact: Artifact, checkpoint: Checkpoint) -> None:
    """What turns boxes into inputs and heatmaps into keypoints is as much a part of the file as its weights."""
    spec, ours = artifact.spec, checkpoint.spec
    for what, stored, expected in (
        ("normalization", (spec.input.mean, spec.input.std), (ours.input.mean, ours.input.std)),
        ("codec", spec.codec, ours.codec),
        ("keypoints", spec.skeleton.keypoints, ours.skeleton.keypoints),
        ("flip pairs", spec.skeleton.flip_order, ours.skeleton.flip_order),
        ("network", spec.architecture, ours.architecture),
    ):
        if stored != expected:
            raise VerificationError(
                f"{artifact.path.name}: its spec has another {what} than the checkpoint: {describe(stored)}, expected {describe(expected)}"
            )


def _check_decision(artifact: Artifact, precision: Precision, decision: Quantization) -> None:
    name, export = artifact.path.name, artifact.spec.export
    if export is None or export.quantization is None or precision.decision is None:
        raise InputError(f"{name} is of precision {precision.name}, behind which there is no decision: leave --recipe out")
    if decision.recipe.precision != precision.decision:
        raise InputError(f"{name} was made from a decision for {precision.decision}; the one given is for {decision.recipe.precision}")
    if (ours := decision.sha256()) != export.quantization.sha256:
        raise InputError(
            f"{name} was made from another decision: it names SHA-256 {export.quantization.sha256[:12]}…; the one given has {ours[:12]}…"
        )


def _recorded(artifact: Artifact) -> float | None:
    """Return the largest distance to the float model that was measured when the file was published."""
    export = artifact.spec.export
    seen = [parity.relative_rms for parity in export.parity if parity.reference == "float"] if export else []
    return max((each for each in seen if each is not None), default=None)
