"""A worker that times REPA's stochastic sampler in PyTorch, one JSON line in, one out.

    {"configure": {"model": {...}, "batch": 4, "steps": 10, "guidance": {...}, "threads": 2, "seed": 0}}  -> {"ready": {...}}
    {"step": 3}       -> {"seconds": [s, s, s]}, each one batch of images from noise, all its steps
    {"memory": true}  -> {"peak_rss_bytes": n}, on a GPU also "peak_device_bytes"
    {"quit": true}    -> the process ends

`model` holds arguments of sit_repa.SiT; its weights are random. "configure" may also hold
    device      "cpu" (default) or "cuda:N"
    precision   "fp32" (default; its products are TF32 on a GPU) or "bf16", by autocast

The model is the tuned one, and has no projectors: the official sampler computes them at every step and throws them away.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, NamedTuple, Optional

from worker import Worker, serve

if TYPE_CHECKING:
    from torch import Tensor

LAST_STOCHASTIC_TIME = 0.04


class Guidance(NamedTuple):
    """Classifier-free guidance where low <= t <= high."""

    scale: float
    low: float
    high: float


def euler_maruyama(
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor],
    latents: Tensor,
    labels: Tensor,
    steps: int,
    guidance: Guidance,
    null_class: int,
    noise: Optional[Iterator[Tensor]] = None,
    path: str = "linear",
) -> Tensor:
    """The reverse SDE from t = 1 to 0.04 and a last step without noise, in float64; the model runs in float32."""
    import torch
    from sit_repa import path_coefficients

    times = torch.linspace(1.0, LAST_STOCHASTIC_TIME, steps, dtype=torch.float64).tolist() + [0.0]
    both = torch.cat([labels, torch.full_like(labels, null_class)])
    x = latents.double()
    for index, (t, following) in enumerate(zip(times, times[1:])):
        guided = guidance.scale > 1 and guidance.low <= t <= guidance.high
        inputs = (torch.cat([x, x]) if guided else x).float()
        at = torch.full((inputs.shape[0],), t, device=x.device)
        v = velocity(inputs, at, both if guided else labels).double()
        if guided:
            conditional, unconditional = v.chunk(2)
            v = unconditional + guidance.scale * (conditional - unconditional)
        alpha, sigma, d_alpha, d_sigma = (float(c) for c in path_coefficients(path, torch.tensor(t, dtype=torch.float64)))
        ratio = alpha / d_alpha
        score = (ratio * v - x) / (sigma * sigma - ratio * d_sigma * sigma)
        diffusion, dt = 2 * t, following - t
        x = x + (v - 0.5 * diffusion * score) * dt
        if index < steps - 1:
            drawn = torch.randn_like(x) if noise is None else next(noise)
            x = x + (diffusion * abs(dt)) ** 0.5 * drawn
    return x


class SamplingWorker(Worker):
    def __init__(
        self,
        model: dict[str, Any],
        batch: int,
        steps: int,
        guidance: dict[str, float],
        threads: int,
        seed: int,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        super().__init__(threads, seed, device)
        from sit_repa import SiT
        from trainer import autocast

        torch = self.torch
        self.model = SiT(**{**model, "z_dims": ()}).to(self.device).eval().requires_grad_(False)
        self.steps = steps
        self.guidance = Guidance(**guidance)
        self.null_class = model.get("num_classes", 1000)
        size = model.get("input_size", 32)
        self.latents = torch.randn(batch, self.model.in_channels, size, size, device=self.device)
        self.labels = torch.randint(0, self.null_class, (batch,), device=self.device)
        self.autocast = lambda: autocast(self.device, precision)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def velocity(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        with self.autocast():
            return self.model(x, t, labels)[0]

    def parameters(self) -> Iterable[Tensor]:
        return self.model.parameters()

    def step(self) -> float:
        with self.torch.inference_mode():
            self.synchronize()
            start = time.perf_counter()
            euler_maruyama(self.velocity, self.latents, self.labels, self.steps, self.guidance, self.null_class)
            self.synchronize()
            return time.perf_counter() - start


if __name__ == "__main__":
    serve(SamplingWorker)
