"""The stack on which a thread's signal handlers run, kept as it was.

OpenVINO's CPU plugin puts one of its own in place whenever it is loaded, and back what was there when it is freed, without looking
whether that still exists: two models freed in the order in which they were loaded leave the thread with a stack that is no longer mapped.
The next signal that Python handles there (Ctrl-C, or a child's end where PyTorch's data loaders watch theirs) ends the process without a
word. The plugin needs that stack only while it asks the system for AMX, whose registers a handler's stack must have room for.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

__all__ = ["kept_signal_stack"]


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread back its signal stack after what is done inside. On Linux; elsewhere it does nothing."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = _Stack()
    system = ctypes.CDLL(None)
    known = system.sigaltstack(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            # Refused where it is too small for AMX, which is then in use: the plugin's stays.
            system.sigaltstack(ctypes.byref(before), None)
