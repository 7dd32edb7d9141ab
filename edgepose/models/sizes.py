"""The published sizes of ViTPose."""

from dataclasses import dataclass

__all__ = ["SIZES", "Size", "find_size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One size of the backbone.

    Attributes:
        name: the letters used in model names.
        dim: channels of the token stream.
        depth: number of transformer blocks.
        heads: attention heads.
    """

    name: str
    dim: int
    depth: int
    heads: int


SIZES = (
    Size(name="ti", dim=192, depth=12, heads=3),
    Size(name="s", dim=384, depth=12, heads=12),
    Size(name="b", dim=768, depth=12, heads=12),
    Size(name="l", dim=1024, depth=24, heads=16),
    Size(name="h", dim=1280, depth=32, heads=16),
)
"""From the smallest to the largest. No two share a ``dim``: it tells the number of heads, which weights don't show."""


def find_size(dim: int) -> Size | None:
    """Return the size with ``dim`` channels, or ``None``."""
    return next((size for size in SIZES if size.dim == dim), None)
