"""Detectors' files, before a runtime sees them: those that edgepose wrote carry their spec, published ones are known by their graph."""

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgepose.artifact import open_sealed
from edgepose.artifact.message import Message
from edgepose.errors import ArtifactError, SpecError
from edgepose.pipeline.detection.spec import DetectorSpec

__all__ = ["DetectorFile", "open_detector_file"]

_MAX_BYTES = 512 << 20
"""Ten times the largest RTMDet and YOLOX."""

# Field numbers of onnx.proto in onnx/onnx, Apache-2.0.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODES, _GRAPH_TENSORS, _GRAPH_SPARSE = 1, 5, 15
_NODE_KIND, _NODE_ATTRIBUTES, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (6, 11), (22, 23)
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_OWN_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorFile:
    """A file that may go to a runtime.

    Attributes:
        path: the file (or the package folder).
        form: ``onnx``, ``openvino``, ``litert`` or ``coreml``.
        spec: what it carries, or ``None`` where it is as published.
        sha256: the content hash that stands in it; empty where it is as published.
    """

    path: Path
    form: str
    spec: DetectorSpec | None
    sha256: str


def open_detector_file(path: Path) -> DetectorFile:
    """Recognise a file by its content, check its content hash where it has one, and refuse what leads out of it.

    Raises:
        ArtifactError: there is no such file, it is of no known format, too large, a pose model, or names other files.
        IntegrityError: its bytes have changed since it was sealed.
    """
    sealed = open_sealed(path)
    size = sum(file.stat().st_size for file in sealed.files)
    if size > _MAX_BYTES:
        raise ArtifactError(f"{path}: has {size >> 20} MiB; no detector that edgepose reads has more than {_MAX_BYTES >> 20}")
    if sealed.form.name == "safetensors":
        raise ArtifactError(f"{path}: weights of a pose model, not a detector; expected an ONNX, OpenVINO, TFLite or Core ML file")
    if sealed.form.name == "onnx":
        _check_onnx(path)
    spec = None
    if sealed.document is not None:
        try:
            spec = DetectorSpec.from_json(sealed.document, where="the embedded spec")
        except SpecError as error:
            raise ArtifactError(f"{path}: {error}") from None
    return DetectorFile(path=path, form=sealed.form.name, spec=spec, sha256=sealed.sha256)


def _check_onnx(path: Path) -> None:
    """Make sure that a graph names no other file and hides no other graph: no detector's does."""
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    model = Message(memoryview(content), path)
    if _MODEL_TRAINING in model or _MODEL_FUNCTIONS in model:
        raise ArtifactError(f"{path}: holds functions or a training graph, which no detector has")
    for graph in model.messages(_MODEL_GRAPH):
        if _GRAPH_SPARSE in graph:
            raise ArtifactError(f"{path}: holds sparse tensors, which no detector has")
        _check_tensors(graph.messages(_GRAPH_TENSORS), path)
        for node in graph.messages(_GRAPH_NODES):
            kind, domain = node.text(_NODE_KIND)[:100], node.text(_NODE_DOMAIN)[:100]
            if domain not in _OWN_DOMAINS:
                raise ArtifactError(f"{path}: uses the operator {domain}.{kind}; allowed: ONNX's own")
            for attribute in node.messages(_NODE_ATTRIBUTES):
                if any(field in attribute for field in (*_ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE)):
                    raise ArtifactError(f"{path}: its operator {kind} holds a graph or a sparse tensor, which no detector's does")
                _check_tensors(attribute.messages(_ATTRIBUTE_TENSOR), path)
                _check_tensors(attribute.messages(_ATTRIBUTE_TENSORS), path)


def _check_tensors(tensors: Iterable[Message], path: Path) -> None:
    for tensor in tensors:
        if _TENSOR_EXTERNAL in tensor or tensor.integer(_TENSOR_LOCATION):
            name = tensor.text(_TENSOR_NAME)[:100]
            raise ArtifactError(
                f"{path}: its tensor {name!r} stands in another file; a detector is one file: save it with its weights inside"
            )
