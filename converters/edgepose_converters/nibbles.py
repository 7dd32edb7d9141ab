"""Four-bit integers in bytes, as OpenVINO, ONNX and TFLite store them."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_nibbles"]


def pack_nibbles(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Put two levels into each byte, the first in the low half.

    Args:
        levels: any shape, an even number of them, -8 to 7.

    Returns:
        (levels.size / 2,) uint8, in C order.
    """
    halves = np.ascontiguousarray(levels).reshape(-1, 2).view(np.uint8) & 0xF
    packed: NDArray[np.uint8] = np.bitwise_or(halves[:, 0], halves[:, 1] << 4, dtype=np.uint8)
    return packed
