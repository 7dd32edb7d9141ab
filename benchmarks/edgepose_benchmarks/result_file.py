"""Results files: versioned JSON, written whole or not at all; ``docs/benchmarking.md`` documents the schema."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepose.document import describe, from_document, parse_json, read_bytes, to_document
from edgepose.errors import InputError, SpecError
from edgepose.files import write_text
from edgepose_benchmarks.result import BenchmarkResult, Comparison

__all__ = ["RESULT_VERSION", "ResultFile", "load_results", "save_results"]

RESULT_VERSION = 1
MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """The content of a results file."""

    results: tuple[BenchmarkResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def to_json(self) -> str:
        """Return JSON text with the schema's version."""
        return json.dumps({"edgepose_benchmark": RESULT_VERSION} | to_document(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> "ResultFile":
        """Read what ``to_json`` wrote.

        Raises:
            SpecError: not JSON, another schema, or a field is missing, unknown or wrong.
        """
        document = parse_json(text, where=where)
        if not isinstance(document, dict) or "edgepose_benchmark" not in document:
            raise SpecError(f"{where} isn't a results file of `edgepose benchmark`")
        version = document.pop("edgepose_benchmark")
        if version != RESULT_VERSION:
            raise SpecError(
                f"{where} has schema version {describe(version)}; this edgepose reads version {RESULT_VERSION}: measure again, or "
                "read it with the edgepose that wrote it"
            )
        try:
            return from_document(cls, document, where=where)
        except InputError as error:
            raise SpecError(f"{where}: {error}") from None


def save_results(path: Path, results: Sequence[BenchmarkResult], comparisons: Sequence[Comparison] = ()) -> None:
    """Write a results file, whole or not at all.

    Raises:
        InputError: it can't be written.
    """
    text = ResultFile(results=tuple(results), comparisons=tuple(comparisons)).to_json() + "\n"
    write_text(path, text, what="the results file")


def load_results(paths: Iterable[Path]) -> ResultFile:
    """Read and merge results files, and the ``.json`` files of folders. Of two results of one case on one machine the later counts.

    Raises:
        InputError: a file can't be read, or a folder holds none.
        SpecError: a file has another schema.
    """
    results: dict[str, BenchmarkResult] = {}
    comparisons: list[Comparison] = []
    for path in _list_files(paths):
        content = ResultFile.from_json(read_bytes(path, what="the results file", max_bytes=MAX_BYTES), where=str(path))
        comparisons.extend(content.comparisons)
        for result in content.results:
            known = results.get(result.key)
            if known is None or known.started <= result.started:
                results[result.key] = result
    return ResultFile(results=tuple(results.values()), comparisons=tuple(comparisons))


def _list_files(paths: Iterable[Path]) -> list[Path]:
    files = []
    for path in paths:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"the folder {str(path)!r} holds no results: expected the .json files of `edgepose benchmark --out`")
        files.extend(found)
    return files
