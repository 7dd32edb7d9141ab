"""The way through: paths in, what is said of each out."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgepose.checking import kinds
from edgepose.checking.annotations import check_annotation_file
from edgepose.checking.detections import check_boxes, check_detections, check_results
from edgepose.checking.documents import DOCUMENTS, check_document
from edgepose.checking.folders import Content, choose_images, list_content, sample_names
from edgepose.checking.models import check_checkpoint, check_model
from edgepose.checking.pictures import check_picture_files, check_single_picture
from edgepose.checking.recognition import Form, Recognised, recognise
from edgepose.checking.report import Checked, Progress, Question, refusal, say
from edgepose.checking.writers import sample
from edgepose.errors import EdgePoseError
from edgepose.findings import Findings, Severity

__all__ = ["check_paths"]

_SKIPPED_SHOWN = 8


def check_paths(paths: Sequence[Path], question: Question, progress: Progress = lambda _done, _total, _note: None) -> Iterator[Checked]:
    """Check files and folders, one after the other.

    Args:
        paths: files, and folders, of which everything that is known inside is checked.
        question: what they are compared with.
        progress: is told what is being looked at.

    Yields:
        What is said of each, and of each that was found in a folder.
    """
    for number, path in enumerate(paths):
        progress(number, len(paths), str(path))
        try:
            recognised = recognise(path)
        except EdgePoseError as error:
            yield Checked(path=path, kind="unknown", summary="can't be read", findings=(refusal(error, path),))
            continue
        if recognised.form == "folder":
            yield from _check_folder(path, question, progress)
        else:
            yield _check(path, recognised, question, progress)


def _check(path: Path, recognised: Recognised, question: Question, progress: Progress) -> Checked:
    form = recognised.form
    if form == "annotations":
        return check_annotation_file(path, recognised, question, progress)
    if form in DOCUMENTS:
        return check_document(path, form, question)
    if form in _READERS:
        return _READERS[form](path, recognised, question)
    return _name(path, recognised, question)


_READERS: Mapping[Form, Callable[[Path, Recognised, Question], Checked]] = {
    "boxes": check_boxes,
    "checkpoint": lambda path, _recognised, question: check_checkpoint(path, question),
    "detections": check_detections,
    "model": lambda path, _recognised, question: check_model(path, question),
    "picture": lambda path, _recognised, question: check_single_picture(path, question),
    "results": check_results,
}


def _name(path: Path, recognised: Recognised, question: Question) -> Checked:
    """Say what a file is that no reader is asked about; inside a folder it may lie for other reasons."""
    severity: Severity = "note" if question.inside else "error"
    if recognised.form == "arrays":
        unread = say(
            "arrays-unread", "note", "`edgepose distill` alone reads such files (Leeds Sports Pose), and says what is wrong with them"
        )
        return Checked(path=path, kind="arrays", summary=recognised.why, findings=(unread,))
    if recognised.foreign is not None:
        unread = say("foreign", severity, "edgepose doesn't read it", done=recognised.foreign.advice)
        return Checked(path=path, kind="foreign", summary=recognised.foreign.what, findings=(unread,))
    unread = say("unknown", severity, "not of a kind that `edgepose check` knows")
    return Checked(path=path, kind="unknown", summary=recognised.why, findings=(unread,))


def _check_folder(folder: Path, question: Question, progress: Progress) -> Iterator[Checked]:
    """Check what lies in a folder; detections and results against the annotations in it, where there is one such file."""
    content = list_content(folder)
    inside = dataclasses.replace(question, inside=True)
    annotated: list[Path] = []
    later: list[Path] = []
    checked = 0
    for number, path in enumerate(content.candidates):
        progress(number, len(content.candidates), str(path))
        found = _check_inside(path, folder, inside, content, progress, later)
        if found is not None:
            annotated += [path] if found.kind == "annotations" else []
            checked += found.kind not in ("foreign", "unknown")
            yield found
    if question.annotations is None and len(annotated) == 1:
        inside = dataclasses.replace(inside, annotations=annotated[0])
    for path in later:
        found = _check_inside(path, folder, inside, content, progress)
        if found is not None:
            yield found
    for place, files in sorted(content.pictures.items()):
        yield check_picture_files(place, files, inside, progress)
    yield _sum_up(folder, content, checked + len(later) + len(content.pictures))


def _check_inside(
    path: Path, root: Path, question: Question, content: Content, progress: Progress, later: list[Path] | None = None
) -> Checked | None:
    """Check a file in a folder; what belongs to annotations is put off where there is a ``later``."""
    try:
        recognised = recognise(path)
    except EdgePoseError as error:
        return Checked(path=path, kind="unknown", summary="can't be read", findings=(refusal(error, path),))
    if later is not None and recognised.form in ("detections", "results"):
        later.append(path)
        return None
    if recognised.form == "annotations" and question.images is None and content.pictures and isinstance(recognised.document, dict):
        names = sample_names(sample(recognised.document.get("images")))
        question = dataclasses.replace(question, images=choose_images(names, path, root, content))
    return _check(path, recognised, question, progress)


def _sum_up(folder: Path, content: Content, checked: int) -> Checked:
    findings = Findings()
    if not checked:
        findings.add(kinds.NOTHING_THERE, count=0)
    if content.skipped:
        skipped = ", ".join(f"{count} {why}" for why, count in content.skipped.most_common(_SKIPPED_SHOWN))
        findings.add(kinds.SKIPPED, skipped, count=content.skipped.total())
    pictures = sum(map(len, content.pictures.values()))
    summary = f"a folder: {len(content.candidates)} files looked at, {pictures} pictures in {len(content.pictures)} folders"
    return Checked(path=folder, kind="folder", summary=summary, facts={"skipped": dict(content.skipped)}, findings=tuple(findings))
