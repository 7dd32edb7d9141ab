"""ViTPose in plain torch: a ViT backbone and the two heatmap heads.

Written for export as much as for training: one fused ``qkv`` linear per block, positions as one tensor without the unused
class-token slot, and shapes that are constants but for the batch, so that every converter sees the same small set of operators.

Architecture after Xu et al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation" (NeurIPS 2022) and its
reference implementation (ViTAE-Transformer/ViTPose, Apache-2.0); the code is our own.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgepose.spec import ModelSpec

__all__ = ["Attention", "Block", "ClassicHead", "Mlp", "SimpleHead", "ViT", "ViTPose", "VitPoseConfig"]

PATCH = 16
PATCH_PADDING = 2
MLP_RATIO = 4
DECONV_CHANNELS = 256
HEATMAP_STRIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class VitPoseConfig:
    """The shape of one ViTPose network.

    Attributes:
        dim: channels of the token stream.
        depth: number of transformer blocks.
        heads: attention heads; divides ``dim``.
        head: ``classic`` (two transposed convolutions) or ``simple`` (bilinear ×4 and one 3×3 convolution).
        keypoints: number of heatmaps.
        height: input height in pixels, a multiple of 16.
        width: input width in pixels, a multiple of 16.
        layer_norm_eps: epsilon of every LayerNorm.
    """

    dim: int
    depth: int
    heads: int
    head: Literal["classic", "simple"]
    keypoints: int
    height: int = 256
    width: int = 192
    layer_norm_eps: float = 1e-6

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> "VitPoseConfig":
        """Return the shape of the network that ``spec`` describes."""
        architecture = spec.architecture
        return cls(
            dim=architecture.dim,
            depth=architecture.depth,
            heads=architecture.heads,
            head=architecture.head,
            keypoints=spec.keypoints,
            height=spec.input.height,
            width=spec.input.width,
            layer_norm_eps=architecture.layer_norm_eps,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patch tokens."""
        return self.height // PATCH, self.width // PATCH


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.scale = 1.0 / math.sqrt(self.head_dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over ``x`` (N, T, C); returns the same shape."""
        tokens, dim = x.shape[1], x.shape[2]
        # Split first, so that no tensor has more than four dimensions: mobile GPU and NPU delegates take no fifth.
        q, k, v = (part.reshape(-1, tokens, self.heads, self.head_dim).transpose(1, 2) for part in self.qkv(x).split(dim, dim=-1))
        # Spelt out rather than F.scaled_dot_product_attention: every converter and quantizer knows these three operators.
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = (weights @ v).transpose(1, 2).reshape(-1, tokens, dim)
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    """The two-layer perceptron of a block, with the exact (erf) GELU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, MLP_RATIO * dim)
        self.fc2 = nn.Linear(MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, T, C) to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, *, layer_norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, T, C) to the same shape."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Patch embedding, positions, blocks and a last LayerNorm."""

    def __init__(self, config: VitPoseConfig) -> None:
        super().__init__()
        rows, columns = config.grid
        self.grid = (rows, columns)
        self.dim = config.dim
        self.patch_embed = nn.Conv2d(3, config.dim, PATCH, stride=PATCH, padding=PATCH_PADDING)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns, config.dim))
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, layer_norm_eps=config.layer_norm_eps) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images (N, 3, H, W) into a feature map (N, C, H/16, W/16)."""
        tokens = self.embed(x)
        for block in self.blocks:
            tokens = block(tokens)
        return self.unembed(tokens)

    def embed(self, x: Tensor) -> Tensor:
        """Turn images (N, 3, H, W) into tokens (N, T, C)."""
        rows, columns = self.grid
        tokens: Tensor = self.patch_embed(x).reshape(-1, self.dim, rows * columns).transpose(1, 2) + self.pos_embed
        return tokens

    def unembed(self, tokens: Tensor) -> Tensor:
        """Normalize tokens (N, T, C) and lay them out as a feature map (N, C, H/16, W/16)."""
        features: Tensor = self.norm(tokens).transpose(1, 2).reshape(-1, self.dim, *self.grid)
        # Without this, torch runs the head on its channels-last kernels, which round differently from those of the reference.
        return features.contiguous()


class ClassicHead(nn.Module):
    """Two stride-2 transposed convolutions with BatchNorm and ReLU, then a 1×1 convolution."""

    def __init__(self, dim: int, keypoints: int) -> None:
        super().__init__()
        self.deconv1 = nn.ConvTranspose2d(dim, DECONV_CHANNELS, 4, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(DECONV_CHANNELS)
        self.deconv2 = nn.ConvTranspose2d(DECONV_CHANNELS, DECONV_CHANNELS, 4, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(DECONV_CHANNELS)
        self.final = nn.Conv2d(DECONV_CHANNELS, keypoints, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode features (N, C, h, w) into heatmaps (N, K, 4h, 4w)."""
        x = F.relu(self.bn1(self.deconv1(x)))
        x = F.relu(self.bn2(self.deconv2(x)))
        out: Tensor = self.final(x)
        return out


class SimpleHead(nn.Module):
    """ReLU, bilinear upsampling ×4 and one 3×3 convolution."""

    def __init__(self, dim: int, keypoints: int) -> None:
        super().__init__()
        self.final = nn.Conv2d(dim, keypoints, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Decode features (N, C, h, w) into heatmaps (N, K, 4h, 4w)."""
        x = F.interpolate(F.relu(x), scale_factor=float(HEATMAP_STRIDE), mode="bilinear", align_corners=False)
        out: Tensor = self.final(x)
        return out


class ViTPose(nn.Module):
    """A whole ViTPose: normalized RGB crops in, heatmaps out."""

    def __init__(self, config: VitPoseConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = ViT(config)
        head = ClassicHead if config.head == "classic" else SimpleHead
        self.head: nn.Module = head(config.dim, config.keypoints)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized crops (N, 3, H, W), float, to heatmaps (N, K, H/4, W/4)."""
        out: Tensor = self.head(self.backbone(x))
        return out
