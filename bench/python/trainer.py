"""A training step of REPA in PyTorch, on a CPU or a GPU, in one of two variants.

    as-written    what the official code does: the loss of every sample by itself, PyTorch's default AdamW, the EMA a
                  parameter at a time, three numbers read back every step. P0 of the yardsticks.
    tuned         the same mathematics as fast as PyTorch gets: one vectorised loss, AdamW in one fused kernel (in lists
                  of tensors where there is none), the EMA in lists of tensors, nothing read back. P1.

With `precision` bf16 the model runs under autocast and its results are made float32 again before the losses, as the
official launcher does it. With `compile_mode` the model, and the vectorised loss, go through torch.compile: the model
as one, or with `regions` "blocks" each of its transformer blocks by itself, which is PyTorch's regional compilation. The
blocks are of one class and share what was compiled for the first, so that there is less to
compile.
"""

from __future__ import annotations

import functools
from typing import Callable, Optional

import torch
from sit_repa import Losses, projection_loss, repa_losses
from torch import Tensor, nn

VARIANTS = ("as-written", "tuned")
PRECISIONS = ("fp32", "bf16")
REGIONS = ("whole", "blocks")
# Before, every block would compile anew and the later ones stay as they are (PyTorch's recipe on regional compilation).
REGIONS_VERSION = (2, 5)


def compiled(function, mode: Optional[str]):
    """`function` through torch.compile, or itself where `mode` is None."""
    if mode is None:
        return function
    if not hasattr(torch, "compile"):
        raise ValueError(f"torch.compile came with PyTorch 2; this is {torch.__version__}.")
    return torch.compile(function, mode=mode)


def compiled_model(model: nn.Module, mode: Optional[str], regions: str) -> nn.Module:
    """`model` through torch.compile, whole or in its `blocks`; itself where `mode` is None."""
    if mode is None or regions == "whole":
        return compiled(model, mode)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < REGIONS_VERSION:
        wanted = ".".join(map(str, REGIONS_VERSION))
        raise ValueError(f"Compiling block by block takes PyTorch {wanted} or later; this is {torch.__version__}.")
    for block in model.blocks:
        block.compile(mode=mode)
    return model


def autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class Trainer:
    """Loss, backward, clip, AdamW and EMA with the official settings. The model must be of the same variant."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        ema_decay: float = 0.9999,
        max_grad_norm: float = 1.0,
        proj_coeff: float = 0.5,
        variant: str = "tuned",
        precision: str = "fp32",
        compile_mode: Optional[str] = None,
        regions: str = "whole",
    ) -> None:
        if variant not in VARIANTS or precision not in PRECISIONS:
            raise ValueError(f"{variant} in {precision} is not known: expected one of {VARIANTS}, in one of {PRECISIONS}.")
        if regions not in REGIONS:
            raise ValueError(f"What is compiled by itself cannot be {regions}: expected one of {REGIONS}.")
        self.model = model.train()
        self.device = model.pos_embed.device
        self.as_written = variant == "as-written"
        self.precision = precision
        self.compile_mode = compile_mode
        self.regions = regions
        self.run_model = compiled_model(model, compile_mode, regions)
        # The loop over the samples is left as it is: compiled, it would be one kernel a sample still, after minutes.
        self.alignment = (
            functools.partial(projection_loss, as_written=True)
            if self.as_written
            else compiled(projection_loss, compile_mode)
        )
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.ema = [parameter.detach().clone() for parameter in self.parameters]
        self.ema_decay = ema_decay
        self.max_grad_norm = max_grad_norm
        self.proj_coeff = proj_coeff
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, **self.optimizer_options()
        )

    def optimizer_options(self) -> dict[str, bool]:
        if self.as_written:
            return {}
        fused = self.device.type == "cuda" and int(torch.__version__.split(".")[0]) >= 2
        # Lists pay on a GPU, whose launches they save; on a CPU plain loops are 5 % of a SiT-S/2 step faster (torch 1.13).
        return {"fused": True} if fused else {"foreach": self.device.type == "cuda"}

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
        with autocast(self.device, self.precision):
            output, projections = self.run_model(x, t, labels)
        return output.float(), [projection.float() for projection in projections]

    def step(
        self,
        images: Tensor,
        noise: Tensor,
        t: Tensor,
        labels: Tensor,
        targets: list[Tensor],
        after: Callable[[str], None] = lambda stage: None,
    ) -> tuple[Losses, Tensor]:
        """One optimizer step; returns the losses and the gradient norm before clipping. `after` hears of each stage's end."""
        losses = repa_losses(
            self.forward, images, noise, t, labels, targets, proj_coeff=self.proj_coeff, alignment=self.alignment
        )
        after("the forward pass")
        losses.total.backward()
        after("the backward pass")
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.update_ema()
        if self.as_written:
            # What it logs, every step.
            losses.denoising.mean().item(), losses.projection.item(), norm.item()
        return losses, norm

    @torch.no_grad()
    def update_ema(self) -> None:
        if self.as_written:
            for average, parameter in zip(self.ema, self.parameters):
                average.mul_(self.ema_decay).add_(parameter.data, alpha=1 - self.ema_decay)
        elif self.device.type == "cuda" and hasattr(torch, "_foreach_lerp_"):
            torch._foreach_lerp_(self.ema, self.parameters, 1 - self.ema_decay)
        else:
            torch._foreach_mul_(self.ema, self.ema_decay)
            torch._foreach_add_(self.ema, self.parameters, alpha=1 - self.ema_decay)
