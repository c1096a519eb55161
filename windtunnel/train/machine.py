"""What the machine is, how fast it multiplies, and how much memory a run takes on it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from windtunnel.core.errors import UserError


def versions() -> dict[str, str]:
    """Versions of what determines numbers."""
    packages = ("windtunnel", "torch", "transformers", "tokenizers", "numpy", "daft")
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run was flown on."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    about: dict[str, Any] = {"processor": model, "cores": os.cpu_count(), "system": platform.system()}
    if _release_of_tcmalloc() is not None:
        about["allocator"] = "tcmalloc"
    if device.type == "cuda":
        about["accelerator"] = torch.cuda.get_device_name(device)
    return about


def _release_of_tcmalloc() -> Any:
    """What gives freed memory back to the system where tcmalloc is this process's allocator, else None."""
    return getattr(ctypes.CDLL(None), "MallocExtension_ReleaseFreeMemory", None)


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """What threads add up, in one order: torch's deterministic algorithms where there are any.

    Compiled, the gradient of an embedding is added up by several threads in whatever order they come, and a run that was resumed would
    differ in its last digits from one that was not.
    """
    settings: Any = torch.utils.deterministic
    on, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = settings.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False  # it would cost time and change nothing
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warn_only)
        settings.fill_uninitialized_memory = fill


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 1024, seconds: float = 0.3) -> float:
    """FLOPs per second of a square matrix product, the best of what fits into ``seconds``."""
    a, b = torch.randn(size, size, device=device).to(dtype), torch.randn(size, size, device=device).to(dtype)

    def once() -> float:
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    once()
    best, end = once(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, once())
    return 2 * size**3 / best


@contextlib.contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Let torch compute with ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let glibc keep what is freed instead of giving it back to the system; elsewhere nothing happens.

    Every step frees and asks again for the same large blocks. By default each is mapped anew, and the system fills every page with zeros:
    2,700 page faults a step of a model of width 64, against 130 so. Between runs :class:`PeakMemory` gives back what is free.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in {-1: 2**31 - 1, -3: 1 << 30, -8: 1}.items():  # trim threshold, mmap threshold, number of arenas
            mallopt(option, value)


def rates(device: torch.device) -> dict[str, Any]:
    """This machine's matmul rates (FLOPs per second), measured now, and the precision that is faster."""
    single, half = matmul_rate(device, torch.float32), matmul_rate(device, torch.bfloat16)
    # Casting to and from bfloat16 costs a pass over the activations; below this margin it was not faster. Where a step can be timed, that
    # decides instead.
    return {"float32": single, "bfloat16": half, "precision": "bfloat16" if half > 1.5 * single else "float32"}


def precision_context(device: torch.device, precision: str) -> Any:
    """A function that returns the autocast context of ``precision`` (float32 or bfloat16)."""
    if precision == "float32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)


class PeakMemory:
    """Peak memory of one run, which begins with what earlier runs freed given back.

    On an accelerator it is what the allocator says, above what lay there at the beginning. On a CPU it is the tensors of a step as they
    were counted: what a process holds of the system's memory also depends on what it did before, and scattered by a factor of five between
    runs of one recipe.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
            return
        with contextlib.suppress(OSError, AttributeError):
            release = _release_of_tcmalloc()
            ctypes.CDLL(None).malloc_trim(0) if release is None else release()

    def bytes(self, counted: float) -> float:
        """The peak, where the tensors of a step took ``counted`` bytes."""
        return peak_memory(self.device) - self.before if self.device.type == "cuda" else counted


def peak_memory(device: torch.device) -> int:
    """The most that this process has held, on ``device`` or on the machine, in bytes (0 where the system does not tell)."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else _held()


def _held() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def refuse_device(device: str | None, several: bool = False) -> None:
    """Raise UserError unless this machine has ``device``, or each of several, and runs are known to be right there."""
    named = [one.strip() for one in (device or "cpu").split(",")] if several else [device or "cpu"]
    if len(named) > 1 and (len({*named}) < len(named) or any(one.startswith("cpu") for one in named)):
        raise UserError(f"--device {device}: several are several GPUs, each once, such as cuda:0,cuda:2")
    for one in named:
        kind = one.strip().partition(":")[0]
        if kind not in ("cpu", "cuda"):
            raise UserError(f"--device {one.strip()}: runs are checked on cpu and cuda alone; use --device cpu")
        try:
            torch.empty(1, device=one.strip())
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"--device {one.strip()}: {str(error).splitlines()[0]}") from error
