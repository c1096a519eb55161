"""Run every benchmark, one after the other, and write benchmarks/results/NAME.json with versions, hardware and date.

``python benchmarks/run.py [NAME ...]``; each benchmark is a script that prints JSON. NAME=ARGUMENT[,ARGUMENT] gives it arguments, such
as a model, for ``pilot`` the folder of another checkout, for ``outside_laws`` the folder of tables and the table of
Chinchilla, for ``law_calibration`` that folder.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import torch

from windtunnel.train.machine import hardware, versions

FOLDER = Path(__file__).parent
NAMES = (
    "tokenise",
    "loop",
    "estimate",
    "launcher",
    "ranks",
    "memory",
    "growth",
    "structure_memory",
    "continuing",
    "kills",
    "overhead",
    "calibrate",
    "racing",
    "laws",
    "near_duplicates",
    "planted_noise",
    "curate",
    "atlas",
    "footprint",
    "rows",
    "shards",
    "shard_cost",
    "sharded_parts",
    "mesh_memory",
    "rank_kills",
    "blocked",
    "mesh_loss",
    "elastic",
    "retrieval",
    "input_pipeline",
    "vision_steps",
)
# pilot and ranks_before need another checkout, beside_datatrove an environment with it and folders of text, harness a model and emoji,
# lora_step a model, image_study and incremental fashion-mnist, outside_laws and law_calibration tables, own_ladder results of
# studies/ladder.yaml, contrastive sentence-transformers
# beside_lm_eval needs a model and text, extraction folders of pages and of PDFs


def main(names: list[str]) -> int:
    """Run ``names`` (default: all); returns how many broke."""
    broken = 0
    for given in names or NAMES:
        name, _, argument = given.partition("=")
        print(f"{name} ...", flush=True)
        words = [sys.executable, str(FOLDER / f"{name}.py"), *filter(None, argument.split(","))]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            broken += 1
            print(f"{name} ended with exit code {done.returncode}", flush=True)
            continue
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        about = {"date": datetime.date.today().isoformat(), "versions": versions(), "hardware": hardware(device)}
        result = {"benchmark": name, **about, "result": json.loads(done.stdout)}
        target = FOLDER / "results" / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps(result["result"], indent=1), flush=True)
    return broken


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
