"""What each of two ranks does in the tests of ranks; imported by processes that torch starts."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import torch


def bytes_held(phase_run: Any) -> int:
    """Of the weights, gradients and moments that this rank keeps between two steps."""
    from windtunnel.train.parallel.shard import locals_of

    kept = dict(phase_run.model.named_parameters())
    kept |= {f"{name}.grad": value.grad for name, value in kept.items() if value.grad is not None}
    kept |= {f"{key}.{number}": value for number, entry in enumerate(phase_run.optimizer.state.values()) for key, value in entry.items()}
    return sum(value.nbytes for value in locals_of(kept).values())


def dying(where: str) -> dict[str, Any]:
    """Options of a run whose process is killed, as by ``kill -9``: in its third ``step``, or inside its second ``checkpoint``."""
    from windtunnel.train.parallel import stored

    real, left = stored.save, itertools.chain((False, False), iter(lambda: os.kill(os.getpid(), signal.SIGKILL), 0))

    def save(*arguments: Any) -> None:
        real(*arguments)
        next(left)

    if where == "step":
        return {"stop": lambda: next(left)}
    stored.save = save
    next(left)
    return {}


def work(rank: int, ranks: int, port: int, jobs: list[dict[str, Any]], stream_folder: str) -> None:
    """Fly every one of ``jobs`` (recipe, folder, stop after) as ``rank`` and write its record beside its folder."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    from windtunnel.data.stream import Stream
    from windtunnel.kits.gather import gather
    from windtunnel.parts.start.scratch import Scratch
    from windtunnel.recipe import recipe_from
    from windtunnel.slots import ALONE, AfterStep, Evaluation, Selection, Start, Weighting
    from windtunnel.train import loop
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.parallel.shard import sharded
    from windtunnel.train.ranks import differs, joined
    from windtunnel.train.run import fly

    class Smallest(Selection, name="test-smallest"):
        def score(self, model, batch, given):
            return -batch["tokens"].float().mean(dim=1)

    class Counting(Weighting, name="test-counting"):
        def state(self, model):
            return {"seen": 0}

        def weigh(self, loss, batch, state, given):
            state["seen"] += int(batch["tokens"].sum())
            return torch.ones_like(loss.values)

    class Noise(AfterStep, name="test-noise-of-ranks"):
        def after_step(self, model, optimizer, progress, state):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=1e-3)

    class Seen(Evaluation, name="test-rows-seen"):
        def evaluate(self, model, held_out):
            return {"rows": float(len(gather(torch.ones(1))))}

    class Doubled(Start, name="test-doubled"):
        def build(self, previous, config, seed, context=ALONE):
            return Scratch().build(previous, config, seed).double()

    agree: list[bool] = []
    held: list[int] = []
    real = loop.train

    def watched(*arguments: Any) -> Any:
        phase_run, finished = real(*arguments)
        held.append(bytes_held(phase_run))
        agree.append(sharded(phase_run.model) or not differs(phase_run.model.state_dict()))
        return phase_run, finished

    loop.train = watched
    stream = Stream.open(stream_folder)
    with joined("cpu"):
        for job in jobs:
            left = itertools.repeat(False, job["stop"]) if job["stop"] else itertools.repeat(False)
            folder, told = Path(job["folder"]), []
            how = {"threads": 1, "stop": lambda left=left: next(left, True), "warn": told.append}
            how |= job.get("how", {})
            if "every" in job:
                how["checkpoint_seconds"] = job["every"]
            if job.get("kill", [None])[0] == rank:
                how |= dying(job["kill"][1])
            # The disk of the last rank takes no file of more bytes.
            largest = job.get("limit", resource.RLIM_INFINITY) if rank == ranks - 1 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
            record = fly(recipe_from(job["recipe"]), 0, stream, folder, mesh=Mesh(*job["mesh"]) if "mesh" in job else None, **how)
            known = {
                **record.plain(),
                "error": record.error,
                "traceback": record.traceback,
                "told": told,
                "agree": agree[-1:],
                "held": held[-1:],
            }
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            (folder.parent / f"{job.get('record', folder.name)}-{rank}.json").write_text(json.dumps(known))
            if "kept" in job and not rank:
                shutil.copytree(folder, job["kept"])
