"""Who looks for people: a detector, a file of boxes, a function, or nobody."""

from pathlib import Path
from typing import Any

from edgepose.boxes import BoxFile, load_boxes
from edgepose.errors import InputError
from edgepose.pipeline.detection.finders import BoxFileDetector, CallableDetector, WholePictureDetector
from edgepose.pipeline.detection.opening import open_detector
from edgepose.pipeline.protocols import Detector

__all__ = ["choose_detector"]


def choose_detector(
    detector: Any,
    *,
    boxes: BoxFile | str | Path | None,
    whole: bool,
    min_score: float | None,
    device: str,
    threads: int | None,
    moving: bool = False,
) -> Detector:
    """Return who looks for people.

    Args:
        detector: a name or file (see ``open_detector``), ``none``, a function, or a ``Detector``.
        boxes: a file of boxes instead.
        whole: each picture is one person instead.
        min_score: see ``open_detector``.
        device: see ``open_detector``.
        threads: see ``open_detector``.
        moving: whether frames are looked up in the file of boxes by index, not by name.

    Raises:
        InputError: more than one was asked for, or none.
    """
    named = detector is not None and detector != "auto"
    if sum((named and detector != "none", boxes is not None, whole)) > 1:
        raise InputError("a detector, boxes and whole each say who is in a frame: give one of them")
    if boxes is not None:
        return BoxFileDetector(boxes if isinstance(boxes, BoxFile) else load_boxes(boxes), moving=moving)
    if whole:
        return WholePictureDetector()
    if detector is None or detector == "none":
        raise InputError("nobody looks for people: give a detector, boxes, or whole=True, which takes each picture for one person")
    if isinstance(detector, str | Path):
        return open_detector(detector, device=device, threads=threads, min_score=min_score)
    if hasattr(detector, "find") and hasattr(detector, "images_only"):
        ready: Detector = detector
        return ready
    if callable(detector):
        return CallableDetector(detector)
    raise InputError(f"the detector is a {type(detector).__name__}; expected a name, a file, a function or a Detector")
