"""Annotation files: what the reader of ``edgepose evaluate`` says about them, who wrote them, and what their labels look like."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from edgepose.checking import kinds
from edgepose.checking.figures import describe_labels
from edgepose.checking.leaks import compare_sets
from edgepose.checking.pictures import check_named_pictures
from edgepose.checking.recognition import Recognised
from edgepose.checking.report import Checked, Progress, Question, refusal, refuse
from edgepose.checking.writers import find_writer, sample
from edgepose.errors import EdgePoseError
from edgepose.evaluation.annotations import WHOLEBODY_PARTS, load_annotations, read_annotations
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.keypoint_names import agreement, check_names, is_unnamed, same_keypoint
from edgepose.evaluation.people import annotated_people
from edgepose.findings import Findings
from edgepose.skeleton import Skeleton, get_skeleton, list_skeletons

__all__ = ["check_annotation_file", "compare_names", "count_keypoints", "find_skeleton", "load_other"]


def check_annotation_file(path: Path, recognised: Recognised, question: Question, progress: Progress) -> Checked:
    """Check an annotation file, its pictures where their folder is known, and what it shares with another."""
    findings = Findings()
    document, skeleton = recognised.document, question.skeleton
    writer = find_writer(document, path) if isinstance(document, dict) else "mmpose" if "MPII" in recognised.why else ""
    by = f", as {writer} writes them" if writer else ""
    summary = f"{recognised.why}{by}"
    try:
        annotations = read_annotations(
            document,
            path,
            recognised.sha256,
            keypoints=count_keypoints(document, skeleton),
            names=skeleton.keypoints if skeleton else (),
            findings=findings,
        )
    except EdgePoseError as error:
        refuse(error, path, findings)
        return Checked(path=path, kind="annotations", summary=summary + _count_lists(document), writer=writer, findings=tuple(findings))
    del document
    own = find_skeleton(annotations)
    names = _name_keypoints(annotations, own)
    facts = describe_labels(annotations, names, findings)
    _find_nobody(annotations, findings)
    if skeleton is not None:
        compare_names(skeleton, annotations.keypoint_names, path, findings)
    if question.images is not None:
        check_named_pictures(annotations, question.images, question, findings, progress)
    if question.against is not None:
        _compare(annotations, path, question, findings)
    people = (
        f"{facts['people']} people"
        if "person" in annotations.source or own is None or own.name != "ap10k"
        else f"{facts['people']} animals"
    )
    counted = f"{facts['pictures']} images, {people}, {len(names)} keypoints ({own.name if own else 'of its own'})"
    return Checked(path=path, kind="annotations", summary=f"{summary}: {counted}", writer=writer, facts=facts, findings=tuple(findings))


def _find_nobody(annotations: Annotations, findings: Findings) -> None:
    """Say where a command that takes annotated boxes has nobody to look for."""
    people = annotated_people(annotations)
    if not len(people):
        findings.add(kinds.NOBODY, ", ".join(f"{count} {why}" for why, count in people.skipped.items()), count=0)


def count_keypoints(document: object, skeleton: Skeleton | None) -> int | None:
    """Return how many keypoints to read: the model's, all of COCO-WholeBody's lists, or what the file has (``None``)."""
    if skeleton is not None:
        return len(skeleton.keypoints)
    people = sample(document.get("annotations")) if isinstance(document, dict) else []
    return sum(WHOLEBODY_PARTS.values()) if any("face_kpts" in person for person in people) else None


def load_other(path: Path, skeleton: Skeleton | None) -> Annotations:
    """Read an annotation file that others are compared with.

    Raises:
        EdgePoseError: it can't be read.
    """
    return load_annotations(
        path, keypoints=len(skeleton.keypoints) if skeleton else None, names=skeleton.keypoints if skeleton else (), findings=Findings()
    )


def find_skeleton(annotations: Annotations) -> Skeleton | None:
    """Return the built-in skeleton whose names the file's keypoints have, or whose number, where they have no names."""
    count = annotations.keypoints.shape[1]
    fitting = [each for each in map(get_skeleton, list_skeletons()) if len(each.keypoints) == count]
    named = annotations.keypoint_names
    if named and len(named) < count:
        return next((each for each in fitting if agreement(each.keypoints, named) == len(named)), None)
    if named:
        return next((each for each in fitting if agreement(each.keypoints, named) == count), None)
    return get_skeleton("mpii") if annotations.head_sizes is not None else None


def compare_names(skeleton: Skeleton, names: tuple[str, ...], path: Path, findings: Findings) -> None:
    """Compare a file's names with a model's, one by one, as ``edgepose evaluate`` does."""
    if len(names) < len(skeleton.keypoints) and agreement(skeleton.keypoints, names) == len(names):
        return  # COCO-WholeBody names its body alone
    try:
        check_names(skeleton, names, str(path))
    except EdgePoseError as error:
        other = [
            f"{place}: {name} for {model}"
            for place, (model, name) in enumerate(zip(skeleton.keypoints, names, strict=False))
            if not same_keypoint(model, name)
        ]
        if len(names) == len(skeleton.keypoints):
            findings.add(kinds.OTHER_NAMES, ", ".join(other[:4]), count=max(1, len(other)))
        findings.extend([refusal(error, path)])


def _name_keypoints(annotations: Annotations, own: Skeleton | None) -> tuple[str, ...]:
    count = annotations.keypoints.shape[1]
    if len(annotations.keypoint_names) == count:
        return annotations.keypoint_names
    named = own if own is not None and not is_unnamed(own) else Skeleton.unnamed(count)
    return named.keypoints


def _compare(annotations: Annotations, path: Path, question: Question, findings: Findings) -> None:
    other = cast("Path", question.against)
    try:
        # Only the pictures and people matter: the other set may be of other keypoints.
        second = load_other(other, None)
    except EdgePoseError as error:
        findings.extend([refusal(error, path, "against-refused")])
        return
    compare_sets(annotations, second, question.images, question.against_images or question.images, findings)


def _count_lists(document: object) -> str:
    lists = {key: len(value) for key, value in document.items() if isinstance(value, list)} if isinstance(document, Mapping) else {}
    counted = [f"{lists[key]} {key}" for key in ("images", "annotations", "categories") if key in lists]
    return f": {', '.join(counted)}" if counted else ""
