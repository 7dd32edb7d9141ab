"""LiteRT's operator profiler on the CPU, which its Python API doesn't show.

The library that ``ai-edge-litert`` brings has it in its C API (``litert/c/litert_profiler.h`` of google-ai-edge/LiteRT, Apache-2.0), so the
few functions it takes are called with ``ctypes``. XNNPACK reports each of its operators, so a graph that it takes whole is no black box.
Releases before 2.3 have other signatures or none: they are refused, because a wrong call ends the process.
"""

import ctypes
import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepose.errors import DeviceError
from edgepose.quiet import quiet
from edgepose.runtime.operator_table import OperatorRow, read_run_orders
from edgepose.runtime.profile import Profile

__all__ = ["profile_cpu"]

_OLDEST = (2, 3)
_LIBRARIES = {"darwin": "libLiteRt.dylib", "win32": "libLiteRt.dll"}
_CPU = 1  # of the bits of LiteRtHwAccelerators
_WRITE = 1  # of LiteRtTensorBufferLockMode
_TENSOR_TYPE_BYTES = 512  # more than any version's LiteRtRankedTensorType, which is passed on unread
_DELEGATE = "Delegate/"
_FIRST = ctypes.c_size_t(0)
_ONE = ctypes.c_size_t(1)
_Handle = ctypes.c_void_p
_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def profile_cpu(path: Path, package: Path, version: str, levels: NDArray[Any], *, threads: int, calls: int) -> Profile:
    """Run a model with the profiler on.

    Args:
        path: a TFLite file that LiteRT's interpreter has read: the library may crash on a broken one.
        package: folder of the package ``ai_edge_litert``.
        version: of that package.
        levels: the model's input, in its own element type.
        threads: CPU threads.
        calls: how many calls to average over, after one that warms up.

    Raises:
        DeviceError: the package is too old or has no such library, or the profiler failed.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    library_path = package / _LIBRARIES.get(sys.platform, "libLiteRt.so")
    if numbers < _OLDEST or not library_path.is_file():
        oldest = ".".join(map(str, _OLDEST))
        raise DeviceError(f"ai-edge-litert {version} has no profiler of operators that edgepose can call; {oldest} and later have one")
    with quiet():  # the library logs each accelerator that it doesn't find
        summary = _run(_Library(library_path), path, levels, threads, calls)
    rows = [row for table in read_run_orders(summary) for row in table]
    if not rows:
        raise DeviceError(f"LiteRT's profiler reported no operator of {path.name}")
    return Profile.from_times("LiteRT profiler", {f"{number} {row.name}": _time(row) for number, row in enumerate(rows)})


def _time(row: OperatorRow) -> tuple[str, str, float]:
    return row.kind.removeprefix(_DELEGATE), "cpu", row.seconds


class _Library:
    """LiteRT's C library. Every function returns a status, 0 for success, and handles through its last argument."""

    def __init__(self, path: Path) -> None:
        self._native = ctypes.CDLL(str(path))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._native, name)(*arguments)
        if status:
            raise DeviceError(f"LiteRT's profiler can't be used: {name} failed with status {status}")

    def make(self, name: str, *arguments: Any) -> _Handle:
        handle = _Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def own(self, stack: ExitStack, kind: str, name: str, *arguments: Any) -> _Handle:
        """Make an object that is destroyed with ``stack``."""
        handle = self.make(name, *arguments)
        stack.callback(getattr(self._native, f"LiteRtDestroy{kind}"), handle)
        return handle


def _run(library: _Library, path: Path, levels: NDArray[Any], threads: int, calls: int) -> str:
    """Return what the profiler prints."""
    with ExitStack() as stack:
        environment = library.own(stack, "Environment", "LiteRtCreateEnvironment", 0, None)
        model = library.own(stack, "Model", "LiteRtCreateModelFromFile", environment, os.fsencode(path))
        options = library.own(stack, "Options", "LiteRtCreateOptions")
        library.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        # Options travel as TOML; the library frees them with what is given here, and these aren't its own.
        texts = {"runtime_options_string": b"enable_profiling = true\n", "xnnpack": b"num_threads = %d\n" % threads}
        keep = _Destructor(lambda _: None)
        for name, text in texts.items():
            library.call("LiteRtAddOpaqueOptions", options, library.make("LiteRtCreateOpaqueOptions", name.encode(), text, keep))
        compiled = library.own(stack, "CompiledModel", "LiteRtCreateCompiledModel", environment, model, options)
        signature = library.make("LiteRtGetModelSignature", model, _FIRST)
        buffers = [_make_buffer(library, stack, environment, compiled, signature, side) for side in ("Input", "Output")]
        _fill(library, buffers[0], levels)

        def run() -> None:
            inputs, outputs = (_Handle * 1)(buffers[0]), (_Handle * 1)(buffers[1])
            library.call("LiteRtRunCompiledModel", compiled, _FIRST, _ONE, inputs, _ONE, outputs)

        run()
        profiler = library.make("LiteRtCompiledModelGetProfiler", compiled)
        library.call("LiteRtStartProfiler", profiler)
        for _ in range(calls):
            run()
        library.call("LiteRtStopProfiler", profiler)
        return _take_text(library.make("LiteRtGetProfileSummary", profiler, compiled))


def _make_buffer(library: _Library, stack: ExitStack, environment: _Handle, compiled: _Handle, signature: _Handle, side: str) -> _Handle:
    tensor = library.make(f"LiteRtGetSignature{side}TensorByIndex", signature, _FIRST)
    kind = ctypes.create_string_buffer(_TENSOR_TYPE_BYTES)
    library.call("LiteRtGetRankedTensorType", tensor, kind)
    requirements = library.make(f"LiteRtGetCompiledModel{side}BufferRequirements", compiled, _FIRST, _FIRST)
    return library.own(stack, "TensorBuffer", "LiteRtCreateManagedTensorBufferFromRequirements", environment, kind, requirements)


def _fill(library: _Library, buffer: _Handle, levels: NDArray[Any]) -> None:
    size = ctypes.c_size_t()
    library.call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
    if size.value != levels.nbytes:
        raise DeviceError(f"LiteRT's profiler wants an input of {size.value} bytes; the model's interpreter one of {levels.nbytes}")
    memory = _Handle()
    library.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(memory), _WRITE)
    ctypes.memmove(memory, np.ascontiguousarray(levels).ctypes.data, levels.nbytes)
    library.call("LiteRtUnlockTensorBuffer", buffer)


def _take_text(text: _Handle) -> str:
    found = ctypes.string_at(text).decode("utf-8", "replace") if text.value else ""
    if os.name == "posix":
        ctypes.CDLL(None).free(text)
    return found
