"""Multiple-choice questions by our `harness` against lm-eval's own model `hf`, on the same model in memory, in one process.

``python benchmarks/harness.py MODEL TASK [PAIRS]``: MODEL is a folder that transformers loads, TASK a task file of lm_eval. In alternating
order both score all questions, in float32 and bfloat16, lm-eval's with the batch that is the fastest of some on the first questions. It
prints JSON: the ratio of CPU seconds, ours over theirs (at most 0.5 is what this project asks of itself), and how far log-likelihoods
lie apart in float32 (at most 1e-4).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from windtunnel.kits.text import harness

ASKED = {"cpu_ratio": 0.5, "apart": 1e-4}
BATCHES = (1, 4, 16)
FIRST = 16  # questions by which the batch is chosen


def timed(lm: Any, loaded: Any, most: int | None = None) -> tuple[float, Any]:
    """CPU seconds of scoring, and what the harness gives."""
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=harness.SEED)
    began = time.process_time()
    found = evaluate(lm=lm, task_dict=dict(loaded), limit=most, bootstrap_iters=1)
    return time.process_time() - began, found


def nats(found: Any) -> list[float]:
    """Every log-likelihood, in order."""
    return [response[0][0] for rows in found["samples"].values() for row in rows for response in row["resps"]]


def main(folder: str, task: str, pairs: int = 5) -> dict[str, Any]:
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    told: dict[str, Any] = {"asked": ASKED, "pairs": pairs}
    with harness.offline():
        loaded = harness.load_tasks([task])
        for dtype in (torch.float32, torch.bfloat16):
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            context = int(model.config.max_position_embeddings)
            place: dict[str, Any] = {"context": context, "device": torch.device("cpu"), "precision": torch.autocast("cpu", enabled=False)}
            ours = harness.InMemory(model, tokenizer, **place)
            theirs = {size: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, max_length=context) for size in BATCHES}
            harness.scores(ours, loaded, most=1)  # registers ours, and warms both
            batch = min(BATCHES, key=lambda size: timed(theirs[size], loaded, FIRST)[0])
            seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
            results = {}
            for pair in range(pairs):
                for who in ("ours", "theirs") if pair % 2 else ("theirs", "ours"):
                    spent, results[who] = timed(ours if who == "ours" else theirs[batch], loaded)
                    seconds[who].append(spent)
            apart = max(abs(one - other) for one, other in zip(nats(results["ours"]), nats(results["theirs"]), strict=True))
            numbers = {who: {name: entry for name, entry in result["results"].items()} for who, result in results.items()}
            ratios = [one / other for one, other in zip(seconds["ours"], seconds["theirs"], strict=True)]
            told[str(dtype).removeprefix("torch.")] = {
                "requests": len(nats(results["ours"])),
                "batch_of_theirs": batch,
                "cpu_seconds": seconds,
                "cpu_ratio": statistics.median(ratios),
                "apart": apart,
                "numbers": {
                    who: {f"{task}/{key}": value for task, row in each.items() for key, value in row.items() if isinstance(value, float)}
                    for who, each in numbers.items()
                },
            }
    return told


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])), indent=1))
