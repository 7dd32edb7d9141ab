"""PyTorch: edgepose's own ``.safetensors``, in float32; the reference that the other runtimes are compared with.

Devices are ``cpu``, ``cuda`` (``cuda.0``, ``cuda.1`` … where there are several) and ``mps``. ``gpu`` is the first of those that isn't the
CPU, and ``auto`` too where there is one. PyTorch has one thread count for the whole process: ``threads`` sets that.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, CheckpointError, InputError
from edgepose.runtime.packages import find_version, import_package
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["RUNTIME", "TorchEngine", "TorchRuntime"]

_EXTRA = "torch"
_PURPOSE = "running an edgepose checkpoint"
_ALIASES = {"gpu": ("cuda", "cuda.0", "mps"), "cuda": ("cuda.0",)}


class TorchRuntime:
    """The ``torch`` package."""

    def version(self) -> str:
        """Version of the package."""
        return find_version("torch", extra=_EXTRA, purpose=_PURPOSE)

    def devices(self) -> tuple[str, ...]:
        """PyTorch's devices, with a dot where PyTorch writes a colon."""
        torch = _import()
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        cuda = ("cuda",) if count == 1 else tuple(f"cuda.{index}" for index in range(count))
        return ("cpu", *cuda, *(("mps",) if torch.backends.mps.is_available() else ()))

    def open(self, artifact: Artifact, request: DeviceRequest) -> "TorchEngine":
        """Load a checkpoint onto a device."""
        torch = _import()
        devices = self.devices()
        accelerators = [name for name in devices if name != "cpu"]
        chosen = request.choose(devices, runtime="torch", preferred=accelerators[0] if accelerators else "cpu", aliases=_ALIASES)
        if request.options:
            raise InputError(f"torch has no options, but these were given: {', '.join(request.options)}")
        import_package("safetensors", extra=_EXTRA, purpose=_PURPOSE)
        from edgepose.models.checkpoint import load_checkpoint

        try:
            model = load_checkpoint(artifact.path).model
        except CheckpointError as error:
            raise ArtifactError(str(error)) from None
        device = torch.device(chosen.replace(".", ":"))
        if request.threads is not None:
            torch.set_num_threads(request.threads)
        # PyTorch's own default; it rounds the operands of convolutions to 10 bits of mantissa.
        tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32
        info = SessionInfo(
            runtime="torch",
            version=self.version(),
            requested=request.text,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
            threads=request.threads,
            batch=None,
            details={"inference_precision": "f32, tf32 in convolutions" if tf32 else "f32", "threads": str(torch.get_num_threads())},
            streams=request.streams or 1,
        )
        return TorchEngine(model.to(device), device, info)


class TorchEngine:
    """A model in eval mode; PyTorch allows any number of calls at once."""

    def __init__(self, model: Any, device: Any, info: SessionInfo) -> None:
        self.info = info
        self._model = model
        self._device = device
        self._torch = _import()

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch."""
        with self._torch.inference_mode():
            heatmaps = self._model(self._torch.tensor(batch, device=self._device)).cpu().numpy()
        # In memory of numpy's: freeing PyTorch's lets go of the interpreter, which a thread must not do when the process is ending.
        return np.array(heatmaps, np.float32)

    def close(self) -> None:
        """Free the model."""
        self._model = None


def _import() -> Any:
    return import_package("torch", extra=_EXTRA, purpose=_PURPOSE)


RUNTIME = TorchRuntime()
