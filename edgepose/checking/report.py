"""What is asked about files, and what is said of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgepose.document import to_document
from edgepose.errors import EdgePoseError
from edgepose.findings import Finding, Findings, Severity
from edgepose.image import MAX_PIXELS
from edgepose.skeleton import Skeleton

__all__ = ["Checked", "Document", "Progress", "Question", "count_refused", "refusal", "refuse", "say", "to_report"]

VERSION = 1
_ERROR_CHARACTERS = 1000

Document = Mapping[str, object]
Progress = Callable[[int, int, str], None]
"""Is told how far it is, of how much, and what is being looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What files are compared with.

    Attributes:
        images: folder of the pictures that annotations name.
        skeleton: a model's keypoints, which annotations and others must have.
        annotations: the file that detections and results belong to.
        against: another annotation file, which should share no picture with those checked.
        against_images: folder of its pictures; ``None``: the same.
        dataset: what checkpoints were trained on, where they don't say.
        input_size: height and width of their input, where they don't say.
        decode: whether pictures are decoded; else only their headers are read.
        max_pixels: larger pictures are refused.
        inside: files lie in a folder that is checked as a whole: what edgepose doesn't read there isn't refused.
    """

    images: Path | None = None
    skeleton: Skeleton | None = None
    annotations: Path | None = None
    against: Path | None = None
    against_images: Path | None = None
    dataset: str | None = None
    input_size: tuple[int, int] | None = None
    decode: bool = False
    max_pixels: int = MAX_PIXELS
    inside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found out about a file or folder.

    Attributes:
        path: as it was named, or inside the folder that was named.
        kind: ``annotations``, ``detections``, ``skeleton``, ``model`` …; ``foreign`` for another tool's, ``unknown`` for anything else.
        summary: what it is, how that was seen, and how much is in it, in one line.
        writer: the tool that wrote it, where it left marks.
        facts: figures about the content, by name.
        findings: what is odd; errors are refused by the commands.
    """

    path: Path
    kind: str
    summary: str
    writer: str = ""
    facts: Document = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether a command would refuse it, or a part of it."""
        return any(finding.severity == "error" for finding in self.findings)


def say(code: str, severity: Severity, message: str, *, done: str = "") -> Finding:
    """Return a finding about a file as a whole."""
    return Finding(code=code, severity=severity, message=message, count=0, example="", done=done, repaired=False)


def refusal(error: EdgePoseError, path: Path, code: str = "refused") -> Finding:
    """Return what a reader refuses as a finding, without the file's name in front."""
    text = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
    return say(code, "error", text if len(text) <= _ERROR_CHARACTERS else text[: _ERROR_CHARACTERS - 1] + "…")


def refuse(error: EdgePoseError, path: Path, findings: Findings, code: str = "refused") -> None:
    """Add what a reader refuses, unless it collected that itself before it raised the error."""
    if not any(finding.severity == "error" and str(error).endswith(str(finding)) for finding in findings):
        findings.extend([refusal(error, path, code)])


def count_refused(checked: list[Checked]) -> int:
    """Return how many files a command would refuse."""
    return sum(each.refused for each in checked)


def to_report(checked: list[Checked]) -> dict[str, object]:
    """Return plain JSON values, with the format's version."""
    files = [to_document(each) | {"path": str(each.path), "refused": each.refused} for each in checked]
    return {"edgepose_check": VERSION, "refused": count_refused(checked), "files": files}
