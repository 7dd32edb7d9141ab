"""Small documents of edgepose's own: skeletons, quantization decisions, training recipes, results, specs."""

from collections.abc import Callable
from pathlib import Path

from edgepose.checking.annotations import compare_names
from edgepose.checking.recognition import Form
from edgepose.checking.report import Checked, Question, refusal, say
from edgepose.document import read_json
from edgepose.errors import EdgePoseError, MissingDependencyError
from edgepose.evaluation.result import load_evaluation
from edgepose.findings import Finding, Findings
from edgepose.skeleton import load_skeleton
from edgepose.spec import ModelSpec

__all__ = ["DOCUMENTS", "check_document"]

Told = tuple[str, tuple[Finding, ...]]


def check_document(path: Path, form: Form, question: Question) -> Checked:
    """Read a document with the reader of the command that takes it."""
    name, read = DOCUMENTS[form]
    try:
        told, findings = read(path, question)
    except EdgePoseError as error:
        return Checked(path=path, kind=form, summary=name, findings=(refusal(error, path),))
    except ModuleNotFoundError as error:
        missing = MissingDependencyError(error.name or "torch", extra="convert", purpose=f"Reading {name}")
        return Checked(path=path, kind=form, summary=name, findings=(refusal(missing, path),))
    return Checked(path=path, kind=form, summary=f"{name}: {told}", findings=findings)


def _read_skeleton(path: Path, question: Question) -> Told:
    skeleton = load_skeleton(path)
    findings = Findings()
    if question.skeleton is not None:
        compare_names(question.skeleton, skeleton.keypoints, path, findings)
    odd = []
    if not skeleton.sigmas:
        odd.append(say("skeleton-without-sigmas", "note", "it has no sigmas: AP can't be computed, `evaluate --protocol pck` can"))
    if not skeleton.flip_pairs:
        odd.append(say("skeleton-without-flip-pairs", "note", "it has no flip pairs: --flip is refused, and training mirrors no picture"))
    told = f"{skeleton.name}, {len(skeleton.keypoints)} keypoints, {len(skeleton.flip_pairs)} flip pairs, {len(skeleton.links)} links"
    return told, (*findings, *odd)


def _read_quantization(path: Path, _question: Question) -> Told:
    from edgepose.quantization.recipe import Quantization

    found = Quantization.load(path)
    layers = f"{len(found.recipe.float_layers)} layers in float"
    return f"{found.recipe.precision} for {found.model} ({found.weights_sha256[:12]}…), {layers}", ()


def _read_recipe(path: Path, _question: Question) -> Told:
    from edgepose.distillation import load_recipe

    recipe = load_recipe(path)
    phases = ", ".join(phase.name for phase in recipe.phases)
    return f"{recipe.name}, phases {phases}", ()


def _read_evaluation(path: Path, _question: Question) -> Told:
    found = load_evaluation(path)
    value = found.metrics[found.primary]
    measured = "nothing measured" if value is None else f"{found.primary} {100 * value:.1f}"
    return f"{found.conditions.artifact}, {measured}, {found.people} people" + ("" if found.complete else " of a part of the data set"), (
        *found.warnings,
        *found.notes,
    )


def _read_benchmark(path: Path, _question: Question) -> Told:
    from edgepose_benchmarks.result_file import load_results

    found = load_results([path])
    return f"{len(found.results)} results, {len(found.comparisons)} comparisons", ()


def _read_spec(path: Path, _question: Question) -> Told:
    spec = ModelSpec.from_document(read_json(path, what="the spec"), where=str(path))
    return f"{spec.name}, {spec.keypoints} keypoints ({spec.skeleton.name})", ()


DOCUMENTS: dict[Form, tuple[str, Callable[[Path, Question], Told]]] = {
    "benchmark": ("results of `edgepose benchmark`", _read_benchmark),
    "evaluation": ("a result of `edgepose evaluate`", _read_evaluation),
    "quantization": ("a quantization decision", _read_quantization),
    "recipe": ("a training recipe", _read_recipe),
    "skeleton": ("a skeleton", _read_skeleton),
    "spec": ("a spec of a model", _read_spec),
}
