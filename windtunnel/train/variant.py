"""How this machine computes a step: chosen once, by what was measured, for a study or a single run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import Recipe
from windtunnel.train.estimate import estimate

if TYPE_CHECKING:
    import torch

COMPILE_REPAYS = 600.0  # seconds of estimated training above which compiling (30 to 60 s on a CPU, to save a fifth) pays


def choose(recipe: Recipe, rates: Callable[[], Mapping[str, Any]], ranks: int = 1) -> Variant:
    """The variant for ``recipe``: what it says, and where it says ``auto`` what is faster.

    Args:
        recipe: of the run, or of the baseline of a study.
        rates: gives the FLOPs per second in each precision and the ``precision`` that is faster; asked only where something is auto.
        ranks: processes that share the work.
    """
    if "auto" not in (recipe.precision, recipe.compile):
        return recipe.variant(Variant())
    known = rates()
    precision = known["precision"] if recipe.precision == "auto" else recipe.precision
    # A third of the matmul rate is what small models reach; a longer run repays the time that compiling takes, which grows with layers.
    layers = max(phase.model.sizes().layers for phase in recipe.phases)
    by_clock = recipe.budget.unit == "seconds"
    seconds = recipe.budget.amount if by_clock else estimate(recipe)["flops"] / (ranks * known[precision] / 3)
    return recipe.variant(Variant(precision=precision, compiled=seconds > COMPILE_REPAYS * max(1.0, layers / 8)))


def measure_with(threads: int, device: torch.device, cache: Path) -> Mapping[str, Any]:
    """The rates of this machine with ``threads`` threads; see :func:`windtunnel.train.machine.measured`."""
    import torch

    from windtunnel.train import machine

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return machine.measured(device, cache, threads)
    finally:
        torch.set_num_threads(before)


def refuse_unable(variant: Variant, device: torch.device, where: str) -> None:
    """Raise UserError where this machine cannot compute ``variant``, with which ``where`` was begun."""
    import torch

    problem = None
    if variant.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        problem = "its accelerator has no bfloat16"
    if variant.compiled and device.type == "cpu" and not _compiler():
        problem = "it has no C++ compiler, which compiling a step needs"
    if problem:
        shown = f"{variant.precision}, {'compiled' if variant.compiled else 'not compiled'}"
        raise UserError(f"{where} was begun with another variant ({shown}) than this machine can compute: {problem}; choose another folder")


def _compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++"))
