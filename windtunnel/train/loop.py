"""The training loop: phases, then steps; get batch, loss, backward, clip, step, after-step, evaluate, checkpoint.

No technique's name occurs here, and nothing here assumes text: a batch is a dictionary of tensors with ``labels``.
"""

from __future__ import annotations

import copy
import json
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from windtunnel.core.errors import Diverged, UserError
from windtunnel.data.held_out import held_out
from windtunnel.data.stream import Stream
from windtunnel.models.build import config_for, fresh
from windtunnel.models.checkpoint import set_generation, written_generation
from windtunnel.parts.start.scratch import Scratch
from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import HeldOut, Progress
from windtunnel.train import checkpoint, ranks
from windtunnel.train.budget import left_of, steps_of
from windtunnel.train.log import RunContext, RunLog, RunState
from windtunnel.train.step import (
    PhaseRun,
    beginning,
    clip,
    draw,
    end_parts,
    gradients,
    loader_of,
    look_ahead,
    measure,
    reseed,
    set_rates,
    start_parts,
    take_variant,
    take_whole,
    update,
)


def train(recipe: Recipe, seed: int, stream: Stream, around: RunContext) -> tuple[Any, RunState, bool]:
    """Train ``recipe`` with ``seed``, going on from the newest whole checkpoint in the run's folder if there is one.

    Returns the model (dense, folded), where the run stands, and whether it is finished (False: it was asked to stop).

    Raises:
        UserError: for a recipe that cannot be flown on this stream or machine.
        Diverged: when the loss is not finite.
    """
    saved = checkpoint.newest(around.folder / "checkpoints", around.warn, around.device)
    flight = RunState(**saved["flight"]) if saved else RunState.after(around.charged)
    budget = left_of(recipe.budget, around.charged)
    log, writer = RunLog(around, flight.steps), checkpoint.Writer(around.folder / "checkpoints")
    model: Any = None
    moments: dict[str, Any] | None = None

    for index in range(flight.phase, len(recipe.phases)):
        phase = recipe.phases[index]
        before, shares = sum(p.share for p in recipe.phases[:index]), phase.share
        spent_before: dict[str, float] = {}
        model = begin(recipe, index, model, stream, seed, around, saved, spent_before)
        ranks.same_weights(model)
        if saved is None and phase.start is not None:
            for trained in phase.start.trained().values():  # weights go on with the documents that come after those they were trained on
                for source, read in around.cursors_of(trained, seed).items():
                    flight.cursors[source] = max(read, flight.cursors.get(source, 0))
        states, models = start_parts(phase, model, seed, around)
        optimizer = build_optimizer(phase, model, moments)
        leg = PhaseRun(recipe, index, seed, stream, loader_of(phase, stream, seed, flight.cursors), model, states, models, around)
        if saved:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            leg.states = saved["states"]
            leg.loader.load_state(saved["loader"])
            cost = saved["cost"]
            saved = None
        else:
            ahead = {unit: amount + spent_before.get(unit, 0.0) for unit, amount in look_ahead(leg).items()}
            cost = measure(leg, optimizer)
            optimizer = build_optimizer(phase, model, moments)
            cost |= {"spent": ahead["seconds"], "from": [flight.flops, flight.effective_flops], "ahead": ahead}
            cost = ranks.broadcast(cost)
            ahead = cost["ahead"]
            flight.tokens += int(ahead["tokens"])
            flight.flops += ahead["flops"]
            flight.effective_flops += ahead["effective_flops"]
            flight.seconds += ahead["seconds"]
        step_tokens = phase.batch * phase.context
        each = {"flops": cost["flops"], "effective_flops": cost["effective_flops"], "tokens": step_tokens}
        steps = steps_of(budget, phase.share, **each, ahead=cost.get("ahead"))
        if around.compiled:
            model.compile(dynamic=False)
        judge = judges(recipe, phase, stream, "validation", around)
        if not flight.steps and phase.start is not None and not isinstance(phase.start, Scratch):
            validate(leg, flight, judge, log)  # what the weights are worth that training goes on from
        began, phase_start = time.monotonic(), flight.seconds - cost["spent"]
        last_save = time.monotonic()
        model.train()

        while True:
            spent = flight.seconds - phase_start
            done = flight.step / steps if steps else min(1.0, spent / (budget.amount * phase.share))
            if done >= 1:
                break
            progress = Progress(
                step=flight.step,
                # By the clock it is a guess, at first from the step that was counted: a warm-up must not begin at its end.
                steps=steps or max(flight.step + 1, round(flight.step / done if done else budget.amount * phase.share / cost["seconds"])),
                tokens=flight.step * step_tokens,
                step_tokens=step_tokens,
                sequences=phase.batch,
                done=done,
                overall=before + shares * done,
                phase=index,
            )
            feedback = flight.validation[-1]["numbers"] if flight.validation else {}
            variant = take_variant(leg, flight.step)
            batch = draw(leg, progress, feedback)
            rate = set_rates(optimizer, phase, progress)
            loss, targets = gradients(leg, batch, progress)
            norm = clip(model, phase)
            update(leg, optimizer, progress)

            flight.step += 1
            flight.steps += 1
            flight.tokens += step_tokens
            flight.targets += targets
            spent_now = cost["variants"][variant]
            density = phase.structure.density(model, done) if phase.structure else 1.0
            flight.flops += spent_now["flops"]
            flight.effective_flops += spent_now["flops"] - (1.0 - density) * spent_now["matrices"]
            now = time.monotonic()
            taken, stopping = ranks.broadcast((now - began, around.stop()))
            flight.seconds += taken
            began = now
            after = flight.step / steps if steps else min(1.0, (flight.seconds - phase_start) / (budget.amount * phase.share))
            overall = before + shares * after
            log.step(flight, loss, norm, rate, overall, last=after >= 1, every=max(1, (steps or 1000) // 100))

            if after >= 1:
                end_parts(leg)
            if crossed(progress.overall, overall, recipe.evaluate_every) or after >= 1:
                validate(leg, flight, judge, log)
                began = time.monotonic()  # evaluating is not training time
                flight.stopped = over_limits(recipe.limits, flight.validation)
                if flight.stopped:
                    around.warn(flight.stopped)
                    if after < 1:
                        end_parts(leg)
                    break
            if stopping or (time.monotonic() - last_save > around.checkpoint_seconds and not writer.busy):
                log.check()
                state = {
                    "flight": asdict(flight),
                    "loader": leg.loader.state(),
                    "config": json.loads(model.config.to_json_string(use_diff=False)),
                    "generation": written_generation(model),
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "states": leg.states,
                    "cost": cost | {"spent": flight.seconds - phase_start},
                }
                writer.begin(f"step-{flight.steps:09d}", state)
                last_save = began = time.monotonic()
                if stopping:
                    writer.wait()
                    log.close()
                    return model, flight, False

        log.check()
        take_whole(leg)
        flight.cursors |= leg.loader.state()["cursors"]
        flops, effective = flight.flops - cost["from"][0], flight.effective_flops - cost["from"][1]
        flight.phases.append(
            {
                "steps": flight.step,
                "tokens": flight.step * step_tokens,
                "flops": flops,
                "effective_flops": effective,
                "flops_per_step": cost["flops"],
                "parameters": cost["parameters"],
                "active_parameters": cost["active_parameters"],
                "seconds": flight.seconds - phase_start,
            }
            | ({"ahead": cost["ahead"]} if cost.get("ahead", {}).get("tokens") else {})
        )
        moments = optimizer.state_dict()
        model._compiled_call_impl = None  # samples have other shapes, and the next phase counts its first step before compiling
        if phase.structure is not None:
            phase.structure.remove(model)
        flight.phase, flight.step = index + 1, 0
        if flight.stopped:
            break
    writer.wait()
    log.close()
    return model, flight, True


def begin(
    recipe: Recipe,
    index: int,
    previous: Any,
    stream: Stream,
    seed: int,
    around: RunContext,
    saved: Mapping[str, Any] | None,
    spent: dict[str, float],
) -> Any:
    """The model a phase begins with; for a checkpoint to fill, one that is only of the configuration it was ``saved`` with.

    What forward passes of the start cost by unit is added to ``spent``.
    """
    phase = recipe.phases[index]
    reseed(seed, index)  # for parts that draw at random without a generator of their own
    config = config_for(phase.model, stream.vocabulary, phase.context)
    rows = stream.vocabulary.rows_needed(recipe.special_tokens())
    if previous is not None and rows <= previous.config.vocab_size < config.vocab_size:
        config.vocab_size = previous.config.vocab_size  # that of a checkpoint, which has no rows for tokens that nobody uses
    model: Any
    if saved is not None:
        # Not the recipe's: a start may have read from a folder what no recipe says, the base of the rotation for example.
        model = fresh(type(config).from_dict(saved["config"]) if "config" in saved else config, seed)
        if saved.get("generation"):
            set_generation(model, saved["generation"])
    elif phase.start is not None:
        given = beginning(phase, stream, seed, around, spent, rows)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            model = phase.start.build(previous, config, seed, given)
        for warning in heard:  # a growth that is not exact says by how much; it belongs to the run, not to the terminal alone
            around.warn(str(warning.message))
    elif previous is None:
        model = Scratch().build(None, config, seed)
    else:
        before = recipe.phases[index - 1]
        old, new = (settings.shape() for settings in (before.model, phase.model))
        differ = ", ".join(f"{key} was {old.get(key)} and is {new[key]}" for key in new if new[key] != old.get(key))
        if differ:
            raise UserError(f"phases.{index}.model: {differ}; say with `start:` how the weights of the phase before become these")
        model = continued(previous, config_for(before.model, stream.vocabulary, before.context), config, f"phases.{index}")
    model.to(around.device)
    if phase.structure is not None:
        phase.structure.apply(model)
    return model


def continued(previous: Any, before: Any, config: Any, where: str) -> Any:
    """``previous`` with what the configuration of its phase (``before``) and of the next one (``config``) differ in, say dropout.

    Raises:
        UserError: where the weights do not fit any more.
    """
    known = before.to_dict()
    changed = {key: value for key, value in config.to_dict().items() if value != known[key]}
    if not changed:
        return previous
    model = fresh(type(config).from_dict(previous.config.to_dict() | changed), 0)
    try:
        model.load_state_dict(previous.state_dict())
    except RuntimeError as error:
        raise UserError(f"{where}.context: this family has learned its positions, so phases without `start:` need one context") from error
    return model


def build_optimizer(phase: Phase, model: Any, moments: Mapping[str, Any] | None) -> torch.optim.Optimizer:
    """The phase's optimizer with its peak rates remembered; with ``moments: kept`` it holds those of the phase before."""
    optimizer = phase.optimizer.build(model, phase.model.learning_rate())
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    if phase.moments == "kept" and moments is not None:
        try:
            optimizer.load_state_dict(copy.deepcopy(dict(moments)))  # loading shares tensors, and the counted step would move them
        except (ValueError, KeyError) as error:
            raise UserError(f"moments: kept, but the optimizer of the phase before does not fit this one: {error}") from error
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group |= own  # loading brought the settings of the phase before
        group["peak"] = own["lr"]
    return optimizer


def judges(recipe: Recipe, phase: Phase, stream: Stream, split: str, around: RunContext) -> HeldOut:
    """What evaluations look at: ``split`` as the phase's objective sees it."""
    limit = recipe.evaluation_tokens if split == "validation" else recipe.test_tokens
    return held_out(
        stream,
        split,
        objective=phase.objective,
        context=phase.context,
        sequences=recipe.micro_batch or phase.batch,
        limit_tokens=limit,
        device=around.device,
        precision=around.precision,
    )


def validate(leg: PhaseRun, flight: RunState, judge: HeldOut, log: RunLog) -> None:
    """Evaluate the whole model on validation and write down where the run stands."""
    log.check()
    take_whole(leg)
    numbers = ranks.broadcast(evaluate(leg.recipe, leg.model, judge) if not ranks.rank() else None)
    place = {"step": flight.steps, "phase": leg.index, "tokens": flight.tokens, "flops": flight.flops, "seconds": flight.seconds}
    flight.validation.append(place | {"numbers": numbers})
    log.numbers(flight.steps, numbers)


def evaluate(recipe: Recipe, model: Any, judge: HeldOut) -> dict[str, float]:
    """The numbers of every evaluation, the primary one first. The model is left in training mode, its compiled form untouched."""
    compiled, model._compiled_call_impl = getattr(model, "_compiled_call_impl", None), None  # other shapes would compile again
    model.eval()
    numbers: dict[str, float] = {}
    with torch.no_grad():
        for evaluation in recipe.evaluations:
            numbers |= {name: float(value) for name, value in evaluation.evaluate(model, judge).items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value}, not a finite number: training has gone wrong, or the evaluation measures nothing")
    model.train()
    model._compiled_call_impl = compiled
    return numbers


def over_limits(limits: Mapping[str, float], validation: list[dict[str, Any]]) -> str:
    """Which source's primary number is further above the first of ``validation`` than its limit allows, as a sentence; "" if none is."""
    first, last = validation[0]["numbers"], validation[-1]["numbers"]
    for source, limit in limits.items():
        name = f"{next(iter(first))}/{source}"
        rise = last[name] / first[name] - 1 if name in first else 0.0
        if rise > limit:
            return f"training ended at step {validation[-1]['step']}: {name} has risen by {rise:.2%}, its limit is {limit:.2%}"
    return ""


def crossed(before: float, after: float, every: float) -> bool:
    """Whether a multiple of ``every`` lies in (before, after]."""
    return math.floor(after / every + 1e-9) > math.floor(before / every + 1e-9)
