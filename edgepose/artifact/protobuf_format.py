"""What ONNX and Core ML share: spec and content hash are string map entries of a protobuf file, kept at its very end.

Protobuf parsers merge what is appended to a message, so the entries can be written without parsing, copying or re-encoding the model.
"""

import mmap
from pathlib import Path

from edgepose.artifact import protobuf
from edgepose.artifact.format import MAX_DOCUMENT_BYTES, SEAL_KEY, SPEC_KEY, UNSEALED, Location
from edgepose.errors import ArtifactError

__all__ = ["append_entries", "locate_entries"]

_MARGIN = 4096
"""More than what stands around the entries' values."""
_TAIL_FIELDS = 16
Span = tuple[int, int]


def locate_entries(carrier: Path, numbers: tuple[int, ...]) -> Location | None:
    """Find both entries below the nested fields ``numbers`` of ``carrier``.

    They are looked for where ``append_entries`` puts them, at the very end; only in a file without them there, which isn't as it was
    written, is anything else looked at before its hash has been checked.

    Raises:
        ArtifactError: the file isn't a protobuf message, or an entry is missing, oversized or not ASCII.
    """
    if not carrier.stat().st_size:
        raise ArtifactError(f"{carrier}: the file is empty")
    with carrier.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as data:
        start = content.rfind(_wrap_one(numbers, SEAL_KEY, UNSEALED)[: -len(UNSEALED)], max(0, len(data) - MAX_DOCUMENT_BYTES - _MARGIN))
        spec, seal = _read_tail(content[start:], start, numbers, carrier) if start >= 0 else (None, None)
        if spec is None or seal is None:
            spec, seal = (protobuf.find_entry(data, numbers, key, carrier) for key in (SPEC_KEY, SEAL_KEY))
        if spec is None and seal is None:
            return None
        if spec is None or seal is None or seal[1] - seal[0] != len(UNSEALED) or spec[1] - spec[0] > MAX_DOCUMENT_BYTES:
            raise ArtifactError(f"{carrier}: the embedded spec or its content hash is missing or of the wrong size")
        try:
            text = bytes(data[spec[0] : spec[1]]).decode("ascii")
        except UnicodeDecodeError:
            raise ArtifactError(f"{carrier}: the embedded spec is damaged") from None
    return Location(carrier=carrier, spec=text, seal=seal[0])


def _read_tail(tail: bytes, start: int, numbers: tuple[int, ...], carrier: Path) -> tuple[Span | None, Span | None]:
    """Return spec and hash where ``tail``, the file from ``start`` on, is exactly the two entries."""
    entries = list(protobuf.walk(tail, 0, len(tail), carrier, protobuf.Allowance(_TAIL_FIELDS)))
    if [entry.number for entry in entries] != [numbers[0]] * 2:
        return None, None
    spec, seal = (protobuf.find_entry(tail, numbers, key, carrier) for key in (SPEC_KEY, SEAL_KEY))
    return spec and (spec[0] + start, spec[1] + start), seal and (seal[0] + start, seal[1] + start)


def append_entries(carrier: Path, numbers: tuple[int, ...], spec: str) -> None:
    """Write both entries as the file's last fields, replacing those that are there."""
    old = locate_entries(carrier, numbers)
    with carrier.open("r+b") as stream:
        if old is not None:
            end = carrier.stat().st_size - len(_wrap(numbers, old.spec))
            # The last bytes are exactly what was appended, but for the hash, or another tool has rewritten the file.
            stream.seek(end)
            tail = bytearray(stream.read())
            tail[old.seal - end : old.seal - end + len(UNSEALED)] = UNSEALED.encode("ascii")
            if tail != _wrap(numbers, old.spec):
                raise ArtifactError(f"{carrier}: the embedded spec isn't at the end; another tool has rewritten the file")
            stream.truncate(end)
        stream.seek(0, 2)
        stream.write(_wrap(numbers, spec))


def _wrap(numbers: tuple[int, ...], spec: str) -> bytes:
    return _wrap_one(numbers, SEAL_KEY, UNSEALED) + _wrap_one(numbers, SPEC_KEY, spec)


def _wrap_one(numbers: tuple[int, ...], key: str, value: str) -> bytes:
    content = protobuf.entry(key, value)
    for number in reversed(numbers):
        content = protobuf.message(number, content)
    return content
