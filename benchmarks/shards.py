"""Bytes of tensors that one rank holds at most in a step with AdamW: of two that hold the model in shards, over one that holds it whole.

``python benchmarks/shards.py`` prints JSON. A llama of the sizes of SmolLM2-135M takes two steps under torch's MemTracker;
``WINDTUNNEL_SHARDS=small`` takes one of 1/100 of the size. ``held`` are weights, gradients and moments between steps, ``peak`` is
everything at the worst moment of the second step.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
import torch.multiprocessing
from torch.distributed._tools.mem_tracker import MemTracker
from two_ranks import free_port, one_of_two

from windtunnel.models.init import fresh
from windtunnel.train.parallel.mesh import Mesh, laid_out
from windtunnel.train.parallel.shard import at_rest, shard

BATCH, CONTEXT = 4, 256
SMALL = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4}
LARGE = {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}


def tracked(mesh: Mesh) -> dict[str, int]:
    """What this rank holds between steps and at most, in bytes."""
    from transformers import LlamaConfig

    sizes = SMALL if os.environ.get("WINDTUNNEL_SHARDS") == "small" else LARGE
    model: Any = fresh(LlamaConfig(**sizes, num_key_value_heads=3 if sizes is LARGE else 2, tie_word_embeddings=True), 0)
    shard(model, laid_out(mesh, torch.device("cpu")))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(sizes["vocab_size"], (BATCH // mesh.ranks, CONTEXT))
    tracker = MemTracker()
    tracker.track_external(model, optimizer)
    with tracker:
        for step in range(2):
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
            if not step:
                tracker.reset_mod_stats()
        at_rest(model)
        peak = sum_of(tracker.get_tracker_snapshot("peak"))
        held = sum_of(tracker.get_tracker_snapshot("current"))
    return {"held": held, "peak": peak}


def sum_of(snapshot: dict[Any, dict[str, int]]) -> int:
    """The total of all devices."""
    return sum(int(kinds["Total"]) for kinds in snapshot.values())


def work(rank: int, port: int, file: str) -> None:
    """One of two ranks; the first writes what it found to ``file``."""
    with one_of_two(rank, port):
        found = tracked(Mesh(shard=2))
        if not rank:
            with open(file, "w", encoding="utf-8") as out:
                json.dump(found, out)


def main() -> dict[str, Any]:
    """Both sides and their ratio."""
    import tempfile

    with tempfile.NamedTemporaryFile("r") as file:
        torch.multiprocessing.spawn(work, (free_port(), file.name), nprocs=2)
        parts = json.load(file)
    torch.set_num_threads(1)
    whole = tracked(Mesh())
    return {"two_ranks": parts, "one_rank": whole, "two_over_one": {key: parts[key] / whole[key] for key in whole}}


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
