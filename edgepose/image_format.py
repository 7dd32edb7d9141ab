"""What a file of bytes is: its format, and the size of its picture before anything is decoded."""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import PurePath

__all__ = ["describe_foreign", "find_depth", "find_size", "is_turned"]

PNG = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 1 << 16
_TIFF = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_WIDTH, _HEIGHT, _DEPTH, _ORIENTATION, _DNG = 256, 257, 258, 274, 50706
_TIFF_SIZES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_ENTRIES = 512

_CONVERT = "convert it to JPEG or PNG"
_DEVELOP = "develop it to JPEG or PNG"
_EXTRACT = "take its frames out as pictures first, with ffmpeg, for instance"
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), ("a HEIC picture", _CONVERT)),
    **dict.fromkeys((b"avif", b"avis"), ("an AVIF picture", _CONVERT)),
    b"qt  ": ("a QuickTime video (MOV)", _EXTRACT),
    b"crx ": ("a raw photo (Canon CR3)", _DEVELOP),
}
_MAGIC = (
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _CONVERT),
    (b"%PDF", "a PDF document", "export its pages as pictures"),
    (b"%!PS", "a PostScript document", "export its pages as pictures"),
    (b"GIF8", "a GIF picture", _CONVERT),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", _EXTRACT),
    (b"\0\0\1\xba", "an MPEG video", _EXTRACT),
    (b"\0\0\1\xb3", "an MPEG video", _EXTRACT),
    (b"FLV\1", "a Flash video", _EXTRACT),
    (b"0&\xb2u", "a Windows Media video", _EXTRACT),
    (b"OggS", "an Ogg video", _EXTRACT),
    (b"FUJIFILMCCD-RAW", "a raw photo (Fujifilm RAF)", _DEVELOP),
    (b"IIRO", "a raw photo (Olympus ORF)", _DEVELOP),
    (b"IIRS", "a raw photo (Olympus ORF)", _DEVELOP),
    (b"IIU\0", "a raw photo (Panasonic RW2)", _DEVELOP),
    (b"FOVb", "a raw photo (Sigma X3F)", _DEVELOP),
    (b"P7\n", "a PAM picture, whose colours OpenCV exchanges", _CONVERT),
    (b"8BPS", "a Photoshop document", _CONVERT),
    (b"\xff\x0a", "a JPEG XL picture", _CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", _CONVERT),
    (b"v/1\1", "an OpenEXR picture", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", "load it with numpy and hand it to PoseEstimator as uint8 RGB"),
    (b"PK\3\4", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "run git lfs pull"),
)
_RAW_SUFFIXES = {".3fr", ".arw", ".cr2", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".pef", ".raw", ".sr2", ".srw"}
_PICTURES = ("an AVIF picture", "a GIF picture", "a JPEG 2000 picture")  # OpenCV may have been built with these


def describe_foreign(content: bytes, name: str, *, failed: bool = False) -> str:
    """Say what a file is that isn't a picture edgepose reads, and what to do with it; empty where nothing is known.

    Args:
        content: the file.
        name: its name: raw photos of several makers are told from TIFF by their suffix.
        failed: whether it couldn't be decoded; before that, what some builds of OpenCV read isn't foreign.
    """
    try:
        what, advice = _find_foreign(content, name)
    except struct.error:  # cut in its header
        return ""
    if not what or (what in _PICTURES and not failed):
        return ""
    return f"it is {what}; {advice}"


def find_size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height that the header states; ``None`` where it states none, or the format isn't known.

    Of JPEG files ``edgepose.jpeg`` says more.
    """
    try:
        return _find_size(content)
    except (struct.error, IndexError, ValueError, OverflowError):
        return None


def find_depth(content: bytes) -> int:
    """Return the bits of a sample, as the header of a PNG, TIFF, PNM or JPEG 2000 states them; 8 for all others."""
    try:
        if content.startswith(PNG):
            return max(8, content[24])
        if content[:4] in _TIFF:
            return max((8, *_read_tiff(content).get(_DEPTH, ())))
        if content[:2] in (b"PF", b"Pf"):
            return 32
        if content[:2] in (b"P2", b"P3", b"P5", b"P6"):
            return 8 if _read_maximum(content) < 256 else 16
        place = content.find(b"ihdr", 0, 512)
        return max(8, (content[place + 14] & 127) + 1) if place > 0 and content[4:8] == b"jP  " else 8
    except (struct.error, IndexError, ValueError):
        return 8


def is_turned(jpeg: bytes) -> bool:
    """Tell whether the EXIF data of a JPEG exchange its width and height when it is shown, as ``read_image`` does."""
    place = jpeg.find(b"Exif\0\0", 0, _HEAD_BYTES)
    if place < 0 or jpeg[place + 6 : place + 10] not in _TIFF:
        return False
    try:
        orientation = _read_tiff(jpeg[place + 6 :]).get(_ORIENTATION, ())
    except (struct.error, IndexError, ValueError):
        return False
    return len(orientation) == 1 and orientation[0] in (5, 6, 7, 8)


def _find_foreign(content: bytes, name: str) -> tuple[str, str]:
    head = content[:_HEAD_BYTES]
    if head[4:8] == b"ftyp":
        return _find_brand(head)
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return _BRANDS[b"qt  "]
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "an AVI video", _EXTRACT
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "an MPEG transport stream", _EXTRACT
    if head[:4] in _TIFF and (PurePath(name).suffix.lower() in _RAW_SUFFIXES or head[8:10] == b"CR" or _DNG in _read_tiff(content)):
        return "a raw photo", _DEVELOP
    found = ((what, advice) for magic, what, advice in _MAGIC if head.startswith(magic))
    return next(found, None) or _find_text(head)


def _find_brand(head: bytes) -> tuple[str, str]:
    """What a file of ISO's media container holds, as its brands say."""
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))]
    if b"avif" in brands or b"avis" in brands:
        return _BRANDS[b"avif"]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), ("a video (MP4)", _EXTRACT))


def _find_text(head: bytes) -> tuple[str, str]:
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text and text.startswith((b"<svg", b"<?xml", b"<!")):
        return "an SVG drawing", "export it as PNG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps of a download that failed", "download it again"
    return "", ""


def _find_bmp_size(content: bytes) -> tuple[int, int]:
    form = "<HH" if struct.unpack_from("<I", content, 14)[0] == 12 else "<ii"
    width, height = struct.unpack_from(form, content, 18)
    return abs(width), abs(height)


def _find_tiff_size(content: bytes) -> tuple[int, int] | None:
    tags = _read_tiff(content)
    return (tags[_WIDTH][0], tags[_HEIGHT][0]) if tags.get(_WIDTH) and tags.get(_HEIGHT) else None


def _find_hdr_size(content: bytes) -> tuple[int, int] | None:
    found = re.search(rb"[-+]Y (\d{1,10}) [-+]X (\d{1,10})", content[:_HEAD_BYTES])
    return (int(found.group(2)), int(found.group(1))) if found else None


def _find_pnm_size(content: bytes) -> tuple[int, int]:
    width, height, *_ = _numbers(content[2:_HEAD_BYTES])
    return width, height


_SIZES: tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (PNG, lambda content: struct.unpack_from(">II", content, 16)),
    (b"BM", _find_bmp_size),
    (b"GIF8", lambda content: struct.unpack_from("<HH", content, 6)),
    (b"Y\xa6j\x95", lambda content: struct.unpack_from(">II", content, 4)),
    (b"#?", _find_hdr_size),
    *((magic, _find_tiff_size) for magic in _TIFF),
    *((magic, _find_pnm_size) for magic in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"PF", b"Pf")),
)


def _find_size(content: bytes) -> tuple[int, int] | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _find_webp_size(content)
    reader = next((reader for magic, reader in _SIZES if content.startswith(magic)), None)
    return reader(content) if reader else _find_boxed_size(content[:_HEAD_BYTES])


def _find_boxed_size(head: bytes) -> tuple[int, int] | None:
    """JPEG 2000 and AVIF: the largest size that any of their boxes states."""
    sizes: list[tuple[int, int]] = []
    for name, skip in ((b"ihdr", 4), (b"ispe", 8), (b"\xff\x4f\xff\x51", 8)):
        place = head.find(name)
        while place >= 0 and len(head) >= place + skip + 8:
            first, second = struct.unpack_from(">II", head, place + skip)
            sizes.append((second, first) if name == b"ihdr" else (first, second))
            place = head.find(name, place + 1)
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _find_webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_tiff(content: bytes) -> dict[int, tuple[int, ...]]:
    """The whole numbers of the first directory's tags."""
    order, large = _TIFF[content[:4]], content[2:4] in (b"+\0", b"\0+")
    place = struct.unpack_from(order + ("Q" if large else "I"), content, 8 if large else 4)[0]
    if place + 2 > len(content):
        return {}
    count = struct.unpack_from(order + ("Q" if large else "H"), content, place)[0]
    entry, inline, pointer = (20, 8, "Q") if large else (12, 4, "I")
    start = place + (8 if large else 2)
    tags: dict[int, tuple[int, ...]] = {}
    for number in range(min(count, _MAX_ENTRIES)):
        here = start + entry * number
        if here + entry > len(content):
            break
        tag, kind = struct.unpack_from(order + "HH", content, here)
        values = struct.unpack_from(order + pointer, content, here + 4)[0]
        if kind not in _TIFF_SIZES or not 1 <= values <= 16:
            tags[tag] = ()
            continue
        form = f"{order}{values}{_TIFF_SIZES[kind]}"
        at = here + entry - inline
        if struct.calcsize(form) > inline:
            at = struct.unpack_from(order + pointer, content, at)[0]
        if at + struct.calcsize(form) <= len(content):
            tags[tag] = struct.unpack_from(form, content, at)
    return tags


def _read_maximum(content: bytes) -> int:
    """The largest value of a sample in a PNM file."""
    _, _, maximum, *_ = _numbers(content[2:_HEAD_BYTES])
    return maximum


def _numbers(text: bytes) -> list[int]:
    """The first numbers of a PNM header, between which comments may stand."""
    return [number for number, _ in zip(_each_number(text), range(3), strict=False)]


def _each_number(text: bytes) -> Iterator[int]:
    for token in re.finditer(rb"#[^\n]*|(\d{1,10})", text):
        if token.group(1):
            yield int(token.group(1))
