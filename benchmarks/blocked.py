"""How long training waits for a checkpoint of a 135M model with AdamW, in times of a memcpy of the same state, taken in turn.

``python benchmarks/blocked.py`` prints JSON. ``whole`` is the state of one process, ``shards`` that of a rank whose weights and moments are
in shards; ``waited`` is the time inside ``Writer.begin``, from a state that has just changed. Between two, the disk is waited for. The
memcpy is into memory that is already there. A ratio is that of a checkpoint over the memcpy before it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from shards import LARGE
from torch.distributed.device_mesh import init_device_mesh

from windtunnel.models.init import fresh
from windtunnel.train import machine
from windtunnel.train.checkpoint import Writer
from windtunnel.train.parallel.shard import locals_of, shard

REPETITIONS = 5


def state_of(in_shards: bool) -> dict[str, Any]:
    """That of a model and its optimizer after a step."""
    from transformers import LlamaConfig

    model: Any = fresh(LlamaConfig(**LARGE, num_key_value_heads=3, tie_word_embeddings=True), 0)
    if in_shards:
        shard(model, init_device_mesh("cpu", (1,), mesh_dim_names=("shard",)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    model.zero_grad(set_to_none=True)
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def tensors_in(state: Mapping[Any, Any], prefix: str = "") -> dict[str, torch.Tensor]:
    """All of ``state``, by place."""
    found: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            found |= tensors_in(value, f"{prefix}{key}/")
    return found


def compared(in_shards: bool) -> dict[str, Any]:
    """Seconds of both, and their ratio."""
    state = state_of(in_shards)
    held = list({value.data_ptr(): value for value in locals_of(tensors_in(state)).values()}.values())  # tied weights are one
    beside = [value.detach().clone() for value in held]
    copies, waits = [], []
    with tempfile.TemporaryDirectory() as name, Writer(Path(name)) as writer:
        for number in range(REPETITIONS + 1):
            began = time.perf_counter()
            for into, value in zip(beside, held, strict=True):
                into.copy_(value)
            copies.append(time.perf_counter() - began)
            began = time.perf_counter()
            writer.begin(f"step-{number:09d}", state)
            waits.append(time.perf_counter() - began)
            writer.wait()
            print(copies[-1], waits[-1], file=sys.stderr, flush=True)
    ratios = [wait / copy for wait, copy in zip(waits[1:], copies[1:], strict=True)]  # the first of both maps memory
    return {
        "bytes": sum(value.nbytes for value in held),
        "memcpy_seconds": statistics.median(copies[1:]),
        "waited_seconds": statistics.median(waits[1:]),
        "first_waited_seconds": waits[0],
        "ratio": {"median": statistics.median(ratios), "all": ratios},
    }


def main() -> dict[str, Any]:
    """Whole and in shards."""
    torch.set_num_threads(1)
    machine.keep_freed_memory()
    with tempfile.NamedTemporaryFile() as file:
        dist.init_process_group("gloo", init_method=f"file://{file.name}", rank=0, world_size=1)
        found = {"whole": compared(False), "shards": compared(True)}
        dist.destroy_process_group()
    return found


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
