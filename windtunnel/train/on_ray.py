"""One run whose ranks are the workers of Ray Train, on this machine or on a cluster; one that is lost is replaced and the run goes on.

Every node has to see the folder of the run and the cache under the same path, and to have Windtunnel installed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError, needing
from windtunnel.recipe import Recipe, recipe_from
from windtunnel.train.parallel.mesh import Mesh
from windtunnel.train.record import RunRecord, read_record

RETRIES = 3  # times that all workers are begun anew after one was lost


def train_on_ray(
    recipe: Recipe,
    seed: int,
    out: Path,
    cache: Path,
    mesh: Mesh,
    *,
    address: str | None = None,
    say: Callable[[str], None] = print,
    **how: Any,
) -> RunRecord:
    """Train ``recipe`` with ``seed`` in ``out``, one Ray worker for each rank of ``mesh``, and return its record.

    ``how`` are options of :func:`windtunnel.train.run.fly` that are plain data. Without ``address`` Ray is started here, and a process that
    has called ``ray.init`` itself keeps its cluster.

    Raises:
        UserError: when Ray is missing or cannot be reached, or has too few CPUs or GPUs for the mesh.
    """
    with needing("--engine ray", "Ray, which is not installed", "ray"):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    from windtunnel.train.joining import start

    if ours := not ray.is_initialized():
        start(ray, address)
    try:
        resources = ray.cluster_resources()
        gpu = how.get("device") != "cpu" and resources.get("GPU", 0) > 0
        kind = "GPU" if gpu else "CPU"
        if (there := resources.get(kind, 0)) < mesh.ranks:
            raise UserError(f"--mesh {mesh} takes {mesh.ranks} ranks, and the Ray cluster has {there:.0f} {kind}(s)")
        say(f"training on {mesh.ranks} workers of Ray on {len(ray.nodes())} node(s)")
        work = {"recipe": recipe.model_dump(mode="json"), "seed": seed, "out": str(out.resolve()), "cache": str(cache.resolve())}
        work |= {"mesh": tuple(mesh), "how": how, "gpu": gpu, "path": [entry for entry in sys.path if entry]}
        trainer = TorchTrainer(
            on_worker,
            train_loop_config=work,
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo", timeout_s=12 * 3600),
            scaling_config=ScalingConfig(num_workers=mesh.ranks, use_gpu=gpu),
            run_config=RunConfig(name="ray", storage_path=str(out.resolve()), failure_config=FailureConfig(max_failures=RETRIES)),
        )
        try:
            trainer.fit()
        except Exception as error:  # what broke in the run is in its record
            if (record := read_record(out)) is not None and (record.failure or record.finished):
                return record
            raise UserError(f"Ray Train gave up on {out}: {' '.join(str(error).split())[:300]}; the same command goes on") from error
    finally:
        if ours:
            ray.shutdown()
    record = read_record(out)
    assert record is not None, "a run that ends leaves its record"
    return record


def on_worker(work: dict[str, Any]) -> None:
    """What each worker does: train as the rank that Ray has made it. Raises where another worker was lost, so that all begin anew."""
    sys.path.extend(entry for entry in work["path"] if entry not in sys.path and Path(entry).is_dir())
    from windtunnel.train import ranks
    from windtunnel.train.prepare import prepare, prepare_needed
    from windtunnel.train.run import fly

    recipe, out, cache = recipe_from(work["recipe"]), Path(work["out"]), Path(work["cache"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if work["gpu"]:  # all accelerators of a node are seen by each of its workers
        import torch
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    with ranks.joined(work["how"].get("device")):
        with ranks.rank_0_first():
            stream, others = prepare(recipe, cache), prepare_needed(recipe, cache)
        record = fly(recipe, work["seed"], stream, out, streams=others, mesh=Mesh(*work["mesh"]), **work["how"])
    if record.failure is not None and record.failure.kind == "lost":
        raise RuntimeError(record.failure.message)
