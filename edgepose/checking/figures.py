"""Figures about labels that show trouble: what is never labelled, who is unlabelled, left and right exchanged."""

import numpy as np
from numpy.typing import NDArray

from edgepose.checking import kinds
from edgepose.checking.report import Document
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.keypoint_names import same_keypoint
from edgepose.findings import Findings

__all__ = ["describe_labels"]

_SMALL_PX = 32
_PAIRS = ("eye", "shoulder", "hip")
_LEAST_PEOPLE, _NEARLY_ALL = 20, 0.8  # facing the camera, and share of them in whom a pair is exchanged


def describe_labels(annotations: Annotations, names: tuple[str, ...], findings: Findings) -> Document:
    """Return figures about the labels, and add what is odd.

    Args:
        annotations: of a file.
        names: K names of its keypoints, as they are shown.
        findings: is told what is odd.
    """
    labels = annotations.keypoints[:, :, 2]
    people = ~annotations.crowd
    labelled = people & (labels > 0).any(axis=1)
    counted = max(1, int(labelled.sum()))
    share = (labels[labelled] > 0).sum(axis=0) / counted
    visible = (labels[labelled] > 1).sum(axis=0) / counted
    never = [name for name, part in zip(names, share, strict=True) if part == 0]
    if never and labelled.any():
        findings.add(kinds.NEVER_LABELLED, ", ".join(never[:5]), count=len(never))
    if (unlabelled := int((people & ~labelled).sum())) > 0:
        findings.add(kinds.UNLABELLED_PEOPLE, f"annotation id {annotations.ids[people & ~labelled][0]}", count=unlabelled)
    if labelled.any() and (labels[labelled] <= 1).all():
        findings.add(kinds.ALL_OCCLUDED, count=0)
    sides = annotations.boxes_xywh[labelled, 2:]
    boxed = (sides > 0).all(axis=1)
    small = boxed & (sides.prod(axis=1) < _SMALL_PX**2)
    if small.any():
        findings.add(kinds.SMALL_PEOPLE, f"annotation id {annotations.ids[labelled][small][0]}", count=int(small.sum()))
    _find_exchanged_sides(annotations.keypoints[labelled], names, findings)
    heights = sides[boxed, 1]
    return {
        "pictures": len(annotations.file_names),
        "pictures_with_people": len(np.unique(annotations.pictures[people])),
        "people": int(people.sum()),
        "people_labelled": int(labelled.sum()),
        "crowds": int(annotations.crowd.sum()),
        "keypoints": len(names),
        "box_height_median_px": round(float(np.median(heights)), 1) if len(heights) else None,
        "labelled_share": {f"{place} {name}": round(float(part), 4) for place, (name, part) in enumerate(zip(names, share, strict=True))},
        "visible_share": round(float(visible.mean()), 4),
    }


def _find_exchanged_sides(points: NDArray[np.float64], names: tuple[str, ...], findings: Findings) -> None:
    """Look at people whose nose and both eyes are visible: they face the camera, and their left is on the picture's right.

    Single people turn and bend, and some pictures are mirrored; nearly all of them don't.
    """
    face = [place for wanted in ("nose", "left_eye", "right_eye") if (place := _place(names, wanted)) is not None]
    if len(face) < 3:
        return
    facing = (points[:, face, 2] > 1).all(axis=1)
    for part in _PAIRS:
        left, right = _place(names, f"left_{part}"), _place(names, f"right_{part}")
        if left is None or right is None:
            continue
        both = facing & (points[:, [left, right], 2] > 0).all(axis=1)
        if both.sum() < _LEAST_PEOPLE:
            continue
        exchanged = float((points[both, left, 0] < points[both, right, 0]).mean())
        if exchanged >= _NEARLY_ALL:
            findings.add(kinds.SIDES_EXCHANGED, f"{names[left]} and {names[right]}, so in {exchanged:.0%} of {both.sum()} people")


def _place(names: tuple[str, ...], wanted: str) -> int | None:
    return next((place for place, name in enumerate(names) if same_keypoint(name, wanted)), None)
