"""How far one set of heatmaps is from another, in figures that mean something for poses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.crop import pad_boxes
from edgepose.errors import InputError
from edgepose.evaluation.oks import AREA_OF_BOX, keypoint_similarities, oks
from edgepose.heatmap import decode, to_crop, to_image
from edgepose.spec import ModelSpec

__all__ = ["MIN_SCORE", "MOVED_PX", "Agreement", "keypoint_shifts", "measure_agreement", "oks_loss"]

MIN_SCORE = 0.2
"""Keypoints that the float model scores below don't count, as for COCO's person score."""

MOVED_PX = 2.0
"""A keypoint that is further away than this has moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The distance between two models on the same crops.

    Attributes:
        relative_rms: root mean square of the heatmap difference over that of the reference.
        shift_px: mean keypoint distance in input pixels, or ``None`` where no keypoint counts.
        p95_shift_px: its 95th percentile.
        max_shift_px: the largest.
        moved: share of keypoints further away than ``MOVED_PX``.
        compared: number of keypoints that count.
        left_out: number of those that the float model scores below ``MIN_SCORE``.
    """

    relative_rms: float
    shift_px: float | None
    p95_shift_px: float | None
    max_shift_px: float | None
    moved: float | None
    compared: int
    left_out: int


def measure_agreement(
    heatmaps: NDArray[np.float32], reference: NDArray[np.float32], float_heatmaps: NDArray[np.float32], spec: ModelSpec
) -> Agreement:
    """Compare heatmaps.

    Args:
        heatmaps: (N, K, h, w) float32.
        reference: what they should be, of the same shape.
        float_heatmaps: the float model's, whose scores say which keypoints count.
        spec: of the model.
    """
    counted = float_heatmaps.max((-1, -2)) >= MIN_SCORE
    shifts = keypoint_shifts(heatmaps, reference, spec)[counted]
    power = float(np.square(reference, dtype=np.float64).mean())
    error = float(np.square(heatmaps - reference, dtype=np.float64).mean())
    return Agreement(
        relative_rms=(error / power) ** 0.5 if power else error**0.5,
        shift_px=float(shifts.mean()) if shifts.size else None,
        p95_shift_px=float(np.quantile(shifts, 0.95)) if shifts.size else None,
        max_shift_px=float(shifts.max()) if shifts.size else None,
        moved=float((shifts > MOVED_PX).mean()) if shifts.size else None,
        compared=int(counted.sum()),
        left_out=int((~counted).sum()),
    )


def keypoint_shifts(heatmaps: NDArray[np.float32], reference: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float64]:
    """Return the distance of each keypoint from its reference, (N, K), in input pixels."""
    ours, theirs = (to_crop(decode(maps, spec.codec)[0], spec.input, spec.codec) for maps in (heatmaps, reference))
    shifts: NDArray[np.float64] = np.linalg.norm(ours - theirs, axis=-1)
    return shifts


def oks_loss(
    heatmaps: NDArray[np.float32],
    float_heatmaps: NDArray[np.float32],
    spec: ModelSpec,
    boxes_xyxy: NDArray[np.float64] | None = None,
) -> float:
    """Return 1 minus the mean object keypoint similarity of the keypoints to the float model's.

    The formula is COCO's, over the keypoints that count: distances in the photo's pixels, and the area that AP takes where there is no
    outline, 0.53 of the person's box, which is neither padded nor grown to the input's shape.

    Args:
        heatmaps: (N, K, h, w) float32.
        float_heatmaps: the float model's, of the same shape.
        spec: of the model.
        boxes_xyxy: (N, 4), the people's boxes on their photos; ``None`` for boxes of the input's shape, whose size doesn't matter.

    Raises:
        InputError: the skeleton has no OKS sigmas, or no keypoint counts.
    """
    if not spec.skeleton.sigmas:
        raise InputError(f"the skeleton {spec.skeleton.name!r} has no OKS sigmas; bound the loss in pixels instead")
    counted = float_heatmaps.max((-1, -2)) >= MIN_SCORE
    if not counted.any():
        raise InputError(f"the float model scores no keypoint at {MIN_SCORE} or more, so there is no OKS to lose; is it trained?")
    if boxes_xyxy is None:
        boxes_xyxy = np.tile([0.0, 0.0, spec.input.width, spec.input.height], (len(heatmaps), 1))
    centres, sizes = pad_boxes(boxes_xyxy, spec.input, spec.codec)
    ours, theirs = (
        to_image(decode(maps, spec.codec)[0], centres, sizes, spec.input.heatmap_size, spec.codec) for maps in (heatmaps, float_heatmaps)
    )
    areas = AREA_OF_BOX * np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    similarities = keypoint_similarities(np.square(ours - theirs).sum(axis=-1), areas, spec.skeleton.sigmas)
    return float(1 - oks(similarities, counted)[counted.any(axis=1)].mean())
