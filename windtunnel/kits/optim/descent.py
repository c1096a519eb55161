"""The steps by which a small network is trained, and the curves along which their rate falls. Reading this loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WARMUP = 0.05  # of the steps


def take_steps(
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[int], torch.Tensor],
    steps: int,
    factor: Callable[[int, int], float] | None = None,
    *,
    clip: float | None = None,
) -> float:
    """The loss at the last of ``steps`` on ``loss_of(step)``, counted from 0; 0 where there is no step.

    A step's learning rate is the one that ``optimizer`` came with, times ``factor(step, steps)``; without ``factor`` it stays as it is.
    It is set before the loss is asked for. ``clip`` is as in :func:`take_step`.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    last = None
    for step in range(steps):
        if factor is not None:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(step, steps)
        last = loss_of(step)
        take_step(optimizer, last, clip=clip)
    return 0.0 if last is None else float(last.detach())


def take_step(optimizer: torch.optim.Optimizer, loss: torch.Tensor, *, clip: float | None = None) -> None:
    """One step down the gradient of ``loss`` alone; with ``clip`` all gradients together have at most this norm."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        from torch.nn.utils import clip_grad_norm_

        clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], clip)
    optimizer.step()


def falling(step: int, steps: int) -> float:
    """In one line from 1 to nothing, which the step behind the last would have."""
    return 1 - step / steps


def falling_to_a_tenth(step: int, steps: int) -> float:
    """In one line from 1 to a tenth, which the step behind the last would have."""
    return 1 - 0.9 * step / steps


def warmed_cosine(step: int, steps: int) -> float:
    """Up in a line for a twentieth of the steps, and from there under the cosine that falls from 1 at the first step to nothing."""
    warm = max(1, round(WARMUP * steps))
    # The quotient comes first: multiplied the other way round, some rates differ in their last bit, and committed numbers with them.
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * (step / steps))))
