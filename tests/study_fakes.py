"""Stand-ins for ``windtunnel.train.run.fly``: what a worker may meet, in milliseconds. Named by tests as ``study_fakes:NAME``."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from windtunnel.core.keys import Variant

BROKEN = 13  # the batch size that makes `measure` fail


def _record(recipe: Any, seed: int, folder: Path, status: str, value: float | None = None, seconds: float = 1.0) -> dict[str, Any]:
    flops = recipe.budget.amount
    record = {
        "format": 1,
        "key": recipe.key(seed, Variant()),
        "seed": seed,
        "recipe": recipe.model_dump(mode="json"),
        "status": status,
        "primary": "bits_per_byte",
        "unit": "bits per byte",
        "better": "lower",
        "phases": [{"parameters": {"total": 1000, "embedding": 300, "non_embedding": 700}}],
        "totals": {
            "steps": 5,
            "tokens": 640,
            "flops": flops,
            "effective_flops": flops,
            "seconds": seconds,
            "peak_memory_bytes": 1 << 20,
            "epochs": {"code": 0.5},
        },
        "validation": [{"step": 5, "phase": 0, "tokens": 640, "flops": flops, "seconds": seconds, "numbers": {"bits_per_byte": value}}],
        "test": {} if value is None else {"bits_per_byte": value, "bits_per_byte/code": value - 0.1},
        "samples": [{"source": "code", "prompt": "def ", "continuation": "f(", "truth": "g("}],
        "versions": {"windtunnel": "0"},
        "hardware": {"cores": 2, "pid": os.getpid()},
        "traceback": None,
    }
    if status == "finished":
        (folder / "model").mkdir(exist_ok=True)
        (folder / "model" / "config.json").write_text("{}")
    (folder / "record.json").write_text(json.dumps(record))
    return record


def _count(folder: Path) -> None:
    """Leave a mark for each time that a run was flown."""
    with open(folder / "flown", "a") as file:
        file.write("x")


def measure(recipe: Any, seed: int, stream: Any, folder: Path, *, report: Any, stop: Any, **_: Any) -> dict[str, Any]:
    """A law with noise that the seed decides: doubling the budget lowers the loss by 0.3; so does twice the context; a batch counts 0.01.

    Tuning has a best value: the clipping norm 2.
    """
    _count(folder)
    phase = recipe.phases[-1]
    if phase.batch == BROKEN:
        raise ValueError("the wing came off")
    report({"step": 1, "done": 0.5, "loss": 3.0, "flops": 1.0, "seconds": 0.1})
    noise = random.Random(seed).gauss(0, 0.05) + random.Random(f"{seed} {recipe.identity()}").gauss(0, 0.002)
    clip = 0.1 * abs(math.log2(phase.clip or 1) - 1)
    value = 3 - 0.3 * math.log2(recipe.budget.amount / 1e9) - 0.3 * math.log2(phase.context / 32) + 0.01 * (phase.batch - 4) + clip + noise
    return _record(recipe, seed, folder, "finished", value)


def explode(recipe: Any, seed: int, stream: Any, folder: Path, **_: Any) -> dict[str, Any]:
    _count(folder)
    raise ValueError("the wing came off")


def die(recipe: Any, seed: int, stream: Any, folder: Path, **_: Any) -> dict[str, Any]:
    _count(folder)
    os.write(2, b"last words\n")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def wait_for_stop(recipe: Any, seed: int, stream: Any, folder: Path, *, report: Any, stop: Any, **_: Any) -> dict[str, Any]:
    """Goes on until it is told to stop; the second time it is asked it finishes."""
    _count(folder)
    if (folder / "checkpoint").exists():
        return _record(recipe, seed, folder, "finished", 1.0)
    (folder / "checkpoint").write_text("half way")
    while not stop():
        report({"step": 1, "done": 0.1, "loss": 2.0, "flops": 1.0, "seconds": 0.1})
        time.sleep(0.02)
    return _record(recipe, seed, folder, "interrupted")


def meet(recipe: Any, seed: int, stream: Any, folder: Path, *, report: Any, stop: Any, **_: Any) -> dict[str, Any]:
    """Finishes only when two runs are under way at the same time."""
    (folder.parent / f"here-{seed}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.parent.glob("here-*"))) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("the other run never came")
        time.sleep(0.02)
    return _record(recipe, seed, folder, "finished", 1.0)


def loud(recipe: Any, seed: int, stream: Any, folder: Path, **_: Any) -> dict[str, Any]:
    """As `measure`, but with a batch of 5 noise drowns any effect, and with a batch of 6 the run of seed 4 fails."""
    _count(folder)
    phase = recipe.phases[-1]
    if (phase.batch, seed) == (6, 4):
        raise ValueError("the wing came off")
    noise = random.Random(seed).gauss(0, 0.05) + random.Random(f"{seed} {recipe.identity()}").gauss(0, 1.0 if phase.batch == 5 else 0.03)
    value = 3 - 0.3 * math.log2(recipe.budget.amount / 1e9) - 0.1 * math.log2(phase.context / 32) + noise
    return _record(recipe, seed, folder, "finished", value)
