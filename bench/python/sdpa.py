"""PyTorch's attention alone, forward and backward, at the shapes of a step of batch 256: sdpa.py [cuda:0]

For every backend that PyTorch has, and for its own choice, of which it also names the kernels; one JSON line each with
TFLOP/s of 4 N N d a head forward and 10 N N d backward. Needs PyTorch 2.3 or later and a GPU.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCH = 256
# SiT-XL's, SiT-B's and DINOv2-B's: tokens, heads, head_dim.
SHAPES = [(256, 16, 72), (256, 12, 64), (257, 12, 64)]
BACKENDS = {
    "default": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
REPEATS = 20


def milliseconds(run: Callable[[], Any]) -> float:
    for _ in range(3):
        run()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(REPEATS):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / REPEATS


def kernels(run: Callable[[], Any]) -> list[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    return sorted({event.name for event in profile.events()})


def measure(device: str, tokens: int, heads: int, head_dim: int, backend: str) -> dict[str, Any]:
    # As the product that makes it lays it out: [B, T, 3, H, d].
    qkv = torch.randn(BATCH, tokens, 3, heads, head_dim, device=device, dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.randn(BATCH, tokens, heads, head_dim, device=device, dtype=torch.bfloat16).transpose(1, 2)
    chosen = BACKENDS[backend]
    with contextlib.nullcontext() if chosen is None else sdpa_kernel(chosen):

        def forward() -> Tensor:
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v)

        def both() -> None:
            forward().backward(gradient)
            qkv.grad = None

        with torch.no_grad():
            ahead = milliseconds(forward)
        total = milliseconds(both)
        names = kernels(both) if chosen is None else None
        recorded = milliseconds(forward)
    work = BATCH * heads * tokens * tokens * head_dim / 1e9
    back = total - recorded
    return {
        **{"forward_ms": ahead, "forward_tflops": 4 * work / ahead},
        **{"backward_ms": back, "backward_tflops": 10 * work / back},
        **({"kernels": names} if names else {}),
    }


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit(f"PyTorch {torch.__version__} finds no GPU here.")
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda:0"
    for tokens, heads, head_dim in SHAPES:
        for backend in BACKENDS:
            what = {"tokens": tokens, "heads": BATCH * heads, "head_dim": head_dim, "backend": backend}
            try:
                print(json.dumps({**what, **measure(device, tokens, heads, head_dim, backend)}), flush=True)
            except RuntimeError as error:
                print(json.dumps({**what, "error": str(error).split("\n")[0]}), flush=True)


if __name__ == "__main__":
    main()
