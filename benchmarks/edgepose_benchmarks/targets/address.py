"""Which target an address names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgepose.errors import InputError
from edgepose_benchmarks.job import Target
from edgepose_benchmarks.targets.adb import TOOL, ADBTarget
from edgepose_benchmarks.targets.local import LocalTarget
from edgepose_benchmarks.targets.ssh import SSHAddress, SSHTarget
from edgepose_benchmarks.targets.vela import VelaTarget

__all__ = ["TargetOptions", "open_target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    """What some targets need besides their address.

    Attributes:
        name: what to call the machine, instead of its own name.
        python: the Python of a device behind SSH.
        adb: the ``adb`` command.
        benchmark_model: TensorFlow Lite's tool for an Android device.
        vela: the ``vela`` command.
    """

    name: str | None = None
    python: str = "python3"
    adb: str = "adb"
    benchmark_model: Path | None = None
    vela: str = "vela"


def open_target(address: str, options: TargetOptions) -> Target:
    """Make a target; nothing is connected yet.

    Raises:
        InputError: the address is of no known form, or an option that the target needs is missing.
    """
    scheme, separator, _ = address.partition("://")
    if not separator and address == "local":
        return LocalTarget(options.name)
    if not separator or scheme not in _SCHEMES:
        raise InputError(f"there is no target {address!r}; known: local, ssh://[user@]host[:port], adb://[serial], vela://accelerator")
    return _SCHEMES[scheme](address, options)


def _open_ssh(address: str, options: TargetOptions) -> Target:
    return SSHTarget(SSHAddress.parse(address), name=options.name, python=options.python)


def _open_adb(address: str, options: TargetOptions) -> Target:
    serial = ADBTarget.parse(address)
    if options.benchmark_model is None:
        raise InputError(f"over adb, --benchmark-model must name TensorFlow Lite's {TOOL}, built for the device's architecture")
    return ADBTarget(serial, tool=options.benchmark_model, name=options.name, adb=options.adb)


def _open_vela(address: str, options: TargetOptions) -> Target:
    return VelaTarget(VelaTarget.parse(address), vela=options.vela)


_SCHEMES: dict[str, Callable[[str, TargetOptions], Target]] = {"ssh": _open_ssh, "adb": _open_adb, "vela": _open_vela}
