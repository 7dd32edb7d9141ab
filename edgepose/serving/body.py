"""Reading what a request sends, within limits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from edgepose.runtime.packages import import_package
from edgepose.serving.limits import ServingLimits

__all__ = ["RefusedError", "read_request"]


class RefusedError(Exception):
    """A request that isn't answered with what it asks for.

    Attributes:
        status: of the answer.
        headers: of the answer.
    """

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}


async def read_request(request: Any, limits: ServingLimits) -> tuple[bytes, str | None, bool]:
    """Return the image, the boxes and whether the whole picture is meant.

    Raises:
        RefusedError: the body is too large, too slow, or holds no image.
    """
    content = await _read_body(request, limits)
    boxes, whole = request.query_params.get("boxes"), request.query_params.get("whole", "")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        content, fields = await _read_form(request, content)
        boxes, whole = fields.get("boxes", boxes), fields.get("whole", whole)
    if not content:
        raise RefusedError(400, "there is no picture: send an image as the body, or as the field 'image' of a form")
    return content, boxes, whole.lower() in ("1", "true", "yes")


async def _read_body(request: Any, limits: ServingLimits) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limits.body_bytes:
        raise RefusedError(413, f"the body has {stated} bytes; allowed: {limits.body_bytes}")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.body_bytes:
                    raise RefusedError(413, f"the body has more than {limits.body_bytes} bytes")
    except TimeoutError:
        raise RefusedError(408, f"the body didn't arrive within {limits.body_s:g} s") from None
    return bytes(body)


async def _read_form(request: Any, body: bytes) -> tuple[bytes, dict[str, str]]:
    """Take a form apart; the body has been read, so that its size is known."""
    formparsers = import_package("starlette.formparsers", extra="serve", purpose="serving")

    async def whole() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await formparsers.MultiPartParser(request.headers, whole(), max_files=1, max_fields=8).parse()
    except formparsers.MultiPartException as error:
        raise RefusedError(400, f"the form can't be read: {error.message}") from None
    image = form.get("image")
    content = await image.read() if image is not None and not isinstance(image, str) else b""
    return content, {name: value for name, value in form.items() if isinstance(value, str)}
