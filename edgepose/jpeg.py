"""JPEG files, segment by segment: how large the picture is, where it ends, and whether all of it is there.

Phones put a video behind the picture, cameras a second picture or padding; some leave out the mark of the end. All of that is fine as long
as the picture itself is whole. Decoders don't say whether it is: they paint what is missing grey.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["END", "MAX_SCANS", "START", "Jpeg", "is_whole", "read_jpeg"]

START, END = b"\xff\xd8", b"\xff\xd9"
MAX_SCANS = 100  # progressive files have about ten; each costs as much as the whole picture

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_CHUNK_BYTES = 1 << 20
_PADDING_BYTES = 16
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xD8)}
_SEGMENTS = {*range(0xC0, 0xD0), *range(0xDB, 0xE0), *range(0xE0, 0xF0), 0xDA, 0xFE}
_DEFINE_RESTARTS, _SCAN, _END = 0xDD, 0xDA, 0xD9
_PROBES = (bytes(range(255)) * 8, bytes(range(7, 255, 9))[::-1] * 80)

Decode = Callable[[bytes], "npt.NDArray[np.uint8] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """What the segments of a JPEG say.

    Attributes:
        width: pixels; 0 where no frame was found.
        height: pixels; 0 where the file says it only at the end.
        colours: number of components.
        scans: number of scans.
        end: where the picture ends, behind its end marker; ``None`` where it has none.
        data_end: where the data of the last scan ends.
        covered: whether the scans bring every coefficient of every component to its last bit.
        restarts_missing: whether the last scan has fewer restart markers than the picture needs.
    """

    width: int
    height: int
    colours: int
    scans: int
    end: int | None
    data_end: int
    covered: bool
    restarts_missing: bool


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What is known so far."""

    width: int = 0
    height: int = 0
    factors: dict[int, tuple[int, int]]  # component → its horizontal and vertical sampling
    bits: dict[int, list[int]]  # component → for each coefficient, how many of its bits are still to come
    interval: int = 0
    scans: int = 0
    data_end: int = 0
    restarts_missing: bool = False

    def frame(self, segment: bytes) -> None:
        self.height, self.width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        for start in range(6, len(segment) - 2, 3):
            component, factors = segment[start], segment[start + 1]
            self.factors[component] = factors >> 4, factors & 15
            self.bits[component] = [16] * 64

    def scan(self, header: bytes, data: memoryview) -> None:
        self.scans += 1
        count = header[0] if header else 0
        if len(header) < 2 * count + 4:
            return
        components = [header[1 + 2 * index] for index in range(count)]
        first, last, bit = header[2 * count + 1], header[2 * count + 2], header[2 * count + 3] & 15
        for component in components:
            if component in self.bits:
                self.bits[component][first : last + 1] = [bit] * len(self.bits[component][first : last + 1])
        units = self._count_units(components)
        needed = -(-units // self.interval) - 1 if self.interval else 0
        self.restarts_missing = needed > 0 and sum(1 for _ in _RESTART.finditer(data)) < needed

    def _count_units(self, components: list[int]) -> int:
        """Number of minimum coded units of a scan; 0 where it isn't known."""
        factors = [self.factors[component] for component in components if component in self.factors]
        if not factors or not all(all(pair) for pair in self.factors.values()):
            return 0
        widest, highest = (max(pair[axis] for pair in self.factors.values()) for axis in (0, 1))
        if len(factors) == 1:  # a scan of one component goes by its own blocks
            across, down = 8 * widest / factors[0][0], 8 * highest / factors[0][1]
        else:
            across, down = 8 * widest, 8 * highest
        return int(-(-self.width // across) * -(-self.height // down))


def read_jpeg(content: bytes) -> Jpeg:
    """Read the segments of the first picture in a JPEG file. Takes time for its bytes but not for what lies behind."""
    known = _Reading(factors={}, bits={})
    view = memoryview(content)
    place, end = len(START), None
    while (found := _MARKER.search(content, place)) and known.scans <= MAX_SCANS:
        kind, place = found.group(1)[0], found.end()
        if kind == _END:
            end = place
            break
        if kind in _BARE:
            continue
        length = int.from_bytes(content[place : place + 2], "big")
        if kind not in _SEGMENTS or length < 2 or place + length > len(content):
            break
        segment = content[place + 2 : place + length]
        place += length
        if kind in _FRAMES:
            known.frame(segment)
        elif kind == _DEFINE_RESTARTS:
            known.interval = int.from_bytes(segment[:2], "big")
        elif kind == _SCAN:
            known.data_end = _find_data_end(content, place)
            known.scan(segment, view[place : known.data_end])
            place = known.data_end
    return Jpeg(
        width=known.width,
        height=known.height,
        colours=len(known.factors),
        scans=known.scans,
        end=end if known.scans else None,
        data_end=known.data_end,
        covered=bool(known.bits) and all(not any(left) for left in known.bits.values()),
        restarts_missing=known.restarts_missing,
    )


def _find_data_end(content: bytes, start: int) -> int:
    """Where the next marker stands: in picture data, FF stands before 00 or the number of a restart. The file's end where there is none."""
    values = np.frombuffer(content, np.uint8)
    for begin in range(start, len(content), _CHUNK_BYTES):
        part = values[begin : begin + _CHUNK_BYTES + 1]
        places = np.flatnonzero(part[:-1] == 0xFF)
        after = part[places + 1]
        markers = places[(after != 0) & (after != 0xFF) & ((after < 0xD0) | (after > 0xD7))]
        if len(markers):
            return begin + int(markers[0])
    return len(content)


def is_whole(content: bytes, jpeg: Jpeg, decode: Decode) -> bool:
    """Return whether all data of the picture is there, by decoding it twice with something else behind its data.

    A decoder that still lacks data takes what comes next for it, and the two pictures differ; one that has all ignores it.

    Args:
        content: the file.
        jpeg: what ``read_jpeg`` said about it.
        decode: decodes a file; ``None`` where it can't.
    """
    if not jpeg.scans or not jpeg.covered or jpeg.restarts_missing:
        return False
    data = content[: jpeg.data_end]
    if jpeg.end is None and len(data) - len(data.rstrip(b"\0")) >= _PADDING_BYTES:
        # A file that was never filled up ends in zeros, which would pass for the data of a flat area.
        data = data.rstrip(b"\0")
        data = data + b"\0" if data.endswith(b"\xff") else data  # FF in the data is followed by a zero
    elif jpeg.end is None:
        data = data.rstrip(b"\xff")  # half of the end's mark
    # Without an end, libjpeg says nothing about the probe; of several scans it gives the picture only at the end.
    end = END if jpeg.scans > 1 else b""
    first, second = (decode(data + probe + end) for probe in _PROBES)
    return first is not None and second is not None and np.array_equal(first, second)
