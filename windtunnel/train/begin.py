"""The model and the optimizer that a phase begins with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from windtunnel.core.errors import UserError
from windtunnel.data.held_out import held_out
from windtunnel.data.stream import Stream
from windtunnel.models.flops import counter
from windtunnel.models.init import config_for, fresh, hollow, train_every_row
from windtunnel.models.save import set_generation
from windtunnel.parts.start.scratch import Scratch
from windtunnel.recipe import Phase, Recipe
from windtunnel.slots import HeldOut, StartContext
from windtunnel.train.log import RunContext
from windtunnel.train.parallel.shard import hold, shard
from windtunnel.train.parallel.stored import fill, put_together
from windtunnel.train.spend import Account, Stopwatch
from windtunnel.train.step import drawn_from, reseed


def begin(recipe: Recipe, index: int, previous: Any, stream: Stream, seed: int, run_context: RunContext, spent: Account) -> Any:
    """The model that phase ``index`` begins with, where the phase before ended with ``previous`` (None: it is the first).

    What forward passes of the start cost is added to ``spent``.

    Raises:
        UserError: where the weights of the phase before do not fit and nothing says how they are to.
    """
    phase = recipe.phases[index]
    reseed(seed, index)  # for parts that draw at random without a generator of their own
    config = config_for(phase.model, stream.facts, phase.context)
    rows = stream.encoding.rows(stream.facts, recipe.special())
    if previous is not None and rows is not None and rows <= previous.config.vocab_size < config.vocab_size:
        config.vocab_size = previous.config.vocab_size  # that of a checkpoint, which has no rows for tokens that nobody uses
    model: Any
    if phase.start is not None:
        context = start_context(recipe, phase, stream, seed, run_context, spent, rows)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            light = run_context.mesh is not None and previous is None and phase.structure is None
            found = phase.start.by_weight(config, context) if light else None
            model = phase.start.build(previous, config, seed, context) if found is None else in_shards(*found, run_context)
        for warning in heard:  # a growth that is not exact says by how much; it belongs to the run, not to the terminal alone
            run_context.warn(str(warning.message))
    elif previous is None:
        model = Scratch().build(None, config, seed)
    else:
        model = carried_on(recipe, index, previous, config, stream)
    return shaped(model, phase, run_context)


def refilled(recipe: Recipe, index: int, stream: Stream, seed: int, run_context: RunContext, saved: Mapping[str, Any]) -> Any:
    """The model of the checkpoint ``saved`` in phase ``index``; in shards, where the run is, and then no rank ever holds it whole.

    A structure that may act on shards is applied to whole weights, as it was when the phase began.

    Its configuration is the checkpoint's, not the recipe's: a start may have read from a folder what no recipe says, the base of the
    rotation for example.
    """
    phase = recipe.phases[index]
    reseed(seed, index)
    config = type(config_for(phase.model, stream.facts, phase.context)).from_dict(saved["config"])
    light = run_context.mesh is not None and phase.structure is None
    model: Any = hollow(config) if light else fresh(config, seed)
    if saved["generation"]:
        set_generation(model, saved["generation"])
    if light:
        model.tie_weights()
        return in_shards(train_every_row(model).train(), saved["model"].items(), run_context)
    model = shaped(model, phase, run_context)
    model.load_state_dict(put_together(saved["model"]))
    return model


def in_shards(outline: Any, values: Iterable[tuple[str, Any]], run_context: RunContext) -> Any:
    """The model of ``outline``, in shards, whose weights are ``values``; no rank holds more than one of them whole."""
    in_parts(outline, run_context)
    hold(outline, torch.device("cpu") if run_context.offload else run_context.device)
    into = outline.state_dict()
    fill((into[name], value) for name, value in values)
    return outline


def in_parts(model: Any, run_context: RunContext) -> None:
    """Shard ``model`` as the run is laid out; a model that stays whole is left as it is."""
    shard(model, run_context.mesh, bfloat16=run_context.bfloat16, offload=run_context.offload)


def shaped(model: Any, phase: Phase, run_context: RunContext) -> Any:
    """``model`` with the structure of the phase, on the device, where it fits: what is to be sharded goes there block by block."""
    if run_context.mesh is None:
        model.to(run_context.device)
    if phase.structure is not None:
        phase.structure.apply(model)
    return model


def start_context(
    recipe: Recipe, phase: Phase, stream: Stream, seed: int, run_context: RunContext, spent: Account, rows: int | None
) -> StartContext:
    """What the start of ``phase`` may use, where models need ``rows``; what it costs is added to ``spent``."""
    trained = phase.start.trained() if phase.start is not None else {}

    @contextmanager
    def counted(tokens: int) -> Iterator[None]:
        watch = Stopwatch()
        with counter() as counts:
            yield
        flops = float(counts.get_total_flops())
        spent.pay({"flops": flops, "effective_flops": flops, "tokens": tokens, **watch.lap()})

    def judge(units: int) -> HeldOut:
        found = held_out(
            stream,
            "validation",
            objective=phase.objective,
            context=phase.context,
            sequences=phase.batch,
            limit_tokens=units,
            device=run_context.device,
            precision=run_context.precision,
        )
        return replace(found, sources=tuple(source for source in found.sources if source in recipe.trained_on(phase)))

    return StartContext(
        models={name: run_context.model_of(one, seed) for name, one in trained.items()},
        stream=stream,
        processors={name: run_context.processor_of(one, seed) for name, one in trained.items() if phase.start and phase.start.other_tokens},
        sources=drawn_from(recipe, phase, stream),
        counted=counted,
        rows=rows,
        judge=judge,
    )


def carried_on(recipe: Recipe, index: int, previous: Any, config: Any, stream: Stream) -> Any:
    """``previous`` with what its phase and phase ``index``, of configuration ``config``, differ in, say dropout.

    Raises:
        UserError: where sizes differ, or the weights do not fit any more.
    """
    before, phase = recipe.phases[index - 1 : index + 1]
    old, new = (settings.shape() for settings in (before.model, phase.model))
    differ = ", ".join(f"{key} was {old.get(key)} and is {new[key]}" for key in new if new[key] != old.get(key))
    if differ:
        raise UserError(f"phases.{index}.model: {differ}; say with `start:` how the weights of the phase before become these")
    known = config_for(before.model, stream.facts, before.context).to_dict()
    changed = {key: value for key, value in config.to_dict().items() if value != known[key]}
    if not changed:
        return previous
    model = fresh(type(config).from_dict(previous.config.to_dict() | changed), 0)
    try:
        model.load_state_dict(previous.state_dict())
    except RuntimeError as error:
        raise UserError(
            f"phases.{index}.context: this family has learned its positions, so phases without `start:` need one context"
        ) from error
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
