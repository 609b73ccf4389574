"""How a worker is spoken to: one JSON line in, one out. What cannot be done is answered with {"error": "a sentence"}."""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any, Iterable, Optional

MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Worker:
    """What {"configure": {...}} makes, out of its arguments: PyTorch with so many threads, and what it is to run on a device."""

    def __init__(self, threads: int, seed: int, device: str = "cpu") -> None:
        # Before torch is imported: OpenMP reads these once, when torch loads it.
        os.environ["OMP_NUM_THREADS"] = str(threads)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import torch
        from blas import blas_in_use

        self.torch = torch
        self.device = torch.device(device)
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu and not torch.cuda.is_available():
            raise ValueError(f"PyTorch {torch.__version__} finds no GPU here, so nothing can run on {device}.")
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        torch.ones(64, 64) @ torch.ones(64, 64)
        # On a GPU the CPU's library has nothing to do.
        self.blas = f"cuBLAS of CUDA {torch.version.cuda}" if self.on_gpu else blas_in_use(torch.__config__.show())
        if self.on_gpu:
            torch.set_float32_matmul_precision("high")

    def parameters(self) -> Iterable[Any]:
        """Those that are counted."""
        raise NotImplementedError

    def step(self) -> float:
        """Seconds of one."""
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """What it computes with."""
        torch = self.torch
        capability = [line for line in torch.__config__.show().splitlines() if "CPU capability" in line]
        gpu = {"gpu": torch.cuda.get_device_name(self.device), "cudnn": torch.backends.cudnn.version()} if self.on_gpu else {}
        return {
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "threads": torch.get_num_threads(),
            "wait_policy": os.environ["OMP_WAIT_POLICY"],
            "cpu_capability": capability[0].split(":")[-1].strip().split()[-1] if capability else "unknown",
            "blas": self.blas,
            "parameters": sum(parameter.numel() for parameter in self.parameters()),
            **gpu,
        }

    def synchronize(self) -> None:
        if self.on_gpu:
            self.torch.cuda.synchronize(self.device)

    def memory(self) -> dict[str, int]:
        """The most so far."""
        peak = {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT}
        if self.on_gpu:
            peak["peak_device_bytes"] = self.torch.cuda.max_memory_allocated(self.device)
        return peak


def answer(
    kind: type[Worker], worker: Optional[Worker], request: dict[str, Any]
) -> tuple[Optional[Worker], dict[str, Any]]:
    if "configure" in request:
        worker = kind(**request["configure"])
        return worker, {"ready": worker.info()}
    if "step" in request or "memory" in request:
        if worker is None:
            raise ValueError(f"{json.dumps(request)} was asked for before {{\"configure\": ...}}.")
        if "memory" in request:
            return worker, worker.memory()
        return worker, {"seconds": [worker.step() for _ in range(request["step"])]}
    raise ValueError(f"The request {json.dumps(request)} is none of configure, step, memory and quit.")


def serve(kind: type[Worker]) -> None:
    """Answers stdin's lines until one asks to quit."""
    # What libraries and compilers print goes to stderr: among the answers it would be taken for one.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker: Optional[Worker] = None
    for line in sys.stdin:
        try:
            request = json.loads(line)
            if "quit" in request:
                return
            worker, reply = answer(kind, worker, request)
        except Exception as error:
            is_sentence = isinstance(error, (RuntimeError, ValueError))
            reply = {"error": str(error) if is_sentence else f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers, flush=True)
