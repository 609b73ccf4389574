"""Runs bench/python/step.py on a PyTorch that says what it is asked to compile and compiles nothing: compiling_torch.py STEP VERSION

The machines of the tests have a PyTorch without torch.compile, or no compiler and no time for it.
"""

import runpy
import sys
import types
from pathlib import Path

import torch


def say(what: str, mode: str) -> None:
    print(f"compiles {what} ({mode})", file=sys.stderr, flush=True)
    # A compiler's chatter, which must not come among the answers.
    print("AUTOTUNE addmm(4x4, 4x4, 4x4)")


def compile(function, mode):
    is_module = isinstance(function, torch.nn.Module)
    say(type(function).__name__ if is_module else function.__name__, mode)
    return function


script, version = sys.argv[1:]
torch.__version__ = version
torch.compile = compile
torch.nn.Module.compile = lambda module, mode: say(type(module).__name__, mode)
# A newer PyTorch asks its own compiler module more than that.
torch.compiler = getattr(torch, "compiler", types.SimpleNamespace())
torch.compiler.cudagraph_mark_step_begin = lambda: None
sys.path.insert(0, str(Path(script).parent))
runpy.run_path(script, run_name="__main__")
