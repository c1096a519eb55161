"""How fast the steps of a run are, how long they wait for data, what memory they take, and their share of the accelerator's peak."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from windtunnel.train import machine, ranks
from windtunnel.train.accelerators import named_by_driver
from windtunnel.train.spend import Account


@dataclass
class Mark:
    """A moment: of this process and, on an accelerator, of its queue, which lags behind."""

    host: float
    event: Any = None


class Speedometer:
    """Times the steps of a run without making any of them wait. Call ``drawn`` and ``made`` in turn, and ``read`` now and then."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        found = named_by_driver(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self.peak = found.peak if found else None  # FLOPs a second in bfloat16
        self.began, self.before = self.now(), Account()
        self.waited = self.waiting = self.tokens = self.flops = 0.0
        self.steps: list[tuple[Mark, Mark]] = []

    def now(self) -> Mark:
        """This moment."""
        if self.device.type != "cuda":
            return Mark(time.perf_counter())
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return Mark(time.perf_counter(), event)

    def drawn(self, account: Account, draw: Callable[..., Any], *where: Any) -> Any:
        """A step begins, before which ``account`` was spent, by drawing its batch: ``draw(*where)``, which is returned."""
        self.began, self.before = self.now(), account.standing()
        batch = draw(*where)
        self.waiting = time.perf_counter() - self.began.host
        return batch

    def made(self, account: Account) -> None:
        """The step is made, or queued, and is in ``account``."""
        self.steps.append((self.began, self.now()))
        self.waited += self.waiting
        self.tokens += account.tokens - self.before.tokens
        self.flops += account.flops - self.before.flops

    def read(self) -> dict[str, float]:
        """What the steps since the last reading were like; nothing where there were none.

        ``tokens_per_second`` and ``mfu`` (model FLOPs utilisation: the share of all ranks' dense bfloat16 peak, only on accelerators that
        :mod:`windtunnel.train.accelerators` knows) are over the time of steps alone, without evaluation and checkpoints. Of the seconds of
        single steps the median and the 95th percentile are told; ``data_share`` is the share of the time in which the batch was made,
        and ``memory_bytes`` the peak of this rank. The caller has waited for the last step.
        """
        if not self.steps:
            return {}
        seconds = sorted(self.between(*step) for step in self.steps)
        whole = sum(seconds) or 1e-9
        found = {
            "tokens_per_second": self.tokens / whole,
            "step_seconds": statistics.median(seconds),
            "step_seconds_95": seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))],
            "data_share": min(1.0, self.waited / whole),
            "memory_bytes": machine.peak_memory(self.device),
        }
        if self.peak:
            found["mfu"] = self.flops / whole / (self.peak * ranks.count())
        self.steps, self.waited, self.tokens, self.flops = [], 0.0, 0.0, 0.0
        return found

    def between(self, before: Mark, after: Mark) -> float:
        """Seconds from one moment to another, as the device had them."""
        if before.event is None or after.event is None:
            return after.host - before.host
        return float(before.event.elapsed_time(after.event)) / 1000
