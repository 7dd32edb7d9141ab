"""Each kind of file: how a case is made of a valid one, sealed again, and opened."""

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz.mutation import mutate_bytes, mutate_json, mutate_protobuf, mutate_xml, pick_integer

__all__ = ["Subject", "list_subjects", "make_case", "open_case"]

_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_SPEC_SHARE = 0.2
"""Of the cases that change a model file's spec rather than the rest."""


_TOML_VALUES = (
    "0",
    "-1",
    "9" * 400,
    "1e999",
    "nan",
    "true",
    '""',
    '"../../x"',
    '"\\u001b[2J"',
    "[]",
    "[[[]]]",
    "[" * 3000 + "]" * 3000,
    "{}",
    "1979-05-27",
    "9223372036854775807",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A valid file, and what is done with it.

    Attributes:
        name: relative to the corpus.
        make: writes a changed copy into a folder and returns its path.
        open: what a user would do with it.
        sealed: whether it has a seal, which is computed again.
    """

    name: str
    make: Callable[[random.Random, Path, Path], Path]
    open: Callable[[Path], str]
    sealed: bool


def list_subjects(corpus: Path, kinds: str = "") -> list[Subject]:
    """Return what the corpus holds, in a fixed order; ``kinds`` keeps those whose name contains one of these words, split by commas."""
    global _texts  # noqa: PLW0603  # where the other half of a pair of files is
    _texts = corpus / "texts"
    found = []
    for path in sorted(corpus.rglob("*")):
        name = path.relative_to(corpus).as_posix()
        maker = _MAKERS.get(path.suffix)
        if ".mlpackage/" in name or name.startswith(("photos/", "huggingface/")):
            continue
        if maker is not None and (path.parent == corpus or path.parent.parent == corpus):
            if path.parent.name == "texts":
                opener = _PICTURES if path.suffix in _PICTURE_SUFFIXES else _TEXTS.get(path.name)
                if opener is not None:
                    found.append(Subject(name=name, make=maker, open=opener, sealed=False))
            elif path.suffix in _SEALED or path.suffix == ".pth":
                opener = _open_checkpoint if path.suffix == ".pth" else _open_model
                found.append(Subject(name=name, make=maker, open=opener, sealed=path.suffix in _SEALED))
            elif path.suffix == ".json" and "decision" in name:
                found.append(Subject(name=name, make=_make_json, open=_open_quantization, sealed=False))
    if (corpus / "huggingface").is_dir():
        found.append(Subject(name="huggingface", make=_make_huggingface, open=_open_checkpoint, sealed=False))
    words = [word for word in kinds.split(",") if word]
    return [subject for subject in found if not words or any(word in subject.name for word in words)]


def make_case(subjects: list[Subject], corpus: Path, seed: int, number: int, folder: Path) -> tuple[Subject, Path]:
    """Write case ``number`` into ``folder``; the same for the same seed, number and corpus."""
    chance = random.Random(f"{seed}:{number}")
    subject = subjects[chance.randrange(len(subjects))]
    return subject, subject.make(chance, corpus / subject.name, folder)


# Making


def _copy(source: Path, folder: Path) -> Path:
    if source.is_dir():
        return Path(shutil.copytree(source, folder / source.name))
    for file in {source, source.with_suffix(".bin")} if source.suffix == ".xml" else {source}:
        shutil.copy(file, folder / file.name)
    return folder / source.name


def _change_spec(chance: random.Random, path: Path) -> bool:
    """Now and then change the spec, and nothing else."""
    from edgepose.artifact import embed_spec, open_artifact

    if chance.random() > _SPEC_SHARE:
        return False
    text = open_artifact(path).spec.to_json()

    class Document:
        def to_json(self) -> str:
            return mutate_json(chance, text).decode("ascii", "replace").replace("�", "?")

    embed_spec(path, Document())
    return True


def _seal(path: Path) -> None:
    """Compute the hash again, if the place of the seal can still be found."""
    from edgepose.artifact import seal
    from edgepose.artifact.opening import _recognise
    from edgepose.errors import ArtifactError

    try:
        found = _recognise(path)
        location = found.locate(path)
        if location is not None:
            seal.stamp(path, found.files(path), location)
    except (ArtifactError, OSError, ValueError):
        pass


def _make_protobuf(chance: random.Random, source: Path, folder: Path) -> Path:
    from edgepose.artifact.protobuf_format import _wrap

    path = _copy(source, folder)
    if _change_spec(chance, path):
        return path
    carrier, numbers = (path / _MODEL, (2, 100, 100)) if path.is_dir() else (path, (14,))
    if path.is_dir() and chance.random() < 0.3:
        file = chance.choice(sorted(file for file in path.rglob("*") if file.is_file()))
        file.write_bytes(mutate_json(chance, file.read_text()) if file.suffix == ".json" else mutate_bytes(chance, file.read_bytes()))
        _seal(path)
        return path
    from edgepose.artifact import open_artifact

    tail = _wrap(numbers, open_artifact(path).spec.to_json())
    body = carrier.read_bytes()[: -len(tail)]
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        body = mutate_protobuf(chance, body)
    carrier.write_bytes(body + tail if chance.random() < 0.97 else tail + body)
    _seal(path)
    return path


def _make_xml(chance: random.Random, source: Path, folder: Path) -> Path:
    path = _copy(source, folder)
    if _change_spec(chance, path):
        return path
    if chance.random() < 0.1:
        weights = path.with_suffix(".bin")
        weights.write_bytes(mutate_bytes(chance, weights.read_bytes()))
    else:
        text = path.read_text()
        place = text.rindex("<edgepose>") if chance.random() < 0.95 else len(text)
        head = text[:place]
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            head = mutate_xml(chance, head)
        path.write_text(head + text[place:], errors="replace")
    _seal(path)
    return path


def _make_flatbuffer(chance: random.Random, source: Path, folder: Path) -> Path:
    path = _copy(source, folder)
    if _change_spec(chance, path):
        return path
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("edgepose.json").header_offset
    body, tail = content[:start], content[start:]
    kind = chance.random()
    if kind < 0.6:
        body = _edit_flatbuffer(chance, body)
    elif kind < 0.9:
        # Tables stand behind the buffers' data, in front of none of them: most of the file's end is structure.
        body = mutate_bytes(chance, body, chance.choice((None, 4000, 20_000)))
    else:
        tail = mutate_bytes(chance, tail)
    path.write_bytes(body + tail)
    if len(body) != start and kind < 0.9:
        _append_zip(path, body, content, start)
    _seal(path)
    return path


def _append_zip(path: Path, body: bytes, content: bytes, start: int) -> None:
    """Write the zip again, since it holds its own place."""
    from edgepose.artifact.format import UNSEALED

    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        text = archive.read("edgepose.json").decode()
    path.write_bytes(body)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("edgepose.json", date_time=(1980, 1, 1, 0, 0, 0)), text)
        archive.comment = b"edgepose.sha256:" + UNSEALED.encode()
    del start


def _edit_flatbuffer(chance: random.Random, body: bytes) -> bytes:
    """Change fields of the objects that the schema's own code reads, and write them with it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(body), 0))
    for _ in range(chance.choice((1, 1, 2, 4))):
        _edit_object(chance, model, 0)
    try:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
    except Exception:  # the generated writer refuses, in many ways, what can't be written
        return mutate_bytes(chance, body, 4000)


def _edit_object(chance: random.Random, thing: object, depth: int) -> None:
    names = [name for name, value in vars(thing).items() if value is not None or chance.random() < 0.1]
    if not names or depth > 6:
        return
    name = chance.choice(names)
    value = getattr(thing, name)
    if isinstance(value, list) and value and hasattr(value[0], "__dict__"):
        kind = chance.random()
        if kind < 0.8:
            _edit_object(chance, chance.choice(value), depth + 1)
        elif kind < 0.9:
            value.remove(chance.choice(value))
        else:
            value.append(chance.choice(value))
    elif hasattr(value, "__dict__"):
        _edit_object(chance, value, depth + 1)
    else:
        _edit_value(chance, thing, name, value)


def _edit_value(chance: random.Random, thing: object, name: str, value: object) -> None:
    if isinstance(value, bool):
        setattr(thing, name, not value)
    elif isinstance(value, int):
        setattr(thing, name, pick_integer(chance, value) % (1 << 31))
    elif isinstance(value, float):
        setattr(thing, name, chance.choice((0.0, float("nan"), float("inf"), -1.0, 1e30)))
    elif isinstance(value, np.ndarray | list) and len(value):
        changed = np.array(value)
        if changed.dtype.kind in "iu":
            limits = np.iinfo(changed.dtype)
            changed[chance.randrange(len(changed))] = min(max(pick_integer(chance, int(changed[0])), limits.min), limits.max)
        if chance.random() < 0.2:
            changed = changed[: chance.randrange(len(changed))]
        setattr(thing, name, changed)


def _make_safetensors(chance: random.Random, source: Path, folder: Path) -> Path:
    path = _copy(source, folder)
    if _change_spec(chance, path):
        return path
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if chance.random() < 0.8:
        header = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__")
        try:
            changed = json.loads(mutate_json(chance, json.dumps(header)))
        except (ValueError, RecursionError):
            changed = {}
        if isinstance(changed, dict):
            text = json.dumps({"__metadata__": metadata} | changed, separators=(",", ":")).encode("ascii", "replace")
            path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    else:
        path.write_bytes(mutate_bytes(chance, content))
    _seal(path)
    return path


def _make_json(chance: random.Random, source: Path, folder: Path) -> Path:
    path = folder / source.name
    path.write_bytes(mutate_json(chance, source.read_text("utf-8")))
    return path


def _make_toml(chance: random.Random, source: Path, folder: Path) -> Path:
    """Change numbers and texts of a TOML file, or its bytes."""
    path, text = folder / source.name, source.read_text("utf-8")
    if chance.random() < 0.2:
        path.write_bytes(mutate_bytes(chance, text.encode()))
        return path
    lines = text.split("\n")
    for _ in range(chance.randrange(1, 4)):
        index = chance.choice([number for number, line in enumerate(lines) if "=" in line])
        name, _, _ = lines[index].partition("=")
        lines[index] = f"{name}= {chance.choice(_TOML_VALUES)}" if chance.random() < 0.8 else chance.choice(lines)
    path.write_text("\n".join(lines), "utf-8")
    return path


def _make_bytes(chance: random.Random, source: Path, folder: Path) -> Path:
    path = folder / source.name
    path.write_bytes(mutate_bytes(chance, source.read_bytes()))
    return path


def _make_zip(chance: random.Random, source: Path, folder: Path) -> Path:
    """Change one member of a zip, so that checksums are right."""
    path = folder / source.name
    if chance.random() < 0.3:
        return _make_bytes(chance, source, folder)
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as changed:
        names = archive.namelist()
        target = chance.choice([name for name in names if name.endswith("data.pkl")] if chance.random() < 0.7 else names)
        for name in names:
            member = archive.read(name)
            changed.writestr(name, mutate_bytes(chance, member) if name == target else member)
    return path


def _make_huggingface(chance: random.Random, source: Path, folder: Path) -> Path:
    path = Path(shutil.copytree(source, folder / source.name))
    config = path / "config.json"
    config.write_bytes(mutate_json(chance, config.read_text("utf-8")))
    return path


# Opening


def _open_model(path: Path) -> str:
    import contextlib
    import io

    from edgepose.cli import main
    from edgepose.errors import EdgePoseError
    from edgepose.runtime.registry import load

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        main(["info", str(path)])
    if not all(line.isprintable() for line in shown.getvalue().split("\n")):
        raise AssertionError("edgepose info prints what isn't printable")
    try:
        with load(path, "cpu", threads=None if path.is_dir() else 1) as session:
            crops = np.random.default_rng(0).standard_normal((1, *session.spec.input_shape)).astype(np.float32)
            heatmaps = session.run(crops)
    except EdgePoseError as error:
        return f"{type(error).__name__}: {error}"
    return f"ran: mean {float(np.nanmean(heatmaps)):.3g}"


def _open_checkpoint(path: Path) -> str:
    from edgepose.models import load_checkpoint

    load_checkpoint(path)
    return "read"


def _open_quantization(path: Path) -> str:
    from edgepose.quantization import Quantization

    Quantization.from_json(path.read_bytes().decode("utf-8", "replace"))
    return "read"


def _open_skeleton(path: Path) -> str:
    from edgepose.skeleton import load_skeleton

    load_skeleton(path)
    return "read"


def _open_boxes(path: Path) -> str:
    from edgepose.boxes import load_boxes

    load_boxes(path)
    return "read"


def _open_annotations(path: Path) -> str:
    from edgepose.evaluation.annotations import load_annotations
    from edgepose.evaluation.people import annotated_people

    annotated_people(load_annotations(path, keypoints=17))
    return "read"


def _open_detections(path: Path) -> str:
    from edgepose.evaluation.annotations import load_annotations
    from edgepose.evaluation.detections import detected_people

    # The worker's folder holds the case; the annotations that it belongs to are the corpus's.
    detected_people(path, load_annotations(_texts / "annotations.json", keypoints=17))
    return "read"


def _open_recipe(path: Path) -> str:
    from edgepose.distillation.recipe_files import load_recipe

    load_recipe(str(path))
    return "read"


def _open_results(path: Path) -> str:
    from edgepose_benchmarks.report.columns import make_views
    from edgepose_benchmarks.report.markdown import format_report
    from edgepose_benchmarks.result_file import load_results

    content = load_results([path])
    text = format_report(make_views(content.results), content.comparisons)
    if "<script" in text:
        raise AssertionError("the Markdown report holds HTML")
    return "read"


def _open_picture(path: Path) -> str:
    from edgepose.image import read_image

    read_image(path)
    return "read"


_texts = Path()
_PICTURES = _open_picture
_PICTURE_SUFFIXES = (".png", ".jpg", ".bmp", ".tif", ".webp")
_SEALED = (".onnx", ".xml", ".tflite", ".mlpackage", ".safetensors")
_TEXTS = {
    "skeleton.json": _open_skeleton,
    "boxes.json": _open_boxes,
    "annotations.json": _open_annotations,
    "detections.json": _open_detections,
    "recipe.toml": _open_recipe,
    "results.json": _open_results,
}
_MAKERS: dict[str, Callable[[random.Random, Path, Path], Path]] = {
    ".onnx": _make_protobuf,
    ".mlpackage": _make_protobuf,
    ".xml": _make_xml,
    ".tflite": _make_flatbuffer,
    ".safetensors": _make_safetensors,
    ".pth": _make_zip,
    ".json": _make_json,
    ".toml": _make_toml,
    **dict.fromkeys(_PICTURE_SUFFIXES, _make_bytes),
}


def open_case(subject: Subject, path: Path) -> str:
    """Open a case; what a user may see is returned.

    Raises:
        Exception: what a user must not see.
    """
    from edgepose.errors import EdgePoseError

    if "FUZZ_TEST_BREAK" in os.environ:  # for the test of the fuzzer itself
        raise RuntimeError("broken on purpose")
    try:
        return subject.open(path)
    except EdgePoseError as error:
        text = str(error)
        if len(text) > 20_000:
            raise AssertionError(f"an error of {len(text)} letters") from None
        return f"{type(error).__name__}: {text}"
