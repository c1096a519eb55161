"""Losses of models that two processes hold between them against one process, 50 steps: llama, vit and t5 in shards, llama cut by layer.

``python benchmarks/mesh_loss.py [NAME ...]`` prints JSON. Each step is one as the loop makes it (loss over its targets, clipping, AdamW) on
random rows, two for each process. Float64: ``furthest``, the largest relative difference of a loss. Float32: the same over the first three
steps, and over all the largest difference over the largest one between two micro-batches of one process, which is rounding alone.

The norms of t5 compute their variance in float32 in transformers, also of a model in float64: what differs in the 16th place there can fall
on either side of a number that float32 has, and differs in the 8th from then on. ``t5`` computes it in the model's own numbers;
``t5, norms in float32`` shows the difference.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from two_ranks import free_port, one_of_two

from windtunnel.recipe import recipe_from
from windtunnel.train.estimate import dry_batch
from windtunnel.train.parallel.mesh import Mesh, laid_out
from windtunnel.train.parallel.shard import add_up, shard
from windtunnel.train.traced import repeated, untrained

STEPS, BATCH = 50, 4
SMALL = {"layers": 2, "width": 32, "heads": 4}
TEXT = {"corpus": {"text": "builtin:stdlib"}, "tokenizer": {"vocabulary": 512, "sentinels": 16}, "context": 32}
IMAGES = {"corpus": {"digits": "builtin:digits"}, "encoding": "pixels", "objective": "masked-patches", "context": 8, "evaluations": "probe"}
T5 = TEXT | {"model": {"family": "t5", **SMALL}, "objective": "span-corruption"}
RECIPES: dict[str, tuple[dict[str, Any], Mesh]] = {
    "llama": (TEXT | {"model": {"family": "llama", **SMALL}}, Mesh(shard=2)),
    "vit": (IMAGES | {"model": {"family": "vit", **SMALL}}, Mesh(shard=2)),
    "t5": (T5, Mesh(shard=2)),
    "t5, norms in float32": (T5, Mesh(shard=2)),
    "llama, cut": (TEXT | {"model": {"family": "llama", **SMALL}}, Mesh(tensor=2)),
}


@contextlib.contextmanager
def norms_of(name: str) -> Iterator[None]:
    """Norms of t5 in the model's own numbers, where ``name`` does not ask for those of transformers."""
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    theirs = T5LayerNorm.forward

    def own(self: Any, states: torch.Tensor) -> torch.Tensor:
        return self.weight * (states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.variance_epsilon))

    T5LayerNorm.forward = theirs if "norms" in name else own
    try:
        yield
    finally:
        T5LayerNorm.forward = theirs


def dtypes(name: str) -> tuple[str, ...]:
    """In which numbers the recipe ``name`` is flown."""
    return ("float64",) if "norms" in name else ("float64", "float32")


def losses(name: str, dtype: str, micro_batch: int, mesh: Mesh | None = None) -> list[float]:
    """Of every step of the recipe ``name``, by this process alone or, on ``mesh``, by it and another."""
    recipe = recipe_from({"budget": {"steps": STEPS}, "batch": BATCH, **RECIPES[name][0]})
    (phase,) = recipe.phases
    torch.manual_seed(0)
    model = untrained(phase, recipe.encoding).to(getattr(torch, dtype))
    shard(model, laid_out(mesh, torch.device("cpu")) if mesh else None)
    optimizer = phase.optimizer.build(model, phase.model.learning_rate())
    row, found = dry_batch(phase, recipe.encoding), []
    apart = mesh is not None and mesh.readers > 1
    for step in range(STEPS):
        batch, random = repeated(row, BATCH), torch.Generator().manual_seed(step)
        for key in ("tokens", "labels"):
            if key in batch and "pixels" not in batch:
                drawn = torch.randint(20, 400, batch[key].shape, generator=random)
                batch[key] = torch.where((batch[key] < 0) | (batch[key] >= 490), batch[key], drawn)  # what stands for no text stays
        if "pixels" in batch:
            batch["pixels"] = torch.rand(batch["pixels"].shape, generator=random)
        targets = int((batch["labels"] != -100).sum())
        if apart:
            own = BATCH // 2
            batch = {key: value[dist.get_rank() * own : (dist.get_rank() + 1) * own] for key, value in batch.items()}
        rows, total = len(batch["labels"]), torch.zeros((), dtype=model.dtype)
        optimizer.zero_grad(set_to_none=True)
        for first in range(0, rows, micro_batch):
            add_up(model, last=first + micro_batch >= rows)
            part = {key: value[first : first + micro_batch] for key, value in batch.items()}
            loss = phase.objective.loss(model, part, frozenset())
            value = (loss.counts.to(loss.values.dtype) * loss.values).sum() / targets
            value.backward()
            total += value.detach()
        if apart:
            dist.all_reduce(total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(total.item())
    return found


def work(rank: int, port: int, names: tuple[str, ...], file: str) -> None:
    """One of two ranks; the first writes the losses to ``file``."""
    found: dict[str, dict[str, list[float]]] = {}
    with one_of_two(rank, port):
        for name in names:
            with norms_of(name):
                found[name] = {dtype: losses(name, dtype, BATCH // 2, RECIPES[name][1]) for dtype in dtypes(name)}
    if not rank:
        Path(file).write_text(json.dumps(found))


def apart(one: list[float], other: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in zip(one, other, strict=True))


def main(*names: str) -> dict[str, Any]:
    """All of :data:`RECIPES`, or those of ``names``."""
    chosen = names or tuple(RECIPES)
    torch.set_num_threads(1)
    with tempfile.NamedTemporaryFile("r") as file:
        torch.multiprocessing.spawn(work, (free_port(), chosen, file.name), nprocs=2)
        both = json.load(file)
    found: dict[str, Any] = {"steps": STEPS}
    for name in chosen:
        found[name] = {"mesh": str(RECIPES[name][1])}
        for dtype in dtypes(name):
            with norms_of(name):
                one, split = (losses(name, dtype, size) for size in (BATCH, BATCH // 2))
            two, gap = both[name][dtype], apart(one, split)
            found[name][dtype] = {"furthest": apart(one, two), "gap": gap, "first_loss": one[0], "last_loss": one[-1]}
            if dtype == "float32":
                found[name][dtype] |= {"furthest_in_3": apart(one[:3], two[:3]), "over_gap": apart(one, two) / gap}
        print(name, found[name], file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
