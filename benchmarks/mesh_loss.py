"""Losses of models that two processes hold between them against one process: llama, vit and t5 in shards, decoders cut by layer.

``python benchmarks/mesh_loss.py [NAME ...]`` prints JSON. Float64 over 50 steps: ``furthest``, the largest relative difference of a loss.
Float32: the same over the first three steps, and over all 50 the largest difference over the largest one between two micro-batches of one
process, which is rounding alone. With bfloat16 it is that ratio again: weights of blocks travel so, those of norms too. ``compiled``
is float32 with blocks that are compiled, against one process without.

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
import torch.multiprocessing
from two_ranks import free_port, one_of_two

from windtunnel.parts.start.scratch import Scratch
from windtunnel.slots import ALONE, Start

STEPS, BATCH = 50, 4
TEXT = {"corpus": {"prose": "builtin:docstrings"}, "tokenizer": {"vocabulary": 512}, "context": 32}
SMALL = {"layers": 2, "width": 32, "heads": 4}
IMAGES = {"corpus": {"digits": "builtin:digits"}, "encoding": "pixels", "objective": "masked-patches", "context": 8}
COMMON = {"batch": BATCH, "compile": "no", "evaluate_every": 1.0, "evaluation_tokens": 256, "test_tokens": 256, "budget": {"steps": STEPS}}
RECIPES: dict[str, tuple[dict[str, Any], str]] = {
    "llama": (TEXT | {"model": {"family": "llama", **SMALL}}, "shard=2"),
    "vit": (IMAGES | {"model": {"family": "vit", **SMALL}, "evaluations": {"probe": {"shots": 2, "draws": 1}}}, "shard=2"),
    **dict.fromkeys(
        ("t5", "t5, norms in float32"), (TEXT | {"model": {"family": "t5", **SMALL}, "objective": "span-corruption"}, "shard=2")
    ),
    **{f"{family}, cut": (TEXT | {"model": {"family": family, **SMALL}}, "tensor=2") for family in ("llama", "qwen2", "qwen3", "gpt-neox")},
}
HALF = "llama", "llama, cut"  # in bfloat16 too
FULL = "llama", "vit", "t5", "llama, cut"  # the others in float64 alone


class Doubled(Start, name="benchmark-doubled"):
    """Fresh weights in float64."""

    local = ""

    def build(self, previous: Any, config: Any, seed: int, context: Any = ALONE) -> Any:
        """As every start."""
        return Scratch().build(previous, config, seed).double()


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


def ways(name: str) -> dict[str, dict[str, Any]]:
    """The settings in which the recipe ``name`` is flown."""
    if name not in FULL:
        return {"float64": {"start": "benchmark-doubled", "precision": "float32"}}
    found = {"float64": {"start": "benchmark-doubled", "precision": "float32"}, "float32": {"precision": "float32"}}
    found |= {"bfloat16": {"precision": "bfloat16"}} if name in HALF else {}
    return found | ({"compiled": {"precision": "float32", "compile": "yes"}} if name == "llama" else {})


def work(rank: int, port: int, jobs: list[tuple[dict[str, Any], str, str, str]]) -> None:
    """Fly all ``jobs`` (recipe, stream, mesh, folder) as one of two ranks."""
    from windtunnel.data.stream import Stream
    from windtunnel.recipe import recipe_from
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.run import fly

    with one_of_two(rank, port):
        for recipe, stream, mesh, folder in jobs:
            how: dict[str, Any] = {"threads": 1, "mesh": Mesh.read(mesh), "warn": lambda _: None}
            with norms_of(folder):
                found = fly(recipe_from(recipe), 0, Stream.open(stream), Path(folder), **how)
            if found.failure:
                raise SystemExit(f"{folder}: {found.failure.story}")


def losses(folder: Path) -> list[float]:
    """Of every step."""
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def apart(one: list[float], other: list[float]) -> float:
    """The largest relative difference."""
    assert len(one) == len(other) == STEPS or len(one) == len(other) == 3
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in zip(one, other, strict=True))


def compared(folder: Path, way: str) -> dict[str, float]:
    """Two processes against one."""
    one, split, two = (losses(Path(f"{folder}-{way}-{side}")) for side in ("one", "split", "two"))
    gap = apart(one, split)
    if way == "float64":
        return {"furthest": apart(one, two), "gap": gap, "last_loss": one[-1]}
    return {"furthest_in_3": apart(one[:3], two[:3]), "furthest": apart(one, two), "gap": gap, "over_gap": apart(one, two) / gap}


def main(*names: str) -> dict[str, Any]:
    """All of :data:`RECIPES`, or those of ``names``."""
    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.run import fly, prepare

    torch.set_num_threads(1)
    chosen, jobs = {name: RECIPES[name] for name in names or RECIPES}, []
    with tempfile.TemporaryDirectory() as place:
        for name, (fields, mesh) in chosen.items():
            for way, setting in ways(name).items():
                recipe = resolve(recipe_from({**COMMON, **fields, **setting, "micro_batch": BATCH // 2}))
                stream, folder = prepare(recipe, Path(place) / "cache"), Path(place) / name.replace(", ", "-").replace(" ", "-")
                for side, size in {"one": BATCH, "split": BATCH // 2}.items():
                    alone = recipe.model_copy(update={"micro_batch": size, "compile": "no"})
                    with norms_of(name):
                        found = fly(alone, 0, stream, Path(f"{folder}-{way}-{side}"), threads=1, warn=lambda _: None)
                    if found.failure:
                        raise SystemExit(f"{name}, {way}: {found.failure.story}")
                jobs.append((recipe.model_dump(mode="json"), str(stream.folder), mesh, f"{folder}-{way}-two"))
            print(name, file=sys.stderr, flush=True)
        torch.multiprocessing.spawn(work, (free_port(), jobs), nprocs=2)
        return {
            name: {way: compared(Path(place) / name.replace(", ", "-").replace(" ", "-"), way) for way in ways(name)} for name in chosen
        }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
