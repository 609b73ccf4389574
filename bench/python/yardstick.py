"""What PyTorch reaches on this machine with SiT and DINOv2-B in the loop: yardstick.py --device cuda:0

Trains every model in every variant, each in a worker of its own (step.py), and prints one JSON line a run as it ends:
median and best seconds of a step, images a second, peak memory. A run that fails is a line with its error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Optional

from dinov2 import SIZES

MODELS = {
    "SiT-S/2": {"hidden_size": 384, "depth": 12, "num_heads": 6},
    "SiT-B/2": {"hidden_size": 768, "depth": 12, "num_heads": 12},
    "SiT-L/2": {"hidden_size": 1024, "depth": 24, "num_heads": 16},
    "SiT-XL/2": {"hidden_size": 1152, "depth": 28, "num_heads": 16},
}
# Name, variant, mode of torch.compile, and of what.
RUNS: dict[str, tuple[str, Optional[str], str]] = {
    "P0": ("as-written", None, "whole"),
    "P0-compiled": ("as-written", "default", "whole"),
    "P1": ("tuned", None, "whole"),
    "P1-compiled": ("tuned", "default", "whole"),
    "P1-max-autotune-blocks": ("tuned", "max-autotune-no-cudagraphs", "blocks"),
    "P1-max-autotune": ("tuned", "max-autotune", "whole"),
}


class Worker:
    def __init__(self) -> None:
        script = str(Path(__file__).with_name("step.py"))
        self.process = subprocess.Popen(
            [sys.executable, "-B", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "The worker has ended without an answer."}
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(model: str, run: str, options: argparse.Namespace) -> dict[str, Any]:
    variant, mode, regions = RUNS[run]
    width = 768 if options.encoder == "none" else SIZES[options.encoder]["hidden_size"]
    configuration = {
        "model": {**MODELS[model], "input_size": options.latents, "z_dims": [width]},
        "batch": options.batch,
        "threads": options.threads,
        "seed": 0,
        "device": options.device,
        "variant": variant,
        "precision": options.precision,
        "compile": mode,
        "regions": regions,
        "encoder": None if options.encoder == "none" else options.encoder,
    }
    with Worker() as worker:
        info = worker.ask({"configure": configuration})["ready"]
        # The first steps compile, tune and fill the allocator's caches.
        worker.ask({"step": options.warmup})
        seconds = worker.ask({"step": options.steps})["seconds"]
        memory = worker.ask({"memory": True})
    median = statistics.median(seconds)
    figures = {"seconds": median, "best": min(seconds), "images_per_second": options.batch / median}
    return {**figures, **memory, **info}


def runs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for model in options.models.split(","):
        for run in options.runs.split(","):
            what = {"model": model, "run": run, "batch": options.batch, "precision": options.precision}
            try:
                yield {**what, **measure(model, run, options)}
            except RuntimeError as error:
                yield {**what, "error": str(error)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--models", default="SiT-B/2,SiT-L/2,SiT-XL/2", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--runs", default=",".join(RUNS), help="which variants")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--encoder", default="dinov2-vit-b", help=f"of {', '.join(SIZES)}; or none: the targets are given")
    parser.add_argument("--latents", type=int, default=32, help="their side")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    for line in runs(parser.parse_args()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
