"""Detectors by name or file."""

from collections.abc import Mapping
from pathlib import Path

from edgepose.errors import ArtifactError
from edgepose.pipeline.detection.network import NetworkDetector
from edgepose.pipeline.detection.rtmdet import RTMDET
from edgepose.pipeline.detection.yolox import YOLOX
from edgepose.runtime.network import open_network
from edgepose.runtime.request import DeviceRequest
from edgepose.weights import WEIGHTS, find_weights

__all__ = ["DEFAULT_DETECTOR", "DETECTORS", "KINDS", "open_detector"]

DETECTORS = tuple(name for name, weights in WEIGHTS.items() if weights.kind == "detector")
DEFAULT_DETECTOR = "yolox-nano"
KINDS = (RTMDET, YOLOX)
_AUTO = "auto"


def open_detector(
    name_or_path: str | Path = _AUTO,
    *,
    device: str = "auto",
    threads: int | None = None,
    options: Mapping[str, str] | None = None,
    min_score: float | None = None,
) -> NetworkDetector:
    """Open a detector of people.

    Args:
        name_or_path: ``yolox-nano``, ``rtmdet-nano``, ``auto`` (the first), or an ``.onnx`` or OpenVINO file of RTMDet (exported by
            mmdeploy, with NMS) or YOLOX (without).
        device: as ``edgepose.load`` takes it.
        threads: CPU threads; ``None`` leaves it to the runtime.
        options: settings of the runtime.
        min_score: people that score less aren't reported, 0 to 1; by default as the detector needs, see ``DetectorKind``.

    Raises:
        InputError: no such name, the weights aren't installed, or a value out of range.
        ArtifactError: the file can't be read, or is none of these detectors.
        DeviceError: the runtime or device isn't on this machine.
    """
    name = DEFAULT_DETECTOR if name_or_path == _AUTO else str(name_or_path)
    is_file = Path(name).suffix != "" or Path(name).exists()
    path = Path(name) if is_file else find_weights(name)
    network = open_network(path, DeviceRequest.parse(device, threads=threads, options=options))
    kind = next((kind for kind in KINDS if kind.recognise(network.inputs, network.outputs)), None)
    if kind is None:
        ports = ", ".join(f"{port.name} {list(port.shape or ())}" for port in (*network.inputs, *network.outputs))
        network.close()
        raise ArtifactError(
            f"{path}: isn't a detector that edgepose reads: it has {ports}; expected RTMDet's 'dets' and 'labels', or YOLOX's rows of boxes"
        )
    title = f"{path.name} ({kind.name})" if is_file else name
    return NetworkDetector(network, kind, title, min_score=kind.default_min_score if min_score is None else min_score)
