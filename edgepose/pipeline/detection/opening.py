"""Detectors by name or file."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgepose.errors import ArtifactError, InputError, SpecError
from edgepose.pipeline.detection.file import open_detector_file
from edgepose.pipeline.detection.network import NetworkDetector
from edgepose.pipeline.detection.rtmdet import recognise_rtmdet
from edgepose.pipeline.detection.spec import DetectorSpec
from edgepose.pipeline.detection.yolox import recognise_yolox
from edgepose.runtime.network import Network, open_network
from edgepose.runtime.ports import Port
from edgepose.runtime.request import DeviceRequest
from edgepose.spec import Provenance
from edgepose.weights import WEIGHTS, find_weights

__all__ = ["DEFAULT_DETECTOR", "DETECTORS", "open_detector"]

DETECTORS = tuple(name for name, weights in WEIGHTS.items() if weights.kind == "detector")
DEFAULT_DETECTOR = "yolox-nano"
_AUTO = "auto"
_TITLES = {"rtmdet": "RTMDet", "yolox": "YOLOX"}
_SHOWN_PORTS = 6


def open_detector(
    name_or_path: str | Path = _AUTO,
    *,
    device: str = "auto",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
    min_score: float | None = None,
    input_size: tuple[int, int] | None = None,
) -> NetworkDetector:
    """Open a detector of people.

    Args:
        name_or_path: ``yolox-nano``, ``rtmdet-nano``, ``auto`` (the first), or a file: one that edgepose converted (OpenVINO, ONNX, TFLite
            or Core ML), or an ONNX or OpenVINO file of RTMDet (exported by mmdeploy, with NMS) or YOLOX (without) as published.
        device: as ``edgepose.load`` takes it.
        threads: CPU threads; ``None`` leaves it to the runtime.
        options: settings of the runtime.
        min_score: people that score less aren't reported, 0 to 1; by default as the detector needs, see ``DetectorSpec``.
        input_size: height and width of the network's input, multiples of 32, where the file leaves them open, as rtmdet-nano does: larger
            finds smaller people, and takes longer.

    Raises:
        InputError: no such name, the weights aren't installed, or a value out of range.
        ArtifactError: the file can't be read, or is none of these detectors.
        IntegrityError: its bytes have changed.
        DeviceError: the runtime or device isn't on this machine.
    """
    name = DEFAULT_DETECTOR if name_or_path == _AUTO else str(name_or_path)
    request = DeviceRequest.parse(device, threads=threads, options=options)
    is_file = Path(name).suffix != "" or Path(name).exists()
    file = open_detector_file(Path(name) if is_file else find_weights(name))
    network = open_network(file.path, file.form, request)
    try:
        spec = file.spec or _recognise(_describe_source(name, file.path, is_file=is_file), network, file.path)
        if input_size is not None:
            spec = _resize(spec, network.inputs[0], input_size)
        _check_ports(spec, network, file.path)
        title = f"{file.path.name} ({_TITLES[spec.kind]})" if is_file else name
        return NetworkDetector(network, spec, min_score=min_score, title=title)
    except BaseException:
        network.close()
        raise


def _describe_source(name: str, path: Path, *, is_file: bool) -> Provenance:
    if is_file:
        return Provenance(source=path.name)
    return Provenance(source=path.name, sha256=WEIGHTS[name].sha256, licence=WEIGHTS[name].licence)


def _recognise(source: Provenance, network: Network, path: Path) -> DetectorSpec:
    """Return what a published file is by its inputs and outputs."""
    name = re.sub(r"[^A-Za-z0-9_+-]", "-", path.stem) or "detector"
    for recognise in (recognise_rtmdet, recognise_yolox):
        try:
            spec = recognise(name, network.inputs, network.outputs, source)
        except SpecError as error:
            raise ArtifactError(f"{path}: {error}") from None
        if spec is not None:
            return spec
    ports = ", ".join(f"{port.name[:40]} {port}" for port in (*network.inputs, *network.outputs)[:_SHOWN_PORTS])
    raise ArtifactError(
        f"{path}: isn't a detector that edgepose reads: it has {ports}; expected RTMDet's 'dets' and 'labels', or YOLOX's rows of boxes"
    )


def _resize(spec: DetectorSpec, port: Port, size: tuple[int, int]) -> DetectorSpec:
    """Return the spec for another input, where the file leaves it open."""
    sides = (spec.input.height, spec.input.width)
    if size == sides:
        return spec
    if port.shape is None or None in port.shape[2:]:
        height, width = size
        try:
            return dataclasses.replace(spec, input=dataclasses.replace(spec.input, height=height, width=width))
        except SpecError as error:
            raise InputError(str(error)) from None
    raise InputError(f"input_size is {size}, but {spec.name} takes {sides} alone")


def _check_ports(spec: DetectorSpec, network: Network, path: Path) -> None:
    """Make sure that a network takes and gives what its spec says, as far as its runtime knows before it has run."""
    if len(network.inputs) != 1:
        raise ArtifactError(f"{path}: has {len(network.inputs)} inputs; a detector has one")
    named = {port.name: port for port in network.outputs}
    # One output needs no name; of several, formats may change the order.
    if len(named) != len(spec.outputs) or (len(named) > 1 and set(named) != set(spec.outputs)):
        raise ArtifactError(f"{path}: gives {_list(named)}; expected {_list(spec.outputs)}")
    found = network.outputs if len(named) == 1 else [named[name] for name in spec.outputs]
    for port, shape in zip((*network.inputs, *found), (spec.input_shape, *spec.outputs.values()), strict=True):
        if port.shape is not None and not (len(port.shape) == len(shape) and all(map(_may_be, port.shape, shape))):
            raise ArtifactError(f"{path}: {port.name[:40]!r} is {port}; expected {shape}")
    if network.inputs[0].dtype != "float32":
        raise ArtifactError(f"{path}: takes {network.inputs[0].dtype}; a detector takes float32")


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:40]) for name in list(names)[:_SHOWN_PORTS])


def _may_be(side: int | None, wanted: int | None) -> bool:
    return side is None or wanted is None or side == wanted
