"""``edgepose serve``: a live page and ``POST /pose``."""

import argparse
import contextlib
import ipaddress
import socket
import sys
from typing import TYPE_CHECKING

from edgepose.cli.options import add_device_options, real_number, score, whole_number
from edgepose.cli.streaming import add_people_options, add_source_options, open_detector_of, open_source_of, open_stream_of, split_model
from edgepose.errors import InputError
from edgepose.runtime.packages import import_package

if TYPE_CHECKING:
    from edgepose.serving.live import LiveView

__all__ = ["add_parser", "run"]

_LOOPBACK = "127.0.0.1"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        help="show a source with poses in a browser, and answer pictures with poses",
        description="Show a video, camera or address with the poses of its people in a browser, and answer POST /pose (an image as the "
        "body) with JSON. Without SOURCE it only answers. The server listens on this machine alone unless --host says otherwise.",
    )
    parser.add_argument("sources", nargs="*", metavar="[MODEL] SOURCE", help="as for `edgepose predict`")
    network = parser.add_argument_group("who may ask, and how much")
    network.add_argument("--host", default=_LOOPBACK, metavar="ADDRESS", help=f"address to listen on (default: {_LOOPBACK})")
    network.add_argument("--port", type=whole_number(0, 65_535), default=8000, metavar="N", help="0 takes a free one (default: 8000)")
    network.add_argument("--token", metavar="TEXT", help="requests must bring it: Authorization: Bearer TEXT, or ?token=TEXT")
    network.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name by which the server may be called")
    network.add_argument(
        "--max-body", type=whole_number(1, 1 << 30), default=10_000_000, metavar="N", help="bytes of a body (default: 10 MB)"
    )
    network.add_argument("--at-once", type=whole_number(1, 10_000), default=32, metavar="N", help="requests at the same time (default: 32)")
    network.add_argument(
        "--per-second", type=real_number(0, 1e6, above=True), default=50.0, metavar="N", help="requests of one client (default: 50)"
    )
    network.add_argument("--viewers", type=whole_number(1, 1000), default=16, metavar="N", help="of the page (default: 16)")
    parser.add_argument("--min-score", type=score, default=0.3, metavar="S", help="draw keypoints from this score on (default: 0.3)")
    parser.add_argument("--flip-test", action="store_true", help="average with the mirrored image")
    add_people_options(parser)
    add_source_options(parser)
    add_device_options(parser)
    parser.set_defaults(usage_error=parser.error, source_is_optional=True)
    return parser


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from edgepose.runtime import load
    from edgepose.serving.app import make_app
    from edgepose.serving.joining import JoinedSession
    from edgepose.serving.limits import ServingLimits
    from edgepose.serving.live import LiveView
    from edgepose.serving.service import PoseService

    model, names = split_model(options)
    limits = ServingLimits(
        body_bytes=options.max_body,
        pixels=options.max_pixels,
        people=options.max_people,
        at_once=options.at_once,
        per_second=options.per_second,
        viewers=options.viewers,
    )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(options.host, options.port))
        source = open_source_of(names, options) if names else None
        if source is not None:
            stack.callback(source.close)
        detector = open_detector_of(source, options)
        stack.callback(detector.close)
        session = stack.enter_context(load(model, options.device, options.threads, dict(options.option)))
        joined = JoinedSession(session)
        stack.callback(joined.close)
        view = None
        if source is not None:
            view = LiveView(open_stream_of(source, session, detector, options), min_score=options.min_score)
            stack.callback(view.close)
        hosts = ("localhost", _LOOPBACK, "::1", options.host.lower(), *(name.lower() for name in options.allow_host))
        app = make_app(PoseService(joined, detector, limits), view, hosts=hosts, token=options.token, limits=limits)
        _serve(app, view, listener, options)
    return 0


def _listen(host: str, port: int) -> contextlib.closing[socket.socket]:
    """Take the port before anything is loaded.

    Raises:
        InputError: another program has it, or the address isn't this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise InputError(f"can't listen on {host}, port {port}: {error.strerror or error}; another --port, or 0 for a free one?") from None
    return contextlib.closing(listener)


def _serve(app: object, view: "LiveView | None", listener: socket.socket, options: argparse.Namespace) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    uvicorn = import_package("uvicorn", extra="serve", purpose="serving")
    port = listener.getsockname()[1]
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{shown}:{port}/ shows the stream; POST an image to http://{shown}:{port}/pose; Ctrl-C ends", flush=True)
    if not _is_loopback(options.host) and options.token is None:
        print("edgepose serve: everybody who reaches this address can use it and look: there is no --token", file=sys.stderr, flush=True)
    if view is not None:
        view.start()
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="off", server_header=False)
    server = uvicorn.Server(config)
    # Ctrl-C and SIGTERM are the command line's; uvicorn would swallow them.
    server.install_signal_handlers = lambda: None
    server.capture_signals = contextlib.nullcontext
    server.run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
