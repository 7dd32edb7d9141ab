"""Drawing on images: people's poses, boxes and ids, and a line of text."""

from edgepose.drawing.caption import draw_caption
from edgepose.drawing.poses import draw_poses

__all__ = ["draw_caption", "draw_poses"]
