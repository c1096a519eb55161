"""One optimizer step of a phase: draw, choose, gradients, clip, update; and what such a step costs.

No technique's name occurs here, and nothing here assumes text: a batch is a dictionary of tensors with ``labels``.
"""

from __future__ import annotations

import hashlib
import math
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.part import Part
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.models.anatomy import linears
from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import BatchContext, LookContext, Progress, StartContext
from windtunnel.train import ranks
from windtunnel.train.budget import count_step, counter, mean_density, snapshot
from windtunnel.train.checkpoint import unstorable
from windtunnel.train.log import RunContext


@dataclass
class PhaseRun:
    """A phase while it is flown: what its steps act on. ``states`` and ``models`` are those of the parts, by :meth:`part_key`."""

    recipe: Recipe
    index: int
    seed: int
    stream: Stream
    loader: Loader
    model: Any
    states: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    around: RunContext

    @property
    def phase(self) -> Phase:
        """The phase's part of the recipe."""
        return self.recipe.phases[self.index]

    @property
    def micro_batch(self) -> int:
        """Sequences that a rank puts through the model at a time."""
        return self.recipe.micro_batch or max(1, self.phase.batch // ranks.count())

    def given(self, key: str, progress: Progress) -> BatchContext:
        """What the part ``key`` may use."""
        return BatchContext(self.phase.objective, progress, self.models.get(key, {}))


def stepping_parts(phase: Phase) -> dict[str, Part]:
    """The parts of ``phase`` that act within its steps, by the key under which their state and models are kept."""
    found: dict[str, Part] = {f"losses.{number}": part for number, part in enumerate(phase.losses)}
    if phase.weighting is not None:
        found["weighting"] = phase.weighting
    if phase.selection is not None:
        found["selection"] = phase.selection
    return found | {f"after_step.{number}": part for number, part in enumerate(phase.after_step)}


def beginning(phase: Phase, stream: Stream, seed: int, around: RunContext, spent: dict[str, float], rows: int) -> StartContext:
    """What the start of ``phase`` may use, where models need ``rows``; what it costs by unit is added to ``spent``."""
    trained = phase.start.trained() if phase.start is not None else {}

    @contextmanager
    def counted(tokens: int) -> Iterator[None]:
        began = time.monotonic()
        with counter() as counts:
            yield
        flops = float(counts.get_total_flops())
        for unit, amount in {"flops": flops, "effective_flops": flops, "tokens": tokens, "seconds": time.monotonic() - began}.items():
            spent[unit] = spent.get(unit, 0.0) + amount

    return StartContext(
        models={name: around.model_of(one, seed) for name, one in trained.items()},
        tokenizer=stream.tokenizer,
        tokenizers={name: around.tokenizer_of(one, seed) for name, one in trained.items() if phase.start and phase.start.other_tokens},
        text=lambda: stream.training_text(phase.sources or stream.sources),
        counted=counted,
        rows=rows,
    )


def start_parts(phase: Phase, model: Any, seed: int, around: RunContext) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """First states of the parts of ``phase``, and their own other models: frozen, evaluating, on the device."""
    states: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] = {}
    for key, part in stepping_parts(phase).items():
        make = getattr(part, "state", None)
        states[key] = make(model) if make else {}
        if odd := unstorable(states[key]):
            raise PartError(f"{part.name}: its state can hold tensors, plain numbers, text, lists and dictionaries, but {odd}")
        models[key] = {
            name: around.model_of(trained, seed).to(around.device).eval().requires_grad_(False) for name, trained in part.trained().items()
        }
    return states, models


def loader_of(phase: Phase, stream: Stream, seed: int, cursors: dict[str, int]) -> Loader:
    """Where the steps of ``phase`` draw their sequences from."""
    return Loader(
        stream,
        split="train",
        sources=phase.sources or stream.sources,
        context=phase.context,
        sequences=phase.batch * (phase.selection.candidates if phase.selection else 1),
        mixture=phase.mixture,
        packing=phase.packing,
        seed=seed,
        cursors=cursors,
    )


def look_ahead(leg: PhaseRun) -> dict[str, float]:
    """Let the parts of the phase estimate from data what their states are to hold; what that cost, by unit."""
    phase, around, tokens = leg.phase, leg.around, 0

    def batches(source: str, sequences: int, size: int) -> Iterator[dict[str, torch.Tensor]]:
        nonlocal tokens
        loader = Loader(leg.stream, sources=(source,), context=phase.context, sequences=size, packing=phase.packing, seed=leg.seed)
        for first in range(0, sequences, size):
            count = min(size, sequences - first)
            rows = loader.rows(Progress.first(size, phase.context, leg.index))
            random = np.random.default_rng((leg.seed, leg.index, zlib.crc32(source.encode()), first))
            prepared = phase.objective.prepare({key: value[:count] for key, value in rows.items()}, leg.stream.vocabulary, random)
            tokens += count * phase.context
            yield from micro_batches(prepared, count, around.device)

    def look() -> None:
        for key, part in stepping_parts(phase).items():
            if hasattr(part, "look"):
                ahead = LookContext(phase.objective, batches, around.precision, leg.models.get(key, {}))
                part.look(leg.model, leg.states[key], ahead)

    began = time.monotonic()
    reseed(leg.seed, leg.index)
    take_whole(leg)
    leg.model.eval()
    density = phase.structure.density(leg.model, 0.0) if phase.structure else 1.0
    flops, matrices = count_step(leg.model, look, matrices=density < 1)
    leg.model.train()
    leg.model.zero_grad(set_to_none=True)
    seconds = time.monotonic() - began if tokens else 0.0
    return {"flops": flops, "effective_flops": flops - (1.0 - density) * matrices, "tokens": tokens, "seconds": seconds}


def draw(leg: PhaseRun, progress: Progress, feedback: Mapping[str, float]) -> dict[str, Any]:
    """The prepared batch of one step. Everything random in it and in the step depends on seed, phase and step alone."""
    place = (leg.seed, leg.index, progress.step)
    reseed(*place)  # dropout: no generator state has to be kept for an exact resume
    rows = leg.loader.rows(progress, feedback)
    batch = leg.phase.objective.prepare(rows, leg.stream.vocabulary, np.random.default_rng(place))
    return batch if leg.phase.selection is None else chosen(leg, batch, progress)


def chosen(leg: PhaseRun, batch: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The sequences of ``batch`` that the phase's selection scores highest, in the order they were drawn."""
    selection = leg.phase.selection
    assert selection is not None
    given, scores = leg.given("selection", progress), []
    with torch.no_grad(), leg.around.precision():
        for part in micro_batches(ranks.share(batch), leg.micro_batch, leg.around.device):
            scores.append(selection.score(leg.model, part, given).float().cpu())
    values = ranks.all_gather(torch.cat(scores))
    if values.shape != (len(batch["labels"]),):
        raise PartError(f"{selection.name}: {len(batch['labels'])} sequences need as many scores, not {tuple(values.shape)}")
    values = torch.where(values.isnan(), -math.inf, values)
    best = torch.argsort(values, descending=True, stable=True)[: leg.phase.batch].sort().values.numpy()
    return {key: np.asarray(value)[best] for key, value in batch.items()}


def reseed(*place: int) -> None:
    """Set torch's own generators by ``place`` (seed, phase, step)."""
    key = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(key, "little") >> 1)


def gradients(leg: PhaseRun, batch: Mapping[str, Any], progress: Progress) -> tuple[torch.Tensor, int]:
    """Accumulate gradients of the loss over all micro-batches and ranks; returns the loss (on the device) and the number of targets.

    The loss is divided by the true number of targets of the whole batch, so that it does not depend on how the batch is cut.
    """
    phase, model = leg.phase, leg.model
    if ranks.rank():  # rows of their own deserve dropout of their own
        reseed(leg.seed, leg.index, progress.step, ranks.rank())
    targets = max(1, int((batch["labels"] != -100).sum()))
    needs = frozenset().union(*(term.needs for term in phase.losses))
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), device=leg.around.device)
    for part in micro_batches(ranks.share(batch), leg.micro_batch, leg.around.device):
        with leg.around.precision():
            loss = phase.objective.loss(model, part, needs)
            weights = loss.counts.to(loss.values.dtype)
            if phase.weighting is not None:
                weights = weights * phase.weighting.weigh(loss, part, leg.states["weighting"], leg.given("weighting", progress))
            value = (weights * loss.values).sum() / targets
            for number, term in enumerate(phase.losses):
                key = f"losses.{number}"
                value = value + term.term(model, part, loss, leg.states[key], leg.given(key, progress)) * (loss.counts.sum() / targets)
        del loss, weights  # the logits with them, which the gradient does not need: tokens times vocabulary times four bytes
        value.backward()
        total += value.detach()
    ranks.all_reduce([total, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)])
    if ranks.count() > 1:  # the update is to draw the same numbers everywhere
        reseed(leg.seed, leg.index, progress.step, ranks.count())
    return total, targets


def micro_batches(batch: Mapping[str, Any], size: int, device: torch.device) -> Iterable[dict[str, torch.Tensor]]:
    """Slices of ``size`` sequences, as tensors on ``device``."""
    tensors = {name: torch.as_tensor(value) for name, value in batch.items()}
    rows = len(tensors["labels"])
    for first in range(0, rows, size):
        yield {name: value[first : first + size].to(device, non_blocking=True) for name, value in tensors.items()}


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, progress: Progress) -> float:
    """Give every parameter group its peak rate times the schedule's factor; returns the first group's rate."""
    recovery = math.prod(rule.rate(progress) for rule in phase.after_step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * phase.schedule.factor(progress, group["peak"]) * recovery
    return optimizer.param_groups[0]["lr"]


def clip(model: Any, phase: Phase) -> torch.Tensor:
    """Clip the gradient; returns its norm before."""
    trainable = [parameter for parameter in model.parameters() if parameter.grad is not None]
    return torch.nn.utils.clip_grad_norm_(trainable, phase.clip if phase.clip is not None else math.inf)


def update(leg: PhaseRun, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """The optimizer's step and what follows it."""
    optimizer.step()
    if leg.phase.structure is not None:
        leg.phase.structure.constrain(leg.model, progress)
    for number, rule in enumerate(leg.phase.after_step):
        rule.after_step(leg.model, optimizer, progress, leg.states[f"after_step.{number}"])


def end_parts(leg: PhaseRun) -> None:
    """What follows the last step of the phase. A phase that is resumed behind it does not come here again."""
    for number, rule in enumerate(leg.phase.after_step):
        rule.end(leg.model, leg.states[f"after_step.{number}"])


def take_variant(leg: PhaseRun, step: int) -> int:
    """Give the model the shape of ``step``, drawn by seed, phase and step alone; returns which it is."""
    structure = leg.phase.structure
    count = structure.variants(leg.model) if structure else 1
    if structure is None or count == 1:
        return 0
    variant = int(np.random.default_rng((leg.seed, leg.index, step, 1)).integers(count))
    structure.take(leg.model, variant)
    return variant


def take_whole(leg: PhaseRun) -> None:
    """Give the model its whole shape, which is what is evaluated and kept: the last of a structure's variants."""
    structure = leg.phase.structure
    if structure is not None and (count := structure.variants(leg.model)) > 1:
        structure.take(leg.model, count - 1)


def refuse_states_of_ranks(leg: PhaseRun) -> None:
    """Raise PartError where computing the loss has changed a part's state, which each rank would change in its own way."""
    for key, part in stepping_parts(leg.phase).items():
        if not key.startswith("after_step") and ranks.differs(leg.states[key]):
            raise PartError(f"{part.name}: it keeps count of the sequences it has seen, which differ by rank; use --ranks 1")


def measure(leg: PhaseRun, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a step costs: one real step of each variant under the counter, undone. The optimizer is spoilt and has to be built anew.

    Returns ``variants`` (for each ``flops``, and ``matrices``: those of them that a structure's density applies to), ``flops`` and
    ``effective_flops`` of a step on average over variants and phase, ``parameters``, how many of them are active at the end of the phase,
    and ``seconds``. Of several ranks, what all execute for the gradient is counted, and once the update, which each makes for itself.
    """
    phase, structure = leg.phase, leg.phase.structure
    restore, cursors = snapshot(leg.model, list(leg.states.values()), leg.around.folder), leg.loader.state()
    progress = Progress.first(phase.batch, phase.context, leg.index)
    leg.model.train()
    density = mean_density(structure, leg.model)
    variants, began = [], time.monotonic()
    for variant in range(structure.variants(leg.model) if structure else 1):
        if structure is not None:
            structure.take(leg.model, variant)

        def shared() -> None:
            gradients(leg, draw(leg, progress, {}), progress)

        def repeated() -> None:
            update(leg, optimizer, progress)

        flops, matrices = (ranks.count() * amount for amount in count_step(leg.model, shared, matrices=density < 1))
        if ranks.count() > 1:
            refuse_states_of_ranks(leg)
        more, more_matrices = count_step(leg.model, repeated, matrices=density < 1)
        flops, matrices = flops + more, matrices + more_matrices
        leg.model.zero_grad(set_to_none=True)  # or the weights that come back would lie beside it
        restore()
        leg.loader.load_state(cursors)
        variants.append({"flops": flops, "matrices": matrices})
    left = structure.density(leg.model) if structure else 1.0
    parameters = sum(parameter.numel() for parameter in leg.model.parameters())
    matrices_of: dict[str, Any] = linears(leg.model) if left < 1 else {}
    prunable = sum(module.weight.numel() for module in matrices_of.values())
    count = len(variants)
    mean, saved = sum(variant["flops"] for variant in variants) / count, sum(variant["matrices"] for variant in variants) / count
    return {
        "variants": variants,
        "flops": mean,
        "effective_flops": mean - (1.0 - density) * saved,
        "parameters": parameters,
        "active_parameters": parameters - round((1.0 - left) * prunable),
        "seconds": (time.monotonic() - began) / count,
    }
