"""A worker that times the Stable Diffusion VAE's decoder in PyTorch, one JSON line in, one out.

    {"configure": {"model": {...}, "latents": 64, "threads": 2, "seed": 0}}  -> {"ready": {...}}
    {"step": 3}       -> {"seconds": [s, s, s]}, each one decode of one image
    {"memory": true}  -> {"peak_rss_bytes": n}
    {"quit": true}    -> the process ends

`model` holds arguments of `decoder`; its weights are PyTorch's own random ones. "configure" may also hold
    layout      "contiguous" (default) or "channels-last"

Which is faster: torch 1.13 on two cores with AVX-512, 64 x 64 latents, medians of a run each: contiguous 9.0 s, channels-last 25 s (its
convolutions leave oneDNN's fast kernels there). torch 2.13 on two cores with AVX2: 25.9 s and 23.1 s. So the benchmark tries both. The
convolutions are oneDNN's either way, whatever the BLAS.
"""

from __future__ import annotations

import time
from typing import Any, Iterable

from worker import Worker, serve


def decoder(channels: list[int], layers: int, latent_channels: int, groups: int, out_channels: int) -> Any:
    """The decoder of diffusers' AutoencoderKL, from plain torch.nn: names are of no interest here."""
    import torch.nn.functional as F
    from torch import nn, softmax

    class Resnet(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.norm1 = nn.GroupNorm(groups, inputs, 1e-6)
            self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.norm2 = nn.GroupNorm(groups, outputs, 1e-6)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
            self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

        def forward(self, x):
            hidden = self.conv1(F.silu(self.norm1(x), inplace=True))
            hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
            return hidden.add_(self.shortcut(x))

    class Attention(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = nn.GroupNorm(groups, width, 1e-6)
            self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

        def forward(self, x):
            n, c, h, w = x.shape
            tokens = self.norm(x).flatten(2).transpose(1, 2)
            shares = softmax(self.q(tokens) @ self.k(tokens).transpose(1, 2) * c**-0.5, -1)
            return x + self.out(shares @ self.v(tokens)).transpose(1, 2).reshape(n, c, h, w)

    class Upsample(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(width, width, 3, padding=1)

        def forward(self, x):
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))

    widths = channels[::-1]
    inputs = widths[0]
    modules: list[nn.Module] = [
        nn.Conv2d(latent_channels, latent_channels, 1),
        nn.Conv2d(latent_channels, inputs, 3, padding=1),
        Resnet(inputs, inputs),
        Attention(inputs),
        Resnet(inputs, inputs),
    ]
    for level, width in enumerate(widths):
        for _ in range(layers + 1):
            modules.append(Resnet(inputs, width))
            inputs = width
        if level < len(widths) - 1:
            modules.append(Upsample(width))
    modules += [nn.GroupNorm(groups, inputs, 1e-6), nn.SiLU(), nn.Conv2d(inputs, out_channels, 3, padding=1)]
    return nn.Sequential(*modules)


class DecodingWorker(Worker):
    def __init__(
        self, model: dict[str, Any], latents: int, threads: int, seed: int, layout: str = "contiguous"
    ) -> None:
        super().__init__(threads, seed)
        torch = self.torch
        formats = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
        self.model = decoder(**model).eval().requires_grad_(False).to(memory_format=formats[layout])
        latent = torch.randn(1, model["latent_channels"], latents, latents)
        self.latent = latent.to(memory_format=formats[layout])

    def parameters(self) -> Iterable[Any]:
        return self.model.parameters()

    def step(self) -> float:
        with self.torch.inference_mode():
            start = time.perf_counter()
            self.model(self.latent)
            return time.perf_counter() - start


if __name__ == "__main__":
    serve(DecodingWorker)
