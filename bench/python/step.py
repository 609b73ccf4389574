"""A worker that times training steps of the PyTorch baseline, one JSON line in, one out.

    {"configure": {"model": {...}, "batch": 4, "threads": 2, "seed": 0}}  -> {"ready": {...}}
    {"step": 3}       -> {"seconds": [s, s, s]}, each around loss, backward, clip, AdamW and EMA
    {"memory": true}  -> {"peak_rss_bytes": n}, on a GPU with "peak_device_bytes" too
    {"quit": true}    -> the process ends

`model` holds arguments of sit_repa.SiT, or with `text_width` of mmdit_repa.MMDiT. What cannot be done is answered with
{"error": "a sentence"}. "configure" may also hold
    device      "cpu" (default) or "cuda:N"
    variant     "tuned" (default) or "as-written": trainer.py
    precision   "fp32" (default; its products are TF32 on a GPU) or "bf16", by autocast
    compile     a mode of torch.compile ("default", "max-autotune", "max-autotune-no-cudagraphs") for the model, the loss
                and the encoder
    regions     with compile: "whole" (default), or "blocks", each block of the model and of the encoder by itself
    encoder     a name of dinov2.SIZES, or arguments of dinov2.DINOv2: each step then makes its target of the images, u8
                and 8 times as wide as the latents, by an encoder of random weights. Without, targets are given.

Where something compiles, stderr says after each stage of the first steps how far it is: it may take minutes.

Threads. OpenBLAS's OpenMP build and PyTorch share one pool, so both get `threads`; OMP_WAIT_POLICY is passive unless
the environment says otherwise, in which case that is used and reported.

How this was chosen: SiT-S with 4 of its blocks, batch 4, two threads, torch 1.13, 6 rounds with the eight settings in
turn, on two cores that others kept busy (load 10 to 18). So seconds scatter, only the ratios within a round mean
something, and a quiet machine, where spinning should cost less, has not been measured yet.

    BLAS build, threads of PyTorch / BLAS        median s   best s   median ratio to the first, round by round
    OpenMP 2/2, passive                              5.12     2.07   1.00
    OpenMP 2/2, passive, AdamW without foreach       5.91     1.85   1.05
    OpenMP 1/1                                       5.70     3.24   1.18
    pthread 1/2                                      6.38     5.41   1.27
    pthread 2/2                                      6.96     4.52   1.49
    OpenMP 2/2, GOMP_SPINCOUNT=10000                 8.54     2.34   1.50
    OpenMP 2/2, passive, OMP_PROC_BIND=true         13.42     3.27   2.30
    OpenMP 2/2, OMP_WAIT_POLICY unset (it spins)    27.29     4.39   4.87
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Optional, Union

from worker import Worker, serve

if TYPE_CHECKING:
    from torch import Tensor

# The first compiles; where CUDA graphs are used, the second warms up and the third records.
ANNOUNCED_STEPS = 3


class TrainingWorker(Worker):
    def __init__(
        self,
        model: dict[str, Any],
        batch: int,
        threads: int,
        seed: int,
        device: str = "cpu",
        variant: str = "tuned",
        precision: str = "fp32",
        compile: Optional[str] = None,
        regions: str = "whole",
        encoder: Union[str, dict[str, int], None] = None,
    ) -> None:
        self.began = time.perf_counter()
        self.steps = 0
        super().__init__(threads, seed, device)
        from mmdit_repa import MMDiT
        from sit_repa import SiT
        from trainer import Trainer

        torch = self.torch
        self.compiled = compile is not None
        self.batch = batch
        z_dims = tuple(model.pop("z_dims", (768,)))
        of_text = "text_width" in model
        make = MMDiT if of_text else SiT
        self.model = make(z_dims=z_dims, **model, as_written=variant == "as-written").to(self.device)
        self.trainer = Trainer(self.model, variant=variant, precision=precision, compile_mode=compile, regions=regions)
        size = model.get("input_size", 32)
        grid = size // self.model.patch_size
        self.images = torch.randn(batch, self.model.in_channels, size, size, device=device)
        self.condition = (
            torch.randn(batch, *self.model.text_shape, device=device)
            if of_text
            else torch.randint(0, self.model.y_embedder.num_classes, (batch,), device=device)
        )
        self.targets = [torch.randn(batch, grid * grid, z_dim, device=device) for z_dim in z_dims]
        self.features = None if encoder is None else self.encoder(encoder, size, grid, z_dims)
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.compiled:
            what = "each block by itself" if regions == "blocks" else "the whole"
            self.announce(f"PyTorch {torch.__version__} is ready and compiles {what} in its first step ({compile})")

    def encoder(
        self, size: Union[str, dict[str, int]], latent_side: int, grid: int, z_dims: tuple[int, ...]
    ) -> Callable[[], list[Tensor]]:
        """What makes a step's targets."""
        torch = self.torch
        from dinov2 import PATCH, SIZES, DINOv2, preprocess
        from trainer import autocast, compiled_model

        arguments = SIZES[size] if isinstance(size, str) else size
        if z_dims != (arguments["hidden_size"],):
            raise ValueError(f"The projectors give {z_dims}; the encoder has a width of {arguments['hidden_size']}.")
        frozen = DINOv2(tokens=grid * grid, **arguments).to(self.device).eval().requires_grad_(False)
        forward = compiled_model(frozen, self.trainer.compile_mode, self.trainer.regions)
        side = 8 * latent_side
        pixels = torch.randint(0, 256, (self.batch, 3, side, side), dtype=torch.uint8, device=self.device)

        @torch.no_grad()
        def features() -> list[Tensor]:
            with autocast(self.device, self.trainer.precision):
                return [forward(preprocess(pixels, PATCH * grid))]

        return features

    def parameters(self) -> Iterable[Tensor]:
        return self.trainer.parameters

    def announce(self, sentence: str) -> None:
        print(f"{time.perf_counter() - self.began:.1f} s: {sentence}", file=sys.stderr, flush=True)

    def step(self) -> float:
        """Seconds of one step; noise and times are drawn outside of them."""
        torch = self.torch
        self.steps += 1
        announced = self.compiled and self.steps <= ANNOUNCED_STEPS

        def after(stage: str) -> None:
            if announced:
                self.synchronize()
                self.announce(f"step {self.steps} has made {stage}")

        # All graphs of a step are of one generation: a block's must not take the output of the block before it for free.
        if self.compiled and hasattr(torch.compiler, "cudagraph_mark_step_begin"):
            torch.compiler.cudagraph_mark_step_begin()
        noise = torch.randn_like(self.images)
        t = torch.rand(self.batch, device=self.device)
        self.synchronize()
        start = time.perf_counter()
        targets = self.targets
        if self.features:
            targets = self.features()
            after("the features")
        self.trainer.step(self.images, noise, t, self.condition, targets, after)
        self.synchronize()
        seconds = time.perf_counter() - start
        if announced:
            self.announce(f"step {self.steps} took {seconds:.2f} s{', compiling included' if self.steps == 1 else ''}")
        return seconds


if __name__ == "__main__":
    serve(TrainingWorker)
