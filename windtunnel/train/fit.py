"""How a number of devices is laid out: in no more shards than their memory asks for, because what is whole need not travel."""

from __future__ import annotations

import os

import torch

from windtunnel.core.errors import UserError
from windtunnel.recipe import Recipe
from windtunnel.train.estimate import USABLE, footprint
from windtunnel.train.parallel.local import refuse_local
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.traced import traced


def fitting(recipe: Recipe, ranks: int, memory: float, *, recompute: bool = False) -> Mesh:
    """The mesh of so many ``ranks`` with the fewest shards on which a step of ``recipe`` fits into ``memory`` bytes of each.

    Raises:
        UserError: where not even a shard for each rank is small enough, or ``recipe`` cannot be trained in shards and does not fit whole.
    """
    least = float("inf")
    for shard in (size for size in range(1, ranks + 1) if ranks % size == 0):
        mesh = Mesh(ranks // shard, shard)
        refuse_local(recipe, mesh)
        rows = recipe.micro_batch or max(1, max(phase.batch for phase in recipe.phases) // mesh.readers)
        found = traced(recipe, bfloat16=recipe.precision == "bfloat16", mesh=mesh if shard > 1 else None, again=recompute)
        taken = found.bytes(rows, 1) if found else footprint(recipe).bytes(rows, shard)
        if taken <= USABLE * memory:
            return mesh
        least = min(least, taken)
    more = "take a smaller micro_batch or more devices" if recompute else "take a smaller micro_batch, --recompute or more devices"
    raise UserError(
        f"--mesh auto: a step takes {least / 1e9:.3g} GB of each of {ranks} device(s), and {USABLE * memory / 1e9:.3g} GB are there; {more}"
    )


def device_memory(device: str | None, ranks: int) -> float:
    """Bytes of an accelerator of this machine, or of its memory where ``ranks`` share that."""
    if torch.cuda.is_available() and device != "cpu":
        return float(torch.cuda.get_device_properties(0).total_memory)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / max(1, here)
