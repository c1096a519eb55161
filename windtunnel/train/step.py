"""One optimizer step of a phase: draw, choose, gradients, clip, update.

No technique's name occurs here, and nothing here assumes text: a batch is a dictionary of tensors with ``labels``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from windtunnel.core.errors import PartError
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import Loss, Progress
from windtunnel.train import ranks
from windtunnel.train.parallel.shard import add_up, at_rest, full, own_gradients

if TYPE_CHECKING:
    from windtunnel.train.phase import PhaseRun


def loader_of(recipe: Recipe, phase: Phase, stream: Stream, seed: int, cursors: dict[str, int]) -> Loader:
    """Where the steps of ``phase`` draw their sequences from."""
    return Loader(
        stream,
        split="train",
        sources=drawn_from(recipe, phase, stream),
        context=phase.context,
        sequences=phase.batch * (phase.selection.candidates if phase.selection else 1),
        mixture=phase.mixture,
        packing=phase.packing,
        seed=seed,
        cursors=cursors,
    )


def drawn_from(recipe: Recipe, phase: Phase, stream: Stream) -> tuple[str, ...]:
    """The sources that ``phase`` trains on: those it names, or all of which curators have left something."""
    emptied = frozenset() if phase.sources else stream.emptied()
    return tuple(source for source in recipe.trained_on(phase) if source not in emptied)


def draw(phase_run: PhaseRun, progress: Progress) -> dict[str, Any]:
    """The prepared batch of one step. Everything random in it and in the step depends on seed, phase and step alone."""
    place = (phase_run.seed, phase_run.index, progress.step)
    reseed(*place)  # dropout: no generator state has to be kept for an exact resume
    rows = phase_run.loader.rows(progress, phase_run.feedback)
    batch = phase_run.phase.objective.batch(rows, phase_run.stream.facts, np.random.default_rng(place))
    if phase_run.by_source:
        batch = batch | {"sources": rows["sources"]}
    return batch if phase_run.phase.selection is None else chosen(phase_run, batch, progress)


def chosen(phase_run: PhaseRun, batch: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The sequences of ``batch`` that the phase's selection scores highest, in the order they were drawn."""
    selection = phase_run.phase.selection
    assert selection is not None
    given, scores = phase_run.given("selection", progress), []
    with torch.no_grad(), phase_run.run_context.precision():
        for part in micro_batches(ranks.share(batch, phase_run.beside), phase_run.micro_batch, phase_run.run_context.device):
            scores.append(selection.score(phase_run.model, part, given).float().cpu())
    values = ranks.all_gather(torch.cat(scores), phase_run.beside)
    if values.shape != (len(batch["labels"]),):
        raise PartError(f"{selection.name}: {len(batch['labels'])} sequences need as many scores, not {tuple(values.shape)}")
    values = torch.where(values.isnan(), -math.inf, values)
    best = torch.argsort(values, descending=True, stable=True)[: phase_run.phase.batch].sort().values.numpy()
    return {key: np.asarray(value)[best] for key, value in batch.items()}


def reseed(*place: int) -> None:
    """Set torch's own generators by ``place`` (seed, phase, step)."""
    key = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(key, "little") >> 1)


def gradients(phase_run: PhaseRun, batch: Mapping[str, Any], progress: Progress) -> tuple[torch.Tensor, int]:
    """Accumulate gradients of the loss over all micro-batches and ranks; returns the loss (on the device) and the number of targets.

    The loss is divided by the true number of targets of the whole batch, so that it does not depend on how the batch is cut.
    """
    phase, model, states = phase_run.phase, phase_run.model, phase_run.states
    if place := ranks.rank() // phase_run.beside:  # rows of their own deserve dropout of their own
        reseed(phase_run.seed, phase_run.index, progress.step, place)
    targets = max(1, int((batch["labels"] != -100).sum()))
    needs = frozenset().union(*(term.needs for term in phase.losses))
    at_rest(model)
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), device=phase_run.run_context.device, dtype=model.dtype)
    sums = torch.zeros(2, len(phase_run.stream.sources), device=total.device) if phase_run.by_source else None
    own, done = ranks.share(batch, phase_run.beside), 0
    for part in micro_batches(own, phase_run.micro_batch, phase_run.run_context.device):
        done += len(part["labels"])
        add_up(model, last=done == len(own["labels"]))
        with phase_run.run_context.precision():
            loss = phase.objective.loss(model, part, needs)
            weights = loss.counts.to(loss.values.dtype)
            if sums is not None:
                add_by_source(sums, loss, part["sources"])
            if phase.weighting is not None:
                weights = weights * phase.weighting.weigh(loss, part, states["weighting"], phase_run.given("weighting", progress))
            value = (weights * loss.values).sum() / targets
            for number, term in enumerate(phase.losses):
                key = f"losses.{number}"
                value = value + term.term(model, part, loss, states[key], phase_run.given(key, progress)) * (loss.counts.sum() / targets)
            if phase.structure is not None and (extra := phase.structure.penalty(model)) is not None:
                value = value + extra * (loss.counts.sum() / targets)
        del loss, weights  # the logits with them, which the gradient does not need: tokens times vocabulary times four bytes
        value.backward()
        total += value.detach()
    ranks.all_reduce([total, *([] if sums is None else [sums]), *own_gradients(model)])
    if phase_run.beside > 1:  # as many ranks have added the loss of the same rows
        total /= phase_run.beside
        sums = sums if sums is None else sums / phase_run.beside
    if ranks.count() > 1:  # the update is to draw the same numbers everywhere
        reseed(phase_run.seed, phase_run.index, progress.step, ranks.count())
    if sums is not None:
        observe_sources(phase_run, sums)
    return total, targets


def add_by_source(sums: torch.Tensor, loss: Loss, sources: torch.Tensor) -> None:
    """Add the losses and the number of targets of each source to ``sums`` [2, sources]; ``sources`` are those of the batch's sequences."""
    with torch.no_grad():
        counts = loss.counts.reshape(len(sources), -1).to(sums.dtype)
        values = torch.where(loss.counts, loss.values.detach(), 0.0).reshape(len(sources), -1).to(sums.dtype)
        sums.index_add_(1, sources, torch.stack([values.sum(dim=1), counts.sum(dim=1)]))


def observe_sources(phase_run: PhaseRun, sums: torch.Tensor) -> None:
    """Tell the parts that ask for it the mean loss of each source that was drawn; ``sums``: losses and targets [2, sources]."""
    losses, targets = sums.tolist()
    drawn = zip(phase_run.stream.sources, losses, targets, strict=True)
    numbers = {f"loss/{source}": loss / count for source, loss, count in drawn if count}
    for key, part in phase_run.by_source.items():
        part.observe(numbers, phase_run.states[key])


def micro_batches(batch: Mapping[str, Any], size: int, device: torch.device) -> Iterable[dict[str, torch.Tensor]]:
    """Slices of ``size`` sequences, as tensors on ``device``."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    if device.type == "cuda":  # only from pinned memory does the copy go on beside what is computed
        tensors = {name: value.pin_memory() for name, value in tensors.items()}
    rows = len(tensors["labels"])
    for first in range(0, rows, size):
        yield {name: value[first : first + size].to(device, non_blocking=True) for name, value in tensors.items()}


def set_rates(phase_run: PhaseRun, progress: Progress) -> float:
    """Give every parameter group its peak rate times the schedule's factor and the phase's multiple; returns the first group's rate."""
    phase, groups = phase_run.phase, phase_run.optimizer.param_groups
    # Not in the peak: a schedule may ask for a rate, whatever the peak is.
    multiple = phase.rate_multiple * math.prod(rule.rate(progress) for rule in phase.after_step)
    for group in groups:
        group["lr"] = group["peak"] * phase.schedule.factor(progress, group["peak"]) * multiple
    return float(groups[0]["lr"])


def clip(phase_run: PhaseRun) -> torch.Tensor:
    """Clip the gradient; returns its norm before."""
    trainable = [parameter for parameter in phase_run.model.parameters() if parameter.grad is not None]
    return full(torch.nn.utils.clip_grad_norm_(trainable, phase_run.phase.clip if phase_run.phase.clip is not None else math.inf))


def update(phase_run: PhaseRun, progress: Progress) -> None:
    """The optimizer's step and what follows it."""
    phase_run.optimizer.step()
    if phase_run.phase.structure is not None:
        phase_run.phase.structure.constrain(phase_run.model, progress)
    for number, rule in enumerate(phase_run.phase.after_step):
        rule.after_step(phase_run.model, phase_run.optimizer, progress, phase_run.states[f"after_step.{number}"])


def take_variant(phase_run: PhaseRun, step: int) -> int:
    """Give the model the shape of ``step``, drawn by seed, phase and step alone; returns which it is."""
    structure = phase_run.phase.structure
    count = structure.variants(phase_run.model) if structure else 1
    if structure is None or count == 1:
        return 0
    variant = int(np.random.default_rng((phase_run.seed, phase_run.index, step, 1)).integers(count))
    structure.take(phase_run.model, variant)
    return variant


def take_whole(phase_run: PhaseRun) -> None:
    """Give the model its whole shape, which is what is evaluated and kept: the last of a structure's variants."""
    structure = phase_run.phase.structure
    if structure is not None and (count := structure.variants(phase_run.model)) > 1:
        structure.take(phase_run.model, count - 1)
