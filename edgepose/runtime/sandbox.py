"""The process in which an untrusted file is opened and run: ``python -m edgepose.runtime.sandbox``, started by ``untrusted``.

It takes away from itself, for good, what reading a model and computing doesn't need, and then serves its parent over two pipes:
memory beyond a limit, processor time beyond a limit for each call, files (no more than a few open at once, none written, made, renamed or
removed), other programs, and sockets. The last two and most of the third are a seccomp filter, on Linux for x86-64 and Arm64.
"""

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

from edgepose.runtime import frames

__all__ = ["FILTERED_MACHINES", "allow_seconds", "main"]

_MAX_OPEN_FILES = 256
_MAX_MESSAGE = 4000

# Calls that change files, reach other processes or the network: numbers on x86-64 and on Arm64, where those differ (0 where there is none).
_REFUSED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "kill": (62, 129),
    "tkill": (200, 130),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "truncate": (76, 45),
    "rename": (82, 0),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, 0),
    "mkdirat": (258, 34),
    "rmdir": (84, 0),
    "creat": (85, 0),
    "link": (86, 0),
    "linkat": (265, 37),
    "unlink": (87, 0),
    "unlinkat": (263, 35),
    "symlink": (88, 0),
    "symlinkat": (266, 36),
    "chmod": (90, 0),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, 0),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "mknod": (133, 0),
    "mknodat": (259, 33),
    "setxattr": (188, 5),
    "mount": (165, 40),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "openat2": (437, 437),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
}
_OPEN, _OPENAT = (2, 0), (257, 56)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FILTERED_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine → column of the numbers above, and the kernel's name of its architecture."""

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = (317, 277), 1, 1
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_ANY, _JUMP_ABOVE, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ARCHITECTURE_AT, _NUMBER_AT, _ARGUMENTS_AT = 4, 0, 16
_X32 = 0x40000000
_EPERM = 1


def main() -> int:
    """Serve the parent until it closes the pipe."""
    reading, writing = int(sys.argv[1]), int(sys.argv[2])
    # Whatever prints, prints nowhere: the terminal is the parent's.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    try:
        _, content = frames.receive(reading, {b"O": frames.MAX_JSON_BYTES})
        request = json.loads(content)
        _import(request)
        taken = _give_up(request["memory_bytes"])
        _serve(reading, writing, request, taken)
    except frames.ChannelClosedError:
        pass
    return 0


def _import(request: dict[str, Any]) -> None:
    """Import what is trusted while everything is still allowed; packages open more files at once than a model needs."""
    import importlib

    from edgepose.artifact import open_artifact  # noqa: F401  # for its import
    from edgepose.runtime.registry import RUNTIMES
    from edgepose.telemetry import switch_off

    switch_off()
    suffixes = {".xml": "openvino", ".onnx": "onnx", ".tflite": "litert", ".mlpackage": "coreml", ".safetensors": "safetensors"}
    form = suffixes.get(os.path.splitext(request["path"])[1])  # noqa: PTH122  # pathlib has been imported by nobody else yet
    packages = {"openvino": "openvino", "onnxruntime": "onnxruntime", "litert": "ai_edge_litert.interpreter", "torch": "torch"}
    for entry in RUNTIMES:
        if request["run"] and entry.name in packages and (form is None or form in entry.formats):
            try:
                if entry.name == "openvino":
                    from edgepose.runtime.openvino import import_openvino

                    import_openvino()
                else:
                    importlib.import_module(packages[entry.name])
            except Exception:  # noqa: S112  # ``load`` says what is missing, if it is needed
                continue


def _give_up(memory_bytes: int) -> str:
    """Take from this process what it doesn't need, for good.

    Returns:
        What was taken, in words.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    taken = f"memory up to {memory_bytes >> 20} MiB, no file written"
    if _filter_calls():
        taken += ", made or removed, no network, no other program"
    return taken


def _filter_calls() -> bool:
    """Install the filter; ``False`` where the system has none."""
    column, architecture = FILTERED_MACHINES.get(platform.machine(), (-1, 0))
    if column < 0 or not sys.platform.startswith("linux"):
        return False
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_ABOVE, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for numbers in _REFUSED.values():
        if numbers[column]:
            program += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _FAIL | _EPERM)]
    for numbers, argument in ((_OPEN, 1), (_OPENAT, 2)):
        if numbers[column]:
            program += [
                (_JUMP_EQUAL, 0, 4, numbers[column]),
                (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
                (_JUMP_ANY, 0, 1, _WRITING),
                (_RETURN, 0, 0, _FAIL | _EPERM),
                (_RETURN, 0, 0, _ALLOW),
            ]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    # struct sock_fprog: how many steps, and where they are.
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    # For the threads that libraries have started already, too.
    place = ctypes.c_void_p(ctypes.addressof(head))
    return bool(library.syscall(_SECCOMP[column], _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, place) == 0)


def _serve(reading: int, writing: int, request: dict[str, Any], taken: str) -> None:
    from edgepose.artifact import open_artifact
    from edgepose.document import to_document
    from edgepose.errors import EdgePoseError
    from edgepose.runtime.registry import load

    allow_seconds(request["call_seconds"])
    try:
        artifact = open_artifact(request["path"])
        facts: dict[str, Any] = {"format": artifact.format, "sha256": artifact.sha256, "files": [str(file) for file in artifact.files]}
        facts |= {"spec": artifact.spec.to_json(), "taken": taken}
        session = None
        if request["run"]:
            session = load(request["path"], request["device"], request["threads"], request["options"])
            facts["info"] = to_document(session.info)
    except Exception as error:  # whatever it is, the parent says it
        _tell(writing, error)
        return
    frames.send(writing, b"I", json.dumps(facts).encode())
    if session is None:
        return
    shape = session.spec.input_shape
    most = 16 + 4 * 4096 * shape[0] * shape[1] * shape[2]
    while True:
        _, content = frames.receive(reading, {b"R": most})
        allow_seconds(request["call_seconds"])
        try:
            heatmaps = session.run(frames.unpack_array(content))
        except (EdgePoseError, MemoryError, RuntimeError, ValueError) as error:
            _tell(writing, error)
        else:
            frames.send(writing, b"H", *frames.pack_array(heatmaps))


def _tell(writing: int, error: Exception) -> None:
    document = {"type": type(error).__name__, "message": str(error)[:_MAX_MESSAGE]}
    frames.send(writing, b"E", json.dumps(document).encode())


def allow_seconds(seconds: float) -> None:
    """Let this process compute for so long from now on; beyond, the system ends it."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # On all processors together.
    limit = int(used + seconds * max(1, os.cpu_count() or 1)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
