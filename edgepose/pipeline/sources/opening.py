"""Which source a name means."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgepose.errors import InputError, MissingDependencyError
from edgepose.image import SUFFIXES
from edgepose.pipeline.protocols import Source
from edgepose.pipeline.sources.iterable import IterableSource
from edgepose.pipeline.sources.options import SourceOptions
from edgepose.pipeline.sources.pictures import PictureSource, list_pictures
from edgepose.pipeline.sources.raw import RawSource

__all__ = ["SourceOptions", "open_source"]

_CAMERA = re.compile(r"(?:camera:|/dev/video)?(\d{1,3})", re.ASCII)
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://\S+")
_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "srt")
_PICTURE_SUFFIXES = (*SUFFIXES, ".heic", ".heif", ".avif", ".dng")


def open_source(source: Any, options: SourceOptions | None = None) -> Source:
    """Open whatever gives frames.

    Args:
        source: a picture, a folder of pictures, a pattern (``photos/*.jpg``), a video file, a camera (``0``, ``"0"``, ``"camera:0"``), an
            RTSP, HTTP or other network address, ``"-"`` for standard input (raw frames if ``options.size`` is stated, else a container), a
            list of names of pictures, an RGB array, an iterable of what ``IterableSource`` takes, or a ``Source``.
        options: ``size`` (width, height), ``pixel_format`` and ``rate_hz`` of raw frames, or what is asked of a camera; ``reader``:
            ``pyav``, ``opencv``, or PyAV where it is installed; ``hardware``: decoder of that name, such as ``cuda`` or ``vaapi``;
            ``timeout_s``: how long a network may say nothing; ``reconnect``: how often a lost network stream is tried again, with growing
            pauses; ``max_pixels``: larger pictures and frames are refused.

    Raises:
        InputError: it isn't there, can't be opened in time, or isn't anything that has frames.
        MissingDependencyError: an address needs PyAV, which isn't installed.
    """
    options = options or SourceOptions()
    if isinstance(source, bool):
        raise InputError(f"the source is {source!r}; expected a name, an array or an iterable of arrays")
    if isinstance(source, int):
        return _open_camera(source, options)
    if isinstance(source, str | Path):
        return _open_name(str(source), options)
    if isinstance(source, np.ndarray):
        return IterableSource(source if source.ndim == 4 else [source], rate_hz=options.rate_hz)
    if hasattr(source, "info") and hasattr(source, "close") and hasattr(source, "__iter__"):
        opened: Source = source
        return opened
    if isinstance(source, list | tuple) and source and all(isinstance(each, str | Path) for each in source):
        return _open_pictures([str(each) for each in source], options)
    if isinstance(source, Iterable):
        return IterableSource(source, rate_hz=options.rate_hz)
    raise InputError(f"the source is a {type(source).__name__}; expected a name, an array or an iterable of arrays")


def _open_name(name: str, options: SourceOptions) -> Source:
    if name == "-":
        return _open_standard_input(sys.stdin.buffer, options)
    path = Path(name)
    camera = _CAMERA.fullmatch(name)
    if camera and not path.is_file():
        return _open_camera(int(camera.group(1)), options)
    address = _ADDRESS.fullmatch(name)
    if address:
        return _open_address(name, address.group(1).lower(), options)
    if path.is_dir() or (not path.exists() and any(letter in name for letter in "*?[")):
        return PictureSource(list_pictures(name), name, max_pixels=options.max_pixels)
    if not path.exists():
        raise InputError(_explain_missing(path))
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        return PictureSource([path], name, max_pixels=options.max_pixels)
    return _open_video(path, options)


def _open_pictures(names: list[str], options: SourceOptions) -> Source:
    """Several names: all of them pictures, folders or patterns, in the order in which they were given."""
    if len(names) == 1:
        return _open_name(names[0], options)
    paths: list[Path] = []
    for name in names:
        opened = _open_name(name, options)
        if not isinstance(opened, PictureSource):
            opened.close()
            raise InputError(f"{name!r} isn't a picture: several sources at once must all be pictures; run one command for each video")
        paths += opened.paths
    return PictureSource(paths, f"{len(paths)} pictures", max_pixels=options.max_pixels)


def _open_video(path: Path, options: SourceOptions) -> Source:
    from edgepose.pipeline.sources import opencv, pyav

    if options.reader != "opencv":
        try:
            return pyav.open_video(path, options)
        except MissingDependencyError:
            if options.reader == "pyav" or options.hardware:
                raise
    return opencv.open_video(path, options)


def _open_address(address: str, scheme: str, options: SourceOptions) -> Source:
    from edgepose.pipeline.sources import pyav

    if scheme not in _SCHEMES:
        raise InputError(f"{pyav.hide_password(address)!r} begins with {scheme!r}; allowed: {', '.join(_SCHEMES)}")
    if options.reader == "opencv":
        raise InputError("network addresses are read with PyAV: reader must be 'auto' or 'pyav'")
    return pyav.open_address(address, options)


def _open_camera(number: int, options: SourceOptions) -> Source:
    from edgepose.pipeline.sources import opencv

    if number < 0:
        raise InputError(f"camera {number}: cameras are numbered from 0")
    return opencv.open_camera(number, options)


def _open_standard_input(file: BinaryIO, options: SourceOptions) -> Source:
    from edgepose.pipeline.sources import pyav

    if options.size is not None:
        return RawSource(file, options.size, pixel_format=options.pixel_format, rate_hz=options.rate_hz)
    return pyav.open_container(file, options)


def _explain_missing(path: Path) -> str:
    """Say what is missing, and what may have been meant."""
    folder = path.parent
    if not folder.is_dir():
        return f"no such file or folder: {str(path)!r} ({str(folder)!r} isn't there either)"
    import difflib

    close = difflib.get_close_matches(path.name, [file.name for _, file in zip(range(10_000), folder.iterdir(), strict=False)], n=1)
    return f"no such file or folder: {str(path)!r}" + (f"; did you mean {str(folder / close[0])!r}?" if close else "")
