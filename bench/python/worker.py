"""How a worker is spoken to: one JSON line in, one out. What cannot be done is answered with {"error": "a sentence"}."""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any, Optional, Protocol

MAX_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Worker(Protocol):
    """What {"configure": {...}} makes, out of its arguments."""

    def info(self) -> dict[str, Any]: ...

    def step(self) -> float:
        """Seconds of one."""

    def memory(self) -> dict[str, int]: ...


def set_threads(threads: int) -> None:
    """Before torch is imported: OpenMP reads these once, when torch loads it."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def surroundings(torch: Any) -> dict[str, Any]:
    """What a worker computes with."""
    capability = [line for line in torch.__config__.show().splitlines() if "CPU capability" in line]
    return {
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ["OMP_WAIT_POLICY"],
        "cpu_capability": capability[0].split(":")[-1].strip().split()[-1] if capability else "unknown",
    }


def peak_rss() -> dict[str, int]:
    return {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAX_RSS_UNIT}


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
