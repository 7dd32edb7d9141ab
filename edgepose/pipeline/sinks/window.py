"""A window that shows the stream."""

import os
import sys

import cv2

from edgepose.drawing import draw_caption
from edgepose.errors import InputError
from edgepose.pipeline.frame import Failure, FramePoses
from edgepose.pipeline.sinks.context import SinkContext, draw_result

__all__ = ["WindowClosed", "WindowSink"]

_ESCAPE = 27


class WindowClosed(Exception):  # noqa: N818  # somebody has seen enough
    """The window was closed, or q or Esc pressed."""


class WindowSink:
    """Shows each frame with its poses. Must be written to by the main thread, as windows want it.

    Raises:
        InputError: there is no display, or this build of OpenCV has no windows.
    """

    def __init__(self, context: SinkContext) -> None:
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise InputError(
                "there is no display to show a window on (DISPLAY isn't set): write a video with --out, or look at `edgepose serve`"
            )
        self._context = context
        self._title = f"edgepose: {context.info.name}"
        try:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        except cv2.error:
            raise InputError(
                "this build of OpenCV has no windows (opencv-python-headless): install opencv-python, write a video with --out, or look at "
                "`edgepose serve`"
            ) from None

    def write(self, result: FramePoses | Failure) -> None:
        """Show a frame.

        Raises:
            WindowClosed: nobody looks any more.
        """
        if isinstance(result, Failure):
            return
        text = f"{len(result.poses)} people   {result.latency_s * 1e3:.0f} ms" + (f"   {result.dropped} dropped" if result.dropped else "")
        cv2.imshow(self._title, cv2.cvtColor(draw_caption(draw_result(result, self._context), text), cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in (_ESCAPE, ord("q")) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise WindowClosed

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
