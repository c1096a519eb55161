"""A study sized to the hours one has: the largest pilots that keep their tokens per parameter and leave room for enough seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.core.files import decided_once
from windtunnel.core.keys import hashed
from windtunnel.data.corpus.glance import Glance
from windtunnel.recipe import USUAL
from windtunnel.recipe.section import KEY, ORDER
from windtunnel.study.check import check_study
from windtunnel.study.file import StudyFile
from windtunnel.study.launch import local
from windtunnel.study.launch.watch import duration
from windtunnel.study.records import machine_of
from windtunnel.study.result import BASELINE
from windtunnel.train.machine import hardware

DECIDED = "hours-{:g}-{}.json"  # in the folder of a study: how what its file says was sized to so many hours
LEAST, ENOUGH, MOST = 2, 6, 12  # seeds that give an interval, that a larger section must leave room for, that are ever planned
LOOK = 3  # seeds of the first look of a race
REPEATED = 4.0  # times that a section may go over a source: up to there text read again is nearly worth new text (arXiv 2305.16264)


class TooFewHours(UserError):
    """Not even two seeds of the smallest section end in time."""


class Offer(NamedTuple):
    """What a study takes in one section (None: as its file has it), in seconds with all workers."""

    section: str | None
    fixed: float  # whatever the number of seeds is
    each: tuple[float, ...]  # of one seed of baseline and arms, in the order in which seeds are flown
    epochs: float  # the most that any arm goes over any source

    def within(self, seconds: float) -> int:
        """How many seeds end in ``seconds``."""
        left, count = seconds - self.fixed, 0
        for each in self.each:
            left -= each
            count += left >= 0
        return count

    def seconds(self, seeds: int) -> float:
        """What ``seeds`` seeds take."""
        return self.fixed + math.fsum(self.each[:seeds])


def sized(
    study: StudyFile,
    hours: float,
    out: Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    keep: bool = True,
    known: dict[str, Glance] | None = None,
) -> tuple[StudyFile, str]:
    """``study`` as it fills ``hours`` hours on this machine, and a sentence that says what was chosen.

    A baseline in a section, or one that says nothing of its model, takes the largest section that leaves room for :data:`ENOUGH` seeds
    and reads no source more than :data:`REPEATED` times; any other keeps its model. The budget is 20 tokens per parameter unless the study
    sets another number of these, and seeds are raced up to :data:`MOST`. What is chosen is kept in the folder of the study, so that the
    same command goes on with it; with ``keep`` False it is only looked up there. ``known`` sources are not read again.

    Raises:
        TooFewHours: where not even two seeds of the smallest section end in time.
        UserError: for what cannot be flown.
    """
    import torch

    if not 0 < hours < math.inf:
        raise UserError(f"--hours {hours:g}: expected a number above 0, such as 2 or 0.5")
    told: list[str] = []
    known = {} if known is None else known
    machine = machine_of(hardware(torch.device(local.workers_here(workers, threads, device).device(0) or "cpu")))

    def decide() -> dict[str, Any]:
        offers = (offer(in_section(study, name), name, out, workers, threads, device, known) for name in sections_of(study))
        section, seeds, why = chosen(offers, 3600 * hours)
        told.append(why)
        return {"section": section, "seeds": seeds, "why": why, "machine": machine}

    about = hashed({arm: recipe.identity() for arm, recipe in study.written.items()})
    path = out / "studies" / study.name / DECIDED.format(hours, about[:8])
    if keep:
        path.parent.mkdir(parents=True, exist_ok=True)
    found = decided_once(path, decide) if keep or path.exists() else decide()
    again = "" if told else " (decided when it was begun)"
    if found["machine"] != machine:
        again = f" (decided on another machine, {found['machine']}, where this is {machine}; delete {path} to size it anew)"
    return with_seeds(in_section(study, found["section"]), found["seeds"]), f"{hours:g} hours: {found['why']}{again}"


def sections_of(study: StudyFile) -> Sequence[str | None]:
    """The sections that ``study`` can be flown in, the largest first; one None where it keeps the model of its file."""
    free = KEY in study.baseline or not {"model", "start", "phases"} & study.baseline.keys()
    return tuple(reversed(ORDER)) if free else (None,)


def in_section(study: StudyFile, section: str | None) -> StudyFile:
    """``study`` with its baseline in ``section`` and as many seeds as are ever planned, at a budget of tokens per parameter."""
    budget = study.budget if study.budget.unit == USUAL.unit else USUAL
    changed: dict[str, Any] = {"budget": budget.model_dump(exclude_none=True), "seeds": MOST}
    if section is not None:
        changed["baseline"] = {**study.baseline, KEY: section}
    return study.changed(changed)


def with_seeds(study: StudyFile, seeds: int) -> StudyFile:
    """``study`` with ``seeds`` seeds: raced where there are more than the first look takes."""
    return study.changed({"seeds": {"least": LOOK, "most": seeds} if seeds > LOOK else seeds})


def offer(
    study: StudyFile,
    section: str | None,
    out: Path,
    workers: int | None,
    threads: int | None,
    device: str | None = None,
    known: dict[str, Glance] | None = None,
) -> Offer:
    """What ``study``, which is in ``section``, takes here: as :func:`windtunnel.study.check.check_study` estimates it."""
    found = check_study(study, out, workers=workers, threads=threads, device=device, known=known)
    each = tuple(found["by_seed"].get(seed, 0.0) / found["workers"] for seed in study.seed_list)
    epochs = max((often for arm in (found["epochs"] or {}).values() for often in arm.values()), default=0.0)
    return Offer(section, max(0.0, found["seconds"] - math.fsum(each)), each, epochs)


def chosen(offers: Iterable[Offer], seconds: float) -> tuple[str | None, int, str]:
    """The section and the number of seeds that fill ``seconds`` best, and a sentence about it.

    Args:
        offers: the largest section first; later ones are asked for only while earlier ones do not fit.

    Raises:
        TooFewHours: where two seeds of the last one do not end in time.
    """
    passed = []
    for one in offers:
        seeds, name = one.within(seconds), f"section {one.section}" if one.section else BASELINE
        last = one.section in (None, ORDER[0])
        if last or (seeds >= ENOUGH and one.epochs <= REPEATED):
            break
        many = f"would read a source {one.epochs:.2g} times"
        passed.append(f"{name} {many if one.epochs > REPEATED else f'would leave time for {seeds} of {ENOUGH} seeds'}")
    if seeds < LEAST:
        needed = one.seconds(LEAST)
        raise TooFewHours(
            f"--hours {seconds / 3600:g}: two seeds of {name} take about {duration(needed)} on this machine, and one gives no interval; "
            f"give --hours {math.ceil(100 * needed / 3600) / 100:g}, fewer arms, or fewer tokens with --budget {USUAL.unit}=5"
        )
    up_to = f"up to {seeds} seeds" if seeds > LOOK else f"{seeds} seeds"
    why = "; ".join([f"{name}, {up_to}, about {duration(one.seconds(seeds))} at most", *passed])
    return one.section, seeds, why
