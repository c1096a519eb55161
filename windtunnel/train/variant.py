"""How this machine computes a step: chosen once, by timing the real step, for a study or a single run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import Budget, Recipe
from windtunnel.train.estimate import estimate

if TYPE_CHECKING:
    import torch

    from windtunnel.data.stream import Stream
    from windtunnel.train.phase import PhaseRun

WORTH_TIMING = 60.0  # seconds of training, at the rate below, under which timing, which takes about three, is not worth it
SLOW = 2e10  # FLOPs per second that any machine reaches
WORTH_COMPILING = 900.0  # seconds of training, as timed, under which it is not tried: a study of 560 took 706 CPU seconds so, 711 without
WORTH_UNTRIED = 600.0  # seconds of training, as estimated, from which on a model of eight layers is compiled where nothing can be timed
BEGINNING = 5.0  # times as long as here, a process of its own takes to begin compiled steps: 17 s against 3.3 s at a width of 64
MARGIN = 0.97  # of the seconds of a step: what is less faster than this is not chosen, so that near ties end the same way every time
SCORES = 1 << 30  # bytes of attention scores that a step may keep where products hold them
ROUNDS = 3


def choose(
    recipe: Recipe, stream: Stream, device: torch.device, *, flops: float | None = None, runs: int = 1, beginnings: int | None = None
) -> Variant:
    """The variant for ``recipe``: what it says, and where it says ``auto`` what is fastest here.

    The step of the first phase is timed in each precision and with each kind of attention, in turns; the usual one (float32, fused
    attention) is kept unless another saves 3 %. Then it is compiled, if what all runs save repays what compiling takes.

    Args:
        recipe: of the run, or of the baseline of a study.
        stream: the prepared data of ``recipe``.
        device: where runs are computed.
        flops: that all runs together will take (default: what is estimated for one run of ``recipe``).
        runs: how many runs are flown with it.
        beginnings: how often a process begins compiled steps, from what is cached on disk: every worker once for each shape of its runs
            (default: every run).

    On an accelerator, and with several ranks, attention is the fused one.
    """
    from windtunnel.train import ranks

    if "auto" not in (recipe.precision, recipe.compile):
        return recipe.variant(Variant())
    if flops is None:
        flops = estimate(recipe)["flops"] if recipe.budget.unit != "seconds" else recipe.budget.amount * SLOW
    if flops / SLOW < WORTH_TIMING:
        return recipe.variant(Variant())
    if ranks.count() > 1:
        return recipe.variant(unmeasured(recipe, device, flops))
    try:
        with trial(recipe, stream, device) as phase_run:
            return recipe.variant(by_the_clock(recipe, device, phase_run, flops, runs, beginnings or runs))
    except UserError:
        return recipe.variant(Variant())  # a recipe that cannot be flown: its runs will say why, each in its record


def by_the_clock(recipe: Recipe, device: torch.device, phase_run: PhaseRun, flops: float, runs: int, beginnings: int) -> Variant:
    """What is fastest for ``runs`` runs that take ``flops`` together, by the steps of ``phase_run``."""
    seconds = timed(phase_run, candidates(recipe, device, phase_run))
    chosen = fastest(seconds)
    steps = flops / phase_run.cost.step["flops"]
    if recipe.budget.unit == "seconds":
        steps = runs * recipe.budget.amount / seconds[chosen]
    if recipe.compile == "auto" and steps * seconds[chosen] > WORTH_COMPILING and able_to_compile(device):
        cold, warm, compiled = timed_compiled(phase_run, chosen)
        if compiled < MARGIN * seconds[chosen] and cold + beginnings * BEGINNING * warm < steps * (seconds[chosen] - compiled):
            return chosen.model_copy(update={"compiled": True})
    return chosen


def unmeasured(recipe: Recipe, device: torch.device, flops: float) -> Variant:
    """The variant of ``recipe`` by the machine's rates of large products alone, where no step can be timed: of several ranks."""
    from windtunnel.train import machine, ranks

    known = ranks.broadcast(machine.rates(device) if not ranks.rank() else None)
    precision = known["precision"] if recipe.precision == "auto" else recipe.precision
    # A third of the matmul rate is what small models reach.
    seconds = flops / (ranks.count() * known[precision] / 3)
    layers = max(phase.model.sizes().layers for phase in recipe.phases)  # what compiling takes grows with them
    return Variant(precision=precision, compiled=seconds > WORTH_UNTRIED * max(1.0, layers / 8) and able_to_compile(device))


def candidates(recipe: Recipe, device: torch.device, phase_run: PhaseRun) -> list[Variant]:
    """What may be chosen for ``recipe``, not compiled, the usual one first. bfloat16 is left out where the machine multiplies it slower."""
    from windtunnel.train import machine

    precisions: list[Any] = [recipe.precision] if recipe.precision != "auto" else ["float32"]
    if recipe.precision == "auto":
        known = machine.rates(device)
        precisions += ["bfloat16"] if known["bfloat16"] > known["float32"] else []
    attentions = ["sdpa"]
    if device.type == "cpu" and scores_of(phase_run) < SCORES:
        attentions += ["products"]
    return [Variant(precision=precision, attention=attention) for precision in precisions for attention in attentions]


def scores_of(phase_run: PhaseRun) -> float:
    """Bytes of the attention scores that one forward pass keeps for its backward pass, twice: before and after the softmax."""
    sizes, facts = phase_run.phase.model.sizes(), phase_run.stream.facts
    number, positions = phase_run.phase.model.family.inputs(facts, phase_run.phase.context)
    return 2 * 4.0 * phase_run.micro_batch * number * sizes.layers * sizes.heads * positions**2


def fastest(seconds: Mapping[Variant, float]) -> Variant:
    """The variant whose step takes the fewest ``seconds``; an earlier one where it is within :data:`MARGIN` of that."""
    least = min(seconds.values())
    return next(variant for variant, each in seconds.items() if MARGIN * each <= least)


@contextmanager
def trial(recipe: Recipe, stream: Stream, device: torch.device, variant: Variant | None = None, index: int = 0) -> Iterator[PhaseRun]:
    """Phase ``index`` of ``recipe`` ready for its steps, from fresh weights, in a folder of its own that goes afterwards.

    It is computed as ``variant`` says (default: in float32, with fused attention), but never compiled.

    Parts that hold other models are left out: those may not have been flown yet, and what they add is the same in every variant.
    """
    import torch

    from windtunnel.train import machine
    from windtunnel.train.log import RunContext, RunLog, RunState
    from windtunnel.train.phase import PhaseRun

    machine.keep_freed_memory()  # as runs do, whose steps are to be timed
    phase, own = recipe.phases[index], variant or Variant()
    plain: dict[str, Any] = {
        key: None for key in ("weighting", "selection", "structure") if (part := getattr(phase, key)) and part.trained()
    }
    plain |= {key: tuple(part for part in getattr(phase, key) if not part.trained()) for key in ("losses", "after_step")}
    phase = phase.model_copy(update={**plain, "share": 1.0, "start": None})
    measured = tuple(part for part in recipe.evaluations if not part.trained())
    alone = recipe.model_copy(update={"phases": (phase,), "budget": Budget(steps=1000), "limits": {}, "evaluations": measured})
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), machine.repeatable():
        run_context, run_state = (
            RunContext(Path(folder), device, machine.precision_context(device, own.precision), own.attention),
            RunState(),
        )
        with RunLog(run_context, 0) as log:
            yield PhaseRun.open(alone, 0, stream, run_context, run_state, log, None, None)


def timed(phase_run: PhaseRun, variants: list[Variant]) -> dict[Variant, float]:
    """Seconds of a step in each of ``variants``, the least of :data:`ROUNDS`, taken in turns."""
    found: dict[Variant, float] = {}
    for attempt in range(ROUNDS + 1):
        for variant in variants:
            use(phase_run, variant)
            seconds = step_seconds(phase_run)
            if attempt:  # the first step of each only warms up
                found[variant] = min(seconds, found.get(variant, seconds))
    return found


def timed_compiled(phase_run: PhaseRun, variant: Variant) -> tuple[float, float, float]:
    """Seconds to compile the step of ``variant`` the first time here, to compile it again from the cache on disk, and of such a step."""
    import torch

    from windtunnel.train.compiled import compile_model, set_compiled

    use(phase_run, variant)
    before = []
    for _ in range(2):
        torch._dynamo.reset()
        compile_model(phase_run.model)
        before.append(step_seconds(phase_run, clock=time.perf_counter))
    step = min(step_seconds(phase_run) for _ in range(ROUNDS))
    set_compiled(phase_run.model, None)
    torch._dynamo.reset()
    return before[0], before[1], step


def use(phase_run: PhaseRun, variant: Variant) -> None:
    """Let the steps of ``phase_run`` be computed as ``variant`` says."""
    from windtunnel.models.attention import set_attention
    from windtunnel.train import machine

    precision = machine.precision_context(phase_run.run_context.device, variant.precision)
    phase_run.run_context = replace(phase_run.run_context, precision=precision)
    set_attention(phase_run.model, variant.attention)


def step_seconds(phase_run: PhaseRun, clock: Any = None) -> float:
    """Seconds of one step, by ``clock``: by default those of this process where it computes in one thread, else those of the wall."""
    import torch

    from windtunnel.train.step import clip, draw, gradients, set_rates, update

    device = phase_run.run_context.device
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = clock or (time.process_time if alone else time.perf_counter)
    began, progress = clock(), phase_run.progress()
    batch = draw(phase_run, progress)
    set_rates(phase_run, progress)
    gradients(phase_run, batch, progress)
    clip(phase_run)
    update(phase_run, progress)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    phase_run.run_state.step += 1
    return float(clock() - began)


def refuse_unable(variant: Variant, device: torch.device, where: str) -> None:
    """Raise UserError where this machine cannot compute ``variant``, with which ``where`` was begun."""
    import torch

    problem = None
    if variant.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        problem = "its accelerator has no bfloat16"
    if variant.compiled and not able_to_compile(device):
        problem = "it has no C++ compiler, which compiling a step needs"
    if problem:
        shown = f"{variant.precision}, {'compiled' if variant.compiled else 'not compiled'}"
        raise UserError(f"{where} was begun with another variant ({shown}) than this machine can compute: {problem}; choose another folder")


def able_to_compile(device: torch.device) -> bool:
    """Whether a step can be compiled here: on a CPU that takes a C++ compiler."""
    return device.type != "cpu" or any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++"))
