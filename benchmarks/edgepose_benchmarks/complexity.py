"""How many multiply-accumulates a ViTPose takes, from its spec alone: a device that measures has no torch."""

from edgepose.spec import ModelSpec

__all__ = ["count_macs"]

PATCH = 16
RGB = 3
MLP_RATIO = 4
DECONV_CHANNELS = 256
DECONV_TAPS = 16  # a kernel of 4×4
STRIDE = 2
SIMPLE_TAPS = 9  # a kernel of 3×3


def count_macs(spec: ModelSpec) -> int:
    """Count those of one crop: linear layers, convolutions and the two products of attention; the rest is below a hundredth."""
    network = spec.architecture
    tokens = (spec.input.height // PATCH) * (spec.input.width // PATCH)
    dim = network.dim
    patches = tokens * PATCH * PATCH * RGB * dim
    linear = tokens * dim * dim * (4 + 2 * MLP_RATIO)
    attention = 2 * tokens * tokens * dim
    pixels = tokens * STRIDE**4  # of the heatmaps
    if network.head == "classic":
        first = tokens * dim * DECONV_CHANNELS * DECONV_TAPS
        second = tokens * STRIDE**2 * DECONV_CHANNELS * DECONV_CHANNELS * DECONV_TAPS
        head = first + second + pixels * DECONV_CHANNELS * spec.keypoints
    else:
        head = pixels * dim * spec.keypoints * SIMPLE_TAPS
    return patches + network.depth * (linear + attention) + head
