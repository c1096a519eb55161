"""What a step costs, measured on a real one; and what is done with one before a clock runs."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

from windtunnel.models.anatomy import linears
from windtunnel.slots import Progress
from windtunnel.train import ranks
from windtunnel.train.checkpoint import load_state_dict, state_dict
from windtunnel.train.count import count_step, mean_density, snapshot
from windtunnel.train.parts import refuse_states_of_ranks
from windtunnel.train.step import draw, gradients, update

if TYPE_CHECKING:
    from windtunnel.train.phase import PhaseRun


def compile_step(phase_run: PhaseRun) -> None:
    """Let the gradient of a step be compiled before a clock runs, and undo the step.

    Of the runs of a process that have the same shapes the first compiles for all, which is chance and no cost of its arm.
    """
    model, states, cursors = phase_run.model, phase_run.states.values(), phase_run.loader.state()
    before = copy.deepcopy([state_dict(state) for state in states])
    buffers = [(value, value.clone()) for value in model.buffers()]
    progress = phase_run.progress()
    model.train()
    gradients(phase_run, draw(phase_run, progress), progress)
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for value, old in buffers:
            value.copy_(old)
    for state, old in zip(states, before, strict=True):
        load_state_dict(state, old)
    phase_run.loader.load_state(cursors)


def measure(phase_run: PhaseRun) -> dict[str, Any]:
    """What a step costs: one real step of each variant under the counter, undone. The optimizer is spoilt and has to be built anew.

    Returns ``variants`` (for each ``flops``, ``matrices``: those of them that a structure's density applies to, and ``memory``), ``flops``
    and ``effective_flops`` of a step on average over variants and phase, ``parameters``, how many of them are active at the end of the
    phase and how many train, ``memory`` (the most bytes of tensors that a rank holds, uncompiled) and ``seconds``. Of several ranks, what
    all execute for the gradient is counted, and once the update, which each makes for itself.
    """
    phase, structure = phase_run.phase, phase_run.phase.structure
    restore, cursors = snapshot(phase_run.model, list(phase_run.states.values()), phase_run.run_context.folder), phase_run.loader.state()
    progress = Progress.first(phase.batch, phase.positions(phase_run.stream.facts), phase_run.index)
    phase_run.model.train()
    density = mean_density(structure, phase_run.model)
    variants, began = [], time.monotonic()
    for variant in range(structure.variants(phase_run.model) if structure else 1):
        if structure is not None:
            structure.take(phase_run.model, variant)

        def shared() -> None:
            gradients(phase_run, draw(phase_run, progress), progress)

        def repeated() -> None:
            update(phase_run, progress)

        gradient = count_step(phase_run.model, shared, matrices=density < 1)
        if ranks.count() > 1:
            refuse_states_of_ranks(phase_run)
        change = count_step(phase_run.model, repeated, matrices=density < 1)
        # Moments and copies of weights of a first step come after its gradient; those of any other lie beside it.
        memory = max(gradient.held.peak + gradient.held.beside(lasting(phase_run)), change.held.peak)
        phase_run.model.zero_grad(set_to_none=True)  # or the weights that come back would lie beside it
        restore()
        phase_run.loader.load_state(cursors)
        readers = ranks.count() // phase_run.beside
        flops = readers * (gradient.flops + (phase_run.beside - 1) * gradient.attention) + change.flops
        matrices = readers * gradient.matrices + change.matrices
        variants.append({"flops": flops, "matrices": matrices, "memory": memory})
    left = structure.density(phase_run.model) if structure else 1.0
    parameters = sum(parameter.numel() for parameter in phase_run.model.parameters())
    matrices_of: dict[str, Any] = linears(phase_run.model) if left < 1 else {}
    prunable = sum(module.weight.numel() for module in matrices_of.values())
    count = len(variants)
    mean, saved = sum(variant["flops"] for variant in variants) / count, sum(variant["matrices"] for variant in variants) / count
    return {
        "variants": variants,
        "flops": mean,
        "effective_flops": mean - (1.0 - density) * saved,
        "parameters": parameters,
        "active_parameters": parameters - round((1.0 - left) * prunable),
        "trained_parameters": sum(parameter.numel() for parameter in phase_run.model.parameters() if parameter.requires_grad),
        "memory": max(variant["memory"] for variant in variants),
        "seconds": (time.monotonic() - began) / count,
    }


def lasting(phase_run: PhaseRun) -> list[torch.Tensor]:
    """The tensors that optimizer and parts keep from one step to the next."""
    kept = [*phase_run.optimizer.state.values(), *map(state_dict, phase_run.states.values())]
    return [value for value in tree_leaves(kept) if isinstance(value, torch.Tensor)]
