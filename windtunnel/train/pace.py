"""How fast this machine flies a recipe: each phase is opened on a small stream and two real steps are timed, evaluation beside them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.core.keys import Variant
from windtunnel.recipe import Phase, Recipe, needed
from windtunnel.slots import Start
from windtunnel.train.spend import left_of
from windtunnel.train.variant import step_seconds, trial

if TYPE_CHECKING:
    import torch

    from windtunnel.data.stream import Stream
    from windtunnel.train.phase import PhaseRun

STEPS = 2
JUDGED = 2048  # tokens of each source that evaluation is timed on
STARTING = 5.0  # CPU seconds of :func:`starting` where this process cannot say
SAVING = 0.3  # CPU seconds of writing the record and a model of some million parameters


class Pace(NamedTuple):
    """What a phase takes here: CPU seconds of all its threads, which other processes hardly change; on an accelerator seconds."""

    open: float  # to build the model and count a step
    step: float  # one step
    flops: float  # of that step
    tokens: float  # of that step
    judged: float  # to evaluate one held-out token
    told: float  # to let the model write its samples
    parameters: float
    memory: float  # peak bytes


class Trip(NamedTuple):
    """What one run takes, models that it needs not included."""

    seconds: float  # as those of its paces: of all threads
    training: float  # of these, the steps
    steps: float
    tokens: float
    flops: float


def fresh() -> bool:
    """Whether this process has only just begun, so that what it takes to start can be read from its clock."""
    return "torch" not in sys.modules


def starting(began: bool) -> float:
    """CPU seconds that a process takes until it can train: those of this one where it has only just ``began``, else :data:`STARTING`."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    import windtunnel.train.run  # noqa: F401

    return time.process_time() if began else STARTING


def first_time(recipe: Recipe, stream: Stream, device: torch.device, variant: Variant) -> float:
    """CPU seconds that the first model and step of a process take: what libraries put off until then, and the usual time of it."""
    began = time.process_time()
    with trial(recipe, stream, device, variant) as phase_run:
        step_seconds(phase_run)
    return time.process_time() - began


def same_pace(recipe: Recipe, phase: Phase) -> str:
    """Equal for phases whose steps are the same arithmetic, however many there are, and with whatever rates and other fractions.

    The size of the vocabulary belongs to it, which is the encoding's of their ``recipe``, and how many sequences go through at a time.
    """
    plain = phase.model_copy(update={"share": 1.0, "start": None, "sources": None, "clip": phase.clip and 1.0, "rate_multiple": 1.0})
    dumped = plain.model_dump(mode="json", exclude={"schedule", "mixture", "optimizer"})
    knobs = {name: value for name, value in phase.optimizer.model_dump(mode="json").items() if not isinstance(value, float)}
    encoding = recipe.encoding.model_dump(mode="json")
    for knobs_of in encoding.values():  # how long a run was whose vocabulary it takes costs no step anything, and may not be known yet
        (knobs_of.get("recipe") or {}).pop("budget", None)
    return json.dumps([dumped, phase.optimizer.name, knobs, encoding, recipe.micro_batch], sort_keys=True)


def pace_of(recipe: Recipe, index: int, stream: Stream, device: torch.device, variant: Variant) -> Pace:
    """The pace of phase ``index`` of ``recipe``, in what ``variant`` says, but not compiled.

    Raises:
        UserError: where the phase cannot be flown on ``stream``.
    """
    from windtunnel.train.machine import PeakMemory

    memory, began = PeakMemory(device), time.process_time()
    with trial(recipe, stream, device, variant, index) as phase_run:
        opened = time.process_time() - began
        clock = time.process_time if device.type == "cpu" else None
        step = min(step_seconds(phase_run, clock) for _ in range(STEPS))  # opening it has made one already, to count it
        cost, tokens = phase_run.cost.step, phase_run.step_tokens
        judged, told = _judging(phase_run)
        return Pace(opened, step, cost["flops"], tokens, judged, told, cost["parameters"], memory.bytes(cost["memory"]))


def _judging(phase_run: PhaseRun) -> tuple[float, float]:
    """CPU seconds to evaluate a held-out token, and to write samples."""
    from windtunnel.train.phase import evaluate, judges

    short = phase_run.recipe.model_copy(update={"evaluation_tokens": JUDGED})
    judge = judges(short, short.phases[0], phase_run.stream, "validation", phase_run.run_context)
    tokens = sum(min(JUDGED, phase_run.stream.sizes("validation")[source]) for source in judge.sources)
    began = time.process_time()
    evaluate(phase_run.evaluations, phase_run.model, judge)
    between = time.process_time()
    phase_run.stream.encoding.samples(phase_run.model, judge)
    return (between - began) / max(1, tokens), time.process_time() - between


def budget_flops(recipe: Recipe, paces: Mapping[str, Pace]) -> float:
    """The FLOPs of a budget of tokens per parameter, by the steps that were counted."""
    return sum(
        recipe.allowance.amount * phase.share / (pace := paces[same_pace(recipe, phase)]).tokens * pace.flops for phase in recipe.phases
    )


def trip(recipe: Recipe, paces: Mapping[str, Pace], held_out: Mapping[str, float], threads: int = 1) -> Trip:
    """What one run of ``recipe`` takes, by the ``paces`` of its phases and of those that it needs.

    ``held_out`` is about how many tokens each source has in validation, and in test; the seconds of a pace pass ``threads`` at a time. A
    model that is asked at every step (a teacher) takes a forward pass, which is a third of its step's FLOPs and as fast as an evaluation
    of it.

    Raises:
        UserError: where the models that it needs cost all of its budget.
    """
    charged = dict.fromkeys(("tokens", "flops", "effective_flops", "seconds", "steps"), 0.0)
    for one in needed(recipe, curators=False).values():
        other = trip(one, paces, held_out, threads)
        own = {"tokens": other.tokens, "flops": other.flops, "effective_flops": other.flops, "seconds": other.training / threads}
        charged |= {unit: charged[unit] + amount for unit, amount in own.items()}
    budget = left_of(recipe.allowance, charged)
    unit, opened, training, steps, tokens, flops = budget.unit.removeprefix("effective_"), 0.0, 0.0, 0.0, 0.0, 0.0
    for phase in recipe.phases:
        pace = paces[same_pace(recipe, phase)]
        step, cost = pace.step, pace.flops
        for teacher in asked(phase):
            held = paces[same_pace(teacher, teacher.phases[-1])]
            step, cost = step + held.judged * pace.tokens, cost + held.flops / held.tokens / 3 * pace.tokens
        amount = budget.amount * phase.share
        own_steps = {"flops": amount / cost, "tokens": amount / pace.tokens, "steps": amount, "seconds": amount * threads / step}[unit]
        opened, training = opened + pace.open, training + own_steps * step
        steps, tokens, flops = steps + own_steps, tokens + own_steps * pace.tokens, flops + own_steps * cost
    times, last = 1 / recipe.evaluate_every, paces[same_pace(recipe, recipe.phases[-1])]
    judged = sum(times * min(recipe.evaluation_tokens, size) + min(recipe.test_tokens, size) for size in held_out.values())
    return Trip(opened + training + judged * last.judged + last.told + SAVING, training, steps, tokens, flops)


def asked(phase: Phase) -> list[Recipe]:
    """The recipes of the models that parts of ``phase`` hold while it trains."""
    held = [part.trained() for part in phase.parts() if not isinstance(part, Start)]
    return [one.recipe for models in held for one in models.values() if one.recipe is not None]
