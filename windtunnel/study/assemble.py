"""From the records of a study's runs to its result: what is compared, measured and told of each arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe
from windtunnel.slots import ByDocument
from windtunnel.study.entry import Entry
from windtunnel.study.result import BASELINE, SETTLED, StudyResult
from windtunnel.train.record import RunRecord

if TYPE_CHECKING:
    from windtunnel.study.race import Standing
    from windtunnel.study.seeds import Race

TOTALS = ("tokens", "flops", "effective_flops", "seconds", "cpu_seconds", "peak_memory_bytes")


def assemble(
    about: Mapping[str, Any],
    entries: Sequence[Entry],
    records: Mapping[str, RunRecord],
    recipes: Mapping[str, Recipe],
    extra: Mapping[str, Any],
    bytes_per_unit: Mapping[str, Mapping[str, float]] | None = None,
    documents: Callable[[str], ByDocument | None] = lambda folder: None,
) -> StudyResult:
    """The result of a study, finished or not.

    Args:
        about: the ``study`` block, with confidence, relative margin (``margin_share``; None: read from the curve) and curve.
        entries: every run the study needs.
        records: the records there are so far, by ``Entry.folder``.
        recipes: the resolved recipe of the baseline and of each arm.
        extra: further blocks, taken over as they are.
        bytes_per_unit: of the training documents, by arm and source, where they are known.
        documents: what each held-out document adds to the primary metric of the run in ``Entry.folder``, where that is known.
    """
    from windtunnel.study.race import widest
    from windtunnel.study.rates import checked
    from windtunnel.study.statistics.transfer import transfer, transfer_of

    every, entries = entries, [entry for entry in entries if entry.rate == 1.0]
    flown = EndedRuns(entries, {folder: record for folder, record in records.items() if record.status in SETTLED})
    done = [record for record in flown.settled.values() if record.finished]
    first = done[0].primary or "" if done else ""
    primary = primary_of(about.get("primary"), done)
    better = done[0].better or "lower" if done else "lower"
    numbers = list(dict.fromkeys(number for record in done for number in record.test if number != primary))
    judged = _judged(about, flown, [name for name in recipes if name != BASELINE], primary, better)
    study = {**about, "metric": primary, "unit": done[0].unit if done else "", "better": better, **judged.margin}
    study["confidence_of_each"] = judged.each
    kept = tuple(about.get("kept") or ())
    told: dict[str, Any] = {"metric": first, "better": better, "confidence": widest(judged.race, about["confidence"]), "kept": kept}
    carried = transfer({name: flown.by_seed(name) for name in recipes}, recipes, **told)

    def aggregates(entry: Entry) -> dict[str, float]:
        record = records[entry.folder]
        return transfer_of(record, entry.recipe, first, better, kept) if record.finished else {}

    def block(name: str) -> dict[str, Any]:
        own = {number: judged.beside(flown, name, number) for number in numbers}
        costs = flown.costs(name, recipes[name], (bytes_per_unit or {}).get(name))
        return {**_compared(name, flown, judged, recipes), **costs, "over_documents": over(name), "numbers": own}

    def over(name: str) -> dict[str, Any] | None:
        both = sorted(flown.values(name, 1.0, primary).keys() & flown.values(BASELINE, 1.0, primary).keys())
        folders = {(entry.arm, entry.seed): entry.folder for entry in entries if entry.multiple == 1.0}
        return _over_documents([(documents(folders[name, seed]), documents(folders[BASELINE, seed])) for seed in both], judged.each)

    level = judged.baseline
    result = {
        "study": study,
        "baseline": {
            "seeds": level["seeds"],
            "test": {key: level[key] for key in ("mean", "low", "high")},
            "curve": [{**point, "flops": judged.spent.get(point["multiple"])} for point in level["curve"]],
            **flown.costs(BASELINE, recipes[BASELINE], (bytes_per_unit or {}).get(BASELINE)),
            "numbers": {number: {"mean": _mean(flown.values(BASELINE, 1.0, number))} for number in numbers},
        },
        "arms": {name: block(name) for name in recipes if name != BASELINE},
        "runs": [_run(entry, records[entry.folder], aggregates(entry)) for entry in entries if entry.folder in records],
        **({"transfer": carried} if carried else {}),
        **({"rates": rates} if (rates := checked(every, flown.settled, primary, better)) else {}),
        "progress": {
            "runs": len({entry.folder for entry in every}),
            "finished": len(done),
            "failed": len(flown.settled) - len(done),
        },
        "recipes": {name: recipe.model_dump(mode="json") for name, recipe in recipes.items()},
        "samples": {name: samples for name in recipes if (samples := _samples(name, entries, flown.settled))},
        "versions": done[0].versions if done else {},
        "hardware": done[0].hardware if done else {},
        **extra,
        "finished": all(entry.folder in flown.settled for entry in every) and not any(arm.open for arm in judged.raced.values()),
        "failure": failure.plain() if (failure := _failure(entries, flown.settled)) else None,
        "error": failure.message if failure else None,
    }
    return StudyResult.model_validate(finite(result))


class EndedRuns(NamedTuple):
    """The runs of a study at its own rates that have ended, by folder: what is asked of them."""

    entries: Sequence[Entry]
    settled: Mapping[str, RunRecord]

    def values(self, arm: str, multiple: float, name: str, block: str = "test") -> dict[int, float]:
        """A number of the finished runs of an arm at a multiple of the budget, by seed."""
        found = {}
        for entry in self.entries:
            record = self.settled.get(entry.folder)
            if (entry.arm, entry.multiple) == (arm, multiple) and record is not None and record.finished:
                value = record[block].get(name)
                if isinstance(value, (int, float)) and math.isfinite(value):
                    found[entry.seed] = float(value)
        return found

    def by_seed(self, arm: str) -> dict[int, RunRecord]:
        """The records of the finished runs of an arm at the budget."""
        own = [(entry.seed, self.settled.get(entry.folder)) for entry in self.entries if (entry.arm, entry.multiple) == (arm, 1.0)]
        return {seed: record for seed, record in own if record is not None and record.finished}

    def ended(self, *arms: str) -> bool:
        """Whether every run of ``arms`` at the budget has ended."""
        return all(entry.folder in self.settled for entry in self.entries if entry.multiple == 1.0 and entry.arm in arms)

    def ratio(self, arm: str, name: str) -> float | None:
        """Of the means of a total over the seeds that both the arm and the baseline have."""
        one, other = self.values(arm, 1.0, name, "totals"), self.values(BASELINE, 1.0, name, "totals")
        both = one.keys() & other.keys()
        below = sum(other[seed] for seed in both)
        return sum(one[seed] for seed in both) / below if below else None

    def costs(self, arm: str, recipe: Recipe, bytes_per_unit: Mapping[str, float] | None) -> dict[str, Any]:
        """What the finished runs of an arm cost on average."""
        mine = [self.settled[e.folder] for e in self.entries if (e.arm, e.multiple) == (arm, 1.0) and e.folder in self.settled]
        finished = [record for record in mine if record.finished]
        epochs: dict[str, list[float]] = {}
        for record in finished:
            for source, times in (record.totals.epochs if record.totals else {}).items():
                epochs.setdefault(source, []).append(times)
        return {
            **{name: _mean(self.values(arm, 1.0, name, "totals")) for name in TOTALS},
            "parameters": _parameters(finished[0], "parameters") if finished else None,
            "active_parameters": _parameters(finished[0], "active_parameters") if finished else None,
            "trained_parameters": _parameters(finished[0], "trained_parameters") if finished else None,
            **exposure(finished, recipe, bytes_per_unit),
            "epochs": {source: sum(times) / len(times) for source, times in epochs.items()},
            "failed_runs": len(mine) - len(finished),
        }


class Judged(NamedTuple):
    """What the arms are by the primary metric.

    Attributes:
        baseline, arms: as :func:`windtunnel.study.statistics.compare.compare` has them.
        spent: FLOPs of the baseline at each multiple of the budget.
        margin: the fields of the study's block that tell it.
        each: the confidence of each interval.
        race, raced: how seeds are raced, and where each arm stands; None and empty where their number is fixed.
    """

    baseline: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    spent: Mapping[float, float]
    margin: Mapping[str, float | None]
    each: float
    race: Race | None
    raced: Mapping[str, Standing]

    def beside(self, flown: EndedRuns, arm: str, number: str) -> dict[str, float | None]:
        """A number of ``arm`` that the verdict does not rest on, with its paired interval at the same confidence."""
        from windtunnel.study.race import repeated

        own = flown.values(arm, 1.0, number)
        return _other(own, flown.values(BASELINE, 1.0, number), repeated(self.race, own, self.each))


def _judged(about: Mapping[str, Any], flown: EndedRuns, arms: Sequence[str], primary: str, better: Literal["lower", "higher"]) -> Judged:
    """Compare ``arms`` with the baseline by ``primary``."""
    from windtunnel.study.race import repeated, standing
    from windtunnel.study.seeds import Race
    from windtunnel.study.statistics.compare import adjusted_confidence, compare
    from windtunnel.study.statistics.margin import margin_share

    spent = {at: flops for at in about["curve"] if (flops := _mean(flown.values(BASELINE, at, "flops", "totals"))) is not None}
    race = Race.model_validate(about["race"]).about(primary) if about.get("race") else None
    curve = {multiple: flown.values(BASELINE, multiple, primary) for multiple in about["curve"]}
    how: dict[str, Any] = {"better": better, "spent": spent if len(spent) == len(curve) else None}
    given = about["margin_share"]
    share, compute = (given, None) if given is not None else margin_share(curve, **how)
    found = compare(
        curve,
        {name: flown.values(name, 1.0, primary) for name in arms},
        confidence=repeated(race, curve.get(1.0, {}), about["confidence"]),
        margin=share,
        **how,
    )
    raced: dict[str, Standing] = {}
    for name in arms:
        if race is None:
            break
        ready = _leading(name, flown.entries, flown.settled, about["seed_list"])
        own = {"settled": ready, "arms": len(arms), "confidence": about["confidence"], "margin": given, **how}
        raced[name] = standing(race, name, flown.values(name, 1.0, primary), curve, **own)
    margin = {"margin": found["margin"], "margin_share": share, "margin_compute": compute}
    return Judged(found["baseline"], found["arms"], spent, margin, adjusted_confidence(about["confidence"], len(arms)), race, raced)


def _compared(name: str, flown: EndedRuns, judged: Judged, recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """An arm beside the baseline: its difference, gain and ratios, and its verdict where everything that it rests on has ended."""
    found = judged.raced[name].block if judged.race else judged.arms[name]
    complete = bool(judged.race) or flown.ended(name, BASELINE)
    mine, base = recipes[name].budget, recipes[BASELINE].budget
    return {
        "seeds": found["seeds"],
        "test": {key: found[key] for key in ("mean", "difference", "low", "high")},
        "compute_gain": found["compute_gain"],
        "budget_ratio": mine.amount / base.amount if mine.unit == base.unit else flown.ratio(name, "flops"),
        "wall_clock_ratio": flown.ratio(name, "seconds"),
        "cpu_ratio": flown.ratio(name, "cpu_seconds"),
        "peak_memory_ratio": flown.ratio(name, "peak_memory_bytes"),
        # A verdict on some of the seeds would invite stopping when it happens to please.
        "verdict": found["verdict"] if complete else None,
        "required_seeds": found["required_seeds"] if complete else None,
        **({key: getattr(judged.raced[name], key) for key in ("looks", "planned", "stopped")} if judged.race else {}),
    }


def primary_of(asked: str | None, done: Sequence[RunRecord]) -> str:
    """The number that decides, of runs that are finished: the one ``asked`` for, or the first that they have; "" while there is none.

    Raises:
        UserError: where a run has no such number, or it is of another evaluation than the first, whose unit and direction are known.
    """
    first = done[0].primary or "" if done else ""
    if asked is None or not first:
        return first
    of_first = [name for name in done[0].test if name == first or name.startswith(f"{first}/")]
    if asked not in of_first:
        raise UserError(f"primary: the first evaluation of the runs gives no number {asked!r}; {nearest(asked, of_first)}")
    return asked


def _leading(arm: str, entries: Sequence[Entry], settled: Mapping[str, RunRecord], seeds: Sequence[int]) -> int:
    """For how many of ``seeds``, in order, every run of ``arm`` and of the baseline has ended."""
    runs: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.arm in (arm, BASELINE):
            runs.setdefault(entry.seed, []).append(entry)
    ended = [seed in runs and any(e.arm == arm for e in runs[seed]) and all(e.folder in settled for e in runs[seed]) for seed in seeds]
    return ended.index(False) if False in ended else len(ended)


def exposure(finished: Sequence[RunRecord], recipe: Recipe, bytes_per_unit: Mapping[str, float] | None) -> dict[str, float | None]:
    """How much the ``finished`` runs of ``recipe`` saw on average: tokens per parameter of the blocks, of the active ones too where these
    are fewer, and unique tokens and bytes of the corpus (``bytes_per_unit``, by source, where it is known).
    """
    runs = [record for record in finished if record.totals is not None]
    if not runs:
        return {}
    tokens, blocks = sum(record.totals.tokens for record in runs if record.totals) / len(runs), recipe.block_parameters
    whole, active = (_parameters(runs[0], which) for which in ("parameters", "active_parameters"))
    idle = whole - active if whole is not None and active is not None else 0

    def read(once: bool, weight: Mapping[str, float] | None = None) -> float:
        found = 0.0
        for record in runs:
            for source, amount in record.cursors.items():
                epochs = record.totals.epochs.get(source, 0.0) if record.totals else 0.0
                share = min(1.0, 1.0 / epochs) if once and epochs else 1.0
                found += amount * share * (1.0 if weight is None else weight.get(source, 0.0))
        return found / len(runs)

    return {
        "tokens_per_parameter": tokens / blocks,
        "tokens_per_active_parameter": tokens / (blocks - idle) if 0 < idle < blocks else None,
        "unique_tokens": read(once=True),
        "bytes": read(once=False, weight=bytes_per_unit) if bytes_per_unit else None,
    }


def _mean(values: Mapping[int, float]) -> float | None:
    return math.fsum(values.values()) / len(values) if values else None


def _other(arm: Mapping[int, float], base: Mapping[int, float], confidence: float) -> dict[str, float | None]:
    """A number that the verdict does not rest on, with its paired interval at the same confidence."""
    from windtunnel.study.statistics.compare import paired_interval

    seeds = sorted(arm.keys() & base.keys())
    if not seeds:
        return {"mean": _mean(arm), "difference": None, "low": None, "high": None}
    found = paired_interval([arm[seed] for seed in seeds], [base[seed] for seed in seeds], confidence)
    return {"mean": math.fsum(arm[seed] for seed in seeds) / len(seeds), "difference": found.mean, "low": found.low, "high": found.high}


def _over_documents(pairs: Sequence[tuple[ByDocument | None, ByDocument | None]], confidence: float) -> dict[str, Any] | None:
    """Arm and baseline of each seed over documents; None where no pair says what each document adds, or too few documents were read."""
    from windtunnel.study.statistics.bootstrap import over_documents

    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    found = over_documents([one for one, _ in known], [other for _, other in known], confidence) if known else None
    if found is None:
        return None
    return {"documents": found.n, "grouped": any(one.grouped for one, _ in known), "low": found.low, "high": found.high}


def _parameters(record: RunRecord, which: str) -> Any:
    """The parameters of the last phase: a number, or the total of a table of them; None where an older record does not say."""
    found = record.phases[-1].get(which) if record.phases else None
    return found.get("total") if isinstance(found, Mapping) else found


def _run(entry: Entry, record: RunRecord, carried: Mapping[str, float]) -> dict[str, Any]:
    return {
        "arm": entry.arm,
        "multiple": entry.multiple,
        "seed": entry.seed,
        "key": entry.key,
        "folder": entry.folder,
        "status": record.status,
        "test": record.test,
        "totals": record.totals.plain() if record.totals else {},
        "validation": [one.plain() for one in record.validation],
        **({"transfer": dict(carried)} if carried else {}),
        "failure": record.failure.plain() if record.failure else None,
        "error": record.error,
        "traceback": record.traceback,
    }


def _samples(arm: str, entries: Sequence[Entry], settled: Mapping[str, RunRecord]) -> list[Any]:
    """What the arm's first finished run wrote."""
    for entry in entries:
        if (entry.arm, entry.multiple) == (arm, 1.0) and entry.folder in settled and settled[entry.folder].samples:
            return list(settled[entry.folder].samples)
    return []


def _failure(entries: Sequence[Entry], settled: Mapping[str, RunRecord]) -> Failure | None:
    """Why the study can say nothing: every run of the baseline at its budget failed."""
    base = [settled.get(entry.folder) for entry in entries if (entry.arm, entry.multiple) == (BASELINE, 1.0)]
    failures = [record.failure for record in base if record is not None and record.failure is not None]
    if not base or len(failures) < len(base):
        return None
    why = "every run of the baseline failed, so there is nothing to compare with; the first: "
    return failures[0].model_copy(update={"message": why + failures[0].message})


def finite(value: Any) -> Any:
    """``value`` with null for every number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value
