"""What training on one source after another kept, lost and carried over: pure functions on the records of runs.

The matrix of a run holds the primary metric of every source after every stage (Yildiz et al. 2024, arXiv:2402.17400, whose exact
aggregates are not published; these are in the manner of Lopez-Paz and Ranzato 2017, arXiv:1706.08840). Stage 0 is the model that
training goes on from: what a first phase with a start began with, else the end of the first phase. Every further phase is a stage. A
source belongs to the first stage that trains on it, so a source that is replayed later still belongs to the stage that brought it.
All numbers are validation numbers, and signed so that what is called forgetting is bad and what is called transfer is good:

- forgetting: over sources of stages before the last, how much worse the last model is than the one that had just learned the source;
- backward transfer: over pairs of a source of stage 1 or later and a later stage, how much better the model is than that of stage 0;
- forward transfer: over pairs of a source and an earlier stage, 1 or later, how much better the model is than that of stage 0. A
  source that is still to come, or is never trained on, counts.

Backward transfer is not the opposite of forgetting: it can be good while much of what was just learned is lost again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from windtunnel.recipe import Recipe
from windtunnel.study.statistics.compare import interval, paired_interval
from windtunnel.train.record import RunRecord

Record = RunRecord | Mapping[str, Any]  # what is asked of it is the list ``validation``
AGGREGATES = ("forgetting", "backward", "forward")


class StageMatrix(NamedTuple):
    """``values[stage][source]``; ``names`` of the stages; ``stage`` that each source belongs to (None: never trained on)."""

    names: tuple[str, ...]
    values: tuple[dict[str, float], ...]
    stage: dict[str, int | None]


def matrix_of(record: Record, recipe: Recipe, metric: str, kept: Sequence[str] = ()) -> StageMatrix | None:
    """The matrix of one finished run; None where it has fewer than two stages or its metric is not told by source.

    ``kept`` are sources that the model of stage 0 is known to have been trained on, besides those that recipes tell.
    """
    rows: dict[int, Mapping[str, Any]] = {}
    began: Mapping[str, Any] | None = None
    for entry in _entries(record):
        if entry["step"] == 0:
            began = entry["numbers"]
        else:
            rows[entry["phase"]] = entry["numbers"]  # later entries of a phase replace earlier ones
    if sorted(rows) != list(range(len(recipe.phases))) or len(rows) + (began is not None) < 2:
        return None
    trained = [tuple(phase.sources or recipe.corpus) for phase in recipe.phases]
    stages = [rows[index] for index in range(len(recipe.phases))]
    if began is not None:
        stages, trained = [began, *stages], [_before(recipe), *trained]
    sources = [name for name in recipe.corpus if all(_number(one.get(f"{metric}/{name}")) is not None for one in stages)]
    trained[0] = (*trained[0], *kept)
    stage = {source: next((n for n, names in enumerate(trained) if source in names), None) for source in sources}
    values = tuple({source: float(numbers[f"{metric}/{source}"]) for source in sources} for numbers in stages)
    if not sources:
        return None
    names = tuple(", ".join(source for source in sources if stage[source] == n) or f"stage {n}" for n in range(len(stages)))
    return StageMatrix(("before", *names[1:]) if began is not None else names, values, stage)


def _before(recipe: Recipe) -> tuple[str, ...]:
    """The sources that the models which the first phase starts from were trained on, where a recipe says so."""
    start = recipe.phases[0].start
    found: dict[str, None] = {}
    for trained in start.trained().values() if start else ():
        if trained.recipe is not None:
            for phase in trained.recipe.phases:
                found |= dict.fromkeys((*(phase.sources or trained.recipe.corpus), *_before(trained.recipe)))
    return tuple(found)


def _entries(record: Record) -> list[Any]:
    return [entry for entry in record.get("validation") or [] if all(name in entry for name in ("step", "phase", "numbers"))]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def aggregates(matrix: StageMatrix, better: str = "lower") -> dict[str, float | None]:
    """``forgetting``, ``backward`` and ``forward`` of one run, in the unit of the metric; None where no pair is of the kind."""
    sign = 1.0 if better == "lower" else -1.0
    last, values, stage = len(matrix.values) - 1, matrix.values, matrix.stage

    def mean(found: list[float]) -> float | None:
        return math.fsum(found) / len(found) if found else None

    own = {source: number for source, number in stage.items() if number is not None}
    forgotten = [sign * (values[last][source] - values[number][source]) for source, number in own.items() if number < last]
    backward, forward = [], []
    for now in range(1, last + 1):
        for source, number in stage.items():
            gain = sign * (values[0][source] - values[now][source])
            if number is None or number > now:
                forward.append(gain)
            elif 1 <= number < now:
                backward.append(gain)
    return {"forgetting": mean(forgotten), "backward": mean(backward), "forward": mean(forward)}


def dips(record: Record, recipe: Recipe) -> dict[str, float]:
    """By how much each validation number was worse, at its worst, than when training went on from stage 0; 0 if it never was.

    The numbers are those of evaluations whose direction is known: ``cloze/code`` is told by the evaluation cloze.
    """
    entries = _entries(record)
    first = next((n for n, entry in enumerate(entries) if entry["step"] == 0), None)
    if first is None and len(recipe.phases) > 1:
        first = max((n for n, entry in enumerate(entries) if entry["phase"] == 0), default=None)
    if first is None or first + 1 >= len(entries):
        return {}
    directions = {evaluation.name: evaluation.better for evaluation in recipe.evaluations}
    found: dict[str, float] = {}
    for name, begin in entries[first]["numbers"].items():
        better = directions.get(name.split("/")[0].replace("_", "-"))
        later = [value for entry in entries[first + 1 :] if (value := _number(entry["numbers"].get(name))) is not None]
        if better is not None and later and _number(begin) is not None:
            found[name] = max(0.0, max(later) - begin if better == "lower" else begin - min(later))
    return found


def transfer_of(record: Record, recipe: Recipe, metric: str, better: str, kept: Sequence[str] = ()) -> dict[str, float]:
    """What a paper may be judged by, of one run: its aggregates under their names, and ``dip/NUMBER``; empty for a run of one stage."""
    matrix = matrix_of(record, recipe, metric, kept)
    if matrix is None:
        return {}
    known = {name: value for name, value in aggregates(matrix, better).items() if value is not None}
    return known | {f"dip/{name}": value for name, value in dips(record, recipe).items()}


def transfer(
    runs: Mapping[str, Mapping[int, Record]],
    recipes: Mapping[str, Recipe],
    *,
    metric: str,
    better: str,
    confidence: float,
    kept: Sequence[str] = (),
) -> dict[str, Any] | None:
    """The block ``transfer`` of a result: matrices and aggregates of each arm over its seeds, and with ``kept`` what was gained and kept.

    ``runs`` holds finished records by arm and seed. None where no arm goes from one source to others.
    """
    arms: dict[str, Any] = {}
    for name, records in runs.items():
        found = {seed: matrix for seed, record in records.items() if (matrix := matrix_of(record, recipes[name], metric, kept))}
        first = next(iter(found.values()), None)
        if first is None or len(set(first.stage.values())) < 2:
            continue
        same = [matrix for matrix in found.values() if matrix.names == first.names]
        each = [aggregates(matrix, better) for matrix in same]
        arms[name] = {
            "stages": list(first.names),
            "belongs": dict(first.stage),
            "matrix": [
                {source: math.fsum(matrix.values[n][source] for matrix in same) / len(same) for source in first.stage}
                for n in range(len(first.names))
            ],
            "seeds": len(same),
            **{key: _block([one[key] for one in each], confidence) for key in AGGREGATES},
        }
    if not arms:
        return None
    result: dict[str, Any] = {"metric": metric, "better": better, "confidence": confidence, "arms": arms}
    if kept:
        result["kept"] = list(kept)
        result["axes"] = axes(runs, recipes, metric=metric, better=better, confidence=confidence, kept=kept)
    return result


def _block(values: Sequence[float | None], confidence: float) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    found = interval(known, confidence)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _last(record: Record) -> Mapping[str, Any]:
    return entries[-1]["numbers"] if (entries := _entries(record)) else {}


def axes(
    runs: Mapping[str, Mapping[int, Record]],
    recipes: Mapping[str, Recipe],
    *,
    metric: str,
    better: str,
    confidence: float,
    kept: Sequence[str],
    baseline: str = "baseline",
) -> dict[str, Any]:
    """For every arm, the mean change of the ``kept`` sources and that of the others, paired by seed, above zero is better.

    Changes are from the baseline's model of stage 0 to the arm's last on validation; where the baseline has no such stage, from the
    baseline's last. So an arm that begins elsewhere, joint training for example, is measured from the same point. ``front`` says
    which arms no other arm's mean beats on one axis without losing on the other.
    """
    sign = 1.0 if better == "lower" else -1.0
    bases = {seed: matrix_of(record, recipes[baseline], metric, kept) for seed, record in runs.get(baseline, {}).items()}
    from_start = bool(bases) and all(bases.values())

    def numbers(seed: int) -> Mapping[str, Any]:
        matrix = bases[seed]
        if from_start and matrix is not None:
            return {f"{metric}/{source}": value for source, value in matrix.values[0].items()}
        return _last(runs[baseline][seed])

    points: dict[str, Any] = {}
    for name, records in runs.items():
        sides: dict[str, list[tuple[float, float]]] = {"kept": [], "gained": []}
        for seed in sorted(records.keys() & bases.keys()):
            before, after = numbers(seed), _last(records[seed])
            sources = [source for source in recipes[name].corpus if f"{metric}/{source}" in before and f"{metric}/{source}" in after]
            for side, chosen in (("kept", [s for s in sources if s in kept]), ("gained", [s for s in sources if s not in kept])):
                if chosen:
                    pair = [math.fsum(one[f"{metric}/{source}"] for source in chosen) / len(chosen) for one in (before, after)]
                    sides[side].append((sign * pair[0], sign * pair[1]))
        if sides["kept"] and sides["gained"]:
            found = {side: paired_interval([a for a, _ in pairs], [b for _, b in pairs], confidence) for side, pairs in sides.items()}
            points[name] = {side: {"mean": i.mean, "low": i.low, "high": i.high} for side, i in found.items()}
    for name, point in points.items():
        mine = (point["kept"]["mean"], point["gained"]["mean"])
        rivals = [(p["kept"]["mean"], p["gained"]["mean"]) for other, p in points.items() if other != name]
        point["front"] = not any(x >= mine[0] and y >= mine[1] and (x, y) != mine for x, y in rivals)
    return {"reference": "start" if from_start else "baseline", "arms": points}
