"""Nothing phones home: what runtimes and tools would report to their makers is switched off before they are imported.

``switch_off`` is called by ``edgepose.runtime.packages.import_package``, through which every import of such a package goes, and by the
command line. Who has set a switch to something else is left with it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["switch_off", "without_intel_telemetry"]

_SWITCHES = {
    # ONNX Runtime 1.30 and later: reports loaded models, and keeps a database and an identifier in the user's cache.
    "ORT_DISABLE_TELEMETRY": "1",
    # Ray reports clusters, transformers and the hub's client what is loaded.
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # NNCF reports each quantization, except in tests of its makers.
    "NNCF_CI": "1",
}
_INTEL = "openvino_telemetry"


def switch_off() -> None:
    """Switch all reporting off, in this process and those it starts."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    # Imported before us, it has read its variable already. What remains in its power is to stop the events to come.
    runtime = sys.modules.get("onnxruntime")
    if runtime is not None and os.environ["ORT_DISABLE_TELEMETRY"] != "0" and hasattr(runtime, "disable_telemetry_events"):
        runtime.disable_telemetry_events()


@contextmanager
def without_intel_telemetry() -> Iterator[None]:
    """Import OpenVINO or NNCF in this: where the package that reports is missing, they do without.

    There is no switch for OpenVINO's short of a file in the user's home; it would report each conversion from a forked process.
    """
    if _INTEL in sys.modules:
        yield
        return
    sys.modules[_INTEL] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[_INTEL]
