"""Execute an artifact and compare what it computes with the torch model, on real crops."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgepose.assets import SAMPLE_BOXES, SAMPLE_IMAGE
from edgepose.boxes import load_boxes
from edgepose.crop import crop
from edgepose.errors import DeviceError, VerificationError
from edgepose.image import read_image
from edgepose.quantization.agreement import keypoint_shifts, measure_agreement
from edgepose.runtime import Session, load
from edgepose.spec import ModelSpec, Parity
from edgepose_converters.limits import Tolerance

__all__ = ["SLOW_VERIFIERS", "Reference", "compare", "compare_and_judge", "execute", "make_reference", "run_reference", "run_torch"]

_PEAK_RADIUS = 2
"""Heatmap pixels around the peak that belong to it."""

_NOISE_DRAWS = 8


SLOW_VERIFIERS = {"mil:cpu": 6, "litert:builtin": 1, "litert:reference": 1}
"""These take seconds for a crop: they run this many of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What the torch model computes.

    Attributes:
        crops: (N, 3, H, W) float32, normalized.
        heatmaps: (N, K, h, w) float32.
        simulated: heatmaps of the model with the rounding that was decided; ``None`` where nothing is quantized.
    """

    crops: NDArray[np.float32]
    heatmaps: NDArray[np.float32]
    simulated: NDArray[np.float32] | None = None

    def first(self, count: int | None) -> "Reference":
        """Return a reference of the first ``count`` crops, or of all."""
        simulated = None if self.simulated is None else self.simulated[:count]
        return Reference(crops=self.crops[:count], heatmaps=self.heatmaps[:count], simulated=simulated)


def make_reference(model: nn.Module, spec: ModelSpec, photos: Sequence[Path] = ()) -> Reference:
    """Run the torch model on crops of ``photos`` (each taken whole), or of the people in the sample photo where there are none.

    Raises:
        InputError: a photo can't be read.
    """
    if photos:
        pieces = [crop(image, _whole(image), spec.input, spec.codec).batch for image in map(read_image, photos)]
    else:
        image = read_image(SAMPLE_IMAGE)
        pieces = [crop(image, load_boxes(SAMPLE_BOXES).for_image(SAMPLE_IMAGE.name), spec.input, spec.codec).batch]
    return run_reference(model, np.concatenate(pieces))


def run_reference(model: nn.Module, crops: NDArray[np.float32]) -> Reference:
    """Run the torch model on crops (N, 3, H, W), float32, normalized."""
    return Reference(crops=crops, heatmaps=run_torch(model, crops))


def run_torch(model: nn.Module, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the heatmaps of crops, one crop at a time: the largest models stay within the memory of a small machine."""
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(each[None])).numpy() for each in crops])


def compare(session: Session, reference: Reference, limit: Tolerance) -> Parity:
    """Run ``session`` on the reference's crops and measure how far it is off the float model.

    Raises:
        VerificationError: a heatmap holds NaN or infinity.
    """
    heatmaps = _run(session, reference.crops)
    if limit.relative_rms is not None:
        return _compare_quantized(heatmaps, reference.heatmaps, reference.heatmaps, session, "float")
    difference = float(np.abs(heatmaps - reference.heatmaps).max())
    reach = limit.shift_px or 0.0
    decided = _has_one_peak(reference.heatmaps, 2 * difference) & _stays(reference.heatmaps, difference, reach, session.spec)
    shifts = keypoint_shifts(heatmaps, reference.heatmaps, session.spec)[decided]
    return Parity(
        crops=len(reference.crops),
        max_abs=difference,
        relative=difference / (float(np.abs(reference.heatmaps).max()) or 1.0),
        shift_px=float(shifts.mean()) if shifts.size else None,
        max_shift_px=float(shifts.max()) if shifts.size else None,
        compared=int(decided.sum()),
        undecided=int((~decided).sum()),
        runtime=str(session.info),
    )


def _run(session: Session, crops: NDArray[np.float32]) -> NDArray[np.float32]:
    heatmaps = session.run(crops)
    if not np.isfinite(heatmaps).all():
        raise VerificationError(f"the heatmaps hold NaN or infinite values on {session.info}")
    return heatmaps


def _compare_quantized(
    heatmaps: NDArray[np.float32],
    reference: NDArray[np.float32],
    float_heatmaps: NDArray[np.float32],
    session: Session,
    kind: Literal["float", "simulated"],
) -> Parity:
    agreement = measure_agreement(heatmaps, reference, float_heatmaps, session.spec)
    difference = float(np.abs(heatmaps - reference).max())
    return Parity(
        crops=len(reference),
        max_abs=difference,
        relative=difference / (float(np.abs(reference).max()) or 1.0),
        shift_px=agreement.shift_px,
        max_shift_px=agreement.max_shift_px,
        compared=agreement.compared,
        undecided=agreement.left_out,
        runtime=str(session.info),
        reference=kind,
        relative_rms=agreement.relative_rms,
        p95_shift_px=agreement.p95_shift_px,
        moved=agreement.moved,
    )


def execute(path: Path, verifiers: Sequence[str], reference: Reference, limit: Tolerance) -> tuple[Parity, ...]:
    """Execute an artifact on each of ``verifiers`` (device strings) that this machine has, and compare.

    Raises:
        VerificationError: it is outside the tolerance, or no verifier is on this machine.
    """
    results: list[Parity] = []
    reasons = []
    for device in verifiers:
        try:
            session = load(path, device)
        except DeviceError as error:
            reasons.append(str(error))
            continue
        with session:
            results += compare_and_judge(path, session, reference.first(SLOW_VERIFIERS.get(device)), limit)
    if not results:
        raise VerificationError(f"{path.name} can't be executed here, so it can't be verified: " + "; ".join(reasons))
    return tuple(results)


def compare_and_judge(path: Path, session: Session, reference: Reference, limit: Tolerance) -> tuple[Parity, ...]:
    """Run a session on the reference's crops; return how far it is off, first from what it is held to.

    Raises:
        VerificationError: it is outside the tolerance.
    """
    parities: tuple[Parity, ...]
    if reference.simulated is None:
        parities = (compare(session, reference, limit),)
    else:
        heatmaps = _run(session, reference.crops)
        simulated = _compare_quantized(heatmaps, reference.simulated, reference.heatmaps, session, "simulated")
        simulated = dataclasses.replace(simulated, allowed_rms=limit.relative_rms)
        parities = (simulated, _compare_quantized(heatmaps, reference.heatmaps, reference.heatmaps, session, "float"))
    _judge(path, parities[0], limit)
    return parities


def _judge(path: Path, parity: Parity, limit: Tolerance) -> None:
    whose = "the simulated model" if parity.reference == "simulated" else "the torch model"
    if limit.relative is not None and parity.relative > limit.relative:
        raise VerificationError(
            f"{path.name}: heatmaps differ from {whose} by {parity.relative:.2e} of the largest value on {parity.runtime}; "
            f"allowed: {limit.relative:.0e}"
        )
    if limit.shift_px is not None and parity.shift_px is not None and parity.shift_px > limit.shift_px:
        raise VerificationError(
            f"{path.name}: keypoints moved by {parity.shift_px:.3f} px on average on {parity.runtime}; allowed: {limit.shift_px} px"
        )
    if limit.relative_rms is not None and parity.relative_rms is not None and parity.relative_rms > limit.relative_rms:
        raise VerificationError(
            f"{path.name}: heatmaps differ from {whose} by {parity.relative_rms:.1%} (root mean square) on {parity.runtime}; "
            f"allowed: {limit.relative_rms:.1%}"
        )


def _has_one_peak(heatmaps: NDArray[np.float32], margin: float) -> NDArray[np.bool_]:
    """Say which heatmaps have one peak: none elsewhere comes within ``margin`` of it.

    Where two peaks are closer than twice the artifact's error, which is held to a tolerance of its own, it may take either, and the
    distance between them says nothing about its quality.
    """
    count, keypoints, height, width = heatmaps.shape
    flat = heatmaps.reshape(count, keypoints, -1)
    rows, columns = np.divmod(flat.argmax(-1), width)
    near_row = np.abs(np.arange(height) - rows[..., None]) <= _PEAK_RADIUS
    near_column = np.abs(np.arange(width) - columns[..., None]) <= _PEAK_RADIUS
    elsewhere = np.where(near_row[..., :, None] & near_column[..., None, :], -np.inf, heatmaps)
    alone: NDArray[np.bool_] = flat.max(-1) - elsewhere.max((-1, -2)) > margin
    return alone


def _stays(heatmaps: NDArray[np.float32], noise: float, shift_px: float, spec: ModelSpec) -> NDArray[np.bool_]:
    """Say which keypoints stay within ``shift_px`` when the heatmaps carry noise of the size of the artifact's error.

    A trained model's peaks do. Those of noise, as untrained heads give, don't: there the sub-pixel step divides by almost nothing.
    """
    generator = np.random.default_rng(0)
    stays = np.ones(heatmaps.shape[:2], bool)
    for _ in range(_NOISE_DRAWS):
        disturbed = heatmaps + generator.uniform(-noise, noise, heatmaps.shape).astype(np.float32)
        stays &= keypoint_shifts(disturbed, heatmaps, spec) <= shift_px
    return stays


def _whole(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    return np.array([[0, 0, width, height]], np.float64)
