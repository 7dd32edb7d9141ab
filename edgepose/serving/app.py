"""The web application: who may ask, and what the answers are."""

import asyncio
import hmac
import importlib.resources
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgepose.errors import EdgePoseError, InputError
from edgepose.runtime.packages import import_package
from edgepose.serving.body import RefusedError, read_request
from edgepose.serving.limits import RateLimiter, ServingLimits
from edgepose.serving.live import LiveView
from edgepose.serving.service import PoseService

__all__ = ["make_app"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_LOOK_S = 1.0
_WORKERS = 8
_BOUNDARY = "edgepose-frame"


def make_app(
    service: PoseService,
    view: LiveView | None,
    *,
    hosts: tuple[str, ...],
    token: str | None = None,
    limits: ServingLimits | None = None,
) -> Any:
    """Return the application, for any ASGI server.

    ``GET /`` is the page, ``/video`` its picture (Motion JPEG), ``/events`` its numbers (server-sent events); ``POST /pose`` takes an image
    as the body or as the field ``image`` of a form, and answers with JSON; ``GET /info`` says what runs, ``/health`` that it does.

    Args:
        service: answers ``POST /pose``.
        view: the live stream; ``None`` without a source.
        hosts: names by which the server may be called; others are refused, because a page of somebody else can give its own name this
            address. ``*`` allows any.
        token: what requests must bring as ``Authorization: Bearer``, or as ``?token=`` for the page.
        limits: see ``ServingLimits``.

    Raises:
        MissingDependencyError: FastAPI isn't installed.
    """
    fastapi = import_package("fastapi", extra="serve", purpose="serving")
    server = _Server(service, view, hosts, token, limits or ServingLimits())
    app = fastapi.FastAPI(title="edgepose", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(server.guard)
    app.add_exception_handler(RefusedError, server.refuse)
    app.add_exception_handler(404, server.lose)
    server.pose.__func__.__annotations__["request"] = fastapi.Request  # type: ignore[attr-defined]  # FastAPI looks for its own type
    for path, method, function in (
        ("/", "GET", server.index),
        ("/health", "GET", server.health),
        ("/info", "GET", server.info),
        ("/pose", "POST", server.pose),
        ("/video", "GET", server.video),
        ("/events", "GET", server.events),
    ):
        app.add_api_route(path, function, methods=[method], response_model=None)
    return app


class _Server:
    """What the routes do."""

    def __init__(
        self, service: PoseService, view: LiveView | None, hosts: tuple[str, ...], token: str | None, limits: ServingLimits
    ) -> None:
        self._responses = import_package("fastapi.responses", extra="serve", purpose="serving")
        self._service = service
        self._view = view
        self._hosts = hosts
        self._token = token
        self._limits = limits
        self._rate = RateLimiter(limits.per_second)
        self._busy = 0
        self._page = importlib.resources.files("edgepose.serving").joinpath("page.html").read_text("utf-8")
        self._workers = ThreadPoolExecutor(_WORKERS, "edgepose-request")
        # Viewers wait in threads of their own, so that they don't hold up requests.
        self._waiters = ThreadPoolExecutor(2 * limits.viewers, "edgepose-viewer")

    async def guard(self, request: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """Refuse who may not ask, and put the headers on every answer."""
        try:
            self._check(request)
            response = await call(request)
        except RefusedError as refused:
            response = await self.refuse(request, refused)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def refuse(self, _request: Any, refused: RefusedError) -> Any:
        """Say why not."""
        return self._responses.JSONResponse({"error": str(refused)}, refused.status, refused.headers)

    async def lose(self, _request: Any, _error: Any) -> Any:
        """Say what there is."""
        return self._responses.JSONResponse({"error": "there is /, /video, /events, /info, /health and POST /pose"}, 404)

    async def index(self) -> Any:
        """The page."""
        return self._responses.HTMLResponse(self._page)

    async def health(self) -> dict[str, Any]:
        """Whether the server answers."""
        return {"ok": True}

    async def info(self) -> dict[str, Any]:
        """What runs."""
        spec, session = self._service.session.spec, self._service.session
        return {
            "model": spec.name,
            "runtime": str(session.info),
            "skeleton": spec.skeleton.name,
            "keypoints": list(spec.skeleton.keypoints),
            "detector": self._service.detector.description,
            "source": None if self._view is None else self._view.newest.facts,
        }

    async def pose(self, request: Any) -> Any:
        """The poses in a picture."""
        limits = self._limits
        wait_s = self._rate.wait_s(request.client.host if request.client else "unknown")
        if wait_s:
            raise RefusedError(429, f"more than {limits.per_second:g} requests a second", {"Retry-After": str(max(1, round(wait_s)))})
        if self._busy >= limits.at_once:
            raise RefusedError(503, f"{limits.at_once} requests are being answered", {"Retry-After": "1"})
        self._busy += 1
        try:
            content, boxes, whole = await read_request(request, limits)
            work = asyncio.get_running_loop().run_in_executor(self._workers, lambda: self._service.find(content, boxes=boxes, whole=whole))
            return await work
        except InputError as error:
            raise RefusedError(400, str(error)) from None
        except EdgePoseError as error:
            raise RefusedError(500, str(error)) from None
        finally:
            self._busy -= 1

    async def video(self) -> Any:
        """The live picture."""
        view = self._need_view()
        return self._responses.StreamingResponse(self._frames(view), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")

    async def events(self) -> Any:
        """The live numbers."""
        view = self._need_view()
        return self._responses.StreamingResponse(self._facts(view), media_type="text/event-stream")

    def _check(self, request: Any) -> None:
        called = request.headers.get("host") or ""
        name, _, port = called.rpartition(":")
        name = (name if port.isdigit() and name else called).strip("[]").lower()
        if "*" not in self._hosts and name not in self._hosts:
            raise RefusedError(403, f"this server isn't called {name!r}; allowed: {', '.join(self._hosts)}")
        origin = request.headers.get("origin")
        if request.method != "GET" and origin is not None and origin.partition("://")[2] != called:
            raise RefusedError(403, "a page of another site may not use this server")
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.query_params.get("token", "")
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise RefusedError(401, "a token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})

    def _need_view(self) -> LiveView:
        if self._view is None:
            raise RefusedError(404, "this server was started without a source: it answers POST /pose alone")
        if self._view.viewers >= self._limits.viewers:
            raise RefusedError(503, f"{self._limits.viewers} viewers look already", {"Retry-After": "5"})
        return self._view

    async def _frames(self, view: LiveView) -> AsyncIterator[bytes]:
        """The newest picture, again and again; who is slow misses some."""
        number = 0
        view.viewers += 1
        try:
            while not view.ended:
                frame = await asyncio.get_running_loop().run_in_executor(self._waiters, view.wait, number, _LOOK_S)
                if frame is not None:
                    number = frame.number
                    if frame.jpeg:
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n\r\n"
                        yield head.encode() + frame.jpeg + b"\r\n"
        finally:
            view.viewers -= 1

    async def _facts(self, view: LiveView) -> AsyncIterator[str]:
        number = -1
        while True:
            frame = await asyncio.get_running_loop().run_in_executor(self._waiters, view.wait, number, _LOOK_S)
            if frame is None:
                yield ": nothing new\n\n"  # finds out whether somebody is still there
            else:
                number = frame.number
                yield f"data: {json.dumps(frame.facts)}\n\n"
            if view.ended:
                return
