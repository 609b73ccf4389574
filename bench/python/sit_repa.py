"""SiT with REPA in plain PyTorch (1.13 or later): the yardstick of the benchmark, never part of the product.

Parameters carry the names of the official state dict, so checkpoints and golden vectors load as they are. There are two
ways to write the same mathematics, and both are measured:
    as written    operation by operation as the official code does it, with its loop over the samples in the loss
    tuned         as fast as eager PyTorch gets: fused multiply-adds for modulation and gates, one vectorised loss
Shapes: B samples, T tokens, D hidden width, H heads, p patch size.
"""

from __future__ import annotations

import math
from typing import Callable, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256
# timm's default for the optional normalisation of queries and keys.
QK_NORM_EPS = 1e-5
LAYER_NORM_EPS = 1e-6


def sin_cos_table(dim: int, grid: int) -> Tensor:
    """Fixed positions [grid * grid, dim]: half the channels for the column, half for the row; sines before cosines."""
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * omega
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = line[None, :, :].expand(grid, grid, -1)
    rows = line[:, None, :].expand(grid, grid, -1)
    return torch.cat([columns, rows], dim=2).reshape(grid * grid, dim).float()


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, as_written: bool) -> Tensor:
    """LayerNorm without affine, then x (1 + scale) + shift; shift and scale are [B, 1, D]."""
    normed = F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS)
    if as_written:
        return normed * (1 + scale) + shift
    return torch.addcmul(shift.to(normed.dtype), normed, (1 + scale).to(normed.dtype))


def gated_residual(x: Tensor, gate: Tensor, branch: Tensor, as_written: bool) -> Tensor:
    """x + gate branch; gate is [B, 1, D]."""
    # Under autocast the branch is narrower than the stream, and addcmul would first widen it in a pass of its own.
    if as_written or branch.dtype != x.dtype:
        return x + gate * branch
    return torch.addcmul(x, gate, branch)


class PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, in_channels: int, hidden_size: int, as_written: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, hidden_size, patch_size, stride=patch_size)
        self.as_written = as_written

    def forward(self, x: Tensor) -> Tensor:
        """Latents [B, C, h, w] to tokens [B, T, D]; tuned, the convolution is one product over unfolded patches."""
        if self.as_written:
            return self.proj(x).flatten(2).transpose(1, 2)
        batch, channels, height, width = x.shape
        p = self.proj.kernel_size[0]
        patches = x.reshape(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(batch, (height // p) * (width // p), channels * p * p)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class TimestepEmbedder(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))
        half = FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))


class LabelEmbedder(nn.Module):
    def __init__(self, num_classes: int, hidden_size: int, dropout_prob: float) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, hidden_size)
        self.num_classes = num_classes
        self.dropout_prob = dropout_prob

    def forward(self, labels: Tensor) -> Tensor:
        """In training each label becomes the null class with the dropout probability."""
        if self.training and self.dropout_prob > 0:
            drop = torch.rand(labels.shape[0], device=labels.device) < self.dropout_prob
            labels = torch.where(drop, self.num_classes, labels)
        return self.embedding_table(labels)


class Attention(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, qk_norm: bool) -> None:
        super().__init__()
        head_dim = hidden_size // num_heads
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.q_norm = nn.LayerNorm(head_dim, eps=QK_NORM_EPS) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim, eps=QK_NORM_EPS) if qk_norm else nn.Identity()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if hasattr(F, "scaled_dot_product_attention"):
            heads = F.scaled_dot_product_attention(q, k, v)
        else:
            logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            heads = logits.softmax(dim=-1) @ v
        return self.proj(heads.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    def __init__(self, hidden_size: int, mlp_ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, int(hidden_size * mlp_ratio))
        self.fc2 = nn.Linear(int(hidden_size * mlp_ratio), hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class SiTBlock(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float, qk_norm: bool, as_written: bool) -> None:
        super().__init__()
        self.as_written = as_written
        self.attn = Attention(hidden_size, num_heads, qk_norm)
        self.mlp = Mlp(hidden_size, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        modulation = self.adaLN_modulation(c)[:, None, :]
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.chunk(6, dim=-1)
        attended = self.attn(modulated_norm(x, shift_msa, scale_msa, self.as_written))
        x = gated_residual(x, gate_msa, attended, self.as_written)
        transformed = self.mlp(modulated_norm(x, shift_mlp, scale_mlp, self.as_written))
        return gated_residual(x, gate_mlp, transformed, self.as_written)


class FinalLayer(nn.Module):
    def __init__(self, hidden_size: int, outputs: int, as_written: bool) -> None:
        super().__init__()
        self.as_written = as_written
        self.linear = nn.Linear(hidden_size, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None, :].chunk(2, dim=-1)
        return self.linear(modulated_norm(x, shift, scale, self.as_written))


def projectors(hidden_size: int, projector_dim: int, z_dims: tuple[int, ...]) -> nn.ModuleList:
    """REPA's, one for every encoder."""
    return nn.ModuleList(
        nn.Sequential(
            nn.Linear(hidden_size, projector_dim),
            nn.SiLU(),
            nn.Linear(projector_dim, projector_dim),
            nn.SiLU(),
            nn.Linear(projector_dim, z_dim),
        )
        for z_dim in z_dims
    )


def unpatchify(patches: Tensor, shape: torch.Size, p: int) -> Tensor:
    """The head's patches [B, T, p p C] as an image of the shape [B, C, h, w]."""
    batch, channels, height, width = shape
    grid = patches.reshape(batch, height // p, width // p, p, p, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(shape)


class SiT(nn.Module):
    """Velocity model; arguments are spelt as in the official constructor, and `as_written` is said above."""

    def __init__(
        self,
        *,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        class_dropout_prob: float = 0.1,
        num_classes: int = 1000,
        encoder_depth: int = 8,
        projector_dim: int = 2048,
        z_dims: tuple[int, ...] = (768,),
        qk_norm: bool = False,
        as_written: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.encoder_depth = encoder_depth
        table = sin_cos_table(hidden_size, input_size // patch_size)
        self.pos_embed = nn.Parameter(table[None], requires_grad=False)
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size, as_written)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size, class_dropout_prob)
        self.blocks = nn.ModuleList(
            SiTBlock(hidden_size, num_heads, mlp_ratio, qk_norm, as_written) for _ in range(depth)
        )
        self.projectors = projectors(hidden_size, projector_dim, z_dims)
        self.final_layer = FinalLayer(hidden_size, patch_size * patch_size * in_channels, as_written)
        self.initialize_weights()

    def initialize_weights(self) -> None:
        """Xavier for Linear, N(0, 0.02) for embedders, zero for adaLN and the output: each block starts as identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.x_embedder.proj.weight.data.flatten(1))
        nn.init.zeros_(self.x_embedder.proj.bias)
        nn.init.normal_(self.y_embedder.embedding_table.weight, std=0.02)
        nn.init.normal_(self.t_embedder.mlp[0].weight, std=0.02)
        nn.init.normal_(self.t_embedder.mlp[2].weight, std=0.02)
        zero = [block.adaLN_modulation[1] for block in self.blocks]
        for linear in [*zero, self.final_layer.adaLN_modulation[1], self.final_layer.linear]:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x [B, C, h, w], t [B] in [0, 1], y [B] -> the velocity [B, C, h, w] and each projection [B, T, Z]."""
        tokens = self.x_embedder(x) + self.pos_embed
        c = self.t_embedder(t) + self.y_embedder(y)
        projections: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, c)
            if number == self.encoder_depth:
                projections = [projector(tokens) for projector in self.projectors]
        return unpatchify(self.final_layer(tokens, c), x.shape, self.patch_size), projections


class Losses(NamedTuple):
    """Per-sample denoising loss [B], the projection loss, and the total that is differentiated."""

    denoising: Tensor
    projection: Tensor
    total: Tensor


def path_coefficients(path: str, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, sigma and their derivatives; t = 0 is data, t = 1 is noise."""
    if path == "linear":
        return 1 - t, t, -torch.ones_like(t), torch.ones_like(t)
    angle = t * (math.pi / 2)
    return angle.cos(), angle.sin(), -(math.pi / 2) * angle.sin(), (math.pi / 2) * angle.cos()


def projection_loss(projections: list[Tensor], targets: list[Tensor], as_written: bool = False) -> Tensor:
    """Minus the mean cosine of each token's projection to its target, averaged over the encoders."""
    if as_written:
        total = torch.zeros((), device=targets[0].device)
        for projected, features in zip(projections, targets):
            for projected_sample, features_sample in zip(projected, features):
                projected_sample = F.normalize(projected_sample, dim=-1)
                features_sample = F.normalize(features_sample, dim=-1)
                total = total + (-(features_sample * projected_sample).sum(dim=-1)).mean()
        return total / (len(targets) * targets[0].shape[0])
    cosines = [
        (F.normalize(projected, dim=-1) * F.normalize(features, dim=-1)).sum(dim=-1).mean()
        for projected, features in zip(projections, targets)
    ]
    return -torch.stack(cosines).mean()


Forward = Callable[[Tensor, Tensor, Tensor], Tuple[Tensor, List[Tensor]]]
ProjectionLoss = Callable[[List[Tensor], List[Tensor]], Tensor]


def repa_losses(
    model: Forward,
    images: Tensor,
    noise: Tensor,
    t: Tensor,
    labels: Tensor,
    targets: list[Tensor],
    path: str = "linear",
    proj_coeff: float = 0.5,
    alignment: ProjectionLoss = projection_loss,
) -> Losses:
    """REPA's objective: the velocity's squared error plus proj_coeff times `alignment`."""
    alpha, sigma, d_alpha, d_sigma = path_coefficients(path, t.view(-1, 1, 1, 1))
    output, projections = model(alpha * images + sigma * noise, t, labels)
    target = d_alpha * images + d_sigma * noise
    denoising = (output - target).square().mean(dim=(1, 2, 3))
    projection = alignment(projections, targets) if targets else torch.zeros((), device=images.device)
    return Losses(denoising, projection, denoising.mean() + proj_coeff * projection)
