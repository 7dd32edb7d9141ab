"""LiteRT's GPU accelerator: WebGPU over Vulkan, Direct3D or Metal on desktops, OpenCL on Android.

Whether the accelerator starts can only be found out by starting it, which a driver may answer with a crash: ``find_adapter`` tries it in
a child process (this module, run with ``-m``) on a model of one operator.

LiteRT tells little about what runs where: ``is_fully_accelerated`` is true even if half of the operators were left to the CPU. But asked
for the GPU *alone*, it refuses a model that isn't taken whole. So that is tried first, and says for sure that the GPU runs everything.
"""

import base64
import dataclasses
import logging
import re
import subprocess
import sys
import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.artifact import Artifact
from edgepose.errors import ArtifactError, DeviceError, InputError
from edgepose.runtime.packages import import_package
from edgepose.runtime.request import DeviceRequest
from edgepose.runtime.session import SessionInfo

__all__ = ["CompiledModelEngine", "find_adapter", "open_gpu"]

_LOG = logging.getLogger(__name__)
_EXTRA = "litert"
_PURPOSE = "running a TFLite file on the GPU"
_PROBE_SECONDS = 20
_NO_GPU = 3
_ADAPTER = re.compile(r"Selected adapter: ([^,\n]+)")
# A TFLite model of one RELU over a float32 (1, 2, 2, 4) tensor.
PROBE_MODEL = base64.b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA6AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAMAAgABAAMAAAAEAAAADwA"
    "AABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAAPAAAAAQAAADY////"
    "CAAAAAwAAAABAAAAeQAAAAQAAAABAAAAAgAAAAIAAAAEAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAAEAAAAAQAAAAIAAAACAAAABAAAAAEA"
    "AAAQAAAADAAMAAsAAAAAAAQADAAAABMAAAAAAAAT"
)


@cache
def find_adapter() -> str | None:
    """Start the accelerator in a child process, once.

    Returns:
        The graphics adapter's name where LiteRT logs it, else an empty string; ``None`` if the accelerator doesn't start.
    """
    if not sys.executable:
        return None
    try:
        probe = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", __name__], capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.warning("can't find out whether LiteRT has a GPU here: %s", error)
        return None
    if probe.returncode not in (0, _NO_GPU):
        _LOG.warning("LiteRT's GPU accelerator crashed while it was tried (exit code %d): %s", probe.returncode, probe.stderr[-500:])
    if probe.returncode != 0:
        return None
    adapter = _ADAPTER.search(probe.stderr)
    return adapter.group(1).strip() if adapter else ""


def open_gpu(artifact: Artifact, request: DeviceRequest, *, version: str, adapter: str, batch: int) -> "CompiledModelEngine":
    """Load a model on the GPU.

    Args:
        artifact: a file that LiteRT's interpreter has read: this loader may crash on a broken one.
        request: its options are the fields of LiteRT's ``GpuOptions``, such as ``enforce_f32=true``.
        version: for the session's info.
        adapter: what ``find_adapter`` returned.
        batch: the batch size that the file is compiled for.

    Raises:
        ArtifactError: LiteRT rejects the file.
        InputError: an option that ``GpuOptions`` doesn't have.
    """
    options = _gpu_options(request)
    accelerator = _import("hardware_accelerator").HardwareAccelerator
    whole = True
    try:
        model = _compile(artifact, accelerator.GPU, options)
    except RuntimeError as refusal:
        _LOG.info("the GPU doesn't take all of %s: %s", artifact.path.name, refusal)
        whole = False
        try:
            model = _compile(artifact, accelerator.GPU | accelerator.CPU, options)
        except RuntimeError as error:
            raise ArtifactError(f"{artifact.path}: LiteRT can't load the model on the GPU: {error}") from None
    name = f"gpu ({adapter})" if adapter else "gpu"
    info = SessionInfo(
        runtime="litert",
        version=version,
        requested=request.text,
        device=name if whole else f"{name} + cpu",
        threads=None,
        batch=batch,
        details={
            "accelerated": "all operators" if whole else "a part of the operators; the GPU doesn't take the others, which run on the CPU",
            "inference_precision": "f32"
            if options.enforce_f32
            else "the GPU's choice: f16 where it has it (option enforce_f32=true for f32)",
        },
    )
    return CompiledModelEngine(model, (batch, *artifact.spec.heatmap_shape), info)


class CompiledModelEngine:
    """A compiled model with one input and one output buffer on the GPU: calls from several threads wait for each other."""

    def __init__(self, model: Any, heatmaps_shape: tuple[int, int, int, int], info: SessionInfo) -> None:
        self.info = info
        self._model = model
        self._inputs = model.create_input_buffers(0)
        self._outputs = model.create_output_buffers(0)
        self._shape = heatmaps_shape
        self._lock = threading.Lock()

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run one batch; input and output are copied to and from the GPU."""
        with self._lock:
            self._inputs[0].write(batch)
            self._model.run_by_index(0, self._inputs, self._outputs)
            heatmaps: NDArray[np.float32] = self._outputs[0].read(int(np.prod(self._shape)), np.float32)
        return heatmaps.reshape(self._shape)

    def close(self) -> None:
        """Free the buffers and the model, after the call that is running."""
        with self._lock:
            for buffer in (*self._inputs, *self._outputs):
                buffer.destroy()
            self._inputs = self._outputs = []
            self._model.close()


def _import(module: str) -> Any:
    return import_package(f"ai_edge_litert.{module}", extra=_EXTRA, purpose=_PURPOSE)


def _compile(artifact: Artifact, accelerators: Any, gpu_options: Any) -> Any:
    options = _import("options").Options(hardware_accelerators=accelerators, gpu_options=gpu_options)
    return _import("compiled_model").CompiledModel.from_file(str(artifact.path), options=options)


def _gpu_options(request: DeviceRequest) -> Any:
    kind = _import("options").GpuOptions
    known = [field.name for field in dataclasses.fields(kind)]
    values = {"true": True, "false": False}
    for name, value in request.options.items():
        if name not in known:
            raise InputError(f"LiteRT's GPU has no option {name!r}; it has: {', '.join(known)}")
        if value not in values:
            raise InputError(f"LiteRT's option {name} is {value!r}; allowed: {', '.join(values)}")
    return kind(**{name: values[value] for name, value in request.options.items()})


def _probe() -> int:
    try:
        accelerator = _import("hardware_accelerator").HardwareAccelerator
        _import("compiled_model").CompiledModel.from_buffer(PROBE_MODEL, accelerator.GPU)
    except (RuntimeError, DeviceError):
        return _NO_GPU
    return 0


if __name__ == "__main__":
    sys.exit(_probe())
