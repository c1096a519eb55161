"""Losses of models that two processes hold between them against one process, 50 steps: llama, vit and t5 in shards, llama cut by layer.

``python benchmarks/mesh_loss.py [NAME ...]`` prints JSON. Runs of the loop itself on text or digits, four rows a step, two for each
process. ``furthest`` is the largest relative difference of a loss; ``gap`` is that between two micro-batch splits in one process, of two
and four rows at a time, which is rounding alone; ``over_gap`` is the first over the second. Float32 has ``furthest_in_3`` too, that of the
first three steps.

In transformers the norms of llama round what they read to float32, and those of t5 their variance, also of a model in float64. What differs
in the 16th place before is then the same, or differs in the 8th from there on, within one process too. ``llama`` and ``t5`` compute norms
in the model's own numbers; ``NAME, norms in float32`` shows the difference.
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
import torch.multiprocessing
from two_ranks import SMALL, free_port, one_of_two

from windtunnel.parts.start.scratch import Scratch
from windtunnel.recipe import recipe_from
from windtunnel.recipe.resolve import resolve
from windtunnel.slots import ALONE, Start
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

STEPS, BATCH = 50, 4
SPLITS = (4, 2)  # rows at a time in one process
SIZES = {"depth": 2, "layers": 2, "width": 32, "heads": 4}
TEXT = SMALL | {"budget": {"steps": STEPS}, "batch": BATCH, "tokenizer": {"vocabulary": 512, "sentinels": 16}}
IMAGES = {key: value for key, value in TEXT.items() if key not in ("tokenizer", "evaluation_tokens", "test_tokens")}
IMAGES |= {"corpus": {"digits": "builtin:digits"}, "encoding": "pixels", "objective": "masked-patches", "context": 8}
LLAMA = TEXT | {"model": {"family": "llama", **SIZES}}
VIT = IMAGES | {"model": {"family": "vit", **SIZES}, "evaluations": "probe"}
T5 = TEXT | {"model": {"family": "t5", **SIZES}, "objective": "span-corruption"}
RECIPES: dict[str, tuple[dict[str, Any], Mesh]] = {
    "llama": (LLAMA, Mesh(shard=2)),
    "llama, norms in float32": (LLAMA, Mesh(shard=2)),
    "vit": (VIT, Mesh(shard=2)),
    "t5": (T5, Mesh(shard=2)),
    "t5, norms in float32": (T5, Mesh(shard=2)),
    "llama, cut": (LLAMA, Mesh(tensor=2)),
}


class InFloat64(Start, name="in-float64"):
    """A new model in float64."""

    local = ""

    def build(self, previous: Any, config: Any, seed: int, context: Any = ALONE) -> Any:
        """As from scratch."""
        return Scratch().build(previous, config, seed).double()


@contextlib.contextmanager
def norms_of(name: str) -> Iterator[None]:
    """Norms in the model's own numbers, where ``name`` does not ask for those of transformers."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    def own(self: Any, states: torch.Tensor) -> torch.Tensor:
        return self.weight * (states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.variance_epsilon))

    theirs = {norm: norm.forward for norm in (LlamaRMSNorm, T5LayerNorm)}
    for norm in theirs if "norms" not in name else ():
        norm.forward = own
    try:
        yield
    finally:
        for norm, forward in theirs.items():
            norm.forward = forward


def dtypes(name: str) -> tuple[str, ...]:
    """In which numbers the recipe ``name`` is flown."""
    return ("float64",) if "norms" in name else ("float64", "float32")


def losses(name: str, dtype: str, micro_batch: int, folder: Path, mesh: Mesh | None = None) -> list[float]:
    """Of every step of the recipe ``name``, by this process alone or, on ``mesh``, by it and another."""
    fields = RECIPES[name][0] | {"micro_batch": micro_batch} | ({"start": "in-float64"} if dtype == "float64" else {})
    recipe = resolve(recipe_from(fields))
    out = folder / f"{name} {dtype} {micro_batch} {mesh}"
    with norms_of(name):
        record = fly(recipe, 0, prepare(recipe, folder / "cache"), out, threads=1, mesh=mesh, warn=lambda _: None)
    if record.failure:
        raise SystemExit(f"{out.name}: {record.traceback or record.failure.message}")
    found = [float(json.loads(line)["loss"]) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(found) == STEPS, f"{len(found)} of {STEPS} steps are in the log"
    return found


def work(rank: int, port: int, names: tuple[str, ...], folder: str) -> None:
    """One of two ranks; the first writes the losses to ``folder``."""
    with one_of_two(rank, port):
        for name in names:
            found = {dtype: losses(name, dtype, BATCH // 2, Path(folder), RECIPES[name][1]) for dtype in dtypes(name)}
            if not rank:
                (Path(folder) / f"{name}.json").write_text(json.dumps(found))


def apart(one: list[float], other: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in zip(one, other, strict=True))


def main(*names: str) -> dict[str, Any]:
    """All of :data:`RECIPES`, or those of ``names``."""
    chosen, found = names or tuple(RECIPES), dict[str, Any](steps=STEPS)
    with tempfile.TemporaryDirectory() as place:
        alone: dict[tuple[str, str], list[list[float]]] = {}
        for name in chosen:
            alone |= {(name, dtype): [losses(name, dtype, size, Path(place)) for size in SPLITS] for dtype in dtypes(name)}
            print(name, {dtype: apart(*alone[name, dtype]) for dtype in dtypes(name)}, file=sys.stderr, flush=True)
        torch.multiprocessing.spawn(work, (free_port(), chosen, place), nprocs=2)
        for name in chosen:
            both = json.loads((Path(place) / f"{name}.json").read_text())
            found[name] = {"mesh": str(RECIPES[name][1])}
            for dtype, two in both.items():
                one, gap = alone[name, dtype][0], apart(*alone[name, dtype])
                found[name][dtype] = {"furthest": apart(one, two), "gap": gap, "over_gap": apart(one, two) / gap}
                if dtype == "float32":
                    found[name][dtype]["furthest_in_3"] = apart(one[:3], two[:3])
                found[name][dtype] |= {"first_loss": one[0], "last_loss": one[-1]}
    return found


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
