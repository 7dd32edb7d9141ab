"""What is odd about a file, as data: readers collect findings, commands say them, each in its own way.

A reader takes a ``Findings`` and adds to it, so that what was found before an error isn't lost with it. Each kind of finding is declared
once, as a ``Kind`` with a code that never changes (``edgepose.evaluation.kinds`` holds those of annotations and detections).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Finding", "Findings", "Kind", "Severity", "shorten"]

Severity = Literal["note", "warning", "error"]
"""``note``: figures are what they would be without it. ``warning``: they may not be what they seem. ``error``: refused."""

_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_EXAMPLE_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What can be odd about a file.

    Attributes:
        code: stable name, such as ``image-id-as-text``.
        severity: how bad it is.
        message: in words that follow a count: "annotations without an area".
        done: what is done about it: "0.53 of the box is taken"; empty: nothing.
        repaired: whether what is done mends it, with certainty; leaving something out doesn't.
    """

    code: str
    severity: Severity
    message: str
    done: str = ""
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something odd that was found in a file.

    Attributes:
        code: of its kind.
        severity: ``note``, ``warning`` or ``error``.
        message: in words that follow a count.
        count: how often; 0 for what is said of the file as a whole.
        example: the first one, or empty.
        done: what was done about it, or empty.
        repaired: whether that mended it.
    """

    code: str
    severity: Severity
    message: str
    count: int
    example: str
    done: str
    repaired: bool

    def __str__(self) -> str:
        """One line: "3 annotations without an area, such as annotation 7: 0.53 of the box is taken"."""
        counted = f"{self.count} {self.message}" if self.count else self.message
        example = (f", such as {self.example}" if self.count else f" ({self.example})") if self.example else ""
        return counted + example + (f": {self.done}" if self.done else "")


class Findings:
    """Collects what is odd about a file, one entry per kind."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: Kind, example: str = "", *, count: int = 1) -> Finding:
        """Count a finding; the first example is kept.

        Args:
            kind: what was found.
            example: names one, such as "annotation 7"; long ones are cut.
            count: how many; 0 says it of the file as a whole.

        Returns:
            What is known of this kind so far.
        """
        known = self._found.get(kind.code)
        self._found[kind.code] = (
            Finding(
                code=kind.code,
                severity=kind.severity,
                message=kind.message,
                count=count,
                example=shorten(example),
                done=kind.done,
                repaired=kind.repaired,
            )
            if known is None
            else replace(known, count=known.count + count)
        )
        return self._found[kind.code]

    def extend(self, findings: Iterable[Finding]) -> None:
        """Take over what another reader found; equal codes are counted together."""
        for finding in findings:
            known = self._found.get(finding.code)
            self._found[finding.code] = finding if known is None else replace(known, count=known.count + finding.count)

    def __contains__(self, kind: Kind) -> bool:
        return kind.code in self._found

    def __iter__(self) -> Iterator[Finding]:
        """From errors to notes; of one severity in the order in which they were found."""
        return iter(sorted(self._found.values(), key=lambda finding: _SEVERITIES.index(finding.severity)))

    def __len__(self) -> int:
        return len(self._found)


def shorten(text: str) -> str:
    """Return at most 160 characters of a text."""
    return text if len(text) <= _EXAMPLE_CHARACTERS else text[: _EXAMPLE_CHARACTERS - 1] + "…"
