"""The training loop: phases, then steps; get batch, loss, backward, clip, step, after-step, evaluate, checkpoint.

No technique's name occurs here, and nothing here assumes text: a batch is a dictionary of tensors with ``labels``.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from windtunnel.evaluate.held_out import held_out
from windtunnel.models.build import config_for, fresh
from windtunnel.part import HeldOut, PartError, Progress, UserError
from windtunnel.recipe import Phase, Recipe
from windtunnel.stream.loader import Loader
from windtunnel.stream.stream import Stream
from windtunnel.train import checkpoint
from windtunnel.train.budget import count_step, steps_of, undone
from windtunnel.train.log import Diverged, Flight, RunLog, Surroundings
from windtunnel.weights.start.scratch import Scratch


def train(recipe: Recipe, seed: int, stream: Stream, around: Surroundings) -> tuple[Any, Flight, bool]:
    """Train ``recipe`` with ``seed``, going on from the newest whole checkpoint in the run's folder if there is one.

    Returns the model (dense, folded), where the run stands, and whether it is finished (False: it was asked to stop).

    Raises:
        UserError: for a recipe that cannot be flown on this stream or machine.
        Diverged: when the loss is not finite.
    """
    saved = checkpoint.newest(around.folder / "checkpoints", around.warn, around.device)
    flight = Flight(**saved["flight"]) if saved else Flight()
    log = RunLog(around, flight.steps)
    model: Any = None
    moments: dict[str, Any] | None = None

    for index in range(flight.phase, len(recipe.phases)):
        phase = recipe.phases[index]
        before, shares = sum(p.share for p in recipe.phases[:index]), phase.share
        model = begin(recipe, index, model, stream, seed, around.device, saved)
        trained_parts = [part for part in (*phase.losses, phase.weighting, *phase.after_step) if part is not None]
        states: list[dict[str, Any]] = [part.state(model) for part in trained_parts]
        optimizer = build_optimizer(phase, model, moments)
        loader = Loader(
            stream,
            split="train",
            sources=phase.sources or stream.sources,
            context=phase.context,
            sequences=phase.batch,
            mixture=phase.mixture,
            packing=phase.packing,
            seed=seed,
            cursors=flight.cursors,
        )
        if saved:
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            states = saved["states"]
            loader.load_state(saved["loader"])
            cost = saved["cost"]
            saved = None
        else:
            optimizer, cost = measure_step(recipe, phase, index, seed, stream, loader, model, optimizer, states, moments, around)
            for part, state in zip(trained_parts, states, strict=True):
                if odd := checkpoint.unstorable(state):
                    raise PartError(f"{part.name}: its state can hold tensors, plain numbers, text, lists and dictionaries, but {odd}")
        steps = steps_of(recipe.budget, phase.share, flops_per_step=cost["flops"], tokens_per_step=phase.batch * phase.context)
        if around.compiled:
            model.compile(dynamic=False)
        judge = judges(recipe, phase, stream, "validation", around)
        began, phase_start = time.monotonic(), flight.seconds - cost.get("spent", 0.0)
        last_save = time.monotonic()
        model.train()

        while True:
            spent = flight.seconds - phase_start
            done = flight.step / steps if steps else min(1.0, spent / (recipe.budget.amount * phase.share))
            if done >= 1:
                break
            progress = Progress(
                step=flight.step,
                # By the clock it is a guess, at first from the step that was counted: a warm-up must not begin at its end.
                steps=steps
                or max(flight.step + 1, round(flight.step / done if done else recipe.budget.amount * phase.share / cost["seconds"])),
                tokens=flight.step * phase.batch * phase.context,
                step_tokens=phase.batch * phase.context,
                sequences=phase.batch,
                done=done,
                overall=before + shares * done,
                phase=index,
            )
            feedback = flight.validation[-1]["numbers"] if flight.validation else {}
            batch = draw(phase, index, flight.step, seed, loader.rows(progress, feedback), stream)
            rate = set_rates(optimizer, phase, progress)
            loss, targets = gradients(recipe, phase, model, batch, states, around)
            norm = clip(model, phase)
            update(phase, model, optimizer, progress, states)

            flight.step += 1
            flight.steps += 1
            flight.tokens += progress.step_tokens
            flight.targets += targets
            flight.flops += cost["flops"]
            flight.effective_flops += cost["effective_flops"]
            now = time.monotonic()
            flight.seconds += now - began
            began = now
            after = flight.step / steps if steps else min(1.0, (flight.seconds - phase_start) / (recipe.budget.amount * phase.share))
            overall = before + shares * after
            log.step(flight, loss, norm, rate, overall, last=after >= 1, every=max(1, (steps or 1000) // 100))

            if crossed(progress.overall, overall, recipe.evaluate_every) or after >= 1:
                log.check()
                numbers = evaluate(recipe, model, judge)
                flight.validation.append(
                    {"step": flight.steps, "phase": index, "tokens": flight.tokens, "flops": flight.flops, "seconds": flight.seconds}
                    | {"numbers": numbers}
                )
                log.numbers(flight.steps, numbers)
                began = time.monotonic()  # evaluating is not training time
            stopping = around.stop()
            if stopping or time.monotonic() - last_save > around.checkpoint_seconds:
                log.check()
                state = {
                    "flight": asdict(flight),
                    "loader": loader.state(),
                    "config": json.loads(model.config.to_json_string(use_diff=False)),
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "states": states,
                    "cost": cost | {"spent": flight.seconds - phase_start},
                }
                checkpoint.save(around.folder / "checkpoints", f"step-{flight.steps:09d}", state)
                last_save = began = time.monotonic()
                if stopping:
                    log.close()
                    return model, flight, False

        log.check()
        flight.cursors |= loader.state()["cursors"]
        flight.phases.append(
            {
                "steps": flight.step,
                "tokens": flight.step * phase.batch * phase.context,
                "flops": flight.step * cost["flops"],
                "effective_flops": flight.step * cost["effective_flops"],
                "flops_per_step": cost["flops"],
                "parameters": cost["parameters"],
                "seconds": flight.seconds - phase_start,
            }
        )
        moments = optimizer.state_dict()
        model._compiled_call_impl = None  # samples have other shapes, and the next phase counts its first step before compiling
        if phase.structure is not None:
            phase.structure.remove(model)
        flight.phase, flight.step = index + 1, 0
    log.close()
    return model, flight, True


def begin(
    recipe: Recipe, index: int, previous: Any, stream: Stream, seed: int, device: torch.device, saved: Mapping[str, Any] | None
) -> Any:
    """The model a phase begins with; for a checkpoint to fill, one that is only of the configuration it was ``saved`` with."""
    phase = recipe.phases[index]
    reseed(seed, index)  # for parts that draw at random without a generator of their own
    config = config_for(phase.model, stream.vocabulary, phase.context)
    model: Any
    if saved is not None:
        # Not the recipe's: a start may have read from a folder what no recipe says, the base of the rotation for example.
        model = fresh(type(config).from_dict(saved["config"]) if "config" in saved else config, seed)
    elif phase.start is not None:
        model = phase.start.build(previous, config, seed)
    elif previous is None:
        model = Scratch().build(None, config, seed)
    else:
        before = recipe.phases[index - 1]
        old, new = (settings.sizes().model_dump(exclude={"depth", "dropout"}) for settings in (before.model, phase.model))
        differ = ", ".join(f"{key} was {old[key]} and is {new[key]}" for key in new if new[key] != old[key])
        if differ:
            raise UserError(f"phases.{index}.model: {differ}; say with `start:` how the weights of the phase before become these")
        model = continued(previous, config_for(before.model, stream.vocabulary, before.context), config, f"phases.{index}")
    model.to(device)
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


def measure_step(
    recipe: Recipe,
    phase: Phase,
    index: int,
    seed: int,
    stream: Stream,
    loader: Loader,
    model: Any,
    optimizer: torch.optim.Optimizer,
    states: list[dict[str, Any]],
    moments: Mapping[str, Any] | None,
    around: Surroundings,
) -> tuple[torch.optim.Optimizer, dict[str, float]]:
    """Make one real step under the counter, undo it, and return a new optimizer and what the step cost."""
    restore, cursors = undone(model, states), loader.state()
    progress = Progress(0, 1, 0, phase.batch * phase.context, phase.batch, 0.0, 0.0, index)
    batch = draw(phase, index, 0, seed, loader.rows(progress, {}), stream)

    def step() -> None:
        gradients(recipe, phase, model, batch, states, around)
        update(phase, model, optimizer, progress, states)

    model.train()
    began = time.monotonic()
    total, effective = count_step(model, step, phase.structure.density(model) if phase.structure else 1.0)
    seconds = time.monotonic() - began
    restore()
    loader.load_state(cursors)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    cost = {"flops": total, "effective_flops": effective, "parameters": parameters, "seconds": seconds}
    return build_optimizer(phase, model, moments), cost


def draw(phase: Phase, index: int, step: int, seed: int, rows: Any, stream: Stream) -> dict[str, Any]:
    """The prepared batch of one step. Everything random in it and in the step depends on seed, phase and step alone."""
    reseed(seed, index, step)  # dropout: no generator state has to be kept for an exact resume
    return phase.objective.prepare(rows, stream.vocabulary, np.random.default_rng([seed, index, step]))


def reseed(*place: int) -> None:
    """Set torch's own generators by ``place`` (seed, phase, step)."""
    key = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(key, "little") >> 1)


def gradients(
    recipe: Recipe, phase: Phase, model: Any, batch: dict[str, Any], states: list[dict[str, Any]], around: Surroundings
) -> tuple[torch.Tensor, int]:
    """Accumulate gradients of the loss over all micro-batches; returns the loss (on the device) and the number of targets.

    The loss is divided by the true number of targets of the whole batch, so that it does not depend on how the batch is cut.
    """
    targets = max(1, int((batch["labels"] != -100).sum()))
    needs = frozenset().union(*(term.needs for term in phase.losses))
    weighting_state = states[len(phase.losses)] if phase.weighting else {}
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), device=around.device)
    for part in micro_batches(batch, recipe.micro_batch or phase.batch, around.device):
        with around.precision():
            loss = phase.objective.loss(model, part, needs)
            weights = loss.counts.to(loss.values.dtype)
            if phase.weighting is not None:
                weights = weights * phase.weighting.weigh(loss, part, weighting_state)
            value = (weights * loss.values).sum() / targets
            for term, state in zip(phase.losses, states, strict=False):
                value = value + term.term(model, part, loss.outputs, state) * (loss.counts.sum() / targets)
        value.backward()
        total += value.detach()
    return total, targets


def micro_batches(batch: Mapping[str, Any], size: int, device: torch.device) -> Iterable[dict[str, torch.Tensor]]:
    """Slices of ``size`` sequences, as tensors on ``device``."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    rows = len(tensors["labels"])
    for first in range(0, rows, size):
        yield {name: value[first : first + size].to(device, non_blocking=True) for name, value in tensors.items()}


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, progress: Progress) -> float:
    """Give every parameter group its peak rate times the schedule's factor; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * phase.schedule.factor(progress, group["peak"])
    return optimizer.param_groups[0]["lr"]


def clip(model: Any, phase: Phase) -> torch.Tensor:
    """Clip the gradient; returns its norm before."""
    trainable = [parameter for parameter in model.parameters() if parameter.grad is not None]
    return torch.nn.utils.clip_grad_norm_(trainable, phase.clip if phase.clip is not None else math.inf)


def update(phase: Phase, model: Any, optimizer: torch.optim.Optimizer, progress: Progress, states: list[dict[str, Any]]) -> None:
    """The optimizer's step and what follows it."""
    optimizer.step()
    if phase.structure is not None:
        phase.structure.constrain(model)
    rules = states[len(states) - len(phase.after_step) :]
    for rule, state in zip(phase.after_step, rules, strict=True):
        rule.after_step(model, optimizer, progress, state)


def judges(recipe: Recipe, phase: Phase, stream: Stream, split: str, around: Surroundings) -> HeldOut:
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


def crossed(before: float, after: float, every: float) -> bool:
    """Whether a multiple of ``every`` lies in (before, after]."""
    return math.floor(after / every + 1e-9) > math.floor(before / every + 1e-9)
