"""A run from a checkpoint of 135M parameters, killed ten times at random instants, against the same run left alone: equal to the last bit?

``python benchmarks/kills.py [MODEL]`` prints JSON, and ends with exit code 1 where anything differs. MODEL is as in ``continuing.py``. Both
runs are compiled and use all threads, where the order of additions is easiest lost. Half an hour on two cores; it may share the machine.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from continuing import made, recipe

STEPS, KILLS, CHECKPOINT_SECONDS = 60, 10, 10.0


def flies(model: str, cache: Path, out: Path) -> None:
    """Train in this process, going on from what ``out`` holds."""
    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.prepare import prepare
    from windtunnel.train.run import fly

    given = {**recipe(model, STEPS), "batch": 4, "compile": "yes", "packing": "concatenate", "schedule": "linear"}
    flight = resolve(recipe_from(given))
    record = fly(flight, 0, prepare(flight, cache), out, checkpoint_seconds=CHECKPOINT_SECONDS)
    if record["status"] != "finished":
        raise SystemExit(str(record["traceback"]))


def begun(model: str, cache: Path, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, __file__, "--fly", model, str(cache), str(out)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def lines(out: Path) -> list[dict[str, Any]]:
    """What the run has logged, without its clock."""
    log = out / "log.jsonl"
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")] if log.exists() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def main(model: str | None = None) -> dict[str, Any]:
    import torch
    from safetensors.torch import load_file

    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache, whole, killed = (folder / each for each in ("cache", "whole", "killed"))
        cache.mkdir()
        given, model = model, model or made(folder)
        began = time.perf_counter()
        if begun(model, cache, whole).wait():
            raise RuntimeError("the run that was left alone broke")
        undisturbed = time.perf_counter() - began
        kills: list[dict[str, Any]] = []
        while len(kills) < KILLS:
            before, process, started = len(lines(killed)), begun(model, cache, killed), time.perf_counter()
            # Every other kill comes at any moment after the start, the others once something was learned: a resumed run has to get on.
            while len(kills) % 2 and len(lines(killed)) <= before and process.poll() is None:
                time.sleep(0.2)
            time.sleep(chance.uniform(1.0, 45.0))
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            kept = sorted(each.name for each in (killed / "checkpoints").glob("*"))
            kills.append({"seconds_after_start": time.perf_counter() - started, "step": len(lines(killed)), "checkpoints": kept})
            print(kills[-1], file=sys.stderr, flush=True)
        if begun(model, cache, killed).wait():
            raise RuntimeError("the run that was killed did not finish")
        one, two = (load_file(run / "model" / "model.safetensors") for run in (whole, killed))
        ours, theirs = (json.loads((run / "record.json").read_text(encoding="utf-8")) for run in (whole, killed))
        numbers = [[(each["step"], each["numbers"]) for each in record["validation"]] for record in (ours, theirs)]
        same = {
            "weights": one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one),
            "every_loss_and_gradient_norm": lines(whole) == lines(killed),
            "validation": numbers[0] == numbers[1],
            "test": ours["test"] == theirs["test"],
        }
        print(same, *([] if same["validation"] else numbers), sep="\n", file=sys.stderr, flush=True)
    return {
        "model": Path(given).name if given else "SmolLM2's sizes, random weights",
        "same_to_the_last_bit": same,
        "kills": kills,
        "steps": STEPS,
        "checkpoint_seconds": CHECKPOINT_SECONDS,
        "undisturbed_seconds": undisturbed,
        "threads": ours["threads"],
        "compiled": ours["variant"]["compiled"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fly"]:
        flies(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        result = main(*sys.argv[1:2])
        json.dump(result, sys.stdout, indent=1)
        print()
        sys.exit(0 if all(result["same_to_the_last_bit"].values()) and len(result["kills"]) == KILLS else 1)
