"""Which matrix library this process really computes with."""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
from pathlib import Path

# What openblas_get_parallel() answers.
OPENBLAS_OPENMP = 2
ALTERNATIVES = ("libblas.so.3", "liblapack.so.3", "libopenblas.so.0")


class UnfitBlas(RuntimeError):
    """The BLAS is one that makes PyTorch slower than it can be, so a ratio against it would flatter."""


def loaded_libraries() -> list[Path]:
    """Shared objects in this process whose name speaks of BLAS."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return []
    paths = {line.split(maxsplit=5)[5] for line in maps.read_text().splitlines() if line.count("/")}
    return sorted(Path(path) for path in paths if "blas" in Path(path).name)


def blas_in_use(config: str) -> str:
    """Names the BLAS; call after a first matrix product. `config` is torch.__config__.show().

    PyTorch's own builds carry MKL (or Accelerate), which shares PyTorch's threads. A distribution's build calls what
    libblas.so.3 resolves to: it must come down to OpenBLAS built with OpenMP, since the build with its own pthreads
    fights PyTorch's pool for the cores and the reference BLAS is some 100 times slower.

    Raises UnfitBlas with a sentence that says how to change it.
    """
    for built_in in ("mkl", "accelerate"):
        if f"BLAS_INFO={built_in}" in config:
            return built_in
    libraries = loaded_libraries()
    engines = [path for path in libraries if path.name.startswith("libopenblas")]
    if not engines:
        found = ", ".join(str(path.resolve()) for path in libraries) or "no BLAS that could be recognised"
        raise UnfitBlas(f"PyTorch computes with {found}, not with OpenBLAS's OpenMP build; {remedy()}")
    for engine in engines:
        if ctypes.CDLL(str(engine)).openblas_get_parallel() != OPENBLAS_OPENMP:
            raise UnfitBlas(f"PyTorch computes with {engine}, which is not OpenBLAS's OpenMP build; {remedy()}")
    return str(engines[0])


def remedy() -> str:
    """The commands for Debian that point at the OpenMP build whatever does not yet; all three links count, because
    libblas.so.3 is only the interface and takes its kernels from libopenblas.so.0."""
    triplet = f"{platform.machine()}-linux-gnu"
    directory = Path("/usr/lib") / triplet / "openblas-openmp"
    wrong = [
        name
        for name in ALTERNATIVES
        if os.path.realpath(directory.parent / name) != os.path.realpath(directory / name)
    ]
    commands = [
        shlex.join(["update-alternatives", "--set", f"{name}-{triplet}", str(directory / name)])
        for name in wrong or ALTERNATIVES
    ]
    install = "" if directory.exists() else "apt install libopenblas0-openmp && "
    return f"on Debian, as root: {install}{' && '.join(commands)}"
