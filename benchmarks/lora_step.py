"""Our step of LoRA beside that of peft and transformers' Trainer: the same model, batches, matrices, rank, optimizer and one thread.

``python benchmarks/lora_step.py MODEL [PAIRS [BATCH [CONTEXT]]]`` prints JSON: the ratio of CPU seconds of steps by turns in one process
(at most 0.9 is asked), and of peak memory, each side in a process of its own (at most 0.8). MODEL is a folder that transformers loads.
Each side computes in what is fastest for it: ours in float32 or under autocast with fused attention or plain products, theirs in float32,
under autocast or with frozen weights in bfloat16, with either attention (`eager` in transformers), all without
compiling. ``causes`` has CPU seconds of our step with one thing less.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from beside_trainer import WARM, batches, by_turns, opened, trained

from windtunnel.kits.text import predict
from windtunnel.train.variant import step_seconds

ASKED = {"ratio": 0.9, "memory": 0.8}
OURS = {"float32": ("float32", "sdpa"), "bfloat16": ("bfloat16", "sdpa"), "bfloat16, products": ("bfloat16", "products")}
THEIRS: dict[str, dict[str, Any]] = {"float32": {}, "autocast": {"bf16": True}, "bfloat16 weights": {"bf16": True}}
THEIRS |= {f"{way}, eager": arguments for way, arguments in THEIRS.items()}


def ours(folder: str, batch: int, context: int) -> dict[str, Any]:
    """The recipe."""
    return {
        "corpus": {"prose": {"files": {"path": str(Path(__file__).parents[1] / "docs"), "glob": "*.md"}}},
        "split": {"validation": 0.2, "test": 0.2},
        "start": {"checkpoint": {"model": folder}},
        "structure": {"lora": {"rank": 8, "alpha": 16}},
        "context": context,
        "batch": batch,
        "packing": {"concatenate": {"separate": False}},
        "optimizer": {"adamw": {"learning_rate": 5e-5}},
    }


def theirs(folder: str, way: str) -> Any:
    """The same model with peft's adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if way.startswith("bfloat16 weights") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager" if way.endswith("eager") else "sdpa")
    return get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))


def examples(drawn: list[dict[str, torch.Tensor]]) -> list[dict[str, Any]]:
    """One row each, as Trainer wants them."""
    return [{"input_ids": row, "labels": row} for batch in drawn for row in batch["tokens"]]


def resident(key: str) -> int:
    """VmRSS or VmHWM (the highest since it was last cleared) of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def chosen(folder: str, batch: int, context: int) -> tuple[str, str, dict[str, Any]]:
    """What is fastest for ours and for theirs, and the CPU seconds of a step of each way."""
    found: dict[str, dict[str, float]] = {"ours": {}, "theirs": {}}
    for way, (precision, attention) in OURS.items():
        with opened(ours(folder, batch, context), precision, attention) as phase_run:
            drawn = batches(phase_run, 2)
            found["ours"][way] = min([step_seconds(phase_run) for _ in range(2)][1:])
    for way, arguments in THEIRS.items():
        found["theirs"][way] = min(trained(theirs(folder, way), examples(drawn), batch, 2, lambda: None, **arguments)[1:])
    best = {who: min(ways, key=lambda way: ways[way]) for who, ways in found.items()}
    return best["ours"], best["theirs"], found


def peak(who: str, way: str, folder: str, batch: int, context: int) -> int:
    """Bytes that three steps held at most, above what a process with everything imported holds."""
    import peft  # noqa: F401
    from transformers import Trainer  # noqa: F401

    with opened({**ours(folder, batch, context), "start": "scratch", "structure": None, "model": {"depth": 1}}, "float32") as phase_run:
        step_seconds(phase_run)  # libraries load before memory is looked at
    before = resident("VmRSS")
    if who == "ours":
        with opened(ours(folder, batch, context), *OURS[way]) as phase_run:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of reading the model
            for _ in range(3):
                step_seconds(phase_run)
            return resident("VmHWM") - before
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(49152, (3 * batch, context))]
    model = theirs(folder, way)
    Path("/proc/self/clear_refs").write_text("5")
    trained(model, rows, batch, 3, lambda: None, **THEIRS[way])
    return resident("VmHWM") - before


def peaks(words: list[str], ways: dict[str, str]) -> dict[str, int]:
    """The peak of each side in a process of its own."""
    found = {}
    for who, way in ways.items():
        done = subprocess.run([sys.executable, __file__, "peak", who, way, *words], stdout=subprocess.PIPE, text=True, check=True)
        found[who] = int(done.stdout.split()[-1])
    return found


@contextlib.contextmanager
def whole_logits() -> Iterator[None]:
    """Let the logits of a step be held whole."""
    with mock.patch.object(predict, "LARGE", 1 << 62):
        yield


def causes(phase_run: Any, pairs: int) -> dict[str, float]:
    """CPU seconds of our step by turns as it is and with whole logits, the median of each."""
    seconds: dict[str, list[float]] = {"as it is": [], "logits held whole": []}
    for _ in range(pairs):
        for way, given in (("as it is", contextlib.nullcontext), ("logits held whole", whole_logits)):
            with given():
                seconds[way].append(step_seconds(phase_run))
    return {way: statistics.median(each) for way, each in seconds.items()}


def main(folder: str, pairs: int = 8, batch: int = 8, context: int = 128) -> dict[str, Any]:
    torch.set_num_threads(1)
    best, other, steps = chosen(folder, batch, context)
    with opened(ours(folder, batch, context), *OURS[best]) as phase_run:
        rows = examples(batches(phase_run, pairs + WARM))
        found = by_turns(theirs(folder, other), rows, batch, lambda: step_seconds(phase_run), pairs, **THEIRS[other])
        why = causes(phase_run, 3)
    memory = peaks([folder, str(batch), str(context)], {"ours": best, "theirs": other})
    return {
        "asked": ASKED,
        "batch": batch,
        "context": context,
        "ways": {"ours": best, "theirs": other},
        "cpu_seconds_of_ways": steps,
        **found,
        "causes": why,
        "peak_bytes": memory,
        "memory_ratio": memory["ours"] / memory["theirs"],
    }


if __name__ == "__main__":
    if sys.argv[1] == "peak":
        torch.set_num_threads(1)
        print(peak(*sys.argv[2:5], *map(int, sys.argv[5:])))
    else:
        began = time.time()
        with contextlib.redirect_stdout(sys.stderr):
            result = main(sys.argv[1], *map(int, sys.argv[2:]))
        print(json.dumps(result | {"seconds": time.time() - began}, indent=1))
