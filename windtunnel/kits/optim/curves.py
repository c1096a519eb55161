"""The pieces that schedules are made of: a rise, a fall, and where on it a step lies.

The convention of every schedule here. Step ``t`` of ``T`` counts from 0. A rise is read at the end of the step, ``(t + 1) / T``, so
that the first step of a warm-up of ``W`` steps has the factor ``1 / W`` and never 0, and its last one the full peak. A fall is read at
the beginning of the step, ``t / T``, so that it starts from exactly where the rise ended and the last step is one short of the floor:
no step is spent at a rate of zero. Consecutive factors therefore never differ by more than one step of the curve itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from windtunnel.slots import Progress

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda u: 1 - u,
    "cosine": lambda u: (1 + math.cos(math.pi * u)) / 2,
    "sqrt": lambda u: 1 - math.sqrt(u),
}


def rise(progress: Progress, share: float) -> float | None:
    """The factor of a linear warm-up over the first ``share`` of the phase, above 0 up to 1; None once it is over."""
    if progress.done >= share:
        return None
    return min(1.0, (progress.done + 1 / max(1, progress.steps)) / share)


def rise_over(progress: Progress, tokens: float) -> float | None:
    """The factor of a linear warm-up over the first ``tokens`` of the phase, above 0 up to 1; None once it is over."""
    if progress.tokens >= tokens:
        return None
    return min(1.0, (progress.tokens + progress.step_tokens) / tokens)


def along(progress: Progress, begin: float, end: float) -> float:
    """How far the coming step lies between the shares ``begin`` and ``end`` of the phase, 0 to 1 (1 where they coincide)."""
    return min(1.0, max(0.0, (progress.done - begin) / (end - begin))) if end > begin else 1.0


def fall(shape: str, u: float, top: float, floor: float) -> float:
    """From ``top`` at ``u`` = 0 to ``floor`` at ``u`` = 1 along linear, cosine, sqrt (1 - sqrt(u)) or exponential (geometric).

    ``exponential`` multiplies by the same number at every step and so needs a ``floor`` above 0.
    """
    if shape == "exponential":
        return top * (floor / top) ** u
    return floor + (top - floor) * SHAPES[shape](u)
