"""Multiple-choice questions by our `harness` against lm-eval's own model `hf`, on the same model in memory, in one process.

``python benchmarks/harness.py MODEL EMOJI [QUESTIONS [PAIRS [PRECISIONS]]]``: MODEL is a folder that transformers loads, EMOJI the file
``en/data.json`` of the package emojibase-data (``npm install emojibase-data@17.0.0``), whose entries make the questions: which of four
names has these tags? The questions are cut into PAIRS parts, and both score each part, in alternating order, lm-eval's with the batch
that is the fastest of some on the first questions. It prints JSON for each of PRECISIONS (``float32+bfloat16``): the ratio of CPU seconds,
ours over theirs (at most 0.5 is what this project asks of itself), and how far log-likelihoods lie apart (at most 1e-4 in float32). What
the committed result says of another number of questions is kept.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from paired import alternating
from transformers import AutoModelForCausalLM, AutoTokenizer

from windtunnel.kits.text import harness

KNOWN = Path(__file__).parent / "results" / "harness.json"
ASKED = {"ratio": 0.5, "apart": 1e-4}
BATCHES = (1, 4, 16)
FIRST = 8  # questions by which the batch is chosen
TASK = """task: names
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: Which emoji goes with the words {{words}}?\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


def write_task(emoji: Path, folder: Path, count: int) -> Path:
    """A task file and ``count`` questions beside it, drawn with a fixed seed."""
    chance = random.Random(0)
    entries = [entry for entry in json.loads(emoji.read_text(encoding="utf-8")) if len(entry.get("tags", ())) >= 2]
    rows = []
    for entry in chance.sample(entries, count):
        others = chance.sample([one["label"] for one in entries if one["label"] != entry["label"]], 3)
        choices = chance.sample([entry["label"], *others], 4)
        rows.append({"words": ", ".join(entry["tags"]), "choices": choices, "answer": choices.index(entry["label"])})
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "names.yaml").write_text(TASK, encoding="utf-8")
    return folder / "names.yaml"


def scored(lm: Any, loaded: Any, questions: list[int]) -> dict[int, Any]:
    """Of each of ``questions`` its log-likelihoods and its numbers."""
    loaded["tasks"]["names"].set_fewshot_seed(seed=harness.SEED)
    found: Any = evaluate(lm=lm, task_dict=dict(loaded), samples={"names": questions}, bootstrap_iters=1)
    rows = found["samples"]["names"]
    return {row["doc_id"]: ([response[0][0] for response in row["resps"]], row["acc"], row["acc_norm"]) for row in rows}


def fastest(theirs: dict[int, Any], loaded: Any) -> int:
    """The batch by which the first questions take least time."""
    spent = {}
    for size, lm in theirs.items():
        scored(lm, loaded, [0])
        began = time.process_time()
        scored(lm, loaded, list(range(FIRST)))
        spent[size] = time.process_time() - began
    return min(spent, key=lambda size: spent[size])


def measure(folder: str, loaded: Any, precision: str, count: int, pairs: int) -> dict[str, Any]:
    """The measurement in one precision."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, precision)).eval()
    place: dict[str, Any] = {"context": 2048, "device": torch.device("cpu"), "precision": torch.autocast("cpu", enabled=False)}
    ours = harness.InMemory(model, tokenizer, **place)
    theirs = {size: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, max_length=2048) for size in BATCHES}
    harness.scores(ours, loaded, most=1)  # registers ours, and warms it
    batch = fastest(theirs, loaded)
    parts = [list(range(part, count, pairs)) for part in range(pairs)]
    rows: dict[str, dict[int, Any]] = {"ours": {}, "theirs": {}}
    ways = {"ours": lambda pair: scored(ours, loaded, parts[pair]), "theirs": lambda pair: scored(theirs[batch], loaded, parts[pair])}
    found = alternating(ways, pairs, lambda who, _, told: rows[who].update(told))
    apart = [abs(a - b) for one in range(count) for a, b in zip(rows["ours"][one][0], rows["theirs"][one][0], strict=True)]
    means = {who: [sum(row[place] for row in each.values()) / count for place in (1, 2)] for who, each in rows.items()}
    return {
        "questions": count,
        "requests": len(apart),
        "batch_of_theirs": batch,
        **found,
        "apart": max(apart),
        "accuracy": {who: dict(zip(("acc", "acc_norm"), each, strict=True)) for who, each in means.items()},
    }


def main(folder: str, emoji: str, count: int = 200, pairs: int = 8, precisions: str = "float32+bfloat16") -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, harness.offline():
        loaded = harness.load_tasks([str(write_task(Path(emoji), Path(name), count))])
        found = {one: measure(folder, loaded, one, count, pairs) for one in precisions.split("+")}
    known = json.loads(KNOWN.read_text())["result"] if KNOWN.is_file() else {}
    return {**known, "asked": ASKED, f"{count} questions": found}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:3], *map(int, sys.argv[3:5]), *sys.argv[5:]), indent=1))
