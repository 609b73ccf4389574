"""A worker that times training steps of the PyTorch baseline, one JSON line in, one out.

    {"configure": {"model": {...}, "batch": 4, "threads": 2, "seed": 0}}  -> {"ready": {...}}
    {"step": 3}       -> {"seconds": [s, s, s]}, each around loss, backward, clip, AdamW and EMA
    {"memory": true}  -> {"peak_rss_bytes": n}
    {"quit": true}    -> the process ends

`model` holds arguments of sit_repa.SiT. What cannot be done is answered with {"error": "a sentence"}.

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

import json
import os
import resource
import sys
import time
from typing import Any

MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Worker:
    def __init__(self, model: dict[str, Any], batch: int, threads: int, seed: int) -> None:
        # OpenMP reads these once, when torch loads it; so torch is imported here and not above.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch
        from blas import blas_in_use
        from sit_repa import SiT, Trainer

        self.torch = torch
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        torch.ones(64, 64) @ torch.ones(64, 64)
        self.blas = blas_in_use(torch.__config__.show())
        self.threads = threads
        self.batch = batch
        z_dims = tuple(model.pop("z_dims", (768,)))
        self.model = SiT(z_dims=z_dims, **model)
        self.trainer = Trainer(self.model)
        size = model.get("input_size", 32)
        tokens = (size // self.model.patch_size) ** 2
        self.images = torch.randn(batch, self.model.in_channels, size, size)
        self.labels = torch.randint(0, self.model.y_embedder.num_classes, (batch,))
        self.targets = [torch.randn(batch, tokens, z_dim) for z_dim in z_dims]

    def info(self) -> dict[str, Any]:
        torch = self.torch
        capability = [line for line in torch.__config__.show().splitlines() if "CPU capability" in line]
        return {
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "threads": torch.get_num_threads(),
            "blas": self.blas,
            "wait_policy": os.environ["OMP_WAIT_POLICY"],
            "cpu_capability": capability[0].split(":")[-1].strip().split()[-1] if capability else "unknown",
            "parameters": sum(parameter.numel() for parameter in self.trainer.parameters),
        }

    def step(self) -> float:
        """Seconds of one step; noise and times are drawn outside of them."""
        noise = self.torch.randn_like(self.images)
        t = self.torch.rand(self.batch)
        start = time.perf_counter()
        self.trainer.step(self.images, noise, t, self.labels, self.targets)
        return time.perf_counter() - start


def answer(worker: Worker | None, request: dict[str, Any]) -> tuple[Worker | None, dict[str, Any]]:
    if "configure" in request:
        worker = Worker(**request["configure"])
        return worker, {"ready": worker.info()}
    if "memory" in request:
        return worker, {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT}
    if "step" in request:
        if worker is None:
            raise ValueError("A step was asked for before {\"configure\": ...}.")
        return worker, {"seconds": [worker.step() for _ in range(request["step"])]}
    raise ValueError(f"The request {json.dumps(request)} is none of configure, step, memory and quit.")


def main() -> None:
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "quit" in request:
                return
            worker, reply = answer(worker, request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
