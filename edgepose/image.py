"""Image files ↔ RGB arrays."""

import logging
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.document import read_bytes
from edgepose.errors import InputError
from edgepose.files import staged_file
from edgepose.image_format import describe_foreign, find_depth, find_size
from edgepose.jpeg import END, MAX_SCANS, START, is_whole, read_jpeg

__all__ = ["check_image", "decode_image", "read_image", "write_image"]

MAX_SIDE_PX = 32_766  # what OpenCV's warp takes
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
JPEG_QUALITY = 95
MAX_PIXELS = 100_000_000
BYTES_PER_PIXEL = 8  # of the largest there are: four samples of 16 bits, not compressed
MIN_BYTES_ALLOWED = 1 << 29  # a small picture may have a long video behind it
GREY = 128  # what a JPEG decoder paints where data is missing
_BLOCK_PX = 8
_LESS_BITS = (8, 10, 12, 14)

_logger = logging.getLogger(__name__)


def check_image(image: object) -> npt.NDArray[np.uint8]:
    """Return the image, C-contiguous, if it is one that edgepose takes.

    Args:
        image: (H, W, 3) uint8, RGB.

    Raises:
        InputError: another type, dtype or shape, no pixels, or a side that OpenCV can't warp.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"the image is a {type(image).__name__}; expected a numpy array (height, width, 3) of uint8, RGB")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"the image is {image.dtype} {image.shape}; expected uint8 (height, width, 3), RGB")
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE_PX:
        raise InputError(f"the image has height {image.shape[0]} and width {image.shape[1]}; allowed: 1 to {MAX_SIDE_PX}")
    return np.ascontiguousarray(image)


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Read an image file: any format that OpenCV knows.

    The EXIF orientation is applied, grey becomes RGB, an alpha channel is dropped, and of an animation the first picture counts. 16 bits
    become 8; where no value uses more than 8, 10, 12 or 14 of them, as in pictures of industrial cameras, those are taken for all. Floats
    from 0 to 1, 255 or 65535 become 0 to 255. Bytes behind a JPEG's picture, such as a phone's video, are ignored.

    Args:
        path: the file.
        max_pixels: larger pictures are refused before they are decoded: a small file can claim to be very large.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, a directory, empty, truncated, not an image, or has too many bytes or pixels.
    """
    content = read_bytes(path, what="the image", max_bytes=max(BYTES_PER_PIXEL * max_pixels, MIN_BYTES_ALLOWED))
    return decode_image(content, str(path), max_pixels=max_pixels)


def decode_image(content: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file, as ``read_image`` does; ``name`` is for errors.

    Raises:
        InputError: empty, truncated, not an image, or too many pixels.
    """
    if not content:
        raise InputError(f"can't read the image {name!r}: the file is empty")
    foreign = describe_foreign(content, name)
    if foreign:
        raise InputError(f"can't read the image {name!r}: {foreign}")
    if content.startswith(START):
        decoded = _decode_jpeg(content, name, max_pixels)
    else:
        _refuse_large(find_size(content), name, max_pixels)
        decoded = _decode(content, name, find_depth(content))
    if decoded is None:
        why = describe_foreign(content, name, failed=True) or "it is truncated, damaged, or of a format that OpenCV doesn't know"
        raise InputError(f"can't read the image {name!r}: {why}")
    try:
        return check_image(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    except InputError as error:
        raise InputError(f"can't use the image {name!r}: {error}") from None


def _refuse_large(size: tuple[int, int] | None, name: str, max_pixels: int) -> None:
    if size is None:
        return
    width, height = size
    if width * height > max_pixels:
        raise InputError(
            f"can't read the image {name!r}: it has {width}×{height} pixels, {width * height / 1e6:.4g} million; allowed: "
            f"{max_pixels / 1e6:.4g} million (max_pixels)"
        )
    if max(width, height) > MAX_SIDE_PX:
        raise InputError(f"can't use the image {name!r}: it is {width}×{height}; allowed: sides up to {MAX_SIDE_PX}")


def _decode(content: bytes, name: str, depth: int = 8) -> npt.NDArray[np.uint8] | None:
    """Decode to BGR with OpenCV; ``None`` where it can't."""
    flags = cv2.IMREAD_COLOR if depth == 8 else cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if depth > 16:
        flags = cv2.IMREAD_UNCHANGED  # OpenCV converts no colours of those
    try:
        decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        cause = getattr(error, "err", "") or "not enough memory"
        raise InputError(f"can't read the image {name!r}: OpenCV refused it ({cause})") from None
    if decoded is None:
        return None
    return decoded.astype(np.uint8, copy=False) if decoded.dtype == np.uint8 else _to_8_bits(decoded, name)


def _decode_jpeg(content: bytes, name: str, max_pixels: int) -> npt.NDArray[np.uint8] | None:
    """Decode the picture at the beginning, whatever lies behind it, if all of it is there."""
    jpeg = read_jpeg(content)
    _refuse_large((jpeg.width, jpeg.height), name, max_pixels)
    if jpeg.scans > MAX_SCANS:
        raise InputError(f"can't read the image {name!r}: it has more than {MAX_SCANS} scans; a progressive JPEG has about ten")
    finished = jpeg.covered and jpeg.end is not None
    decoded = _decode(content[: jpeg.end], name) if finished else None
    if finished and not _looks_unfinished(decoded, jpeg.colours):
        return decoded
    if not is_whole(content, jpeg, lambda data: _decode(data, name)):
        raise InputError(f"can't read the image {name!r}: it is truncated")
    return decoded if finished else _decode(content[: jpeg.data_end] + END, name)


def _looks_unfinished(decoded: npt.NDArray[np.uint8] | None, colours: int) -> bool:
    """Whether a corner has the colour in which a decoder paints what is missing: a picture turned by EXIF ends in any of them."""
    if decoded is None:
        return False
    side = slice(0, _BLOCK_PX), slice(-_BLOCK_PX, None)
    corners = [decoded[rows, columns].reshape(-1, 3) for rows in side for columns in side]
    # Inks are converted to other greys.
    return any(bool((corner == (corner[0] if colours == 4 else GREY)).all()) for corner in corners)


def _to_8_bits(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Scale samples of 16 bits, or floats, to 8 bits, and colours to BGR."""
    if values.dtype == np.uint16:
        bits = next((bits for bits in _LESS_BITS if int(values.max()) < 1 << bits), 16)
        if bits < 16:
            _warn_about_bits(bits)
            _logger.info("%s: no value is above %d: taken for a picture of %d bits", name, (1 << bits) - 1, bits)
        return (values >> (bits - 8)).astype(np.uint8)
    if values.dtype.kind != "f":
        raise InputError(f"can't use the image {name!r}: its samples are {values.dtype}; allowed: 8 or 16 bits, or floats from 0 to 1")
    if not np.isfinite(values).all():
        raise InputError(f"can't use the image {name!r}: it holds values that aren't finite")
    low, high = float(values.min()), float(values.max())
    scale = next((scale for limit, scale in ((1.0, 255.0), (255.0, 1.0), (65535.0, 1 / 257)) if high <= limit), None)
    if low < 0 or scale is None:
        raise InputError(f"can't use the image {name!r}: its values reach from {low:.6g} to {high:.6g}; allowed: 0 to 1, 255 or 65535")
    scaled = np.rint(values * scale).astype(np.uint8)
    return cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR).astype(np.uint8) if scaled.ndim == 2 else np.ascontiguousarray(scaled[..., :3])


@cache
def _warn_about_bits(bits: int) -> None:
    """Once, not for each picture of a folder."""
    _logger.warning("pictures of 16 bits in which no value is above %d are taken for pictures of %d bits", (1 << bits) - 1, bits)


def write_image(path: str | Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an RGB image in the format of the path's suffix; the file is there whole or not at all.

    Raises:
        InputError: an unknown suffix, an image that ``check_image`` refuses, or a file that can't be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"can't write the image {str(path)!r}: the suffix is {target.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    try:
        done, encoded = cv2.imencode(suffix, cv2.cvtColor(check_image(image), cv2.COLOR_RGB2BGR), options)
    except cv2.error as error:
        raise InputError(f"can't write the image {str(path)!r}: OpenCV refused it ({error.err})") from None
    if not done:
        raise InputError(f"can't write the image {str(path)!r}: OpenCV couldn't encode it as {suffix}")
    try:
        with staged_file(target) as staged:
            staged.write_bytes(encoded.tobytes())
    except OSError as error:
        raise InputError(f"can't write the image {str(path)!r}: {error.strerror or error}") from None
