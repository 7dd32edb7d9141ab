"""Position grids: their size, the class-token slot of the original, and other resolutions."""

import math

from torch import Tensor
from torch.nn import functional as F

__all__ = ["fold_class_slot", "infer_grid", "list_grids", "resize_positions"]

Grid = tuple[int, int]


def infer_grid(slots: int, *, stated: Grid | None = None) -> Grid | None:
    """Infer rows and columns of a position tensor from its number of slots, one of which may be the class token's.

    ``stated`` comes first: a size that accounts for every slot is the one that the positions were trained at. Else ViTPose's published
    inputs are tried: portraits of 4:3, then squares; ``list_grids`` tells what else the number may stand for.

    Args:
        slots: number of positions in the file.
        stated: rows and columns that the user or the file names.

    Returns:
        Rows and columns, or ``None`` where no grid fits.
    """
    if stated is not None and stated[0] * stated[1] in (slots, slots - 1):
        return stated
    return next(iter(list_grids(slots)), None)


def list_grids(slots: int) -> tuple[Grid, ...]:
    """Return the usual grids of a number of slots, the likeliest first: the portrait and the landscape of 4:3, or a square."""
    for tokens in (slots, slots - 1):
        unit = math.isqrt(max(tokens, 0) // 12)
        if tokens > 0 and tokens == 12 * unit**2:
            return (4 * unit, 3 * unit), (3 * unit, 4 * unit)
    for tokens in (slots, slots - 1):
        side = math.isqrt(max(tokens, 0))
        if side > 1 and tokens == side**2:
            return ((side, side),)
    return ()


def fold_class_slot(positions: Tensor, grid: Grid) -> Tensor:
    """Return positions (1, rows·columns, C) from (1, rows·columns [+ 1], C).

    The original has a slot for a class token but no such token: it adds the slot to every position
    (ViTAE-Transformer/ViTPose, ``mmpose/models/backbones/vit.py``, Apache-2.0). Doing so once, here, gives the same sum.
    """
    if positions.shape[1] == grid[0] * grid[1]:
        return positions
    return positions[:, 1:] + positions[:, :1]


def resize_positions(positions: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate a folded position grid (1, rows·columns, C) for another input size.

    Bicubic without aligned corners, as the original does when it loads weights (``mmcv_custom/checkpoint.py``). Interpolation keeps
    constants, so the order of this and ``fold_class_slot`` doesn't matter.
    """
    if old == new:
        return positions
    dim = positions.shape[-1]
    image = positions.reshape(1, *old, dim).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=new, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).reshape(1, new[0] * new[1], dim)
