"""The limbs and joints of one person."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from edgepose.drawing.colours import OUTLINE, Colour, colour_keypoint, colour_link
from edgepose.drawing.strokes import OPAQUE, Layer, Point, fill_disc, fill_polygon, magnified, paint, to_fixed
from edgepose.skeleton import Skeleton

__all__ = ["Figure", "draw_body", "figure_of"]

THINNEST_PX = 0.8
SLIMMEST = 1 / 6  # a limb's width as a part of its length, at most
DOT = 0.85  # a joint's radius as a part of the thickest limb's width there
LONELY_DOT = 0.4  # of a keypoint without a limb, as a part of the person's line
JOINT_RIM = 0.28  # of a joint's radius, at most: faces are many small dots
HOLE = 0.62  # of a joint's radius, where its keypoint is hardly certain enough to be drawn
SMALLEST_HOLE, SMALLEST_RIM = 8, 2  # sixteenths of a pixel
BARE_PX = 1.2  # joints of lines up to this width have no outline of their own
SHARP_PX = 2.4  # lines from this width on need no magnification


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How the people of a skeleton are drawn.

    Attributes:
        links: (L, 2), keypoint indices.
        dots: K, the keypoints' colours.
        lines: L, the links' colours.
    """

    links: npt.NDArray[np.intp]
    dots: tuple[Colour, ...]
    lines: tuple[Colour, ...]


@lru_cache(maxsize=32)
def figure_of(skeleton: Skeleton) -> Figure:
    """Return how a skeleton's people are drawn: the colours are those of the sides that its keypoints' names state."""
    dots = tuple(colour_keypoint(name) for name in skeleton.keypoints)
    links = skeleton.link_indices
    return Figure(
        links=np.array(links, dtype=np.intp).reshape(-1, 2),
        dots=dots,
        lines=tuple(colour_link(dots[start], dots[end]) for start, end in links),
    )


def draw_body(
    canvas: npt.NDArray[np.uint8],
    figure: Figure,
    points: npt.NDArray[np.float64],
    opacities: npt.NDArray[np.float64],
    width: float,
) -> None:
    """Draw a person's limbs, then the joints.

    Limbs are as uncertain as the less certain of their ends; uncertain joints are hollow.

    Args:
        canvas: (H, W, 3), drawn on.
        figure: of the skeleton.
        points: (K, 2), image pixels.
        opacities: (K,), 0 to 1; keypoints with 0 aren't drawn and may lie anywhere.
        width: of the lines, in image pixels.
    """
    shown = np.flatnonzero(opacities > 0)
    if not len(shown):
        return
    limb_opacities = opacities[figure.links].min(axis=1)
    drawn = np.flatnonzero(limb_opacities > 0)
    links = figure.links[drawn]
    spans = points[links[:, 0]] - points[links[:, 1]]
    widths = np.minimum(np.maximum(np.hypot(spans[:, 0], spans[:, 1]) * SLIMMEST, THINNEST_PX), width)
    radii = _radii(len(points), links, widths, width)
    rim = _rim(width)
    reach = float(radii.max()) + rim + 2.0
    seen = points[shown]
    with magnified(canvas, seen.min(axis=0) - reach, seen.max(axis=0) + reach, 1 if width >= SHARP_PX else 2) as (layer, origin, factor):
        # Pixels' centres have whole coordinates.
        placed = points if factor == 1 else (points - origin + 0.5) * factor - 0.5
        _draw_limbs(layer, placed[links], widths * factor, rim * factor, limb_opacities[drawn], [figure.lines[link] for link in drawn])
        order = shown[np.argsort(opacities[shown], kind="stable")]
        rims = np.minimum(rim * min(max(width / BARE_PX - 1.0, 0.0), 1.0), JOINT_RIM * radii[order])
        _draw_joints(layer, placed[order], radii[order] * factor, rims * factor, opacities[order], [figure.dots[joint] for joint in order])


def _rim(width: float) -> float:
    """How far the dark outline reaches beyond a line: it shrinks with the line, so that it never is what hides a small person."""
    return min(0.35 * width * min(max((width - 0.4) / THINNEST_PX, 0.0), 1.0), 1.0 + 0.08 * width)


def _radii(keypoints: int, links: npt.NDArray[np.intp], widths: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    """Dots a little wider than the thickest line that ends in them; those without a line are as small as a thin one."""
    radii = [max(THINNEST_PX / 2, LONELY_DOT * width)] * keypoints
    for ends, thick in zip(links.tolist(), widths.tolist(), strict=True):
        for end in ends:
            radii[end] = max(radii[end], DOT * thick)
    return np.array(radii)


def _draw_limbs(
    layer: Layer,
    ends: npt.NDArray[np.float64],
    widths: npt.NDArray[np.float64],
    rim: float,
    opacities: npt.NDArray[np.float64],
    colours: list[Colour],
) -> None:
    """The uncertain ones first; of the others all outlines first, so that no line's outline cuts through another line.

    ``ends`` are (L, 2, 2) and, like ``widths``, in the layer's pixels.
    """
    along = ends[:, 1] - ends[:, 0]
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    across = along[:, ::-1] * (-1.0, 1.0)
    halves = widths[:, None] / 2 + (rim, 0.0)
    shapes = _quadrangles(ends, across[:, None] * halves[..., None])
    outlines = shapes[:, 0]
    bounds = np.concatenate([outlines.min(axis=1), outlines.max(axis=1)], axis=1).tolist()
    opaque = []
    for link, opacity in sorted(enumerate(opacities.tolist()), key=lambda each: each[1]):
        if opacity >= OPAQUE:
            opaque.append(link)
            continue
        paint(layer, bounds[link], opacity, partial(_draw_limb, shapes=shapes[link], colour=colours[link]))
    for link in opaque:
        fill_polygon(layer, outlines[link], OUTLINE)
    for link in opaque:
        fill_polygon(layer, shapes[link, 1], colours[link])


def _draw_limb(layer: Layer, origin: Point, *, shapes: npt.NDArray[np.int32], colour: Colour) -> None:
    outline, fill = shapes - np.array(origin, np.int32)
    fill_polygon(layer, outline, OUTLINE)
    fill_polygon(layer, fill, colour)


def _quadrangles(ends: npt.NDArray[np.float64], across: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """(L, 2, 4, 2), fixed-point: the outline and what is in it; ``across`` is (L, 2, 2), half of each one's width."""
    corners = np.empty((len(ends), 2, 4, 2))
    for corner, (end, side) in enumerate(((0, -1), (0, 1), (1, 1), (1, -1))):
        corners[:, :, corner] = ends[:, end, None] + side * across
    return to_fixed(corners)


def _draw_joints(
    layer: Layer,
    points: npt.NDArray[np.float64],
    radii: npt.NDArray[np.float64],
    rims: npt.NDArray[np.float64],
    opacities: npt.NDArray[np.float64],
    colours: list[Colour],
) -> None:
    """In the order given; ``points`` (J, 2), ``radii`` and ``rims`` are in the layer's pixels."""
    holes = to_fixed(HOLE * radii * (1.0 - opacities)).tolist()
    circles = zip(to_fixed(points).tolist(), to_fixed(radii + rims).tolist(), to_fixed(radii).tolist(), holes, strict=True)
    for (centre, outer, inner, hole), opacity, colour in zip(circles, opacities.tolist(), colours, strict=True):
        x, y = centre
        draw = partial(_draw_joint, centre=centre, outer=outer, inner=inner, hole=hole, colour=colour)
        paint(layer, (x - outer, y - outer, x + outer, y + outer), opacity, draw)


def _draw_joint(layer: Layer, origin: Point, *, centre: Point, outer: int, inner: int, hole: int, colour: Colour) -> None:
    middle = (centre[0] - origin[0], centre[1] - origin[1])
    if outer > inner + SMALLEST_RIM:
        fill_disc(layer, middle, outer, OUTLINE)
    fill_disc(layer, middle, inner, colour)
    if hole > SMALLEST_HOLE:
        fill_disc(layer, middle, hole, OUTLINE)
