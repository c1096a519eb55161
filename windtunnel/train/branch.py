"""Runs that begin alike: a longer one hands the shorter ones its checkpoint at the step where their ways part.

Runs of one recipe and seed with several budgets are one trunk with a branch for each, as long as nothing but the schedule asks how far
the run is, and the schedule holds its rate (Hägele et al. 2024, arXiv:2405.18392). A shorter run finds the checkpoint in its own folder
and goes on from it as after an interruption, bitwise as if it had been flown from its beginning.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import locked, naming
from windtunnel.recipe import Recipe, needed
from windtunnel.train import ranks
from windtunnel.train.checkpoint import Writer
from windtunnel.train.parallel.shard import sharded
from windtunnel.train.record import read_record
from windtunnel.train.spend import Horizon

if TYPE_CHECKING:
    from windtunnel.train.phase import PhaseRun

FEWEST = 0.2  # of the shorter run's steps: a checkpoint that saves less is not worth writing


def may_branch(one: Recipe, other: Recipe) -> bool:
    """Whether both recipes differ in their budget alone, and only their schedule and mixture can ask how far a run is."""
    if one.model_copy(update={"budget": other.budget}) != other or len(one.phases) > 1 or needed(one) or one.limits:
        return False
    phase = one.phases[0]
    acting = (phase.structure, phase.weighting, phase.selection, *phase.losses, *phase.after_step)
    return not any(acting) and "seconds" not in (one.budget.unit, other.budget.unit)


def branches(phase_run: PhaseRun, shorter: Mapping[Path, Recipe]) -> dict[int, list[Path]]:
    """The steps of the phase after which the runs in the folders of ``shorter`` go on by themselves."""
    found: dict[int, list[Path]] = {}
    # What changes while a run goes on may have asked how far it is; and a model in shards is written by all ranks, not by one.
    if any(phase_run.states.values()) or sharded(phase_run.model):
        return found
    for folder, recipe in shorter.items():
        try:
            horizon = Horizon.of(recipe.allowance, 1.0, phase_run.cost, phase_run.step_tokens)
        except UserError:  # too small for a step, which it says itself when it is flown
            continue
        common = common_steps(phase_run, horizon)
        if common > max(phase_run.run_state.step, FEWEST * (horizon.steps or 0)):
            found.setdefault(common, []).append(folder)
    return found


def common_steps(phase_run: PhaseRun, other: Horizon) -> int:
    """How many steps are the same, rate and mixture, in the phase and in one as long as ``other``."""
    phase, own = phase_run.phase, phase_run.horizon
    if own.steps is None or other.steps is None:
        return 0
    peak, sizes, feedback = phase_run.optimizer.param_groups[0]["peak"], phase_run.loader.sizes, phase_run.feedback
    beginning = phase_run.progress()
    for step in range(min(own.steps, other.steps) - 1):
        one, two = (
            replace(
                beginning,
                step=step,
                steps=steps,
                tokens=step * phase_run.step_tokens,
                done=step / steps,
                overall=step / steps,
            )
            for steps in (own.steps, other.steps)
        )
        if phase.schedule.factor(one, peak) != phase.schedule.factor(two, peak):
            return step
        if phase.mixture.weights(sizes, one, feedback) != phase.mixture.weights(sizes, two, feedback):
            return step
    return min(own.steps, other.steps) - 1


def hand_over(folder: Path, name: str, state: dict[str, Any], log: Path) -> None:
    """Put the checkpoint ``name`` of ``state`` into the run's ``folder`` with the ``log`` up to it, unless that run has one or has ended.

    Raises:
        DiskError: where it cannot be written.
    """
    if ranks.rank():
        return
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    checkpoints = folder / "checkpoints"
    with locked(folder / ".lock") as mine, naming(folder):
        if not mine or read_record(folder) is not None or checkpoints.is_dir():
            return
        if log.is_file():
            shutil.copy(log, folder / log.name)
        with Writer(checkpoints) as writer:
            writer.begin(name, state)
