"""Findings: what readers collect."""

import pytest

from edgepose.findings import Finding, Findings, Kind, shorten

TEXT = Kind(code="id-as-text", severity="note", message="ids that are text", done="taken as they are", repaired=True)
LOST = Kind(code="lost", severity="warning", message="people who were left out")
WRONG = Kind(code="wrong", severity="error", message="the boxes are normalised")


def test_findings_of_a_kind_are_counted_and_the_first_is_the_example() -> None:
    findings = Findings()
    findings.add(TEXT, "image 3: '7'")
    findings.add(LOST, count=4)
    assert findings.add(TEXT, "image 4: '8'").count == 2
    findings.add(WRONG, "all are below 1", count=0)
    assert TEXT in findings
    assert len(findings) == 3
    assert [str(finding) for finding in findings] == [
        "the boxes are normalised (all are below 1)",
        "4 people who were left out",
        "2 ids that are text, such as image 3: '7': taken as they are",
    ]
    assert [(finding.severity, finding.repaired) for finding in findings] == [("error", False), ("warning", False), ("note", True)]


def test_findings_of_two_readers_are_put_together() -> None:
    first, second = Findings(), Findings()
    first.add(TEXT, "a")
    second.add(TEXT, "b", count=2)
    second.add(LOST)
    first.extend(second)
    assert [(finding.code, finding.count, finding.example) for finding in first] == [("lost", 1, ""), ("id-as-text", 3, "a")]


@pytest.mark.parametrize(("length", "kept"), [(160, 160), (161, 160), (10**6, 160)])
def test_examples_are_short(length: int, kept: int) -> None:
    assert len(shorten("x" * length)) == kept
    findings = Findings()
    finding = findings.add(TEXT, "x" * length)
    assert isinstance(finding, Finding)
    assert len(finding.example) == kept
