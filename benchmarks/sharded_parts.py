"""Every part that may act on a model in shards, on two ranks that hold the model of its trial between them, against one process.

``python benchmarks/sharded_parts.py [NAME ...]`` prints JSON. ``furthest`` is the largest relative difference of a loss, a gradient norm or
a number on test; four steps in float32. A part that is refused says why. Takes some two minutes of CPU time. The committed result is of the
parts of five slots; objectives, families and evaluations were not flown yet.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from two_ranks import free_port, one_of_two

from windtunnel.core import registry
from windtunnel.core.part import Part
from windtunnel.testing import Workshop, trial_recipe

SLOTS = ("Objective", "LossTerm", "Weighting", "Selection", "Family", "Start", "Structure", "Optimizer", "AfterStep", "Evaluation")
CLOSE = 1e-3  # of what follows from one more sum in float32, four steps later


def parts() -> dict[str, type[Part]]:
    """Those that are handed the model and do not say that they need it whole, by slot and name."""
    found = {}
    for slot in registry._slots.values():
        if slot.__name__ in SLOTS:
            for name in registry.known(slot):
                part = registry.find(slot, name)
                if part is not None and not part.local:
                    found[f"{slot.__name__} {name}"] = part
    return found


def work(rank: int, port: int, jobs: list[tuple[str, dict[str, Any], str]]) -> None:
    """Fly all ``jobs`` (folder, recipe, stream) as one of two ranks in shards."""
    from windtunnel.data.stream import Stream
    from windtunnel.recipe import recipe_from
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.ranks import broadcast
    from windtunnel.train.run import fly

    with one_of_two(rank, port):
        for folder, recipe, stream in jobs:
            place, told = Path(folder), {}
            try:
                done = fly(recipe_from(recipe), 0, Stream.open(stream), place, threads=1, mesh=Mesh(shard=2), warn=lambda message: None)
                if not rank and done.failure and done.failure.kind == "fault":
                    broadcast(done)  # for which the other waits; a command would end here
            except Exception as error:
                told = {"refused": str(error)}
            if not rank:
                print(folder, told, file=sys.stderr, flush=True)
                (place.parent / f"{place.name}.json").write_text(json.dumps(told))


def flown(folder: Path) -> dict[str, Any]:
    """What a run came to: its numbers by name, or its failure."""
    record = json.loads((folder / "record.json").read_text())
    if record["status"] != "finished":
        return {"failed": (record["failure"] or {}).get("message") or record["status"]}
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = {f"{key} {line['step']}": line[key] for line in lines for key in ("loss", "gradient_norm")}
    return {**steps, **{f"test {name}": value for name, value in record["test"].items()}}


def compared(folder: Path, name: str) -> dict[str, Any]:
    """Two ranks against one process, of the part that is called ``name``."""
    told = json.loads((folder / f"{name}-shards.json").read_text())
    one = flown(folder / f"{name}-alone")
    if told:
        return told
    two = flown(folder / f"{name}-shards")
    if "failed" in one or "failed" in two:
        return {"alone": one.get("failed"), "shards": two.get("failed")}
    apart = {key: abs(two[key] - value) / max(abs(value), 1e-6) for key, value in one.items() if value is not None}
    furthest = max(apart, key=apart.__getitem__)
    return {"furthest": apart[furthest], "where": furthest, "equal": apart[furthest] <= CLOSE}


def main(*names: str) -> dict[str, Any]:
    """All parts, or those of ``names``."""
    from windtunnel.train.run import fly

    chosen = {key: part for key, part in parts().items() if not names or part.name in names}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shop, jobs, untried = Workshop(folder / "shop"), {}, {}
        for key, part in chosen.items():
            if part.trial.untried:
                untried[key] = {"untried": part.trial.untried}
                continue
            recipe = trial_recipe(part, shop)
            stream, place = shop.prepared(recipe), folder / key.replace(" ", "-")
            fly(recipe, 0, stream, Path(f"{place}-alone"), threads=1, warn=lambda message: None)
            jobs[key] = (f"{place}-shards", recipe.model_dump(mode="json"), str(stream.folder))
            print(key, file=sys.stderr, flush=True)
        torch.multiprocessing.spawn(work, (free_port(), list(jobs.values())), nprocs=2)
        return {key: compared(folder, key.replace(" ", "-")) for key in jobs} | untried


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, indent=1)
    print()
