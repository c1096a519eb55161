"""CPU milliseconds of a step and of its stages, whole and under ``fully_shard`` on a mesh of one process, where nothing travels.

``python benchmarks/shard_cost.py`` prints JSON: medians of :data:`STEPS` steps of the recipe of ``ranks_before``, at the rows of one of two
ranks. What the second has above the first is what torch does around each block; what ranks of two have above that, messages.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
import torch.distributed as dist
import yaml
from ranks_before import BATCH, RECIPE
from torch.distributed.device_mesh import init_device_mesh

from windtunnel.recipe import recipe_from
from windtunnel.train.estimate import dry_batch
from windtunnel.train.parallel.shard import shard
from windtunnel.train.traced import repeated, untrained

STEPS, WARM = 9, 2
STAGES = ("forward", "backward", "clip", "update")


def stages(in_shards: bool) -> dict[str, Any]:
    """Medians in milliseconds of CPU time."""
    recipe = recipe_from(yaml.safe_load(RECIPE))
    (phase,) = recipe.phases
    torch.manual_seed(0)
    model = untrained(phase, recipe.encoding)
    size = sum(value.numel() for value in model.parameters())
    if in_shards:
        shard(model, init_device_mesh("cpu", (1,), mesh_dim_names=("shard",)))
    optimizer = phase.optimizer.build(model, phase.model.learning_rate())
    batch, spent = repeated(dry_batch(phase, recipe.encoding), BATCH // 2), []
    for _ in range(WARM + STEPS):
        clock = [time.process_time()]
        optimizer.zero_grad(set_to_none=True)
        loss = phase.objective.loss(model, batch, frozenset())
        value = (loss.counts.to(loss.values.dtype) * loss.values).sum() / loss.counts.sum()
        clock.append(time.process_time())
        value.backward()
        clock.append(time.process_time())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        clock.append(time.process_time())
        optimizer.step()
        clock.append(time.process_time())
        spent.append([1000 * (later - sooner) for sooner, later in itertools.pairwise(clock)])
    found = {stage: statistics.median(each) for stage, each in zip(STAGES, zip(*spent[WARM:], strict=True), strict=True)}
    return {"parameters": size, "step": statistics.median(map(sum, spent[WARM:])), **found}


def main() -> dict[str, Any]:
    """Both, and the share that comes on top."""
    torch.set_num_threads(1)
    with tempfile.NamedTemporaryFile() as file:
        dist.init_process_group("gloo", init_method=f"file://{file.name}", rank=0, world_size=1)
        whole, parts = stages(False), stages(True)
        dist.destroy_process_group()
    return {"whole": whole, "shards": parts, "step_over_whole": parts["step"] / whole["step"]}


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
