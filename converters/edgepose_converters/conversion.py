"""Convert: write each target, execute what was written, and only then give it its name."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from edgepose.artifact import embed_spec, open_artifact
from edgepose.errors import ConversionError, EdgePoseError, InputError
from edgepose.files import publish, staging_folder
from edgepose.models import Checkpoint, for_export
from edgepose.spec import ExportRecord, ModelSpec, Parity, Precision
from edgepose_converters.quiet import quiet
from edgepose_converters.target import Target, Written
from edgepose_converters.targets import get_target
from edgepose_converters.verification import Reference, execute, make_reference, tolerance

__all__ = ["Conversion", "convert"]

Progress = Callable[[str], None]


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
    """

    target: str
    precision: Precision
    path: Path | None = None
    size_bytes: int = 0
    parity: tuple[Parity, ...] = ()
    seconds: float
    error: str = ""


def convert(
    checkpoint: Checkpoint,
    *,
    targets: Sequence[str],
    precisions: Sequence[Precision],
    out: Path,
    batch: int | None = 1,
    photos: Sequence[Path] = (),
    progress: Progress = lambda _: None,
) -> Iterator[Conversion]:
    """Convert a checkpoint to each target in each precision, one after the other.

    A file that can't be made, or that fails its tolerance, is reported and leaves nothing behind; the others go on.

    Args:
        checkpoint: what ``load_checkpoint`` returned.
        targets: names out of ``TARGETS``.
        precisions: ``fp32``, ``fp16``.
        out: the folder to write to.
        batch: the static batch size, or ``None`` for files that run any.
        photos: photos to verify on, each taken whole; none means the people in the sample photo.
        progress: is told what is going on.

    Yields:
        One outcome per target and precision, as it is reached.

    Raises:
        InputError: an unknown target, a batch size that a target can't hold, or no room on the disk.
        MissingDependencyError: a converter's tools aren't installed.
    """
    with quiet():
        chosen = [get_target(name) for name in dict.fromkeys(targets)]
    module = for_export(checkpoint.model)
    parameters = sum(tensor.numel() for tensor in module.state_dict().values())
    for target in chosen:
        _check_request(target, precisions, batch, parameters)
    progress("running the torch model")
    reference = make_reference(checkpoint.model, checkpoint.spec, photos)
    for target in chosen:
        for precision in dict.fromkeys(precisions):
            start = time.perf_counter()
            try:
                path, parity = _convert_one(target, module, checkpoint.spec, precision, batch, out, reference, progress)
            except EdgePoseError as error:
                yield Conversion(target=target.name, precision=precision, seconds=time.perf_counter() - start, error=str(error))
            else:
                yield Conversion(
                    target=target.name,
                    precision=precision,
                    path=path,
                    size_bytes=open_artifact(path).size_bytes,
                    parity=parity,
                    seconds=time.perf_counter() - start,
                )


def _file_name(spec: ModelSpec, target: Target, precision: Precision, batch: int | None) -> str:
    """Return the name of a converted file, e.g. ``vitpose-s-fp16.onnx`` or ``vitpose-s-384x288-batch8-fp32.xml``."""
    parts = [spec.name]
    if (spec.input.height, spec.input.width) != (256, 192):
        parts.append(f"{spec.input.height}x{spec.input.width}")
    if batch != 1:
        parts.append("dynamic" if batch is None else f"batch{batch}")
    return "-".join([*parts, precision]) + target.suffix


def _convert_one(
    target: Target,
    module: nn.Module,
    spec: ModelSpec,
    precision: Precision,
    batch: int | None,
    out: Path,
    reference: Reference,
    progress: Progress,
) -> tuple[Path, tuple[Parity, ...]]:
    name = _file_name(spec, target, precision, batch)
    try:
        _check_room(module, precision, out)
        with staging_folder(out) as folder:
            path = folder / name
            progress(f"{name}: writing")
            written = _write(target, module, spec, path, precision, batch)
            record = ExportRecord(target=target.name, precision=precision, batch=batch, tools=written.tools, details=written.details)
            embed_spec(path, spec.replace_export(record))
            progress(f"{name}: executing and comparing")
            with quiet():
                parity = execute(path, target.verifiers, reference, tolerance(precision))
            embed_spec(path, spec.replace_export(dataclasses.replace(record, parity=parity)))
            artifact = open_artifact(path)
            publish(tuple(reversed(artifact.files)) if path.is_file() else (path,), out)
    except OSError as error:
        raise ConversionError(f"{name}: can't be written to {out}: {error.strerror or error}") from error
    return out / name, parity


def _write(target: Target, module: nn.Module, spec: ModelSpec, path: Path, precision: Precision, batch: int | None) -> Written:
    with quiet() as tail:
        try:
            return target.write(module, spec, path, precision=precision, batch=batch)
        except (EdgePoseError, OSError, MemoryError):
            raise
        except Exception as error:
            # The tools raise whatever they like; what matters is which tool failed on what, and its last words.
            cause = f"{type(error).__name__}: {error}".strip()[:1000]
            raise ConversionError(f"{path.name}: the {target.name} converter failed: {cause}\n{tail()}".rstrip()) from error


def _check_request(target: Target, precisions: Sequence[Precision], batch: int | None, parameters: int) -> None:
    for precision in precisions:
        if precision not in target.precisions:
            raise InputError(f"{target.name} files can't hold precision {precision!r}; they hold: {', '.join(target.precisions)}")
    if batch is None and not target.dynamic_batch:
        raise InputError(f"{target.name} files have a static batch size; give --batch a number, or leave this target out")
    if target.max_parameters is not None and parameters > target.max_parameters:
        raise InputError(
            f"the model has {parameters / 1e6:.0f} M parameters; {target.name} can hold {target.max_parameters / 1e6:.0f} M: "
            "leave this target out"
        )


def _check_room(module: nn.Module, precision: Precision, out: Path) -> None:
    needed = sum(tensor.numel() for tensor in module.state_dict().values()) * (4 if precision == "fp32" else 2)
    folder = next(parent for parent in (out, *out.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConversionError(f"no room in {folder}: the file needs about {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")
