"""In which order the runs of a pack are flown: what a clock that runs out leaves behind is then worth most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from windtunnel.study.pack.manifest import Packed, Slot
from windtunnel.study.result import BASELINE
from windtunnel.study.tune import Tune


def by_value(studies: Sequence[Packed]) -> list[Packed]:
    """``studies`` with those that may yet decide something first, and among these the cheap ones first."""
    return sorted(studies, key=lambda study: (study.decided, sum(slot.flops for slot in _first(study)), study.name))


def queue(studies: Sequence[Packed]) -> list[Slot]:
    """Every run of ``studies``, those in the order they have.

    The first seed of all studies comes before the second of any. Within a seed the baseline comes before the arms, at one budget before
    its other multiples. Trials of tuning come before the first seed of their study, because they decide its recipes. Runs at
    other learning rates come after those that decide, and seeds that only a race may need are last.
    """
    found: list[Slot] = []
    most = max((len(study.seeds) for study in studies), default=0)
    for later in (False, True):
        for number in range(most):
            for study in studies:
                if number < len(study.seeds) and (number >= study.least) == later:
                    found += _round(study, study.seeds[number]) if number else _first(study)
        if not later:
            found += [slot for study in studies for slot in _rates(study)]
    return found


def _first(study: Packed) -> list[Slot]:
    """What the first seed of a study takes."""
    return [*_trials(study), *_round(study, study.seeds[0])]


def _round(study: Packed, seed: int) -> Iterator[Slot]:
    """The runs of one seed."""
    flops = study.flops
    for multiple in sorted(study.curve, key=lambda multiple: (multiple != 1, -multiple)):
        if multiple == 1.0 or seed in study.seeds[: study.curve_seeds]:
            yield Slot(study=study.name, arm=BASELINE, multiple=multiple, seed=seed, flops=flops.get(BASELINE, 0.0) * multiple)
    for arm in study.recipes:
        if arm != BASELINE:
            yield Slot(study=study.name, arm=arm, seed=seed, flops=flops.get(arm, 0.0))


def _rates(study: Packed) -> Iterator[Slot]:
    for seed in study.rate_seeds:
        for rate in study.rates:
            for arm in study.recipes:
                yield Slot(study=study.name, arm=arm, rate=rate, seed=seed, flops=study.flops.get(arm, 0.0))


def _trials(study: Packed) -> Iterator[Slot]:
    if study.tune is None:
        return
    tune = Tune.model_validate(study.tune)
    seed = tune.seed(study.seeds)
    for arm in study.recipes:
        for number in range(len(tune.combinations())):
            yield Slot(study=study.name, arm=arm, seed=seed, trial=number, flops=study.flops.get(arm, 0.0) * tune.share)
