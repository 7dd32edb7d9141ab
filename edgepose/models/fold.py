"""BatchNorm folding: the network that converters see."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgepose.models.vitpose import ClassicHead, ViTPose

__all__ = ["FoldedClassicHead", "for_export"]


class FoldedClassicHead(nn.Module):
    """The classic head in inference, each BatchNorm folded into the transposed convolution before it.

    Args:
        head: the head to fold; it stays as it is.
    """

    def __init__(self, head: ClassicHead) -> None:
        super().__init__()
        self.deconv1 = _fold(head.deconv1, head.bn1)
        self.deconv2 = _fold(head.deconv2, head.bn2)
        self.final = copy.deepcopy(head.final)

    def forward(self, x: Tensor) -> Tensor:
        """Decode features (N, C, h, w) into heatmaps (N, K, 4h, 4w)."""
        x = F.relu(self.deconv1(x))
        x = F.relu(self.deconv2(x))
        out: Tensor = self.final(x)
        return out


def for_export(model: ViTPose) -> ViTPose:
    """Return ``model`` as it computes in inference, with BatchNorm folded into the convolutions.

    The result is in eval mode and needs no gradients. Its backbone shares memory with ``model``, which stays as it is; train neither while
    the other is in use. What is folded already stays so.
    """
    # On the meta device: no memory, and no time for an initialization that is overwritten.
    with torch.device("meta"):
        exported = ViTPose(model.config)
    exported.backbone.load_state_dict(model.backbone.state_dict(), assign=True)
    if isinstance(model.head, ClassicHead):
        exported.head = FoldedClassicHead(model.head)
    elif isinstance(model.head, FoldedClassicHead):
        exported.head = copy.deepcopy(model.head)
    else:
        exported.head.load_state_dict(model.head.state_dict(), assign=True)
    return exported.eval().requires_grad_(False)


@torch.no_grad()
def _fold(deconv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """Return ``norm(deconv(x))`` as one layer; computed in double precision, so that folding adds no error of its own."""
    kernel = deconv.weight.double()
    state = {name: value.double() for name, value in norm.state_dict().items()}
    scale = state["weight"] / (state["running_var"] + norm.eps).sqrt()
    # A transposed convolution's weight is (in, out, kh, kw).
    kernel, bias = kernel * scale[:, None, None], state["bias"] - state["running_mean"] * scale
    with torch.device("meta"):
        folded = nn.ConvTranspose2d(deconv.in_channels, deconv.out_channels, 4, stride=2, padding=1)
    folded.load_state_dict({"weight": kernel.to(deconv.weight.dtype), "bias": bias.to(deconv.weight.dtype)}, assign=True)
    return folded
