"""The device string: ``[runtime:]device``.

``auto``             the first runtime that opens the file, on the device it prefers
``cpu``, ``gpu``, ``npu``      that device, on the first runtime that opens the file
``openvino:gpu.1``   that runtime and one of its devices, by the runtime's own name for it
``mil:auto``         that runtime, on the device it prefers

Names are case-insensitive. ``edgepose devices`` lists what there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from edgepose.errors import DeviceError, InputError

__all__ = ["AUTO", "DeviceRequest"]

AUTO = "auto"
MAX_THREADS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """What ``load`` was asked for.

    Attributes:
        text: the device string as the user wrote it.
        runtime: the runtime named in it, or ``None``.
        device: the device named in it, lower case; ``auto`` leaves it to the runtime.
        threads: CPU threads, or ``None`` for the runtime's default.
        options: settings passed to the runtime as they are.
        streams: calls that should run at the same time, or ``None`` for the number at which the runtime expects the highest throughput.
    """

    text: str = AUTO
    runtime: str | None = None
    device: str = AUTO
    threads: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    streams: int | None = 1

    @classmethod
    def parse(
        cls, device: str, *, threads: int | None = None, options: Mapping[str, str] | None = None, streams: int | None = 1
    ) -> "DeviceRequest":
        """Read a device string.

        Raises:
            InputError: it is malformed, or ``threads`` or ``streams`` is out of range.
        """
        runtime, colon, name = device.strip().lower().rpartition(":")
        if not name or (colon and not runtime):
            raise InputError(f"device is {device!r}; expected '[runtime:]device', such as 'auto', 'gpu' or 'openvino:npu'")
        for what, count in (("threads", threads), ("streams", streams)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_THREADS):
                raise InputError(f"{what} is {count!r}; allowed: 1 to {MAX_THREADS}")
        return cls(text=device, runtime=runtime or None, device=name, threads=threads, options=dict(options or {}), streams=streams)

    def choose(
        self, available: Sequence[str], *, runtime: str, preferred: str, aliases: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> str:
        """Return the entry of ``available`` that was asked for.

        Args:
            available: the runtime's own device names on this machine.
            runtime: the runtime's name, for the error.
            preferred: the entry that ``auto`` means.
            aliases: for a general name such as ``gpu``, the runtime's own names for it; the first that is available is meant.

        Raises:
            DeviceError: the device isn't among them; the message lists those that are.
        """
        if self.device == AUTO:
            return preferred
        own_names = {name.lower(): name for name in available}
        for wanted in (self.device, *aliases.get(self.device, ())):
            if wanted.lower() in own_names:
                return own_names[wanted.lower()]
        raise DeviceError(f"{runtime} has no device {self.device!r} on this machine; it has: {', '.join(available) or 'none'}")
