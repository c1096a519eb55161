"""The studies of a pack on the machine that flies it: their streams and variants, and which run stands at which place of the queue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from windtunnel.core import outside
from windtunnel.data.cut import restore
from windtunnel.recipe import Recipe
from windtunnel.study.decisions import Work, flops_of_budget, shapes_of, variant_of
from windtunnel.study.entry import Entry
from windtunnel.study.launch.worker import Job
from windtunnel.study.pack.manifest import STREAMS, Packed, Slot
from windtunnel.study.pilots import Means, Pilots
from windtunnel.study.plan import at_one_budget, needed_by, run_of, shorter_of
from windtunnel.study.result import BASELINE, SETTLED
from windtunnel.study.trials import trial_row
from windtunnel.study.tune import Tune, best, with_knobs
from windtunnel.train.record import read_record


@dataclass
class KnownStudy:
    """A study of a pack, here. What takes time (its streams, its variant, its budget) is done when it is first asked for."""

    packed: Packed
    pack: Path
    means: Means
    runs: int  # how many there are, which decides whether compiling pays
    tuned: dict[str, Recipe] = field(default_factory=dict)
    entries: dict[tuple[str, float, int, float], Entry] = field(default_factory=dict)  # by arm, multiple, seed and rate, once asked for
    broken: dict[str, str] = field(default_factory=dict)  # arms that cannot be flown, and why

    @property
    def folder(self) -> Path:
        """Where its variant and its budget are kept."""
        return self.means.out / "studies" / self.packed.name

    @cached_property
    def written(self) -> dict[str, Recipe]:
        """The recipes as the pack has them."""
        outside.define(outside.PartSource(*source) for source in self.packed.sources)
        return {arm: Recipe.model_validate(data) for arm, data in self.packed.recipes.items()}

    @cached_property
    def pilots(self) -> Pilots:
        """Its runs, with the streams that they read and the variant that they are flown with.

        Raises:
            UserError: where it was begun on another machine with what this one cannot compute.
        """
        place = self.means.out / "cache" / "packed"
        streams = {name: restore(self.pack / STREAMS / name, place / name) for name in sorted(self.packed.fingerprints())}
        found = Pilots(self.packed.name, self.means)
        found.streams = {arm: streams[name] for arm, name in self.packed.streams.items()}
        found.others = {key: streams[name] for key, name in self.packed.others.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        flops = sum(self.packed.flops.values()) * len(self.packed.seeds)
        base = self.written[BASELINE]
        work = Work(flops, self.runs, shapes_of(self.written.values()))
        found.variant = variant_of(self.packed.name, self.folder, base, found.streams[BASELINE], lambda: work, self.means)
        return found

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipes with the FLOPs that each may spend."""
        stream, variant = self.pilots.streams[BASELINE], self.pilots.variant
        return at_one_budget(self.written, lambda base: flops_of_budget(base, self.folder, stream, variant, self.means))

    def entry(self, slot: Slot) -> Entry | None:
        """The run at ``slot``; None as long as trials of tuning have to decide its recipe."""
        if slot.trial is not None:
            return self._trial(slot.arm, slot.trial)
        place = (slot.arm, slot.multiple, slot.seed, slot.rate)
        if place not in self.entries:
            recipe = self.recipes[slot.arm] if self.packed.tune is None else self._tuned(slot.arm)
            if recipe is None:
                return None
            self.entries[place] = self._run(slot.arm, slot.multiple, slot.seed, recipe, slot.rate)
        return self.entries[place]

    def _run(self, arm: str, multiple: float, seed: int, recipe: Recipe, rate: float = 1.0) -> Entry:
        return run_of(arm, multiple, seed, recipe, self.pilots.streams[arm].fingerprint, self.pilots.variant, rate)

    @cached_property
    def _tune(self) -> Tune:
        return Tune.model_validate(self.packed.tune)

    def _trial(self, arm: str, number: int) -> Entry:
        values = self._tune.combinations()[number]
        return self._run(arm, 1.0, self._tune.seed(self.packed.seeds), with_knobs(self.recipes[arm], values, self._tune.share))

    def _tuned(self, arm: str) -> Recipe | None:
        """The recipe of ``arm`` with the best values, by validation; None while trials of it have not ended."""
        if arm in self.tuned or arm in self.broken:
            return self.tuned.get(arm)
        rows, better = [], "lower"
        for number, values in enumerate(self._tune.combinations()):
            entry = self._trial(arm, number)
            record = read_record(self.place(entry))
            if record is None or record.status not in SETTLED:
                return None
            better = record.better or better
            rows.append(trial_row(values, entry, record, self.packed.primary))
        found = best(rows, better)
        if found is None:
            self.broken[arm] = "every trial of tuning failed"
            return None
        return self.tuned.setdefault(arm, with_knobs(self.recipes[arm], found["values"]))

    def flown(self, entry: Entry) -> bool:
        """Whether a run is finished."""
        return self.pilots.flown(entry)

    def first(self, entry: Entry) -> list[Entry]:
        """The runs that have to be flown next before ``entry`` can be."""
        stages = needed_by([entry], self.packed.streams, self.pilots.variant, self.packed.others, self.pilots.flown)
        return stages[0] if stages else []

    def job(self, entry: Entry, slots: Sequence[Slot], needed_for: Entry | None = None) -> Job:
        """The job that flies ``entry``, which may hand its beginning to shorter runs among ``slots``, or is ``needed_for`` another run."""
        alike = [slot for slot in slots if (slot.study, slot.arm, slot.seed) == (self.packed.name, entry.arm, entry.seed)]
        runs = [run for slot in alike if slot.trial is None and slot.multiple < entry.multiple and (run := self.entry(slot))]
        stream = str(self.pilots.stream_of(entry).folder)
        job = self.pilots.job(entry, stream, needed_for is not None, shorter_of(entry, runs))
        label = entry.label if needed_for is None else f"a model for {needed_for.label}"
        return replace(job, labels={"study": self.packed.name, "arm": label})

    def place(self, entry: Entry) -> str:
        """The folder of a run."""
        return self.pilots.absolute(entry)


def models_here(pack: Path, models: Mapping[str, Any]) -> str:
    """Where the checkpoints of a pack lie, as :data:`windtunnel.models.locate.STANDING_IN` says it."""
    return json.dumps({name: str((pack / one.folder).absolute()) for name, one in models.items()})
