"""The training loop: phases, then steps; get batch, loss, backward, clip, step, after-step, evaluate, checkpoint.

No technique's name occurs here, and nothing here assumes text: a batch is a dictionary of tensors with ``labels``.
"""

from __future__ import annotations

import math

from windtunnel.data.stream import Stream
from windtunnel.recipe import Recipe
from windtunnel.train import checkpoint
from windtunnel.train.log import RunContext, RunLog, RunState
from windtunnel.train.parts import end_parts
from windtunnel.train.phase import PhaseRun
from windtunnel.train.step import clip, draw, gradients, set_rates, take_variant, update


def train(recipe: Recipe, seed: int, stream: Stream, run_context: RunContext) -> tuple[PhaseRun, bool]:
    """Train ``recipe`` with ``seed``, going on from the newest whole checkpoint in the run's folder if there is one.

    Returns its last phase, dense and folded, and whether the run is finished. Raises UserError where it cannot be flown, and Diverged.
    """
    folder = run_context.folder / "checkpoints"
    saved = checkpoint.newest(folder, run_context.warn, run_context.device, in_shards=run_context.mesh is not None)
    run = RunState(**saved["run"]) if saved else RunState.after(run_context.charged)
    phase_run: PhaseRun | None = None
    with RunLog(run_context, run.steps) as log, checkpoint.Writer(folder, every=run_context.checkpoint_seconds) as writer:
        while run.phase < len(recipe.phases):
            phase_run, saved = PhaseRun.open(recipe, seed, stream, run_context, run, log, phase_run, saved), None
            writer.restart()
            while (progress := phase_run.progress()).done < 1 and not run.stopped:
                variant = take_variant(phase_run, progress.step)
                batch = log.speed.drawn(run, draw, phase_run, progress)
                rate = set_rates(phase_run, progress)
                loss, targets = gradients(phase_run, batch, progress)
                norm = clip(phase_run)
                update(phase_run, progress)
                stopping, due = phase_run.count(progress, variant, targets, writer.due)
                after = phase_run.progress()
                log.step(run, loss, norm, rate, after, every=phase_run.horizon.every)
                if after.done >= 1:
                    end_parts(phase_run)
                if after.done >= 1 or crossed(progress.overall, after.overall, recipe.evaluate_every):
                    phase_run.validate(log)
                phase_run.branch(log)
                if stopping or due:
                    phase_run.save(log, writer)
                if stopping:
                    return phase_run, False
            phase_run.close(log)
    assert phase_run is not None, "a recipe has phases"
    return phase_run, True


def crossed(before: float, after: float, every: float) -> bool:
    """Whether a multiple of ``every`` lies in (before, after]."""
    return math.floor(after / every + 1e-9) > math.floor(before / every + 1e-9)
