"""Our loop against a bare loop, transformers' Trainer and Lightning: same model, batches, precision, optimizer and threads.

Ratios of time per step, interleaved repetitions in one process. ``python benchmarks/loop.py`` prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh
from windtunnel.recipe import recipe_from
from windtunnel.slots import Progress
from windtunnel.train import loop, machine
from windtunnel.train.log import RunContext, RunState
from windtunnel.train.phase import PhaseRun
from windtunnel.train.prepare import prepare
from windtunnel.train.step import draw, loader_of

STEPS, WARM, REPETITIONS = 20, 4, 4


def recipe(steps: int, separate: bool = False, **fields: Any) -> Any:
    return recipe_from(
        {
            "corpus": {"code": "builtin:docstrings"},
            "budget": {"steps": steps},
            "model": {"depth": 8, "width": 256, "layers": 5},
            "context": 256,
            "batch": 8,
            "packing": {"concatenate": {"separate": separate}},
            "schedule": "constant",
            "precision": "float32",
            "evaluate_every": 1.0,
            "evaluation_tokens": 300,
            **fields,
        }
    )


def tensors(flight_recipe: Any, stream: Any, steps: int) -> list[dict[str, torch.Tensor]]:
    """The very batches our loop draws: ``packing: {concatenate: {separate: false}}``, as the other trainers know no documents."""
    phase = flight_recipe.phases[0]
    progress = Progress(0, 1, 0, 1, phase.batch, 0.0, 0.0, 0)
    run_context = RunContext(folder=Path(), device=torch.device("cpu"), precision=contextlib.nullcontext)
    drawing: Any = {"optimizer": None, "model": None, "states": {}, "models": {}, "phase": phase, "parts": {}}
    phase_run = PhaseRun(flight_recipe, 0, 0, stream, run_context, RunState(), loader_of(phase, stream, 0, {}), **drawing)
    drawn = [draw(phase_run, replace(progress, step=step)) for step in range(steps)]
    return [{name: torch.as_tensor(value) for name, value in batch.items()} for batch in drawn]


def ours(flight_recipe: Any, stream: Any, device: torch.device) -> float:
    """Seconds a step, from the loop's own stopwatch between the first logged step after warming up and the last."""
    with tempfile.TemporaryDirectory() as folder:
        run_context = RunContext(folder=Path(folder), device=device, precision=machine.precision_context(device, "float32"))
        loop.train(flight_recipe, 0, stream, run_context)
        lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["step"] >= WARM)
    return (lines[-1]["seconds"] - first["seconds"]) / (lines[-1]["step"] - first["step"])


def bare(model: Any, batches: list[dict[str, torch.Tensor]]) -> float:
    """Forward, cross entropy, backward, clip, step: what no trainer can leave out."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    began = 0.0
    model.train()
    for step, batch in enumerate(batches):
        if step == WARM:
            began = time.perf_counter()
        logits = forward(model, batch["tokens"], batch.get("documents"), batch.get("positions")).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=-100)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (time.perf_counter() - began) / (len(batches) - WARM)


class Tokens(torch.utils.data.Dataset):
    """Sequences one by one, as the trainers want them."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        self.rows = [row for batch in batches for row in batch["tokens"]]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def trainer(model: Any, batches: list[dict[str, torch.Tensor]], size: int) -> float:
    """transformers' Trainer, fused AdamW, no logging, no saving."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    stamps: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=size,
            max_steps=len(batches),
            use_cpu=not torch.cuda.is_available(),
            optim="adamw_torch_fused",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            max_grad_norm=1.0,
        )
        Trainer(model=model, args=arguments, train_dataset=Tokens(batches), callbacks=[Clock()]).train()
    return (stamps[-1] - stamps[WARM - 1]) / (len(stamps) - WARM)


def lightning(model: Any, batches: list[dict[str, torch.Tensor]], size: int) -> float:
    """Lightning's Trainer, fused AdamW, no logging, no saving."""
    import lightning

    stamps: list[float] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
            return self.model(**batch).loss

        def on_train_batch_end(self, *_: Any) -> None:
            stamps.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)

    runner = lightning.Trainer(
        max_steps=len(batches),
        accelerator="cpu" if not torch.cuda.is_available() else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )
    runner.fit(Module(), torch.utils.data.DataLoader(Tokens(batches), batch_size=size))
    return (stamps[-1] - stamps[WARM - 1]) / (len(stamps) - WARM)


def main() -> dict[str, Any]:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    flight_recipe = recipe(STEPS)
    with tempfile.TemporaryDirectory() as cache:
        stream = prepare(flight_recipe, Path(cache))
        batches = tensors(flight_recipe, stream, STEPS)
        phase = flight_recipe.phases[0]
        config = config_for(phase.model, stream.facts, phase.context)
        times: dict[str, list[float]] = {"ours": [], "bare": [], "trainer": [], "lightning": [], "ours_masking_documents": []}
        for _ in range(REPETITIONS):
            times["bare"].append(bare(fresh(config, 0), batches))
            times["ours"].append(ours(flight_recipe, stream, device))
            times["trainer"].append(trainer(fresh(config, 0), batches, phase.batch))
            times["lightning"].append(lightning(fresh(config, 0), batches, phase.batch))
            times["ours_masking_documents"].append(ours(recipe(STEPS, separate=True), stream, device))
        with tempfile.TemporaryDirectory() as folder:
            run_context = RunContext(folder=Path(folder), device=device, precision=machine.precision_context(device, "float32"))
            phase_run, _ = loop.train(recipe(2), 0, stream, run_context)
    peak = machine.matmul_rate(device, torch.float32, seconds=1.0)
    median = {name: statistics.median(values) for name, values in times.items()}
    pairs = {name: [ours / other for ours, other in zip(times["ours"], times[name], strict=True)] for name in times if name != "ours"}
    return {
        "seconds_per_step": median,
        "ours_over": {name: {"median": statistics.median(v), "min": min(v), "max": max(v)} for name, v in pairs.items()},
        "share_of_matmul_peak": phase_run.run_state.phases[0]["flops_per_step"] / median["ours"] / peak,
        "matmul_peak_flops": peak,
        "threads": torch.get_num_threads(),
        "steps": STEPS - WARM,
        "repetitions": REPETITIONS,
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # transformers prints its own summary
        found = main()
    json.dump(found, sys.stdout, indent=1)
    print()
