"""The machine and its state: what it is, and how fast, warm and busy while something is measured.

Linux is read from ``/proc`` and ``/sys``, since a board has no package for that; elsewhere ``psutil`` is asked where it is installed (the
extra ``benchmark``). What the system doesn't show is ``None``, never a guess.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose_benchmarks.energy import EnergyMeter
from edgepose_benchmarks.result import Conditions, Machine

__all__ = ["Monitor", "describe_machine", "read_memory"]

_PACKAGES = (
    "edgepose",
    "numpy",
    "openvino",
    "onnxruntime",
    "ai-edge-litert",
    "tflite-runtime",
    "coremltools",
    "torch",
    "opencv-python-headless",
)
# Extensions that decide how fast a matrix product is; x86 names and Arm names.
_FLAGS = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_ROOT = Path("/")


def describe_machine(name: str | None = None, root: Path = _ROOT) -> Machine:
    """Describe this machine.

    Args:
        name: what to call it; ``None`` takes the host name.
        root: where ``proc`` and ``sys`` are.
    """
    info = _read_text(root / "proc/cpuinfo")
    fields = dict(re.findall(r"^([^\t:]+?)\s*: (.+)$", info, re.MULTILINE))
    board = _read_text(root / "proc/device-tree/model").strip("\0 \n")
    cpu = fields.get("model name") or board or fields.get("Model") or platform.processor() or platform.machine()
    words = (fields.get("flags") or fields.get("Features") or "").split()
    name = name or socket.gethostname()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = _total_memory(root)
    # Memory in whole GB: a kernel's update changes what it keeps for itself.
    identity = "\n".join([name, cpu, platform.machine(), str(cores), str(round(memory / 1e9) if memory else 0)])
    return Machine(
        name=name,
        id=hashlib.sha256(identity.encode()).hexdigest()[:12],
        cpu=cpu,
        architecture=platform.machine(),
        cores=cores,
        memory_bytes=memory,
        system=f"{platform.system()} {platform.release()}",
        flags=tuple(flag for flag in _FLAGS if flag in words),
        governor=_read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        virtual="hypervisor" in words,
        python=platform.python_version(),
        packages=_find_packages(),
    )


def _find_packages() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def read_memory(root: Path = _ROOT) -> tuple[int | None, int | None]:
    """Resident size of this process in bytes: now, and at its largest."""
    status = _read_text(root / "proc/self/status")
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE)}
    if sizes:
        return sizes.get("VmRSS"), sizes.get("VmHWM")
    psutil = _psutil()
    if psutil is None:
        return None, _peak_of_unix()
    memory = psutil.Process().memory_info()
    return memory.rss, getattr(memory, "peak_wset", None) or _peak_of_unix()


def _peak_of_unix() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A moment."""

    time_s: float
    own_cpu_s: float
    busy_cpu_s: float | None
    frequency_hz: float | None
    temperature_c: float | None
    throttled: int | None


class Monitor:
    """Watches the machine from its construction to ``stop``.

    Args:
        root: where ``proc`` and ``sys`` are.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._energy = EnergyMeter.start(root)
        self._before = self._look()

    def stop(self, memory_before: int | None = None) -> Conditions:
        """Return what happened meanwhile."""
        after, before = self._look(), self._before
        energy = self._energy.stop() if self._energy else None
        seconds = max(after.time_s - before.time_s, 1e-9)
        own = (after.own_cpu_s - before.own_cpu_s) / seconds
        other = None
        if after.busy_cpu_s is not None and before.busy_cpu_s is not None:
            other = max(0.0, (after.busy_cpu_s - before.busy_cpu_s) / seconds - own)
        return Conditions(
            seconds=seconds,
            cpu_cores=own,
            other_cores=other,
            frequency_hz=_both(before.frequency_hz, after.frequency_hz),
            temperature_c=_both(before.temperature_c, after.temperature_c),
            throttled=None if after.throttled is None or before.throttled is None else after.throttled - before.throttled,
            energy_j=energy,
            energy_source=self._energy.source if self._energy and energy is not None else "",
            memory_peak_bytes=read_memory(self._root)[1],
            memory_before_bytes=memory_before,
        )

    def _look(self) -> _State:
        return _State(
            time_s=time.perf_counter(),
            own_cpu_s=time.process_time(),
            busy_cpu_s=_busy_seconds(self._root),
            frequency_hz=_frequency(self._root),
            temperature_c=_temperature(self._root),
            throttled=_throttled(self._root),
        )


def _both(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def _total_memory(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read_text(root / "proc/meminfo"), re.MULTILINE)
    if found:
        return int(found.group(1)) * 1024
    psutil = _psutil()
    return psutil.virtual_memory().total if psutil else None


def _busy_seconds(root: Path) -> float | None:
    """CPU seconds that the whole machine has spent on anything, other guests of the host included (``steal``)."""
    first = _read_text(root / "proc/stat").partition("\n")[0].split()
    if first[:1] == ["cpu"]:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(ticks) for ticks in first[1:9])
        return (user + nice + system + irq + softirq + steal) / _TICKS
    psutil = _psutil()
    if psutil is None:
        return None
    times = psutil.cpu_times()
    return float(sum(times) - times.idle)


def _frequency(root: Path) -> float | None:
    policies = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*/scaling_cur_freq"))
    kilohertz = [value for value in map(_read_number, policies) if value is not None]
    return 1e3 * sum(kilohertz) / len(kilohertz) if kilohertz else None


def _temperature(root: Path) -> float | None:
    millidegrees = [_read_number(zone) for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))]
    known = [value for value in millidegrees if value is not None]
    return max(known) / 1e3 if known else None


def _throttled(root: Path) -> int | None:
    counts = [_read_number(path) for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    known = [value for value in counts if value is not None]
    return int(sum(known)) if known else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _read_number(path: Path) -> float | None:
    text = _read_text(path).strip()
    return float(text) if re.fullmatch(r"-?\d+", text) else None


def _psutil() -> Any:
    if importlib.util.find_spec("psutil") is None:
        return None
    import psutil

    return psutil
