"""What the parts of a phase have besides their act: state, a look at data, what they observe, other models. The same for every slot."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.part import Part
from windtunnel.data.loader import Loader
from windtunnel.kits.gather import alone
from windtunnel.recipe import Phase
from windtunnel.recipe.phase import parts_of
from windtunnel.slots import Evaluation, LookContext, Progress
from windtunnel.train import ranks
from windtunnel.train.checkpoint import state_dict, unstorable
from windtunnel.train.count import count_step
from windtunnel.train.log import RunContext
from windtunnel.train.spend import Account, Stopwatch
from windtunnel.train.step import micro_batches, reseed, take_whole

if TYPE_CHECKING:
    from windtunnel.train.phase import PhaseRun


def acting_parts(phase: Phase, evaluations: Sequence[Evaluation]) -> dict[str, Part]:
    """The parts that act while ``phase`` is flown and measured by ``evaluations``, by the key under which state and models are kept.

    Its start is not among them: it acts before there is a model.
    """
    measuring = {f"evaluations.{number}": part for number, part in enumerate(evaluations)}
    return {key: part for key, part in parts_of(phase).items() if key != "start"} | measuring


def start_parts(
    parts: Mapping[str, Part], model: Any, seed: int, run_context: RunContext
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """First states of ``parts``, and their own other models: frozen, evaluating, on the device."""
    states: dict[str, Any] = {}
    models: dict[str, dict[str, Any]] = {}
    for key, part in parts.items():
        states[key] = part.state(model)
        if odd := unstorable(state_dict(states[key])):
            raise PartError(f"{part.name}: its state can hold tensors, plain numbers, text, lists and dictionaries, but {odd}")
        models[key] = {
            name: run_context.model_of(trained, seed).to(run_context.device).eval().requires_grad_(False)
            for name, trained in part.trained().items()
        }
    return states, models


def bound(parts: Mapping[str, Part], states: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Part]:
    """``parts`` whose acts are handed the state and the models that they name among their parameters."""
    found = dict(parts)
    for key, part in parts.items():
        known = {"state": states[key], "models": models[key]}
        for act in part.acts:
            named = inspect.signature(getattr(part, act)).parameters.keys()
            handed = {name: value for name, value in known.items() if name in named}
            if handed:
                found[key] = part.model_copy() if found[key] is part else found[key]
                found[key].__dict__[act] = functools.partial(getattr(part, act), **handed)
    return found


def look_ahead(phase_run: PhaseRun) -> Account:
    """Let the parts that act in the phase estimate from data what their states are to hold; returns what that cost."""
    phase, run_context, tokens = phase_run.phase, phase_run.run_context, 0
    positions = phase.positions(phase_run.stream.facts)

    def batches(source: str, sequences: int, size: int) -> Iterator[dict[str, torch.Tensor]]:
        nonlocal tokens
        loader = Loader(
            phase_run.stream, sources=(source,), context=phase.context, sequences=size, packing=phase.packing, seed=phase_run.seed
        )
        for first in range(0, sequences, size):
            count = min(size, sequences - first)
            rows = loader.rows(Progress.first(size, positions, phase_run.index))
            random = np.random.default_rng((phase_run.seed, phase_run.index, zlib.crc32(source.encode()), first))
            prepared = phase.objective.batch({key: value[:count] for key, value in rows.items()}, phase_run.stream.facts, random)
            tokens += count * positions
            yield from micro_batches(prepared, count, run_context.device)

    def look() -> None:
        with alone():  # all ranks look at the same
            for key, part in phase_run.parts.items():
                ahead = LookContext(phase.objective, batches, run_context.precision, phase_run.models[key])
                part.look(phase_run.model, phase_run.states[key], ahead)

    watch = Stopwatch()
    reseed(phase_run.seed, phase_run.index)
    take_whole(phase_run)
    phase_run.model.eval()
    density = phase.structure.density(phase_run.model, 0.0) if phase.structure else 1.0
    flops, matrices, *_ = count_step(phase_run.model, look, matrices=density < 1)
    phase_run.model.train()
    phase_run.model.zero_grad(set_to_none=True)
    return Account(tokens, flops, flops - (1.0 - density) * matrices, **(watch.lap() if tokens else {}))


def observe(phase_run: PhaseRun, numbers: Mapping[str, float]) -> None:
    """Tell every part that acts in the phase what has been measured on validation."""
    for key, part in phase_run.parts.items():
        part.observe(numbers, phase_run.states[key])


def end_parts(phase_run: PhaseRun) -> None:
    """What follows the last step of the phase. A phase that is resumed behind it does not come here again."""
    for number, rule in enumerate(phase_run.phase.after_step):
        rule.end(phase_run.model, phase_run.states[f"after_step.{number}"])


def refuse_states_of_ranks(phase_run: PhaseRun) -> None:
    """Raise PartError where computing the loss has changed a part's state, which each rank would change in its own way."""
    for key, part in phase_run.parts.items():
        if not key.startswith("after_step") and ranks.differs(state_dict(phase_run.states[key])):
            raise PartError(f"{part.name}: it keeps count of the sequences it has seen, which differ by rank; use --ranks 1")
