"""Image files ↔ RGB arrays."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgepose.errors import InputError
from edgepose.files import staged_file

__all__ = ["check_image", "decode_image", "read_image", "write_image"]

MAX_SIDE_PX = 32_766  # what OpenCV's warp takes
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
JPEG_QUALITY = 95
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


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


def read_image(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read an image file: any format that OpenCV knows.

    The EXIF orientation is applied, grey becomes RGB, 16 bit becomes 8, and an alpha channel is dropped.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: the file is missing, a directory, empty, truncated, not an image, or has too many pixels.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"can't read the image {str(path)!r}: {error.strerror or error}") from None
    return decode_image(content, str(path))


def decode_image(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file, as ``read_image`` does; ``name`` is for errors.

    Raises:
        InputError: empty, truncated, not an image, or too many pixels.
    """
    if not content:
        raise InputError(f"can't read the image {name!r}: the file is empty")
    # OpenCV 4 paints the missing part of a truncated JPEG grey (other formats it refuses). Picture data can't contain a marker, and an
    # embedded thumbnail with an end of its own lies before the last scan.
    if content.startswith(JPEG_START) and content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
        raise InputError(f"can't read the image {name!r}: it is truncated")
    try:
        decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        cause = getattr(error, "err", "") or "not enough memory"
        raise InputError(f"can't read the image {name!r}: OpenCV refused it ({cause})") from None
    if decoded is None:
        raise InputError(f"can't read the image {name!r}: it is truncated, damaged, or of a format that OpenCV doesn't know")
    try:
        return check_image(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    except InputError as error:
        raise InputError(f"can't use the image {name!r}: {error}") from None


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
