"""A run in shards on two ranks whose processes are killed twenty times at random, against the same run left alone: equal to the last bit?

``python benchmarks/rank_kills.py`` prints JSON, and ends with exit code 1 where anything differs. It checkpoints as often as the disk takes
it. A kill (SIGKILL) hits one of the ranks, drawn at random, at a moment drawn at random, every other one as soon as a checkpoint is being
written; then the other is ended, as torchrun would, and both begin again. Processes are forked from one that has imported everything.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from two_ranks import SMALL, as_flown, free_port, one_of_two

KILLS, STEPS = int(os.environ.get("WINDTUNNEL_KILLS", "20")), 160
WAYS = ("after a step", "inside a checkpoint", "at any moment", "inside a checkpoint")
SHARED = multiprocessing.get_context("forkserver")
RECIPE = SMALL | {"budget": {"steps": STEPS}}


def work(rank: int, port: int, out: Path, cache: Path) -> None:
    """Train as one of two ranks, going on from what ``out`` holds."""
    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.parallel.mesh import Mesh
    from windtunnel.train.prepare import prepare
    from windtunnel.train.ranks import rank_0_first
    from windtunnel.train.run import fly

    with one_of_two(rank, port):
        recipe = resolve(recipe_from(RECIPE))
        with rank_0_first():
            stream = prepare(recipe, cache)
        record = fly(recipe, 0, stream, out, threads=1, mesh=Mesh(shard=2), checkpoint_seconds=0.0, warn=lambda message: None)
    if record["status"] != "finished":
        raise SystemExit(1)


def begun(out: Path, cache: Path) -> list[Any]:
    """Both ranks, at work."""
    port = free_port()
    processes = [SHARED.Process(target=work, args=(rank, port, out, cache)) for rank in range(2)]
    for process in processes:
        process.start()
    return processes


def ended(processes: list[Any]) -> bool:
    """Whether all have ended well, which is waited for."""
    for process in processes:
        process.join()
    return all(process.exitcode == 0 for process in processes)


def writing(out: Path) -> set[str]:
    """The checkpoints that are not whole."""
    return {path.name for path in (out / "checkpoints").glob(".writing-*")}


def size(out: Path) -> int:
    """Bytes of the log."""
    log = out / "log.jsonl"
    return log.stat().st_size if log.exists() else 0


def main() -> dict[str, Any]:
    """Both runs, and whether they are the same."""
    SHARED.set_forkserver_preload(["transformers.models.llama.modeling_llama", "windtunnel.train.run", "windtunnel.train.loop"])
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        cache, whole, killed = (Path(name) / each for each in ("cache", "whole", "killed"))
        began = time.monotonic()
        if not ended(begun(whole, cache)):
            raise SystemExit("the run that was left alone broke")
        undisturbed = time.monotonic() - began
        kills: list[dict[str, Any]] = []
        while len(kills) < KILLS:
            left, learnt = writing(killed), size(killed)
            processes, way = begun(killed, cache), WAYS[len(kills) % len(WAYS)]
            while processes[0].is_alive() and way != "at any moment" and size(killed) == learnt:
                time.sleep(0.05)
            while processes[0].is_alive() and way == "inside a checkpoint" and not writing(killed) - left:
                time.sleep(0.001)
            time.sleep(0.0 if way == "inside a checkpoint" else chance.uniform(0.0, 3.0))
            if not all(process.is_alive() for process in processes):
                break
            hit = chance.randrange(2)
            processes[hit].kill()
            torn = bool(writing(killed) - left)
            time.sleep(0.5)
            processes[1 - hit].terminate()
            ended(processes)
            kept = sorted(each.name for each in (killed / "checkpoints").glob("[!.]*"))
            kills.append({"rank": hit, "way": way, "a_checkpoint_was_torn": torn, "kept": kept})
            print(kills[-1], file=sys.stderr, flush=True)
        if not ended(begun(killed, cache)):
            raise SystemExit("the run that was killed did not finish")
        same = as_flown(whole, killed)
    return {"same_to_the_last_bit": same, "kills": kills, "steps": STEPS, "undisturbed_seconds": undisturbed}


if __name__ == "__main__":
    result = main()
    json.dump(result, sys.stdout, indent=1)
    print()
    sys.exit(0 if all(result["same_to_the_last_bit"].values()) and len(result["kills"]) == KILLS else 1)
