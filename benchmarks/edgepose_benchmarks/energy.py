"""Energy, where the system lets it be read.

``rapl``: counters of Intel's and AMD's processors, for the whole package; Linux shows them to root alone, unless told otherwise.
``ina3221``: the power monitors on Jetson boards, for the whole board's input; sampled twice a second and integrated.
``battery``: what the battery gives, for the whole device, on battery alone; sampled likewise.

All are the energy of the machine, not of the process: on a busy machine they count other work too.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

__all__ = ["EnergyMeter"]

PERIOD_S = 0.5
_PACKAGE = "package"
_BOARD_RAILS = ("vdd_in", "vin_sys_5v0", "vin", "vdd_in_6v")


class EnergyMeter:
    """Measures from its construction to ``stop``.

    Args:
        source: ``rapl``, ``ina3221`` or ``battery``.
        read_joules: a counter; or ``None``, and
        read_watts: what is drawn now.
    """

    def __init__(
        self, source: str, *, read_joules: Callable[[], float | None] | None = None, read_watts: Callable[[], float | None] | None = None
    ) -> None:
        self.source = source
        self._read_joules = read_joules
        self._read_watts = read_watts
        self._joules: float | None = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if read_joules is not None:
            self._joules = read_joules()
        else:
            self._thread = threading.Thread(target=self._integrate, daemon=True)
            self._thread.start()

    @classmethod
    def start(cls, root: Path) -> Self | None:
        """Start the best meter that there is below ``root``, or return ``None``."""
        domains = _find_rapl(root)
        if domains:
            counter = _RaplCounter(domains)
            return cls("rapl", read_joules=counter.read)
        rails = _find_ina3221(root)
        if rails:
            return cls("ina3221", read_watts=lambda: _sum_products(rails))
        batteries = sorted((root / "sys/class/power_supply").glob("*/status"))
        discharging = [path.parent for path in batteries if _read(path) == "Discharging"]
        if discharging and _battery_watts(discharging[0]) is not None:
            return cls("battery", read_watts=lambda: _battery_watts(discharging[0]))
        return None

    def stop(self) -> float | None:
        """Return the joules since the start; ``None`` if they couldn't be read."""
        if self._read_joules is not None:
            after = self._read_joules()
            return None if after is None or self._joules is None else after - self._joules
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        return self._joules

    def _integrate(self) -> None:
        if self._read_watts is None:
            return
        last_s, last_watts = time.perf_counter(), self._read_watts()
        running = True
        while running:
            running = not self._ended.wait(PERIOD_S)
            now_s, watts = time.perf_counter(), self._read_watts()
            if watts is None or last_watts is None or self._joules is None:
                self._joules = None
                return
            self._joules += (now_s - last_s) * (watts + last_watts) / 2
            last_s, last_watts = now_s, watts


class _RaplCounter:
    """Sums the packages' counters, which start again from zero now and then."""

    def __init__(self, domains: list[Path]) -> None:
        self._domains = domains
        self._last: dict[Path, float] = {}
        self._total = 0.0

    def read(self) -> float | None:
        for domain in self._domains:
            microjoules = _number(domain / "energy_uj")
            if microjoules is None:
                return None
            step = microjoules - self._last.get(domain, microjoules)
            self._total += step if step >= 0 else step + (_number(domain / "max_energy_range_uj") or 0.0)
            self._last[domain] = microjoules
        return self._total * 1e-6


def _find_rapl(root: Path) -> list[Path]:
    """Packages whose counter can be read; what lies inside a package is a part of it."""
    domains = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
    packages = [path for path in domains if _read(path / "name").startswith(_PACKAGE)]
    return packages if packages and all(_number(path / "energy_uj") is not None for path in packages) else []


def _find_ina3221(root: Path) -> list[tuple[Path, Path]]:
    """Voltage and current of the rail that feeds the whole board."""
    for label in sorted((root / "sys/class/hwmon").glob("hwmon*/in*_label")):
        if _read(label).lower() in _BOARD_RAILS:
            channel = label.name.removeprefix("in").removesuffix("_label")
            pair = label.with_name(f"in{channel}_input"), label.with_name(f"curr{channel}_input")
            if all(_number(path) is not None for path in pair):
                return [pair]
    return []


def _sum_products(rails: list[tuple[Path, Path]]) -> float | None:
    watts = 0.0
    for millivolts, milliamperes in rails:
        factors = _number(millivolts), _number(milliamperes)
        if factors[0] is None or factors[1] is None:
            return None
        watts += factors[0] * factors[1] * 1e-6
    return watts


def _battery_watts(battery: Path) -> float | None:
    microwatts = _number(battery / "power_now")
    if microwatts is not None:
        return abs(microwatts) * 1e-6
    microamperes, microvolts = _number(battery / "current_now"), _number(battery / "voltage_now")
    return None if microamperes is None or microvolts is None else abs(microamperes) * microvolts * 1e-12


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_read(path))
    except ValueError:
        return None
