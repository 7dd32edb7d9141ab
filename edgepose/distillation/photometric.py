"""Random brightness, contrast, saturation, tint and noise, on whole batches and on the device; and normalization."""

import torch
from torch import Tensor

from edgepose.distillation.recipe import Augmentation
from edgepose.spec import InputSpec

__all__ = ["normalize", "vary"]


def vary(images: Tensor, strength: Augmentation, seed: int) -> Tensor:
    """Change colours at random.

    Args:
        images: (N, H, W, 3) uint8, RGB.
        strength: how much of everything.
        seed: the same seed gives the same changes, on one kind of device.

    Returns:
        (N, H, W, 3) float32 in 0…255.
    """
    generator = torch.Generator().manual_seed(seed)
    count, device = len(images), images.device

    def factor(spread: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(count, 1, 1, channels, generator=generator) * 2 - 1
        return (1 + spread * drawn).to(device)

    x = images.float() * (factor(strength.brightness) * factor(strength.tint, 3))
    contrast = factor(strength.contrast)
    x = torch.lerp(x.mean(dim=(1, 2, 3), keepdim=True), x, contrast)
    saturation = factor(strength.saturation)
    grey = (torch.rand(count, 1, 1, 1, generator=generator) < strength.grey).to(device)
    x = torch.lerp(x.mean(dim=3, keepdim=True), x, torch.where(grey, torch.zeros_like(saturation), saturation))
    if strength.noise > 0:
        amount = torch.rand(count, 1, 1, 1, generator=generator).to(device) * strength.noise
        noise = torch.randn(x.shape, device=device, generator=torch.Generator(device).manual_seed(seed))
        x = torch.addcmul(x, noise, amount)
    return x.clamp_(0, 255)


def normalize(images: Tensor, size: InputSpec) -> Tensor:
    """Turn (N, H, W, 3) in 0…255 into the network's input: (N, 3, H, W) float32, contiguous."""
    mean, std = (torch.tensor(values, device=images.device) for values in (size.mean, size.std))
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
