"""Convert: write each target, execute what was written, and only then give it its name."""

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgepose.artifact import embed_spec, open_artifact
from edgepose.errors import ConversionError, EdgePoseError, InputError
from edgepose.files import publish, staging_folder
from edgepose.models import Checkpoint, for_export
from edgepose.models.vitpose import ViTPose
from edgepose.precision import Precision, PrecisionName, get_precision
from edgepose.quantization.calibration import ENOUGH_PHOTOS
from edgepose.quantization.lowering import QuantizedModel, apply, simulate
from edgepose.quantization.recipe import Quantization
from edgepose.quiet import quiet
from edgepose.spec import ExportRecord, ModelSpec, Parity, QuantizationRecord, describe_half
from edgepose_converters.fault import explain_failure
from edgepose_converters.halving import HalfRequest, Halving
from edgepose_converters.limits import Tolerance, quantized_tolerance, tolerance
from edgepose_converters.noise import measure_noise
from edgepose_converters.readback import read_back
from edgepose_converters.readback.plausibility import check_against_float
from edgepose_converters.target import NOT_EXECUTED, Source, Target, Written
from edgepose_converters.targets import TARGETS, get_target
from edgepose_converters.verification import Reference, execute, make_reference, run_reference, run_torch

__all__ = ["Conversion", "check_request", "convert"]

Progress = Callable[[str], None]
Acceptance = Callable[[Path], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """The outcome for one target and precision.

    Attributes:
        target: name of the target.
        precision: of the file.
        path: the file that was written, or ``None`` where it failed.
        size_bytes: of all its files.
        parity: what executing it showed, one entry per runtime that executed it.
        seconds: writing and verifying together.
        error: why there is no file, or empty.
        notes: what a user of the file should know.
    """

    target: str
    precision: PrecisionName
    path: Path | None = None
    size_bytes: int = 0
    parity: tuple[Parity, ...] = ()
    seconds: float
    error: str = ""
    notes: tuple[str, ...] = ()


def convert(
    checkpoint: Checkpoint,
    *,
    targets: Sequence[str] | None,
    precisions: Sequence[PrecisionName],
    out: Path,
    batch: int | None = 1,
    photos: Sequence[Path] = (),
    crops: NDArray[np.float32] | None = None,
    quantizations: Sequence[Quantization] = (),
    half: HalfRequest | None = None,
    accept: Acceptance | None = None,
    progress: Progress = lambda _: None,
) -> Iterator[Conversion]:
    """Convert a checkpoint to each target in each precision, one after the other.

    A file that can't be made, or that fails its tolerance, is reported and leaves nothing behind; the others go on.

    Args:
        checkpoint: what ``load_checkpoint`` returned.
        targets: names out of ``TARGETS``, or ``None`` for all that can hold a precision.
        precisions: what to write, by the names in ``edgepose.precision.PRECISIONS``.
        out: the folder to write to.
        batch: the static batch size, or ``None`` for files that run any.
        photos: photos to verify on, each taken whole; none means the people in the sample photo.
        crops: crops to verify on, (N, 3, H, W) float32, normalized, in place of ``photos``.
        quantizations: the decisions behind the quantized precisions; that for ``int8`` serves ``int8-full`` too.
        half: what to do about fp16 files whose network half precision doesn't hold; ``None`` refuses them.
        accept: has the last word on each file before it gets its name, by raising an ``EdgePoseError``; what it returns stands in the file.
        progress: is told what is going on.

    Yields:
        One outcome per target and precision, as it is reached.

    Raises:
        InputError: an unknown target, or a precision or batch size that a target can't hold.
        MissingDependencyError: a converter's tools aren't installed.
    """
    chosen = check_request(checkpoint, targets=targets, precisions=precisions, batch=batch)
    wanted = [get_precision(name) for name in dict.fromkeys(precisions)]
    module = for_export(checkpoint.model)
    progress("running the torch model")
    reference = make_reference(checkpoint.model, checkpoint.spec, photos) if crops is None else run_reference(checkpoint.model, crops)
    sources = _Sources(checkpoint, module, reference, quantizations)
    limit = tolerance(get_precision("fp16"), "onnx").relative or math.inf
    halving = Halving(module, reference.crops, limit=limit, request=half or HalfRequest())
    for target in chosen:
        for precision in (each for each in wanted if each in target.precisions):
            start = time.perf_counter()
            try:
                path, parity = _convert_one(target, sources, halving, precision, batch, out, accept, progress)
            except EdgePoseError as error:
                yield Conversion(target=target.name, precision=precision.name, seconds=time.perf_counter() - start, error=str(error))
            else:
                yield Conversion(
                    target=target.name,
                    precision=precision.name,
                    path=path,
                    size_bytes=open_artifact(path).size_bytes,
                    parity=parity,
                    seconds=time.perf_counter() - start,
                    notes=_list_notes(open_artifact(path).spec),
                )


def check_request(
    checkpoint: Checkpoint, *, targets: Sequence[str] | None, precisions: Sequence[PrecisionName], batch: int | None
) -> list[Target]:
    """Return the targets of a conversion, if they can hold what is asked for; see ``convert``.

    Raises:
        InputError: an unknown target, or a precision, batch size or number of parameters that a target can't hold.
        MissingDependencyError: a converter's tools aren't installed.
    """
    with quiet():
        chosen = [get_target(name) for name in dict.fromkeys(TARGETS if targets is None else targets)]
    wanted = [get_precision(name) for name in precisions]
    parameters = sum(tensor.numel() for tensor in checkpoint.model.parameters())
    for target in chosen:
        _check_target(target, wanted if targets is not None else (), batch, parameters)
    return chosen


class _Sources:
    """What each precision is written from and compared with; made when it is first asked for."""

    def __init__(self, checkpoint: Checkpoint, module: ViTPose, reference: Reference, quantizations: Sequence[Quantization]) -> None:
        self._checkpoint = checkpoint
        self._reference = reference
        self._float = Source(module=module, spec=checkpoint.spec)
        self._decisions = {quantization.recipe.precision: quantization for quantization in quantizations}
        self._applied: dict[str, tuple[Source, Reference]] = {}

    def get(self, precision: Precision) -> tuple[Source, Reference]:
        """Return the model to write and the reference to compare with.

        Raises:
            InputError: there is no decision for a quantized precision, or it was made for other weights.
        """
        kind = precision.decision
        if kind is None:
            return self._float, self._reference
        if kind not in self._applied:
            if kind not in self._decisions:
                raise InputError(f"precision {precision.name!r} needs a decision how to quantize: calibration photos, or a recipe file")
            quantized = apply(self._checkpoint.model, self._decisions[kind])
            calibration = quantized.quantization.statistics.calibration
            few = calibration is not None and calibration.photos < ENOUGH_PHOTOS
            check_against_float(quantized, self._checkpoint.model, precision, self._reference.crops, few_photos=few)
            simulated = run_torch(simulate(quantized), self._reference.crops)
            source = Source(module=quantized.module, spec=self._checkpoint.spec, quantized=quantized)
            self._applied[kind] = source, dataclasses.replace(self._reference, simulated=simulated)
        return self._applied[kind]


def _file_name(spec: ModelSpec, target: Target, precision: Precision, batch: int | None) -> str:
    """Return the name of a converted file, e.g. ``vitpose-s-fp16.onnx`` or ``vitpose-s-384x288-batch8-fp32.xml``."""
    parts = [spec.name]
    if (spec.input.height, spec.input.width) != (256, 192):
        parts.append(f"{spec.input.height}x{spec.input.width}")
    if batch != 1:
        parts.append("dynamic" if batch is None else f"batch{batch}")
    return "-".join([*parts, precision.name]) + target.suffix


def _convert_one(
    target: Target,
    sources: _Sources,
    halving: Halving,
    precision: Precision,
    batch: int | None,
    out: Path,
    accept: Acceptance | None,
    progress: Progress,
) -> tuple[Path, tuple[Parity, ...]]:
    source, reference = sources.get(precision)
    spec = source.spec
    name = _file_name(spec, target, precision, batch)
    try:
        _check_room(source.module, precision, out)
        record_of_half = None
        if precision.weight_bits == 16:
            progress(f"{name}: evaluating in half precision")
            source, record_of_half = halving.decide(source, target.name, name)
        with staging_folder(out) as folder:
            path = folder / name
            progress(f"{name}: writing")
            written = _write(target, source, path, precision, batch)
            record = ExportRecord(
                target=target.name,
                precision=precision.name,
                batch=batch,
                tools=written.tools,
                details=written.details,
                quantization=_describe(source.quantized),
                half=record_of_half,
            )
            embed_spec(path, spec.replace_export(record))
            progress(f"{name}: reading it back")
            with quiet():
                read_back(path, source.module, source.quantized, precision, target.name)
            progress(f"{name}: executing and comparing")
            limit = _limit(source, reference, precision, target)
            with explain_failure(path, source.module, source.quantized, precision, target.name, reference.crops, batch), quiet():
                parity = execute(path, target.verifiers, reference, limit)
            record = dataclasses.replace(record, parity=parity)
            embed_spec(path, spec.replace_export(record))
            if accept is not None:
                progress(f"{name}: evaluating")
                record = dataclasses.replace(record, details=record.details | {"accepted": accept(path)})
                embed_spec(path, spec.replace_export(record))
            artifact = open_artifact(path)
            publish(tuple(reversed(artifact.files)) if path.is_file() else (path,), out)
    except OSError as error:
        raise ConversionError(f"{name}: can't be written to {out}: {error.strerror or error}") from error
    return out / name, parity


def _list_notes(spec: ModelSpec) -> tuple[str, ...]:
    """Return what a user should know of a file that was just made."""
    if spec.export is None:
        return ()
    notes = [f"{key}: {text}" for key, text in spec.export.details.items() if key == NOT_EXECUTED]
    half = spec.export.half
    # A scale alone is nothing that anybody has to know.
    if half is not None and (half.note or half.float32 or not half.fit):
        notes.append(describe_half(half))
    return tuple(notes)


def _limit(source: Source, reference: Reference, precision: Precision, target: Target) -> Tolerance:
    """Return what a file is held to against its reference."""
    if source.quantized is None or reference.simulated is None:
        return tolerance(precision, target.name)
    noise = measure_noise(source.quantized, precision, target.name, reference.crops, reference.simulated)
    return quantized_tolerance(precision, target.name, noise)


def _describe(quantized: QuantizedModel | None) -> QuantizationRecord | None:
    if quantized is None:
        return None
    quantization = quantized.quantization
    calibration = quantization.statistics.calibration
    return QuantizationRecord(
        sha256=quantization.sha256(),
        quantized_layers=len(quantized.layers),
        float_layers=quantization.recipe.float_layers,
        calibration_crops=None if calibration is None else calibration.crops,
    )


def _write(target: Target, source: Source, path: Path, precision: Precision, batch: int | None) -> Written:
    with quiet() as tail:
        try:
            return target.write(source, path, precision=precision, batch=batch)
        except (EdgePoseError, OSError, MemoryError):
            raise
        except Exception as error:
            # The tools raise whatever they like; what matters is which tool failed on what, and its last words.
            cause = f"{type(error).__name__}: {error}".strip()[:1000]
            raise ConversionError(f"{path.name}: the {target.name} converter failed: {cause}\n{tail()}".rstrip()) from error


def _check_target(target: Target, precisions: Sequence[Precision], batch: int | None, parameters: int) -> None:
    for precision in precisions:
        if precision not in target.precisions:
            held = ", ".join(each.name for each in target.precisions)
            raise InputError(f"{target.name} files can't hold precision {precision.name!r}; they hold: {held}")
    if batch is None and not target.dynamic_batch:
        raise InputError(f"{target.name} files have a static batch size; give --batch a number, or leave this target out")
    if target.max_parameters is not None and parameters > target.max_parameters:
        raise InputError(
            f"the model has {parameters / 1e6:.0f} M parameters; {target.name} can hold {target.max_parameters / 1e6:.0f} M: "
            "leave this target out"
        )


def _check_room(module: nn.Module, precision: Precision, out: Path) -> None:
    needed = sum(tensor.numel() for tensor in module.state_dict().values()) * precision.bytes_per_weight
    folder = next(parent for parent in (out, *out.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConversionError(f"no room in {folder}: the file needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")
