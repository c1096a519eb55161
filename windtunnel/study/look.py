"""A look at the data of a study and at this machine's pace, before anything is flown: the beginning of every source is read and prepared
in a folder that goes afterwards, and the real steps of all recipes are timed on it.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import Diverged, SourceError, UserError
from windtunnel.core.keys import Variant
from windtunnel.data.corpus.curation import refuse_without_fields
from windtunnel.data.corpus.glance import Glance, enlarge, glances
from windtunnel.data.corpus.split import SPLITS
from windtunnel.recipe import Phase, Recipe, data_key, needed
from windtunnel.train.pace import STEPS, Pace, Trip, budget_flops, first_time, pace_of, same_pace, starting, trip

if TYPE_CHECKING:
    import torch

    from windtunnel.data.stream import Stream

HEAVY = 3e11  # FLOPs of a step that is not timed: on one core it would take some ten seconds
PATIENCE = 60.0  # seconds after which further recipes are not timed, but reckoned by the pace of the first


@dataclass
class Survey:
    """What was seen.

    ``preparing`` is about how many CPU seconds all of the data takes to prepare, ``starting`` how many a process takes until it trains.
    ``threads`` are those that a run spends CPU seconds on at once.
    """

    sources: dict[str, dict[str, Any]]  # by name, as :meth:`Glance.about` says it
    units: dict[str, float]  # about how many each source has, held-out ones too, as the baseline encodes it
    facts: Any  # of that encoding; None where it has not been learnt
    paces: dict[str, Pace]
    preparing: float
    starting: float
    threads: int = 1

    def budget(self, base: Recipe) -> float:
        """The FLOPs of the baseline's budget of tokens per parameter."""
        return budget_flops(base, self.paces)

    def sizes(self, base: Recipe) -> dict[str, int]:
        """About how many units of each source are in training."""
        share = 1.0 - base.split.validation - base.split.test
        return {name: round(share * units) for name, units in self.units.items()}

    def trip(self, recipe: Recipe) -> Trip:
        """What one run of ``recipe`` takes."""
        share = min(recipe.split.validation, recipe.split.test)
        return trip(recipe, self.paces, {name: share * units for name, units in self.units.items()}, self.threads)


def look(
    recipes: Sequence[Recipe],
    device: torch.device,
    variant: Variant,
    *,
    just_begun: bool = False,
    known: dict[str, Glance] | None = None,
) -> Survey:
    """Look at the data and the steps of ``recipes``, the baseline first.

    A process that has ``just_begun`` can say what starting one takes. Sources that are ``known`` are not read again.

    Raises:
        UserError: where a source cannot be read, or the data cannot be prepared, as flying would say it.
    """
    import torch

    start = starting(just_begun)
    every = list({one.identity(): one for recipe in recipes for one in (recipe, *needed(recipe).values())}.values())
    looked_at = glances({name: source for one in reversed(every) for name, source in one.sources.items()}, known)
    for one in every:
        refuse_idle_curators(one, looked_at)
    streams: dict[str, Stream] = {}
    seconds: dict[str, float] = {}
    paces: dict[str, Pace] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="windtunnel-check-", ignore_cleanup_errors=True) as folder:
        for one in every:
            if one.encoding.before() is None and data_key(one) not in streams:  # what an encoding takes over would have to be trained
                streams[data_key(one)], seconds[data_key(one)] = small_stream(one, looked_at, Path(folder))
            stream = streams.get(data_key(one))
            for index, phase in enumerate(one.phases):
                if same_pace(one, phase) in paces:
                    continue
                timed = reckoned(one, phase, next(iter(paces.values()), None), device)
                if stream is not None and timed.flops < HEAVY and (not paces or time.monotonic() - began < PATIENCE):
                    try:
                        if just_begun and not paces:
                            start += first_time(one, stream, device, variant)
                        timed = pace_of(one, index, stream, device, variant)
                    except Diverged as error:
                        what = f"a recipe with the optimizer {phase.optimizer.name} goes wrong in its first {STEPS + 1} steps"
                        raise UserError(f"{what}: {error}; lower its learning rate") from error
                paces[same_pace(one, phase)] = timed
        base = streams.get(data_key(recipes[0]))
        facts = base.facts if base else None  # read while the files are there: where no step was timed, nobody has asked for them yet
        trained = [name for name, some in base.sizes("train").items() if some] if base else []
        units = {name: sum(base.sizes(split)[name] for split in SPLITS) for name in trained} if base else {}
    read = sum(glance.bytes for glance in looked_at.values())
    sources = {name: glance.about() for name, glance in looked_at.items()}
    more = sum(source["bytes"] for source in sources.values()) / max(1, read)
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    # How an encoding counts the bytes of a unit is its own affair; a source's beginning and the whole are counted alike.
    whole = {name: many * sources[name]["bytes"] / max(1, looked_at[name].bytes) for name, many in units.items()}
    return Survey(sources, whole, facts, paces, sum(seconds.values()) * max(1.0, more), start, threads)


def refuse_idle_curators(recipe: Recipe, looked_at: Mapping[str, Glance]) -> None:
    """Raise UserError for a curator that would find nothing to act on, as far as nothing before it may add what it needs."""
    known = {name: {*looked_at[name].fields, *(["text"] if looked_at[name].has_text else [])} for name in recipe.corpus}
    for curator in itertools.takewhile(lambda one: one.fields, recipe.curators):
        refuse_without_fields(curator, known)


def small_stream(recipe: Recipe, looked_at: Mapping[str, Glance], cache: Path) -> tuple[Stream, float]:
    """The beginnings of the sources of ``recipe`` as a stream, and how many CPU seconds preparing them took.

    Where a beginning is too small to be split or encoded, more of it is read; so what is refused in the end is refused of the whole,
    unless more could not mend it.
    """
    from windtunnel.data.corpus.frame import engine
    from windtunnel.train.prepare import prepare

    engine()  # importing it is not preparing
    while True:
        began = time.process_time()
        corpus, held_out = ({name: looked_at[name].beginning() for name in names} for names in (recipe.corpus, recipe.held_out))
        try:
            stream = prepare(recipe.model_copy(update={"corpus": corpus, "held_out": held_out, "curators": ()}), cache)
        except SourceError as error:
            if not error.more or not enlarge([looked_at[name] for name in ([error.source] if error.source else recipe.sources)]):
                raise
        except UserError:
            if not enlarge([looked_at[name] for name in recipe.sources]):
                raise
        else:
            return stream, time.process_time() - began


def reckoned(recipe: Recipe, phase: Phase, other: Pace | None, device: torch.device) -> Pace:
    """The pace of a phase that is not timed: by its FLOPs, at the rate of ``other``, or at a third of that of matrix products."""
    import torch

    from windtunnel.train.estimate import estimate
    from windtunnel.train.machine import matmul_rate

    alone = recipe.model_copy(update={"phases": (phase.model_copy(update={"share": 1.0}),)})
    cost = estimate(alone)
    flops, tokens = cost["own_flops"] / cost["own_steps"], cost["own_tokens"] / cost["own_steps"]
    rate = other.flops / other.step if other else matmul_rate(device, torch.float32, 512, 0.1) / 3
    ratio = flops / other.flops if other else 1.0
    step = flops / rate
    return Pace(
        step,
        step,
        flops,
        tokens,
        step / tokens / 3,
        other.told if other else 0.0,
        cost["parameters"],
        (other.memory if other else 0) * ratio,
    )
