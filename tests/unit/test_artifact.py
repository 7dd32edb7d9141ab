"""Model files: recognising them, the spec inside, and noticing that a single bit has changed. No runtime is needed for any of it."""

import dataclasses
import json
import os
import random
import shutil
import zipfile

import pytest
from artifacts import SUFFIXES

from edgepose.artifact import embed_spec, open_artifact
from edgepose.artifact.format import MAX_DOCUMENT_BYTES
from edgepose.artifact.protobuf import message
from edgepose.errors import ArtifactError, IntegrityError
from edgepose.spec import Provenance

KINDS = tuple(SUFFIXES)
MODEL = "Data/com.apple.CoreML/model.mlmodel"
FLIPS_PER_FILE = 60


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def files_of(path):
    return sorted(file for file in (path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")) if file.is_file())


def carrier_of(path):
    return path / MODEL if path.is_dir() else path


def test_an_artifact_tells_what_it_is(artifacts, kind):
    path = artifacts.path(kind)
    artifact = open_artifact(str(path))
    assert (artifact.path, artifact.format, artifact.spec.name) == (path, kind, "tiny")
    assert sorted(artifact.files) == files_of(path)
    assert artifact.size_bytes == sum(file.stat().st_size for file in files_of(path))
    assert len(bytes.fromhex(artifact.sha256)) == 32


def test_embedding_again_replaces_the_spec(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    size, before = carrier_of(path).stat().st_size, open_artifact(path)
    for notes in (("a" * 5000, 'quotes " and <tags> & \\ backslashes', "äöü €"), ()):
        changed = dataclasses.replace(before.spec, provenance=Provenance(source="x", notes=notes))
        digest = embed_spec(path, changed)
        artifact = open_artifact(path)
        assert artifact.spec == changed
        assert artifact.sha256 == digest != before.sha256
    embed_spec(path, before.spec)
    assert open_artifact(path) == before
    assert carrier_of(path).stat().st_size == size


def flips(path):
    """Positions and bits to flip: all over the file, and densely where the spec and the hash stand."""
    content = path.read_bytes()
    generator = random.Random(path.name)
    positions = {0, len(content) - 1, *(generator.randrange(len(content)) for _ in range(FLIPS_PER_FILE))}
    for mark in (b"edgepose", b"sha256", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"):
        start = content.find(mark)
        while start >= 0 and len(positions) < 600:
            positions |= {position for position in range(start - 24, start + 72) if 0 <= position < len(content)}
            start = content.find(mark, start + 1)
    return [(position, generator.randrange(8)) for position in sorted(positions)]


def test_every_flipped_bit_is_noticed(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    whole = open_artifact(path)
    missed = []
    for file in files_of(path):
        spots = flips(file)
        with file.open("r+b") as stream:
            for position, bit in spots:
                stream.seek(position)
                byte = stream.read(1)
                stream.seek(position)
                stream.write(bytes([byte[0] ^ 1 << bit]))
                stream.flush()
                try:
                    open_artifact(path)
                    missed.append((file.name, position, bit))
                except ArtifactError as error:
                    assert path.stem in str(error)  # noqa: PT017  what is tested is that nothing else is raised
                stream.seek(position)
                stream.write(byte)
                stream.flush()
    assert missed == []
    assert open_artifact(path) == whole


def test_the_bits_of_the_weights_are_an_integrity_error(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    weights = {"openvino": path.with_suffix(".bin"), "coreml": path / "Data/com.apple.CoreML/weights/weight.bin"}.get(kind, path)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match="has changed since it was verified"):
        open_artifact(path)


def test_truncated_files_are_noticed(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    for file in files_of(path):
        content = file.read_bytes()
        for size in {0, 1, 8, len(content) // 2, len(content) - 1}:
            file.write_bytes(content[:size])
            with pytest.raises(ArtifactError, match=path.stem):
                open_artifact(path)
        file.write_bytes(content + b"\0")
        with pytest.raises(ArtifactError, match=path.stem):
            open_artifact(path)
        file.write_bytes(content)
    open_artifact(path)


def test_a_renamed_artifact_is_the_same(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    before = open_artifact(path)
    renamed = tmp_path / f"another name{path.suffix}"
    for file in files_of(path) if not path.is_dir() else [path]:
        file.rename(renamed.with_suffix(file.suffix))
    assert open_artifact(renamed).sha256 == before.sha256


@pytest.mark.parametrize("kind", ["onnx", "litert", "safetensors"])
def test_the_content_counts_and_not_the_suffix(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    assert open_artifact(path.rename(tmp_path / "model.dat")).format == kind


def test_swapped_weights_are_noticed(artifacts, tmp_path):
    path = artifacts.copy("openvino", tmp_path)
    weights = path.with_suffix(".bin")
    weights.write_bytes(bytes(weights.stat().st_size))
    with pytest.raises(IntegrityError):
        open_artifact(path)


# Files that aren't ours


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.onnx", b"", "the file is empty"),
        ("photo.onnx", b"\xff\xd8\xff\xe0" + bytes(100), "not a model file that edgepose knows"),
        ("text.xml", b"<?xml version='1.0'?><html></html>", "not a model file that edgepose knows"),
        ("model.pth", b"PK\x03\x04" + bytes(100), "edgepose convert .*model.pth"),
        ("old.pth", b"\x80\x02}q\x00." + bytes(100), "edgepose convert .*old.pth"),
        ("short.safetensors", (1 << 40).to_bytes(8, "little") + b"{" + bytes(50), "header claims 1099511627776 bytes"),
        ("short.onnx", b"\x08\x0a\x3a\xff\x7f", "cut short"),
        ("endless.onnx", b"\x08\x0a" + b"\xff" * 40, "too long"),
        ("field0.onnx", b"\x08\x0a\x00\x00", "not a valid file"),
    ],
)
def test_files_of_another_kind(artifacts, tmp_path, name, content, told):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=told) as caught:
        open_artifact(path)
    assert name in str(caught.value)
    with pytest.raises(ArtifactError):
        embed_spec(path, artifacts.spec)
    assert path.read_bytes() == content


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"missing\.onnx: no such file"):
        open_artifact(tmp_path / "missing.onnx")


def test_a_folder_that_is_no_package(tmp_path):
    with pytest.raises(ArtifactError, match="not a model file that edgepose knows"):
        open_artifact(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_must_not_be_read(artifacts, tmp_path):
    path = artifacts.copy("onnx", tmp_path)
    path.chmod(0)
    with pytest.raises(ArtifactError, match="can't be read: Permission denied"):
        open_artifact(path)


def test_openvino_weights_alone_name_the_graph(artifacts, tmp_path):
    path = artifacts.copy("openvino", tmp_path)
    with pytest.raises(ArtifactError, match=r"name tiny\.xml instead"):
        open_artifact(path.with_suffix(".bin"))


def test_openvino_without_its_weights(artifacts, tmp_path):
    path = artifacts.copy("openvino", tmp_path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match=r"its weights tiny\.bin are missing"):
        open_artifact(path)


@pytest.mark.parametrize("kind", ["onnx", "litert", "openvino", "coreml"])
def test_a_model_without_a_spec_says_how_to_get_one(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    strip(kind, path)
    with pytest.raises(ArtifactError, match=f"a {kind} file without an edgepose spec.*edgepose convert"):
        open_artifact(path)


def strip(kind, path):
    """Take the spec out, with other means than edgepose's."""
    if kind == "onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    elif kind == "litert":
        with zipfile.ZipFile(path) as archive:
            start = archive.getinfo("edgepose.json").header_offset
        os.truncate(path, start)
    elif kind == "openvino":
        content = path.read_text()
        start, end = content.index("<edgepose>"), content.index("</edgepose>") + len("</edgepose>")
        path.write_text(content[:start] + content[end:])
    else:
        from coremltools.proto.Model_pb2 import Model

        model = Model.FromString((path / MODEL).read_bytes())
        model.description.metadata.userDefined.clear()
        (path / MODEL).write_bytes(model.SerializeToString())


def test_other_tools_read_what_was_embedded(artifacts):
    """The spec stands where each format's own tools look for metadata."""
    import onnx
    from coremltools.proto.Model_pb2 import Model

    def check(text):
        assert json.loads(text)["name"] == "tiny"

    check({entry.key: entry.value for entry in onnx.load(artifacts.path("onnx")).metadata_props}["edgepose.spec"])
    with zipfile.ZipFile(artifacts.path("litert")) as archive:
        assert archive.testzip() is None
        check(archive.read("edgepose.json"))
    check(Model.FromString((artifacts.path("coreml") / MODEL).read_bytes()).description.metadata.userDefined["edgepose.spec"])
    from edgepose.runtime.openvino import import_openvino

    check(import_openvino().Core().read_model(artifacts.path("openvino")).get_rt_info(["edgepose", "spec"]).value)
    from safetensors import safe_open

    with safe_open(artifacts.path("safetensors"), "np") as file:
        check(file.metadata()["edgepose.spec"])


# Documents


def replace_document(path, document):
    """Put any text where the spec stands, sealed as edgepose seals it."""

    class Document:
        def to_json(self):
            return document

    embed_spec(path, Document())


@pytest.mark.parametrize("document", ['{"edgepose_spec":1}', '{"edgepose_spec":99}', "[]", "{", '"text"', "[" * 100_000])
def test_a_sealed_document_that_is_no_spec(artifacts, tmp_path, kind, document):
    path = artifacts.copy(kind, tmp_path)
    replace_document(path, document)
    with pytest.raises(ArtifactError, match=r"tiny.*the embedded spec"):
        open_artifact(path)


@pytest.mark.parametrize("kind", ["openvino", "onnx", "litert", "coreml"])
def test_an_oversized_document_is_refused_unread(artifacts, tmp_path, kind):
    path = artifacts.copy(kind, tmp_path)
    with pytest.raises(ArtifactError, match=r"spec|bytes"):
        replace_document(path, '"' + "x" * (MAX_DOCUMENT_BYTES + 1) + '"')


def test_a_second_spec_is_refused(artifacts, tmp_path):
    path = artifacts.copy("onnx", tmp_path)
    with path.open("ab") as stream:
        stream.write(message(14, message(1, b"edgepose.spec") + message(2, b"{}")))
    with pytest.raises(ArtifactError, match=r"2 entries 'edgepose.spec'"):
        open_artifact(path)
    before = path.read_bytes()
    with pytest.raises(ArtifactError):
        embed_spec(path, artifacts.spec)
    assert path.read_bytes() == before


# Core ML packages: folders, whose manifest names a file


@pytest.mark.parametrize("target", ["../../../etc/passwd", "/etc/passwd", "com.apple.CoreML/../../../secret", ""])
def test_a_manifest_that_leads_out_of_the_package(artifacts, tmp_path, target):
    path = artifacts.copy("coreml", tmp_path)
    (tmp_path / "secret").write_bytes(b"\x08\x08")
    manifest = path / "Manifest.json"
    content = json.loads(manifest.read_text())
    content["itemInfoEntries"][content["rootModelIdentifier"]]["path"] = target
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"outside the package|incomplete"):
        open_artifact(path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"rootModelIdentifier":[]}', '{"rootModelIdentifier":"a","itemInfoEntries":{"a":{"path":5}}}', "[" * 100_000],
)
def test_a_broken_manifest(artifacts, tmp_path, content):
    path = artifacts.copy("coreml", tmp_path)
    (path / "Manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"Manifest\.json"):
        open_artifact(path)


def test_a_package_with_a_link_is_refused(artifacts, tmp_path):
    path = artifacts.copy("coreml", tmp_path)
    weights = path / "Data/com.apple.CoreML/weights"
    shutil.move(weights, tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="symbolic link"):
        open_artifact(path)


@pytest.mark.parametrize("change", ["add", "remove", "rename"])
def test_files_that_come_and_go_in_a_package_are_noticed(artifacts, tmp_path, change):
    path = artifacts.copy("coreml", tmp_path)
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    if change == "add":
        weights.with_name("more.bin").write_bytes(b"")
    elif change == "remove":
        weights.unlink()
    else:
        weights.rename(weights.with_name("other.bin"))
    with pytest.raises(IntegrityError):
        open_artifact(path)


def test_a_package_with_many_files_is_refused(artifacts, tmp_path):
    path = artifacts.copy("coreml", tmp_path)
    for index in range(70):
        (path / f"{index}").write_bytes(b"")
    with pytest.raises(ArtifactError, match="more than 64 files"):
        open_artifact(path)


# ONNX with its weights beside it, as above 2 GB


def test_external_weights_are_sealed_too(artifacts, tmp_path):
    path = artifacts.copy("onnx", tmp_path)
    data = path.with_name(path.name + ".data")
    data.write_bytes(b"weights")
    embed_spec(path, artifacts.spec)
    assert open_artifact(path).files == (path, data)
    data.write_bytes(b"weighty")
    with pytest.raises(IntegrityError, match=r"tiny\.onnx, tiny\.onnx\.data"):
        open_artifact(path)
    data.unlink()
    with pytest.raises(IntegrityError):
        open_artifact(path)
