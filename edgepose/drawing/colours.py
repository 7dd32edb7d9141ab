"""Which colour means what: the sides of a body, and who is who."""

import math
from functools import lru_cache

__all__ = ["BOX", "CENTRE", "LEFT", "OUTLINE", "PAPER", "RIGHT", "Colour", "colour_id", "colour_keypoint", "colour_link"]

Colour = tuple[int, int, int]

LEFT: Colour = (255, 138, 0)  # the person's own left
RIGHT: Colour = (0, 170, 255)
CENTRE: Colour = (120, 220, 60)
BOX: Colour = (235, 235, 235)
OUTLINE: Colour = (20, 20, 20)
PAPER: Colour = (250, 250, 250)

_TURN = (math.sqrt(5) - 1) / 2  # the golden section: each new hue falls into the widest gap that the earlier ones left
_LIGHTNESS = (0.80, 0.72, 0.88)  # light enough for dark letters, all of them
_CHROMA = 0.15


def colour_keypoint(name: str) -> Colour:
    """The side that a keypoint's name states: ``left_hip``, ``r_elbow``."""
    words = name.lower().replace("-", "_").split("_")
    if "left" in words or "l" in words:
        return LEFT
    return RIGHT if "right" in words or "r" in words else CENTRE


def colour_link(start: Colour, end: Colour) -> Colour:
    """A link from one side to the other belongs to neither; one from the middle belongs to the side that it reaches."""
    if start == CENTRE:
        return end
    return start if end in (start, CENTRE) else CENTRE


@lru_cache(maxsize=1024)
def colour_id(number: int) -> Colour:
    """The colour of a person's id: always the same, unlike those of the ids next to it, and light enough for dark letters."""
    return _to_rgb(_LIGHTNESS[number % len(_LIGHTNESS)], _CHROMA, 2 * math.pi * (number * _TURN % 1.0))


def _to_rgb(lightness: float, chroma: float, hue: float) -> Colour:
    """Oklch to sRGB (B. Ottosson, "A perceptual color space for image processing", 2020; his matrices are in the public domain)."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _encode(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _encode(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _encode(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _encode(linear: float) -> int:
    """Linear light to a byte of sRGB; what sRGB can't show is cut off."""
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
