"""What a run will cost, before it is flown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.recipe import Phase, Recipe, needed
from windtunnel.slots import Encoding

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

STATE = 16  # bytes a parameter: weight, gradient and two moments in float32
ACTIVATIONS = 34  # bytes a token, layer and unit of width with fused attention (Korthikanti et al. 2022, arXiv:2205.05198)
LOGITS = 8  # bytes a token and row of the vocabulary: float32, and their gradient
RECOMPUTED = 2  # the same where every block is computed again: its input in bfloat16
STATES, SEQUENCE, STEP = 1e15, 1e12, 1e12  # bytes of a model's state, bytes of a sequence, tokens in a step: beyond all machines
USABLE = 0.9  # of the memory; the rest goes to the context of the driver, buffers and what lies between blocks


def estimate(recipe: Recipe, stream: Stream | None = None) -> dict[str, float]:
    """What a run will cost, from sizes alone: FLOPs, steps, tokens, parameters of the last phase; epochs if ``stream`` is given.

    The run itself counts its FLOPs on the real step; this estimate asks the family (:meth:`windtunnel.slots.Family.flops`) and is
    meant for planning. For an encoder-decoder it asks the objective how many columns each half sees. FLOPs, tokens and steps include
    those of the models that the recipe needs; ``own_flops`` does not. What parts add (a teacher's forwards, a structure's arithmetic,
    sparsity) is not known here.
    """
    facts: Any = stream.facts if stream is not None else recipe.encoding.reckoned()
    budget, totals, parameters = recipe.allowance, {"flops": 0.0, "steps": 0.0, "tokens": 0.0}, 0.0
    paid, units = dict.fromkeys(totals, 0.0), 0.0
    for one in needed(recipe).values():
        cost = estimate(one, stream)
        paid = {key: paid[key] + cost[f"own_{key}"] for key in paid}
    unit = budget.unit
    whole = max(0.0, budget.amount - paid.get(unit.removeprefix("effective_"), 0.0))
    for phase in recipe.phases:
        family, sizes = phase.model.family, phase.model.sizes()
        number, reads = family.inputs(facts, phase.context)
        writes = 0
        if family.kind == "encoder-decoder":
            batch = dry_batch(phase, recipe.encoding)
            reads, writes = batch["encoder_columns"].shape[1], batch["decoder_columns"].shape[1]
        parameters = family.parameters(sizes, facts)
        positions = phase.positions(facts)
        per_token = phase.objective.views * number * family.flops(sizes, facts, reads, writes) / positions
        step_tokens = phase.batch * positions
        amount = whole * phase.share
        steps = {
            "flops": amount / (per_token * step_tokens),
            "tokens": amount / step_tokens,
            "steps": amount,
            "seconds": amount * 3e10 / (per_token * step_tokens),
        }[unit.removeprefix("effective_")]
        totals["steps"] += steps
        totals["tokens"] += steps * step_tokens
        totals["flops"] += steps * step_tokens * per_token
        units += steps * phase.batch * phase.context
    own = {f"own_{key}": value for key, value in totals.items()}
    if stream is not None:
        own["epochs"] = units / max(1, sum(stream.sizes("train").values()))
    return {key: value + paid[key] for key, value in totals.items()} | own | {"parameters": parameters}


def dry_batch(phase: Phase, encoding: Encoding) -> dict[str, Any]:
    """What the phase's objective makes of one row that stands for any, of ``encoding`` as far as it is known before it is fitted.

    Raises:
        UserError: where the objective needs what the encoding will not have, for example more sentinels.
    """
    import numpy as np

    return phase.objective.prepare(encoding.example(phase.context), encoding.reckoned(), np.random.default_rng(0))


def too_large(recipe: Recipe) -> str | None:
    """Which phase of ``recipe`` no machine could train, what it would take at the least and what is usual; None where one might."""
    facts = recipe.encoding.reckoned()
    for number, phase in enumerate(recipe.phases, 1):
        family, sizes = phase.model.family, phase.model.sizes()
        parameters = family.parameters(sizes, facts)
        if STATE * parameters > STATES:
            return (
                f"phase {number}: model: {sizes.layers:,} layers of width {sizes.width:,} are {parameters:.2g} parameters, which take "
                f"{STATE * parameters:.2g} bytes with gradients and moments, more than any machine holds; the largest models have 1e12"
            )
        sequence = RECOMPUTED * sizes.layers * sizes.width * float(phase.context)  # logits can be made in pieces
        if sequence > SEQUENCE:
            return (
                f"phase {number}: context: a sequence of {phase.context:,} in {sizes.layers:,} layers of width {sizes.width:,} takes "
                f"{sequence:.2g} bytes, more than any accelerator holds; contexts of 128 to 8,192 are usual"
            )
        if (tokens := float(phase.batch) * phase.context) > STEP:
            return (
                f"phase {number}: batch: a step of {phase.batch:,} sequences reads {tokens:.2g} tokens; the largest models read some 1e7, "
                "and small ones 1e3 to 1e5"
            )
    return None


class Footprint(NamedTuple):
    """Bytes that a run takes: ``state`` of weights, gradients and moments, and ``sequence`` for each of those at a time.

    ``gradients`` are those that a step of several micro-batches holds besides: they lie beside the activations of all but the first.
    However few the sequences are, it takes ``least``: the update needs room too, when the activations have gone.
    """

    state: float
    sequence: float
    gradients: float = 0.0
    least: float = 0.0

    def bytes(self, sequences: int, gpus: int) -> float:
        """On each of ``gpus`` devices, which share the state, with so many sequences at a time."""
        return max(self.least / gpus, self.state / gpus + sequences * self.sequence)

    def accumulating(self) -> Footprint:
        """That of a step of several micro-batches."""
        return Footprint(self.state + self.gradients, self.sequence, least=self.least)

    def most(self, memory: float, gpus: int) -> int:
        """How many sequences fit at a time; 0 where not even one does."""
        if self.least / gpus > USABLE * memory:
            return 0
        return max(0, math.floor((USABLE * memory - self.state / gpus) / self.sequence))


def footprint(recipe: Recipe) -> Footprint:
    """Of the phase of ``recipe`` that takes most of each; a model that a part holds beside it is not counted."""
    facts, sequence = recipe.encoding.reckoned(), 0.0
    parameters = 0.0
    for phase in recipe.phases:
        family, sizes = phase.model.family, phase.model.sizes()
        parameters = max(parameters, family.parameters(sizes, facts))
        token = ACTIVATIONS * sizes.layers * sizes.width + LOGITS * family.rows(facts)
        sequence = max(sequence, float(token * phase.positions(facts)))
    return Footprint(STATE * parameters, sequence)
