"""Going on from a checkpoint of 135M parameters: speed and memory against transformers' Trainer, cost of a checkpoint, time to begin.

``python benchmarks/continuing.py [MODEL]`` prints JSON. MODEL is whatever ``start: {checkpoint: MODEL}`` takes; without it a model with
SmolLM2's sizes, random weights and a small vocabulary is made. Each side runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH, CONTEXT, STEPS, WARM, REPETITIONS, CHECKPOINTED = 2, 256, 8, 2, 6, 3
SIZES = {"family": "llama", "layers": 30, "width": 576, "heads": 9, "key_value_heads": 3, "intermediate": 1536}


def recipe(model: str, steps: int) -> dict[str, Any]:
    return {
        "corpus": {"prose": "builtin:docstrings"},
        "budget": {"steps": steps},
        "start": {"checkpoint": model},
        "context": CONTEXT,
        "batch": BATCH,
        "packing": {"concatenate": {"separate": False}},  # as the Trainer knows no documents
        "schedule": "constant",
        "optimizer": {"adamw": {"learning_rate": 1e-5}},
        "precision": "float32",
        "compile": "no",
        "evaluate_every": 1.0,
        "evaluation_tokens": 300,
        "test_tokens": 300,
    }


def made(folder: Path) -> str:
    """A model of SmolLM2's sizes with the tokenizer of a small run, as a folder."""
    from windtunnel.models.init import config_for, fresh
    from windtunnel.models.save import export
    from windtunnel.models.settings import ModelSettings
    from windtunnel.recipe import recipe_from
    from windtunnel.train.prepare import prepare

    first = recipe_from({"corpus": {"prose": "builtin:docstrings"}, "budget": {"steps": 1}, "tokenizer": {"sentinels": 0}})
    stream = prepare(first, folder / "cache")
    config = config_for(ModelSettings.model_validate(SIZES), stream.facts, 2048)
    return str(export(fresh(config, 0), folder / "made", tokenizer=stream.encoding.processor(stream, ())))


def ours(model: str, folder: Path, checkpoint_seconds: float) -> dict[str, float]:
    """Our loop by its own stopwatch, and by the clock what a step takes with everything between two of them (checkpoints)."""
    import torch

    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train import loop, machine
    from windtunnel.train.log import RunContext
    from windtunnel.train.prepare import prepare

    flight = resolve(recipe_from(recipe(model, STEPS)))
    stream = prepare(flight, folder / "cache")
    stamps: dict[int, float] = {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run_context = RunContext(
        folder=folder / "run",
        device=device,
        precision=machine.precision_context(device, "float32"),
        checkpoint_seconds=checkpoint_seconds,
        report=lambda told: stamps.setdefault(told["step"], time.perf_counter()),
    )
    run_context.folder.mkdir(parents=True, exist_ok=True)
    loop.train(flight, 0, stream, run_context)
    lines = [json.loads(line) for line in (run_context.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    first = next(line for line in lines if line["step"] >= WARM)
    return {
        "seconds_per_step": (lines[-1]["seconds"] - first["seconds"]) / (lines[-1]["step"] - first["step"]),
        "clock_per_step": (stamps[STEPS] - stamps[WARM]) / (STEPS - WARM),
    }


def trainer(model: str, folder: Path) -> dict[str, float]:
    """transformers' Trainer on the same sequences, fused AdamW, float32, no logging, no saving."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from windtunnel.recipe import recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.slots import Progress
    from windtunnel.train.log import RunContext, RunState
    from windtunnel.train.phase import PhaseRun
    from windtunnel.train.prepare import prepare
    from windtunnel.train.step import draw, loader_of

    flight = resolve(recipe_from(recipe(model, STEPS)))
    stream = prepare(flight, folder / "cache")
    run_context = RunContext(folder=folder, device=torch.device("cpu"), precision=lambda: None)
    drawing: Any = {"optimizer": None, "model": None, "states": {}, "models": {}, "phase": flight.phases[0], "parts": {}}
    phase_run = PhaseRun(flight, 0, 0, stream, run_context, RunState(), loader_of(flight.phases[0], stream, 0, {}), **drawing)
    rows = [row for step in range(STEPS) for row in draw(phase_run, Progress(step, STEPS, 0, 1, BATCH, 0.0, 0.0, 0))["tokens"]]
    data = [{"input_ids": torch.as_tensor(row), "labels": torch.as_tensor(row)} for row in rows]
    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    arguments = TrainingArguments(
        str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        use_cpu=not torch.cuda.is_available(),
        optim="adamw_torch_fused",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    Trainer(model=network, args=arguments, train_dataset=data, callbacks=[Clock()]).train()  # type: ignore[arg-type]
    return {"seconds_per_step": (stamps[-1] - stamps[WARM - 1]) / (STEPS - WARM)}


def alone(side: str, model: str, cache: Path) -> dict[str, float]:
    """``side`` in a process of its own."""
    words = [sys.executable, __file__, "--side", side, model, str(cache)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def begins(model: str, folder: Path) -> dict[str, float]:
    """Seconds from the command to its first step, and to the end of it, on text that is prepared."""
    import yaml

    file, out = folder / "recipe.yaml", folder / "begins"
    file.write_text(yaml.safe_dump(recipe(model, 1)), encoding="utf-8")
    began = time.perf_counter()
    words = [sys.executable, "-m", "windtunnel.commands.main", "train", str(file), "--out", str(out), "--cache", str(folder / "cache")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = out / "log.jsonl"
    while not (log.exists() and log.stat().st_size) and process.poll() is None:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    process.wait()
    step = json.loads(log.read_text(encoding="utf-8").splitlines()[0])["seconds"]
    return {"seconds_to_first_step": seconds - step, "seconds_to_its_end": seconds}


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main(model: str | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        given, model = model, model or made(folder)
        sides: dict[str, list[dict[str, float]]] = {"ours": [], "trainer": []}
        for repetition in range(REPETITIONS):
            for side in sorted(sides, reverse=bool(repetition % 2)):  # what a side leaves behind in the machine falls on both
                sides[side].append(alone(side, model, folder))
        pairs = list(zip(sides["ours"], sides["trainer"], strict=True))
        step = statistics.median(one["seconds_per_step"] for one in sides["ours"])
        lost, waits = [], []
        for _ in range(CHECKPOINTED):
            never, often = alone("ours", model, folder), alone("ours_with_checkpoints", model, folder)
            lost.append((often["clock_per_step"] - never["clock_per_step"]) * (STEPS - WARM) / often["checkpoints"])
            waits.append(often["waited"] / often["checkpoints"])
        first = begins(model, folder)
    return {
        "model": Path(given).name if given else "SmolLM2's sizes, random weights",
        "tokens_per_second": BATCH * CONTEXT / step,
        "ours_over_trainer": {
            key: spread(ratios)
            for key, ratios in {
                "seconds_per_step": [one["seconds_per_step"] / other["seconds_per_step"] for one, other in pairs],
                "peak_memory": [one["peak_bytes"] / other["peak_bytes"] for one, other in pairs],
            }.items()
        },
        "peak_bytes": {side: statistics.median(one["peak_bytes"] for one in found) for side, found in sides.items()},
        **first,
        "checkpoint": {
            "seconds_lost": spread(lost),
            "share_of_a_minute": spread([seconds / 60 for seconds in lost]),
            "seconds_training_waits": spread(waits),
        },
        "batch": BATCH,
        "context": CONTEXT,
        "steps": STEPS - WARM,
        "repetitions": REPETITIONS,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _, _, side, given, cache = sys.argv
        with tempfile.TemporaryDirectory() as work:
            (Path(work) / "cache").symlink_to(Path(cache) / "cache")
            waits: list[float] = []  # for checkpoints between the two instants that the clock is read at
            from windtunnel.train import checkpoint

            begin = checkpoint.Writer.begin

            def timed(writer: checkpoint.Writer, name: str, state: dict[str, Any]) -> None:
                began = time.perf_counter()
                begin(writer, name, state)
                if WARM <= int(name.rpartition("-")[2]) < STEPS:
                    waits.append(time.perf_counter() - began)

            checkpoint.Writer.begin = timed  # type: ignore[method-assign]
            if side == "trainer":
                found = trainer(given, Path(work))
            else:  # with checkpoints: one whenever that before has reached the disk
                found = ours(given, Path(work), 0.0 if side == "ours_with_checkpoints" else 1e9)
        found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
        found |= {"checkpoints": float(len(waits)), "waited": sum(waits)}
        print(json.dumps(found))
    else:
        json.dump(main(*sys.argv[1:2]), sys.stdout, indent=1)
        print()
