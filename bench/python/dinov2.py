"""DINOv2's vision transformer (arXiv 2304.07193) in plain PyTorch: the frozen encoder of REPA, fed as REPA feeds it.

Parameter names are those of facebookresearch/dinov2 (block_chunks = 0, no registers). The benchmark gives it random
weights, which take as long as trained ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sit_repa import Attention
from torch import Tensor, nn

PATCH = 14
# The sizes that REPA aligns with.
SIZES = {
    "dinov2-vit-s": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "dinov2-vit-b": {"hidden_size": 768, "depth": 12, "num_heads": 12},
    "dinov2-vit-l": {"hidden_size": 1024, "depth": 24, "num_heads": 16},
}
# ImageNet's statistics.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class LayerScale(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, 4 * hidden_size)
        self.fc2 = nn.Linear(4 * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads, qk_norm=False)
        self.ls1 = LayerScale(hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mlp = Mlp(hidden_size)
        self.ls2 = LayerScale(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, hidden_size, PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class DINOv2(nn.Module):
    """Normalised images [B, 3, h, w] of `tokens` patches -> the patch tokens after the final norm, [B, tokens, D]."""

    def __init__(self, *, tokens: int, hidden_size: int = 768, depth: int = 12, num_heads: int = 12) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + tokens, hidden_size))
        self.patch_embed = PatchEmbed(hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden_size, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1:]


def preprocess(images: Tensor, side: int) -> Tensor:
    """Images u8 [B, 3, H, W] -> normalised and then resized, f32 [B, 3, side, side]."""
    mean, std = (images.new_tensor(values, dtype=torch.float32).view(3, 1, 1) for values in (MEAN, STD))
    return F.interpolate((images / 255.0 - mean) / std, (side, side), mode="bicubic")
