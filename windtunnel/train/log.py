"""Where a run stands, what it is flown with, and what it writes down on the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from windtunnel.core.errors import Diverged
from windtunnel.core.part import Trained
from windtunnel.models.load import load
from windtunnel.recipe import Recipe
from windtunnel.slots import Progress
from windtunnel.train import ranks
from windtunnel.train.loggers import Logger
from windtunnel.train.speed import Speedometer
from windtunnel.train.spend import Account


@dataclass
class RunState(Account):
    """Where a run stands: the plain data of a checkpoint. ``step`` is within the phase, the other counts are over the whole run.

    ``tokens``, FLOPs and ``seconds`` include what the models that the run needs have cost.
    """

    phase: int = 0
    step: int = 0
    steps: int = 0
    targets: int = 0
    cursors: dict[str, int] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""  # why training ended before its budget

    @classmethod
    def after(cls, charged: Mapping[str, float]) -> RunState:
        """The beginning of a run whose needed models have cost ``charged``, by unit."""
        state = cls()
        state.pay(charged)
        return state


@dataclass
class RunContext:
    """What a run is flown with that does not change what it computes, save for the arithmetic of ``precision``."""

    folder: Path
    device: torch.device
    precision: Callable[[], Any]
    attention: str = "sdpa"
    compiled: bool = False
    report: Callable[[dict[str, Any]], None] = lambda _: None
    stop: Callable[[], bool] = lambda: False
    warn: Callable[[str], None] = lambda _: None
    loggers: tuple[Logger, ...] = ()
    checkpoint_seconds: float = 60.0
    mesh: DeviceMesh | None = None  # of several ranks, those that hold the model in shards; None: each holds it whole
    bfloat16: bool = False  # of a model in shards: its blocks' weights travel and compute so
    recompute: bool = False  # what blocks compute is made again for the backward pass, and not kept
    offload: bool = False  # of a model in shards: the parts of ranks wait in the machine's memory
    shorter: Mapping[Path, Recipe] = field(default_factory=dict)  # by folder, the runs of this recipe and seed with smaller budgets
    charged: Mapping[str, float] = field(default_factory=dict)  # what the models that the recipe needs cost, by unit
    cursors_of: Callable[[Trained, int], Mapping[str, int]] = lambda trained, seed: {}  # how far its run has read each source
    model_of: Callable[[Trained, int], Any] = lambda trained, seed: load(str(trained.folder), trained.fingerprint)
    processor_of: Callable[[Trained, int], Any] = lambda trained, seed: None


class RunLog:
    """The run's JSONL file, its loggers, the progress report, and the check that losses are finite.

    Losses stay on the device until a line is written, so that no step waits for them.
    """

    def __init__(self, run_context: RunContext, steps: int) -> None:
        self.run_context = run_context
        self.path = Path(os.devnull) if ranks.rank() else run_context.folder / "log.jsonl"
        self.finite = torch.ones((), dtype=torch.bool, device=run_context.device)
        self.highest: torch.Tensor | None = None  # loss since the last line
        self.speed = Speedometer(run_context.device)
        self.reported = 0.0
        if self.path.is_file():  # a resumed run writes the steps after its checkpoint again
            os.truncate(self.path, self._kept(self.path.read_bytes(), steps))
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (open for the whole run)

    @staticmethod
    def _kept(text: bytes, steps: int) -> int:
        """How many bytes from the beginning are whole lines of steps up to ``steps``; a kill may have cut off the last line."""
        kept = 0
        for line in text.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n") or json.loads(line)["step"] > steps:
                    break
            except (ValueError, KeyError, TypeError):
                break
            kept += len(line)
        return kept

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, run: RunState, loss: torch.Tensor, norm: torch.Tensor, rate: float, after: Progress, *, every: int) -> None:
        """Take note of a step; write a line for every ``every``-th and the last of a phase. ``after`` is where the run stands now."""
        last = after.done >= 1
        self.speed.made(run)
        self.finite &= torch.isfinite(loss) & torch.isfinite(norm)
        self.highest = loss if self.highest is None else torch.maximum(self.highest, loss)
        if run.step == 1 or last or run.step % every == 0:
            self.check()
            line = {
                "step": run.steps,
                "phase": run.phase,
                "loss": loss.item(),
                "highest": self.highest.item(),
                "learning_rate": rate,
                "gradient_norm": norm.item(),
            }
            line |= {"tokens": run.tokens, "flops": run.flops, "seconds": round(run.seconds, 3), "done": after.overall}
            speed = self.speed.read()
            self.highest = None
            self.file.write(json.dumps(line | {"speed": speed}) + "\n")
            self.file.flush()
            for logger in self.run_context.loggers:
                numbers = {key: line[key] for key in ("loss", "learning_rate", "gradient_norm")}
                logger.log(run.steps, numbers | {f"speed/{name}": value for name, value in speed.items()})
        now = time.monotonic()
        if now - self.reported > 0.5 or last:
            self.reported = now
            self.run_context.report(
                {"step": run.steps, "done": after.overall, "loss": loss.item(), "flops": run.flops, "seconds": run.seconds}
                | {"validation": run.validation[-1:]}
            )

    def numbers(self, step: int, numbers: dict[str, float]) -> None:
        """Hand validation numbers to the loggers."""
        for logger in self.run_context.loggers:
            logger.log(step, {f"validation/{name}": value for name, value in numbers.items()})

    def check(self) -> None:
        """Raise Diverged if any loss or gradient so far was not finite."""
        if not bool(self.finite):
            raise Diverged("the loss or its gradient is not finite any more; a lower learning rate, a longer warm-up or clipping may help")

    def close(self) -> None:
        """Close the file; the loggers belong to the caller."""
        self.file.close()
