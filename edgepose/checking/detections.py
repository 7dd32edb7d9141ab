"""Files of detections, boxes and keypoint results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from edgepose.box_forms import load_boxes
from edgepose.checking import kinds
from edgepose.checking.annotations import load_other
from edgepose.checking.recognition import Recognised
from edgepose.checking.report import Checked, Document, Question, refuse
from edgepose.checking.writers import find_result_writer, sample
from edgepose.errors import EdgePoseError
from edgepose.evaluation.coco_file import to_numbers
from edgepose.evaluation.dataset import Annotations
from edgepose.evaluation.detections import detected_people
from edgepose.evaluation.identities import Identities, plain_id
from edgepose.findings import Findings

__all__ = ["check_boxes", "check_detections", "check_results"]


def check_detections(path: Path, recognised: Recognised, question: Question) -> Checked:
    """Check detections against the annotated people, where these are known, else their form."""
    findings = Findings()
    entries = _entries(recognised.document)
    writer = find_result_writer(sample(entries))
    summary = recognised.why + (f", as {writer} writes them" if writer else "") + (f": {len(entries)} boxes" if entries else "")
    facts: dict[str, object] = {"boxes": len(entries)}
    try:
        if question.annotations is None:
            load_boxes(path)
            findings.add(kinds.FORM_ALONE, count=0)
        else:
            people = detected_people(path, load_other(question.annotations, question.skeleton), findings=findings)
            facts["boxes_usable"] = len(people)
            facts["pictures"] = len(np.unique(people.pictures))
    except EdgePoseError as error:
        if question.annotations is None and not isinstance(recognised.document, list):
            # `predict` reads fewer spellings than `evaluate`, which has to know the annotations.
            findings.add(kinds.FORM_ALONE, count=0)
        else:
            refuse(error, path, findings)
    return Checked(path=path, kind="detections", summary=summary, writer=writer, facts=facts, findings=tuple(findings))


def check_boxes(path: Path, recognised: Recognised, question: Question) -> Checked:
    """Check the form of a file of boxes; where somebody names the annotations that they belong to, they are meant as detections."""
    if question.annotations is not None and not question.inside:
        return check_detections(path, recognised, question)
    findings = Findings()
    facts: dict[str, object] = {}
    summary = recognised.why
    try:
        boxes = load_boxes(path)
    except EdgePoseError as error:
        refuse(error, path, findings)
    else:
        named = [*boxes.by_name.values(), *boxes.by_number.values()]
        facts["boxes"] = sum(map(len, named)) if boxes.shared is None else len(boxes.shared)
        facts["images"] = len(named) if boxes.shared is None else None
        summary += f": {facts['boxes']} boxes" + (f" of {len(named)} images" if boxes.shared is None else ", the same for every image")
    return Checked(path=path, kind="boxes", summary=summary, facts=facts, findings=tuple(findings))


def check_results(path: Path, recognised: Recognised, question: Question) -> Checked:
    """Check keypoints in COCO's results form; where they have boxes, as detections, too."""
    findings = Findings()
    entries = _entries(recognised.document)
    writer = find_result_writer(sample(entries))
    keypoints = _check_entries(entries, findings)
    facts: dict[str, object] = {"results": len(entries), "keypoints": keypoints}
    annotations = None
    if question.annotations is not None:
        try:
            annotations = load_other(question.annotations, None)
        except EdgePoseError as error:
            refuse(error, question.annotations, findings, "annotations-refused")
    if annotations is not None:
        _compare(entries, keypoints, annotations, findings)
    elif question.annotations is None:
        findings.add(kinds.FORM_ALONE, count=0)
    if question.skeleton is not None and keypoints not in (0, len(question.skeleton.keypoints)):
        findings.add(kinds.RESULT_MODEL_COUNT, f"{keypoints} for {len(question.skeleton.keypoints)}", count=0)
    if annotations is not None and all("bbox" in entry for entry in entries):
        try:
            detected_people(path, annotations, findings=findings)
        except EdgePoseError as error:
            refuse(error, path, findings)
    by = f", as {writer} writes them" if writer else ""
    return Checked(
        path=path,
        kind="results",
        summary=f"{recognised.why}{by}: {len(entries)} people, {keypoints} keypoints",
        writer=writer,
        facts=facts,
        findings=tuple(findings),
    )


def _check_entries(entries: Sequence[Document], findings: Findings) -> int:
    """Return the number of keypoints of the first result that has some."""
    keypoints = 0
    for number, entry in enumerate(entries):
        points = to_numbers(entry.get("keypoints"))
        usable = points is not None and len(points) % 3 == 0 and bool(points)
        if not usable or to_numbers([entry.get("score")]) is None or plain_id(entry.get("image_id")) is None:
            findings.add(kinds.RESULT_UNUSABLE, f"result {number}")
            continue
        count = len(points or ()) // 3
        keypoints = keypoints or count
        if count != keypoints:
            findings.add(kinds.RESULT_OTHER_COUNT, f"result {number}: {count} instead of {keypoints}")
    return keypoints


def _compare(entries: Sequence[Document], keypoints: int, annotations: Annotations, findings: Findings) -> None:
    annotated = annotations.keypoints.shape[1]
    if keypoints not in (0, annotated):
        findings.add(kinds.RESULT_MODEL_COUNT, f"{keypoints} for {annotated}", count=0)
    identities = Identities(annotations.stated_ids or tuple(annotations.picture_ids.tolist()), annotations.file_names)
    for number, entry in enumerate(entries):
        identity = entry.get("image_id")
        if identities.find(identity) < 0 and identities.find_by_name(identity) < 0:
            findings.add(kinds.RESULT_UNKNOWN_PICTURE, f"result {number}")


def _entries(document: object) -> list[Document]:
    """The objects of a list, or of the only list in an object."""
    if isinstance(document, Mapping):
        lists = [value for value in document.values() if isinstance(value, list)]
        document = lists[0] if lists else []
    return [cast("Document", entry) for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []
