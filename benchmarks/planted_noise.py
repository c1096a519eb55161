"""Do selectors find the clean text in a pool of known noise? Precision and recall at the true share, simple baselines in the same table.

``python benchmarks/planted_noise.py`` prints one JSON object. The pool is that
of the source ``planted-noise``: as many characters of each kind of noise as of clean text, which is documentation of the standard library.

Selectors that rank keep the true share of the characters; ``near-duplicates`` and ``cascade`` take out what they object to, however much
that is, so their precision and recall are not those of a choice of the same size. ``precision`` is the share of what it keeps that is
clean, ``recall`` the share of clean text that it keeps, both by characters, so with the true share kept both are near it by chance;
``kept`` says by kind what it lets through. What needs a target is shown clean documents that are not in the pool. With ``--models`` also
selectors that hold a small model, which is trained on the pool first; its seconds count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import curated, numbered, of_source
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.planted import NOISE, planted
from windtunnel.kits.text.selecting import best
from windtunnel.slots import Curator, CuratorContext

KINDS = ("clean", *NOISE)


def simple(pool: list[tuple[str, str]], seed: int) -> dict[str, np.ndarray]:
    """Scores of what any selector has to beat, higher kept."""
    texts = [text.encode() for _, text in pool]
    return {
        "random": np.random.default_rng(seed).random(len(pool)),
        "longest": np.array([float(len(text)) for text in texts]),
        "gzip, least compressible": np.array([len(zlib.compress(text)) / len(text) for text in texts]),
        "gzip, most compressible": np.array([-len(zlib.compress(text)) / len(text) for text in texts]),
    }


def by_model(name: str, knobs: dict[str, Any], pool: list[tuple[str, str]], folder: Path) -> tuple[np.ndarray, float]:
    """Which documents stay by a curator that holds a model, which is trained on the pool, and the CPU seconds of all that."""
    from pyarrow import parquet

    from windtunnel.study.curate import curate, curation_from

    folder.mkdir()
    rows = [{"text": text, "number": number} for number, (_, text) in enumerate(pool)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = {"model": {"depth": 3}, "tokenizer": {"vocabulary": 1024}, "batch": 8, "budget": {"tokens": 400_000}}
    began = time.process_time()
    written = {name: {"model": {"recipe": trained}, **knobs}}
    curate(curation_from({"corpus": {"pool": str(folder / "pool.jsonl")}, "curators": [written]}), folder / "out")
    stays = np.zeros(len(pool), bool)
    for file in (folder / "out" / "documents").glob("*.parquet"):
        stays[parquet.read_table(file, columns=["number"]).column(0).to_numpy()] = True
    return stays, time.process_time() - began


def measure(characters: int, seed: int, models: bool = False) -> dict[str, Any]:
    """The table as a dictionary."""
    made, clean = planted(characters, seed)
    pool = [(kind, text) for kind in KINDS for text in made[kind]]
    random.Random(seed).shuffle(pool)
    sizes = np.array([len(text) for _, text in pool])
    kinds = np.array([kind for kind, _ in pool])
    keep = float(sizes[kinds == "clean"].sum() / sizes.sum())
    form = pyarrow.large_string()
    batch = pyarrow.record_batch(
        {"text": pyarrow.array([text for _, text in pool], form), "origin": pyarrow.array(map(str, range(len(pool))), form)}
    )

    def documents() -> Any:
        return numbered(of_source(iter([batch]), "pool"))

    rows: dict[str, Any] = {}

    def entered(name: str, stays: np.ndarray, seconds: float) -> None:
        right = sizes[stays & (kinds == "clean")].sum()
        rows[name] = {
            "precision": float(right / sizes[stays].sum()),
            "recall": float(right / sizes[kinds == "clean"].sum()),
            "kept": {kind: float(sizes[stays & (kinds == kind)].sum() / sizes[kinds == kind].sum()) for kind in KINDS},
            "cpu_seconds": seconds,
        }

    for name, scores in simple(pool, seed).items():
        entered(name, best(scores, sizes, keep, name), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "clean.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in clean))
        wanted = {"files": {"path": f"{folder}/clean.jsonl"}}
        curators = {
            "importance": {"importance": {"target": wanted, "keep": keep}},
            "importance, per word": {"importance": {"target": wanted, "keep": keep, "per_word": True, "noise": False}},
            "classifier": {"classifier": {"reference": wanted, "keep": keep}},
            "lowest-perplexity": {"lowest-perplexity": {"clean": wanted, "keep": keep}},
            "near-duplicates": {"near-duplicates": {"similarity": 0.5}},
            "cascade": {"cascade": {"papers": ["gopher", "fineweb"]}},
        }
        for number, (name, written) in enumerate(curators.items()):
            scratch = Path(folder) / str(number)
            scratch.mkdir()
            began = time.process_time()
            verdicts = list(curated(make(Curator, written), CuratorContext(Tally("all")), documents, next(documents()).schema, scratch))
            stays = np.zeros(len(pool), bool)
            stays[[int(origin) for kept, _ in verdicts for origin in kept.column("origin").to_pylist()]] = True
            entered(name, stays, time.process_time() - began)
        if models:
            held = {
                "cluster-influence": ("cluster-influence", {"target": wanted, "keep": keep}),
                "cluster-influence, plain gradients": ("cluster-influence", {"target": wanted, "keep": keep, "curvature": False}),
                "perplexity, lowest": ("perplexity", {"keep": keep, "which": "lowest"}),
            }
            for number, (name, (part, knobs)) in enumerate(held.items()):
                entered(name, *by_model(part, knobs, pool, Path(folder) / f"model {number}"))
    return {
        "documents": {kind: int((kinds == kind).sum()) for kind in KINDS},
        "characters": int(sizes.sum()),
        "true_share": keep,
        "seed": seed,
        "selectors": rows,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="selectors on a pool of known noise")
    parser.add_argument("--characters", type=int, default=200_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", action="store_true", help="also those that hold a model")
    arguments = parser.parse_args()
    json.dump(measure(arguments.characters, arguments.seed, arguments.models), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
