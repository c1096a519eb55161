"""A phase while it is flown: how it begins, where it stands, how it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from windtunnel.core.errors import Diverged, PartError
from windtunnel.core.part import Part
from windtunnel.data.held_out import held_out
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.kits.gather import alone
from windtunnel.models.attention import FUSED, set_attention
from windtunnel.models.save import written_generation
from windtunnel.parts.start.scratch import Scratch
from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import Among, BatchContext, Evaluation, HeldOut, Numbers, Objective, Progress
from windtunnel.train import branch, ranks
from windtunnel.train.again import recompute
from windtunnel.train.begin import begin, build_optimizer, in_parts, refilled
from windtunnel.train.checkpoint import Writer, load_state_dict, state_dict
from windtunnel.train.compiled import compile_model, set_compiled
from windtunnel.train.log import RunContext, RunLog, RunState
from windtunnel.train.measure import compile_step, measure
from windtunnel.train.parallel.mesh import beside
from windtunnel.train.parallel.shard import at_rest, load_optimizer, sharded
from windtunnel.train.parts import acting_parts, bound, end_parts, look_ahead, observe, start_parts
from windtunnel.train.spend import Account, Horizon, PhaseCost, Stopwatch, left_of
from windtunnel.train.step import loader_of, take_whole


@dataclass
class PhaseRun:
    """A phase while it is flown: what its steps act on.

    ``parts`` are those that act in it, with the state and the models of each bound to its acts; ``states`` and ``models`` are theirs, by
    the same keys. ``phase`` is that of the recipe with these parts.
    """

    recipe: Recipe
    index: int
    seed: int
    stream: Stream
    run_context: RunContext
    run_state: RunState
    loader: Loader
    model: Any
    states: dict[str, Any]
    models: dict[str, dict[str, Any]]
    optimizer: torch.optim.Optimizer
    phase: Phase
    parts: dict[str, Part]
    cost: PhaseCost = field(init=False)
    horizon: Horizon = field(init=False)
    judge: HeldOut = field(init=False)
    clock: Stopwatch = field(init=False)
    branches: dict[int, list[Path]] = field(init=False)  # folders of shorter runs by the step after which they go on by themselves

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        seed: int,
        stream: Stream,
        run_context: RunContext,
        run_state: RunState,
        log: RunLog,
        before: PhaseRun | None,
        saved: Mapping[str, Any] | None,
    ) -> PhaseRun:
        """The phase that ``run_state`` stands in, ready for its next step: after the phase ``before``, or from the checkpoint ``saved``."""
        index = run_state.phase
        phase, spent = recipe.phases[index], Account()
        refuse_stream(phase.objective, stream)
        model, moments = before.release() if before is not None else (None, None)
        if saved is None:
            model = begin(recipe, index, model, stream, seed, run_context, spent)
            take_over_cursors(phase, seed, run_context, run_state)
        else:
            model = refilled(recipe, index, stream, seed, run_context, saved)
        if not sharded(model):
            ranks.same_weights(model)
        in_parts(model, run_context)
        if run_context.recompute:
            recompute(model)
        set_attention(model, run_context.attention)
        parts = acting_parts(phase, recipe.evaluations)
        states, models = start_parts(parts, model, seed, run_context)
        parts = bound(parts, states, models)
        phase = phase.model_copy(update={key: part for key, part in parts.items() if key in Phase.model_fields})
        optimizer, loader = build_optimizer(phase, model, moments), loader_of(recipe, phase, stream, seed, run_state.cursors)
        phase_run = cls(recipe, index, seed, stream, run_context, run_state, loader, model, states, models, optimizer, phase, parts)
        if saved is None:
            phase_run.reckon(spent, moments)
        else:
            phase_run.load_state(saved)
        budget = left_of(recipe.allowance, run_context.charged)
        phase_run.horizon = Horizon.of(budget, phase.share, phase_run.cost, phase_run.step_tokens)
        phase_run.branches = branch.branches(phase_run, run_context.shorter)
        if run_context.compiled:
            compile_model(model)
            compile_step(phase_run)
        phase_run.judge = judges(recipe, recipe.phases[index], stream, "validation", run_context)  # what is measured changes no state
        phase_run.judge.epochs = loader.epochs
        phase_run.clock = Stopwatch()
        if not run_state.steps and phase.start is not None and not isinstance(phase.start, Scratch):
            phase_run.validate(log)  # what the weights are worth that training goes on from
        model.train()
        phase_run.clock.restart()
        return phase_run

    @cached_property
    def by_source(self) -> dict[str, Part]:
        """The parts that observe the training loss of every source, by the key of each."""
        return {key: part for key, part in self.parts.items() if part.by_source}

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those of the recipe that can judge the model of this phase, with the state and the models of each bound to its act."""
        return tuple(part for part in self.parts.values() if isinstance(part, Evaluation) and part.measures(self.phase.objective))

    @property
    def micro_batch(self) -> int:
        """Sequences that a rank puts through the model at a time."""
        whole = self.phase.batch if self.phase.objective.together else max(1, self.phase.batch * self.beside // ranks.count())
        return self.recipe.micro_batch or whole

    @cached_property
    def beside(self) -> int:
        """How many ranks read the same sequences, and compute each layer between them."""
        return beside(self.run_context.mesh)

    @property
    def step_tokens(self) -> int:
        """Positions that the model reads in one step, which budgets count as tokens."""
        return self.phase.batch * self.phase.positions(self.stream.facts)

    @property
    def feedback(self) -> dict[str, float]:
        """The latest numbers on validation."""
        return self.run_state.validation[-1]["numbers"] if self.run_state.validation else {}

    def given(self, key: str, progress: Progress) -> BatchContext:
        """What the part ``key`` may use."""
        return BatchContext(self.phase.objective, progress, self.models.get(key, {}))

    def progress(self) -> Progress:
        """Where the phase stands, before its next step."""
        step = self.run_state.step
        done = self.horizon.done(step, self.run_state.seconds - self.cost.before.seconds)
        return Progress(
            step=step,
            steps=self.horizon.reckoned(step, done),
            tokens=step * self.step_tokens,
            step_tokens=self.step_tokens,
            sequences=self.phase.batch,
            done=done,
            overall=sum(phase.share for phase in self.recipe.phases[: self.index]) + self.phase.share * done,
            phase=self.index,
        )

    def reckon(self, spent: Account, moments: Mapping[str, Any] | None) -> None:
        """Look ahead and count a step; charge the run with that and with what the start has ``spent``."""
        spent.pay(asdict(look_ahead(self)))
        step = measure(self)
        self.optimizer = build_optimizer(self.phase, self.model, moments)
        step, ahead = ranks.broadcast((step, asdict(spent)))
        self.cost = PhaseCost(step, ahead, self.run_state.standing())
        self.run_state.pay(ahead)

    def count(self, progress: Progress, variant: int, targets: int, due: bool) -> tuple[bool, bool]:
        """Enter a step that was made into the account; returns whether the run is asked to stop, and whether a checkpoint is ``due``.

        Of several ranks, rank 0 decides both.
        """
        run, structure = self.run_state, self.phase.structure
        run.step += 1
        run.steps += 1
        run.targets += targets
        cost = self.cost.step["variants"][variant]
        density = structure.density(self.model, progress.done) if structure else 1.0
        taken, stopping, due = ranks.broadcast((self.clock.lap(), bool(self.run_context.stop()), due))
        effective = cost["flops"] - (1.0 - density) * cost["matrices"]
        run.pay({"tokens": self.step_tokens, "flops": cost["flops"], "effective_flops": effective, **taken})
        return stopping, due

    def validate(self, log: RunLog) -> None:
        """Evaluate the whole model on validation, write down where the run stands, and stop it above a limit. This is not training time."""
        log.check()
        take_whole(self)
        run = self.run_state
        numbers = ranks.broadcast(evaluate(self.evaluations, self.model, self.judge))
        place = {"step": run.steps, "phase": self.index, "tokens": run.tokens, "flops": run.flops, "seconds": run.seconds}
        run.validation.append(place | {"numbers": dict(numbers)})  # plain: a checkpoint holds it
        log.numbers(run.steps, numbers)
        observe(self, numbers)
        run.stopped = over_limits(self.recipe.limits, run.validation)
        if run.stopped:
            self.run_context.warn(run.stopped)
        self.clock.restart()

    def save(self, log: RunLog, writer: Writer) -> None:
        """Begin a checkpoint of where the run stands. This is not training time."""
        log.check()
        writer.begin(f"step-{self.run_state.steps:09d}", self.state())
        self.clock.restart()

    def branch(self, log: RunLog) -> None:
        """Hand a checkpoint to the shorter runs that go on from here by themselves. This is not training time."""
        for folder in self.branches.pop(self.run_state.step, ()):
            log.check()
            branch.hand_over(folder, f"step-{self.run_state.steps:09d}", self.state(), log.path)
            self.clock.restart()

    def state(self) -> dict[str, Any]:
        """All that a checkpoint holds: the run, the loader, the model with its configurations, the optimizer, the parts and the costs."""
        at_rest(self.model)
        return {
            "run": asdict(self.run_state),
            "loader": self.loader.state(),
            "config": json.loads(self.model.config.to_json_string(use_diff=False)),
            "generation": written_generation(self.model),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "states": {key: state_dict(state) for key, state in self.states.items()},
            "cost": asdict(self.cost),
        }

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was taken; the model holds its weights already."""
        load_optimizer(self.optimizer, saved["optimizer"])
        for key, state in self.states.items():
            load_state_dict(state, saved["states"][key])
        self.loader.load_state(saved["loader"])
        self.cost = PhaseCost.from_state(saved["cost"])

    def close(self, log: RunLog) -> None:
        """Write down what the phase has cost, fold its structure, and let the run stand at the beginning of the next phase.

        A run that a limit has stopped stands behind its last phase.
        """
        if self.progress().done < 1:  # a limit has ended it
            end_parts(self)
        log.check()
        take_whole(self)
        run, cost = self.run_state, self.cost
        run.cursors |= self.loader.state()["cursors"]
        spent = run.since(cost.before)
        run.phases.append(
            {
                "steps": run.step,
                "tokens": run.step * self.step_tokens,
                "flops": spent["flops"],
                "effective_flops": spent["effective_flops"],
                "flops_per_step": cost.step["flops"],
                "parameters": cost.step["parameters"],
                "active_parameters": cost.step["active_parameters"],
                "trained_parameters": cost.step.get("trained_parameters"),
                "memory": cost.step.get("memory", 0),
                "seconds": spent["seconds"],
            }
            | ({"ahead": cost.ahead} if cost.ahead["tokens"] else {})
        )
        set_attention(self.model, FUSED)  # whose masks are those of transformers, for whoever uses the model
        set_compiled(self.model, None)  # samples have other shapes, and the next phase counts its first step before compiling
        if self.phase.structure is not None:
            self.phase.structure.remove(self.model)
        run.phase, run.step = len(self.recipe.phases) if run.stopped else self.index + 1, 0

    def release(self) -> tuple[Any, dict[str, Any]]:
        """The model and the optimizer's state, of which nothing is kept here: what follows needs the memory."""
        model, moments = self.model, self.optimizer.state_dict()
        del self.model, self.optimizer, self.states, self.models, self.phase, self.parts, self.judge
        return model, moments


def take_over_cursors(phase: Phase, seed: int, run_context: RunContext, run_state: RunState) -> None:
    """Let weights go on with the documents that come after those they were trained on."""
    for trained in phase.start.trained().values() if phase.start is not None else ():
        for source, read in run_context.cursors_of(trained, seed).items():
            run_state.cursors[source] = max(read, run_state.cursors.get(source, 0))


def judges(recipe: Recipe, phase: Phase, stream: Stream, split: str, run_context: RunContext) -> HeldOut:
    """What evaluations look at: ``split`` as the phase's objective sees it."""
    limit = recipe.evaluation_tokens if split == "validation" else recipe.test_tokens
    found = held_out(
        stream,
        split,
        objective=phase.objective,
        context=phase.context,
        sequences=recipe.micro_batch or phase.batch,
        limit_tokens=limit,
        device=run_context.device,
        precision=run_context.precision,
    )
    same = beside(run_context.mesh)  # so many ranks have to read the same batches
    among = Among(ranks.rank() // same, ranks.count() // same, lambda mine: ranks.of_every(mine)[::same])
    return replace(found, trained_on=recipe.trained_on(phase), among=among)


def evaluate(evaluations: Sequence[Evaluation], model: Any, judge: HeldOut) -> Numbers:
    """The numbers of all ``evaluations``, the primary one first, with what each document adds to that. Rank 0 has them all.

    The model is left in training mode, its compiled form untouched.
    """
    compiled = set_compiled(model, None)  # other shapes would compile again
    model.eval()
    with torch.no_grad(), alone():
        found = [measured for each in evaluations if (measured := _measured(each, model, judge)) is not None]
    first = found[0] if found else {}
    numbers = Numbers({name: float(value) for each in found for name, value in each.items()}, getattr(first, "by_document", None))
    at_rest(model)
    model.train()
    set_compiled(model, compiled)
    return numbers


def _measured(evaluation: Evaluation, model: Any, judge: HeldOut) -> Mapping[str, float] | None:
    """The numbers of ``evaluation``; None on a rank that is not asked. Every rank has to come here."""
    if not evaluation.shares:
        if ranks.rank() and not sharded(model):
            return None
        judge = replace(judge, among=Among())
    found: Mapping[str, float] = evaluation.evaluate(model, judge)
    if not isinstance(found, Mapping):
        raise PartError(f"evaluation {evaluation.name!r} returned {found!r}; it has to return numbers by name, such as {{'right': 0.5}}")
    for name, value in found.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{name} of evaluation {evaluation.name!r} is {float(value)}, not a finite number: training has gone wrong, or it "
                "measures nothing"
            )
    return found


def over_limits(limits: Mapping[str, float], validation: list[dict[str, Any]]) -> str:
    """Which source's primary number is further above the first of ``validation`` than its limit allows, as a sentence; "" if none is."""
    first, last = validation[0]["numbers"], validation[-1]["numbers"]
    for source, limit in limits.items():
        name = f"{next(iter(first))}/{source}"
        rise = last[name] / first[name] - 1 if name in first else 0.0
        if rise > limit:
            return f"training ended at step {validation[-1]['step']}: {name} has risen by {rise:.2%}, its limit is {limit:.2%}"
    return ""


def refuse_stream(objective: Objective, stream: Stream) -> None:
    """Raise PartError where ``objective`` cannot be trained on ``stream``, or not on so many ranks."""
    for name in objective.fields:
        if name not in stream.fields:
            raise PartError(
                f"{objective.name} reads the field {name!r}, which the documents lack as they are encoded by {stream.encoding.name} "
                f"(they have {', '.join(stream.fields)})"
            )
    if objective.together and not objective.gathers and ranks.count() > 1:
        raise PartError(
            f"the loss of {objective.name} compares the sequences of a step with each other and does not gather those of other ranks; "
            "use --ranks 1"
        )
