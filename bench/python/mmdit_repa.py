"""MMDiT with REPA in plain PyTorch, as the official mmdit.py computes it: the yardstick of text to image, never part of the product.

Parameters carry the names of the official state dict. `as_written` is said in sit_repa.py, whose parts these are.
Shapes: B samples, T image tokens, L text tokens, D hidden width, H heads, p patch size.
"""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from sit_repa import (
    FinalLayer,
    Mlp,
    PatchEmbed,
    TimestepEmbedder,
    gated_residual,
    modulated_norm,
    projectors,
    sin_cos_table,
    unpatchify,
)
from torch import Tensor, nn


class StreamAttention(nn.Module):
    def __init__(self, hidden_size: int, read_after: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        if read_after:
            self.proj = nn.Linear(hidden_size, hidden_size)


class StreamBlock(nn.Module):
    """One of the two streams of a block; of the last block's text nothing is read after the attention."""

    def __init__(self, hidden_size: int, mlp_ratio: float, read_after: bool, as_written: bool) -> None:
        super().__init__()
        self.as_written = as_written
        self.read_after = read_after
        self.chunks = 6 if read_after else 2
        self.attn = StreamAttention(hidden_size, read_after)
        if read_after:
            self.mlp = Mlp(hidden_size, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, self.chunks * hidden_size))

    def before(self, x: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The packed queries, keys and values, and the modulation's chunks."""
        modulation = self.adaLN_modulation(c)[:, None, :].chunk(self.chunks, dim=-1)
        return self.attn.qkv(modulated_norm(x, modulation[0], modulation[1], self.as_written)), modulation

    def after(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Optional[Tensor]:
        if not self.read_after:
            return None
        _, _, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
        x = gated_residual(x, gate_msa, self.attn.proj(attended), self.as_written)
        transformed = self.mlp(modulated_norm(x, shift_mlp, scale_mlp, self.as_written))
        return gated_residual(x, gate_mlp, transformed, self.as_written)


class JointBlock(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float, last: bool, as_written: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.context_block = StreamBlock(hidden_size, mlp_ratio, not last, as_written)
        self.x_block = StreamBlock(hidden_size, mlp_ratio, True, as_written)

    def forward(self, context: Tensor, x: Tensor, c: Tensor) -> tuple[Optional[Tensor], Tensor]:
        """Text [B, L, D] and image [B, T, D]: one attention over the tokens of both."""
        context_qkv, context_modulation = self.context_block.before(context, c)
        x_qkv, x_modulation = self.x_block.before(x, c)
        qkv = torch.cat([context_qkv, x_qkv], dim=1)
        batch, tokens, packed = qkv.shape
        q, k, v = qkv.reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        if hasattr(F, "scaled_dot_product_attention"):
            heads = F.scaled_dot_product_attention(q, k, v)
        else:
            heads = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        attended = heads.transpose(1, 2).reshape(batch, tokens, packed // 3)
        length = context.shape[1]
        return (
            self.context_block.after(context, attended[:, :length], context_modulation),
            self.x_block.after(x, attended[:, length:], x_modulation),
        )


class MMDiT(nn.Module):
    """Velocity model of captions; arguments as SiT's, and `text_tokens` hidden states of `text_width` a caption."""

    def __init__(
        self,
        *,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 768,
        depth: int = 24,
        num_heads: int = 24,
        mlp_ratio: float = 4.0,
        encoder_depth: int = 8,
        projector_dim: int = 2048,
        z_dims: tuple[int, ...] = (768,),
        text_tokens: int = 77,
        text_width: int = 768,
        as_written: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.encoder_depth = encoder_depth
        self.text_shape = (text_tokens, text_width)
        self.register_buffer("pos_embed", sin_cos_table(hidden_size, input_size // patch_size)[None])
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size, as_written)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.context_embedder = nn.Linear(text_width, hidden_size)
        self.joint_blocks = nn.ModuleList(
            JointBlock(hidden_size, num_heads, mlp_ratio, index == depth - 1, as_written) for index in range(depth)
        )
        self.final_layer = FinalLayer(hidden_size, patch_size * patch_size * in_channels, as_written)
        self.projectors = projectors(hidden_size, projector_dim, z_dims)

    @property
    def blocks(self) -> nn.ModuleList:
        return self.joint_blocks

    def forward(self, x: Tensor, t: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, C, h, w], t [B] in [0, 1], text [B, L, W] -> the velocity [B, C, h, w] and each projection [B, T, Z]."""
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t)
        context = self.context_embedder(text)
        projections: list[Tensor] = []
        for number, block in enumerate(self.joint_blocks, start=1):
            context, tokens = block(context, tokens, c)
            if number == self.encoder_depth:
                projections = [projector(tokens) for projector in self.projectors]
        return unpatchify(self.final_layer(tokens, c), x.shape, self.patch_size), projections
