"""The model card of a device file: Markdown with the front matter that the Hugging Face hub reads."""

from collections.abc import Sequence

from edgepose.artifact import Artifact
from edgepose.errors import InputError
from edgepose.evaluation.procedures import PROCEDURES
from edgepose.evaluation.result import Evaluation
from edgepose.printable import markdown_code, markdown_string, markdown_text
from edgepose.spec import Parity

__all__ = ["format_card"]

_UNKNOWN_LICENCE = "other"


def format_card(artifact: Artifact, evaluations: Sequence[Evaluation], latencies: str = "") -> str:
    """Return the card.

    Args:
        artifact: the file.
        evaluations: its accuracies.
        latencies: a Markdown table of its measured times, or empty.

    Raises:
        InputError: an evaluation is of another file.
    """
    for evaluation in evaluations:
        if evaluation.conditions.artifact_sha256 != artifact.sha256:
            raise InputError(
                f"the evaluation of {evaluation.conditions.artifact} (sha256 {evaluation.conditions.artifact_sha256[:12]}…) is of another "
                f"file than {artifact.path.name} ({artifact.sha256[:12]}…); evaluate this one"
            )
    parts = [
        _front_matter(artifact, evaluations),
        f"# {markdown_text(artifact.path.name)}",
        _describe(artifact),
        _section("Accuracy", [_accuracy(evaluation) for evaluation in evaluations], "Not evaluated."),
        _section("Speed", [latencies.strip()] if latencies.strip() else [], "Not measured."),
        _section("Agreement with the float model", [_parity(artifact)] if _parity(artifact) else [], "Not a converted file."),
        _section("Use", [_usage(artifact)], ""),
        _section("Weights", [_weights(artifact)], ""),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(artifact: Artifact, evaluations: Sequence[Evaluation]) -> str:
    """YAML; every value is written as JSON, which YAML contains."""
    spec, export = artifact.spec, artifact.spec.export
    tags = ["pose-estimation", "vitpose", artifact.format, *([export.precision] if export else [])]
    lines = [
        "---",
        f"license: {markdown_string(spec.provenance.licence.lower() or _UNKNOWN_LICENCE)}",
        "library_name: edgepose",
        "pipeline_tag: keypoint-detection",
        f"tags: [{', '.join(map(markdown_string, tags))}]",
    ]
    if evaluations:
        lines += ["model-index:", f"- name: {markdown_string(artifact.path.stem)}", "  results:"]
    for evaluation in evaluations:
        conditions = evaluation.conditions
        lines += [
            "  - task:",
            "      type: keypoint-detection",
            "    dataset:",
            f"      name: {markdown_string(conditions.annotations)}",
            f"      type: {markdown_string(conditions.protocol)}",
            "    metrics:",
        ]
        for name, value in evaluation.metrics.items():
            if value is not None:
                lines += [f"    - type: {markdown_string(name)}", f"      value: {round(100 * value, 2)}"]
    return "\n".join([*lines, "---"])


def _describe(artifact: Artifact) -> str:
    spec, export = artifact.spec, artifact.spec.export
    network = spec.architecture
    what = f"{spec.name}: ViTPose with {network.dim} channels, {network.depth} blocks, {network.head} head"
    made = "" if export is None else f", as {markdown_text(export.target)} {export.precision}, batch {export.batch or 'any'}"
    tools = (
        ""
        if export is None or not export.tools
        else f" Written by {markdown_text(', '.join(f'{name} {version}' for name, version in export.tools.items()))}."
    )
    return (
        f"{what}{made}. Input: float32 (N, 3, {spec.input.height}, {spec.input.width}), RGB, normalized. Output: {spec.keypoints} heatmaps "
        f"({markdown_text(spec.skeleton.name)}). {artifact.size_bytes / 1e6:.1f} MB, SHA-256 of the content `{artifact.sha256}`.{tools}"
    )


def _section(heading: str, paragraphs: Sequence[str], otherwise: str) -> str:
    return "\n\n".join([f"## {heading}", *(paragraphs or [otherwise])])


def _accuracy(evaluation: Evaluation) -> str:
    conditions, work = evaluation.conditions, evaluation.work
    names = [name for name, value in evaluation.metrics.items() if value is not None]
    rows = [
        "| " + " | ".join(map(markdown_text, names)) + " |",
        "|" + "--:|" * len(names),
        "| " + " | ".join(f"{100 * (evaluation.metrics[name] or 0.0):.1f}" for name in names) + " |",
    ]
    boxes = f"boxes of {markdown_text(conditions.detections)}" if conditions.detections else "annotated boxes"
    interval = evaluation.interval
    spread = (
        ""
        if interval is None
        else f" {markdown_text(evaluation.primary)} has the 95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f}."
    )
    part = "" if evaluation.complete else " **Only a part of the data set could be used.**"
    flip = "with" if conditions.flip_test else "without"
    hashes = [markdown_code(f"{sha256[:12]}…") for sha256 in (conditions.annotations_sha256, evaluation.pictures_sha256)]
    text = (
        f"{evaluation.people:,} people in {evaluation.pictures:,} pictures of {markdown_code(conditions.annotations)} "
        f"(SHA-256 {hashes[0]}, pictures {hashes[1]}), {boxes}, protocol "
        f"{markdown_text(conditions.protocol)}, {flip} flip test, {PROCEDURES[conditions.procedure].title}; {markdown_text(work.runtime)}, "
        f"{markdown_text(evaluation.date[:10])}.{spread}{part}"
    )
    comparison = evaluation.comparison
    if comparison is not None and comparison.drop is not None:
        between = comparison.drop_interval
        bounds = "" if between is None else f" (95 % interval {between.low:+.2f} to {between.high:+.2f})"
        baseline = markdown_code(comparison.baseline.artifact)
        text += f" Against {baseline} it loses {comparison.drop:+.2f} points of {markdown_text(comparison.primary)}{bounds}."
    for warning in evaluation.warnings:
        text += f" **Warning**: {markdown_text(str(warning))}."
    return "\n".join([*rows, "", text])


def _parity(artifact: Artifact) -> str:
    export = artifact.spec.export
    if export is None or not export.parity:
        return ""
    rows = [
        "| against | executed by | crops | largest heatmap difference | mean keypoint shift |",
        "|---|---|--:|--:|--:|",
        *map(_parity_row, export.parity),
    ]
    return "\n".join(rows)


def _parity_row(parity: Parity) -> str:
    shift = "–" if parity.shift_px is None else f"{parity.shift_px:.4f} px"
    return f"| {parity.reference} model | {markdown_text(parity.runtime)} | {parity.crops} | {parity.relative:.1e} | {shift} |"


def _usage(artifact: Artifact) -> str:
    return "\n".join(
        [
            "```python",
            "import edgepose",
            "",
            f"estimator = edgepose.PoseEstimator(edgepose.load({markdown_string(artifact.path.name)}))",
            'poses = estimator(edgepose.read_image("photo.jpg"), [[100, 50, 300, 600]])  # boxes: left, top, right, bottom',
            "```",
        ]
    )


def _weights(artifact: Artifact) -> str:
    source = artifact.spec.provenance
    dataset = f", {markdown_text(source.dataset)}" if source.dataset else ""
    lines = [f"- **Source**: {markdown_code(source.source)} ({markdown_text(source.layout)} layout){dataset}"]
    if source.sha256:
        lines.append(f"- **SHA-256**: {markdown_code(source.sha256)}")
    lines.append(f"- **Licence**: {markdown_text(source.licence or 'not stated')}")
    return "\n".join([*lines, *(f"- {markdown_text(note)}" for note in source.notes)])
