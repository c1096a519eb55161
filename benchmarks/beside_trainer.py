"""Our step beside one of transformers' Trainer, by turns in one process: what benchmarks of single steps share."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from paired import told
from torch.utils.data import Dataset

from windtunnel.models.attention import set_attention
from windtunnel.recipe import recipe_from
from windtunnel.recipe.resolve import resolve
from windtunnel.train import machine
from windtunnel.train.compiled import compile_model
from windtunnel.train.log import RunContext, RunLog, RunState
from windtunnel.train.measure import compile_step
from windtunnel.train.phase import PhaseRun
from windtunnel.train.prepare import prepare
from windtunnel.train.step import clip, draw, gradients, update

WARM = 2  # steps of each side before those that count


@contextlib.contextmanager
def opened(given: dict[str, Any], precision: str, attention: str = "sdpa", compiled: bool = False) -> Iterator[PhaseRun]:
    """The phase of a recipe ready for its steps, computed as is said."""
    recipe = resolve(
        recipe_from({"budget": {"steps": 1000}, "schedule": "constant", "evaluate_every": 1.0, "evaluation_tokens": 300, **given})
    )
    machine.keep_freed_memory()  # as runs do
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        stream = prepare(recipe, Path(cache))
        place = machine.precision_context(torch.device("cpu"), precision)
        run_context, run_state = RunContext(Path(folder), torch.device("cpu"), place, attention), RunState()
        with RunLog(run_context, 0) as log:
            phase_run = PhaseRun.open(recipe, 0, stream, run_context, run_state, log, None, None)
            set_attention(phase_run.model, attention)
            if compiled:
                compile_model(phase_run.model)
                compile_step(phase_run)
            yield phase_run


def batches(phase_run: PhaseRun, count: int) -> list[dict[str, torch.Tensor]]:
    """Batches that our loop draws, as tensors."""
    drawn = []
    for _ in range(count):
        drawn.append({name: torch.as_tensor(value) for name, value in draw(phase_run, phase_run.progress()).items()})
        phase_run.run_state.step += 1
    phase_run.run_state.step -= count
    return drawn


class Rows(Dataset):  # type: ignore[type-arg]
    """Examples one by one, which Trainer puts together."""

    def __init__(self, examples: list[dict[str, Any]]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[index]


def trained(model: Any, examples: list[dict[str, Any]], size: int, steps: int, between: Callable[[], Any], **arguments: Any) -> list[float]:
    """CPU seconds of each step of Trainer, from the end of the one before; ``between`` is called behind every one of them."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    seconds: list[float] = []

    class Turns(TrainerCallback):
        began = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.process_time() - self.began)
            between()
            self.began = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        chosen = TrainingArguments(
            folder,
            per_device_train_batch_size=size,
            max_steps=steps,
            use_cpu=True,
            optim="adamw_torch_fused",
            lr_scheduler_type="constant",
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            max_grad_norm=1.0,
            remove_unused_columns=False,
            **arguments,
        )
        Trainer(model=model, args=chosen, train_dataset=Rows(examples), callbacks=[Turns()]).train()
    return seconds


def by_turns(
    model: Any, examples: list[dict[str, Any]], size: int, ours: Callable[[], Any], pairs: int, **arguments: Any
) -> dict[str, Any]:
    """CPU and wall seconds of ``pairs`` steps of both, one of Trainer's and one of ours by turns, the first of each left out."""
    cpu: list[float] = []
    wall: list[float] = []

    def between() -> None:
        began, clock = time.process_time(), time.perf_counter()
        ours()
        cpu.append(time.process_time() - began)
        wall.append(time.perf_counter() - clock)

    theirs = trained(model, examples, size, pairs + WARM, between, **arguments)
    seconds = {"ours": cpu[WARM:], "theirs": theirs[WARM:]}
    return {"pairs": pairs, "cpu_seconds": seconds, "wall_seconds_of_ours": wall[WARM:], **told(seconds["ours"], seconds["theirs"])}


def stages(phase_run: PhaseRun, steps: int = 5) -> dict[str, float]:
    """CPU seconds of what our step consists of, the median of some steps each."""
    seconds: dict[str, list[float]] = {"draw": [], "gradients": [], "clip": [], "update": []}
    for _ in range(steps):
        progress, marks = phase_run.progress(), [time.process_time()]
        batch = draw(phase_run, progress)
        marks.append(time.process_time())
        gradients(phase_run, batch, progress)
        marks.append(time.process_time())
        clip(phase_run)
        marks.append(time.process_time())
        update(phase_run, progress)
        marks.append(time.process_time())
        for name, begin, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(end - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def plain_stages(model: Any, inputs: dict[str, torch.Tensor], autocast: bool, steps: int = 5) -> dict[str, float]:
    """The same of the model as transformers has it, without a trainer: what none can leave out."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    seconds: dict[str, list[float]] = {"gradients": [], "clip": [], "update": []}
    for _ in range(steps):
        marks = [time.process_time()]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**inputs).loss
        loss.backward()
        marks.append(time.process_time())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        marks.append(time.process_time())
        optimizer.step()
        marks.append(time.process_time())
        for name, begin, end in zip(seconds, marks, marks[1:], strict=False):
            seconds[name].append(end - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}
