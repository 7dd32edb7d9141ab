"""From photos to a saved decision: what was decided once isn't computed again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgepose.boxes import BoxFile
from edgepose.errors import EdgePoseError, InputError
from edgepose.models import Checkpoint
from edgepose.precision import Decision, get_precision
from edgepose.quantization.bounds import Bound, Bounded, limit_loss
from edgepose.quantization.calibration import find_photos, load_calibration
from edgepose.quantization.decision import decide, decide_weights, default_recipe
from edgepose.quantization.preparation import fingerprint
from edgepose.quantization.recipe import Quantization

__all__ = ["Decided", "decide_from_photos", "file_name", "find_decision", "load_recipe"]

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """A decision and where it is.

    Attributes:
        quantization: the decision.
        path: its file.
        held_out: crops that calibration hasn't seen, to verify on; ``None`` for decisions about weights alone.
        problems: one line for each photo that couldn't be used.
        reused: whether the file was there already, made of the same weights, crops and recipe.
        bounded: what bounding the loss did, if it was asked for.
    """

    quantization: Quantization
    path: Path
    held_out: NDArray[np.float32] | None = None
    problems: tuple[str, ...] = ()
    reused: bool = False
    bounded: Bounded | None = None


def file_name(model: str, precision: Decision) -> str:
    """Return the name of a decision's file."""
    return f"{model}-{precision}.quantization.json"


def decide_from_photos(
    checkpoint: Checkpoint,
    precision: Decision,
    *,
    photos: Sequence[Path],
    boxes: BoxFile | None,
    out: Path,
    bound: Bound | None = None,
    progress: Progress = lambda _: None,
) -> Decided:
    """Decide how a model is quantized, and save the decision in ``out`` before anything is made of it.

    A file of an earlier run is taken as it is when it was made of the same weights and crops, so that an interrupted run goes on where it
    was, and layers that someone added to its ``float_layers`` stay there.

    Args:
        checkpoint: the model.
        precision: what to decide about; ``int8`` needs photos.
        photos: files or folders.
        boxes: the people on the photos; ``None`` takes each photo whole.
        out: the folder of the file.
        bound: the largest loss, or ``None``.
        progress: is told what is going on.

    Raises:
        InputError: no photos, or too few that can be used.
        EdgePoseError: NNCF failed or isn't installed, or the loss can't be bounded.
    """
    path = out / file_name(checkpoint.spec.name, precision)
    recipe = default_recipe(precision)
    if not get_precision(precision).calibrated:
        quantization = find_decision(path, checkpoint, crops=None)
        reused = quantization is not None
        if quantization is None:
            progress("NNCF compresses the weights")
            quantization = decide_weights(checkpoint, recipe)
            quantization.save(path)
        return Decided(quantization=quantization, path=path, reused=reused)
    if not photos:
        raise InputError("int8 needs photos to calibrate on: --calibration PHOTO… or a folder; or a decision made before: --recipe FILE")
    data = load_calibration(find_photos(photos), boxes, checkpoint.spec, limit=recipe.calibration_crops, progress=progress)
    quantization = find_decision(path, checkpoint, crops=data.source.sha256)
    reused = quantization is not None
    if quantization is None:
        quantization = decide(checkpoint, recipe, data, progress)
        quantization.save(path)
    bounded = None
    if bound is not None:
        bounded = limit_loss(checkpoint, quantization, data.held_out, bound, progress, boxes_xyxy=data.held_out_boxes)
        quantization = bounded.quantization
        quantization.save(path)
    return Decided(quantization=quantization, path=path, held_out=data.held_out, problems=data.problems, reused=reused, bounded=bounded)


def load_recipe(
    path: Path,
    checkpoint: Checkpoint,
    *,
    photos: Sequence[Path] = (),
    boxes: BoxFile | None = None,
    progress: Progress = lambda _: None,
) -> Decided:
    """Read a decision that was made before.

    Args:
        path: its file.
        checkpoint: the model that it belongs to.
        photos: files or folders whose held-out part the result is to be verified on.
        boxes: the people on the photos; ``None`` takes each photo whole.
        progress: is told what is going on.

    Raises:
        InputError: it can't be read, or was made for other weights; or there are too few photos.
        SpecError: its content is wrong.
    """
    quantization = Quantization.load(path)
    if quantization.weights_sha256 != fingerprint(checkpoint.model):
        raise InputError(
            f"{path} was made for other weights ({quantization.model}); convert the model that it belongs to, or quantize this one"
        )
    if not photos:
        return Decided(quantization=quantization, path=path, reused=True)
    limit = quantization.recipe.calibration_crops
    data = load_calibration(find_photos(photos), boxes, checkpoint.spec, limit=limit, progress=progress)
    return Decided(quantization=quantization, path=path, held_out=data.held_out, problems=data.problems, reused=True)


def find_decision(path: Path, checkpoint: Checkpoint, *, crops: str | None) -> Quantization | None:
    """Return the decision of an earlier run if it is about the same weights and crops."""
    if not path.exists():
        return None
    try:
        found = Quantization.load(path)
    except EdgePoseError:
        return None
    calibration = found.statistics.calibration
    seen = None if calibration is None else calibration.sha256
    return found if found.weights_sha256 == fingerprint(checkpoint.model) and seen == crops else None
