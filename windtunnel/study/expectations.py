"""What the result of a study says about the expectations of its paper."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from windtunnel.core.errors import UserError, nearest
from windtunnel.study.assemble import finite
from windtunnel.study.claims import GAIN, Expectation, decide, finding_of_law
from windtunnel.study.lenient import as_result
from windtunnel.study.paper_result import Finding, Improvement, Outcome, PaperResult
from windtunnel.study.result import FORMAT, Arm, Baseline, ComputeGain, Run, StudyResult
from windtunnel.study.seeds import Race

if TYPE_CHECKING:
    from windtunnel.study.papers import Paper

BRIEF = ("seeds", "test", "flops", "effective_flops", "tokens", "parameters", "active_parameters", "epochs")  # of an arm or the baseline
RATIOS = ("compute_gain", "wall_clock_ratio", "cpu_ratio", "peak_memory_ratio", "verdict", "budget_ratio")
RACED = ("looks", "planned", "stopped")
Some = TypeVar("Some", Arm, Baseline)


def judge(
    paper: Paper, scale: str, found: StudyResult | Mapping[str, Any], laws: Mapping[str, Mapping[str, Any]] | None = None
) -> PaperResult:
    """What the result of its study, and what its ``laws`` answer with by name, say about the paper's expectations.

    Each expectation has the study's confidence on its own: all of them must hold for "reproduced", and demanding several things at once
    makes a false "reproduced" rarer, not likelier (an intersection-union test, Berger 1982), so nothing is corrected for their number.
    """
    result = as_result(found)
    fitted = dict(laws or {})
    findings = [finding_of_law(one, fitted.get(one.law)) if one.law else _finding(one, result) for one in paper.expect]
    totals = [run.totals for run in {run.folder: run for run in result.runs}.values()]
    tuned = list(result.tuning.arms.values()) if result.tuning else []
    measurement = PaperResult(
        format=FORMAT,
        paper=paper.name,
        papers=list(paper.papers),
        title=paper.title,
        scale=scale,
        claim=paper.claim,
        verdict=overall([finding.verdict for finding in findings]),
        expectations=findings,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        study=result.study,
        baseline=_brief(result.baseline, "curve"),
        arms={name: _brief(arm, *RATIOS, *(RACED if result.study.race else ()), *_known(arm)) for name, arm in result.arms.items()},
        runs=[_compact(run) for run in result.runs],
        tuning=result.tuning,
        flops=sum(one.flops or 0.0 for one in totals) + sum(one.flops for one in tuned),
        seconds=sum(one.seconds or 0.0 for one in totals) + sum(one.seconds for one in tuned),
        **{name: block for name in ("transfer", "rates") if (block := getattr(result, name)) is not None},
        **({"laws": fitted} if fitted else {}),
        recipes=result.recipes,
        stream=result.stream,
        versions=result.versions,
        hardware=result.hardware,
        notes=paper.notes,
        failure=result.failure,
        error=result.error,
    )
    return PaperResult.model_validate(finite(measurement.plain()))


def _known(arm: Arm) -> tuple[str, ...]:
    return ("over_documents",) if arm.over_documents else ()


def _brief(block: Some, *more: str) -> Some:
    """``block`` with what is worth committing of it."""
    return type(block).model_validate({name: getattr(block, name) for name in (*BRIEF, *more)})


def _compact(run: Run) -> Run:
    """A run without its learning curve: every seed's numbers fit into a small file that way."""
    return Run(
        arm=run.arm,
        multiple=run.multiple,
        seed=run.seed,
        key=run.key,
        status=run.status,
        error=run.error,
        test=_short(run.test),
        **({"transfer": _short(run.transfer)} if run.transfer else {}),
        totals=run.totals.model_copy(update={"epochs": {}}),
    )


def _short(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: float(f"{value:.7g}") for name, value in numbers.items() if value is not None}


def overall(verdicts: Sequence[Outcome]) -> Outcome:
    """Reproduced if everything is, not reproduced if anything is not."""
    if "not reproduced" in verdicts:
        return "not reproduced"
    return "undecided" if "undecided" in verdicts or not verdicts else "reproduced"


def _finding(expectation: Expectation, result: StudyResult) -> Finding:
    """An expectation with the improvement that was measured (above zero is better), its interval and verdict.

    It is relative to `against`, but for the numbers of transfer, which are differences already and may be about zero: theirs is not. Where
    `against` is 0 with every seed it is the difference, and has to be beyond 0 alone: every share of nothing is nothing.
    """
    from windtunnel.study.race import repeated
    from windtunnel.study.statistics.compare import paired_interval

    study = result.study
    metric = study.metric if expectation.metric == "primary" else expectation.metric
    direction = expectation.direction or (study.better if metric == study.metric else usual_direction(metric))
    about = expectation.model_dump(mode="json", exclude_none=True, exclude={"law", "number"})
    found = {**about, "metric": metric, "direction": direction}
    if metric == GAIN:
        gain = result.arms[expectation.arm].compute_gain or ComputeGain()
        improvement = Improvement(
            mean=None if gain.value is None else gain.value - 1,
            # Where the interval reaches beyond the budgets that were flown, its end there is a bound of the curve and not of the gain.
            low=None if gain.low is None or gain.low_open else gain.low - 1,
            high=None if gain.high is None or gain.high_open else gain.high - 1,
            seeds=result.arms[expectation.arm].seeds,
        )
        return Finding(**found, improvement=improvement, verdict=decide(expectation, improvement.low, improvement.high))
    than = expectation.than or metric
    arm, against = _values(result, expectation.arm, metric), _values(result, expectation.against, than)
    seeds = sorted(arm.keys() & against.keys())
    relative = not any(metric in (run.transfer or {}) for run in result.runs)
    if relative and seeds and not any(against[seed] for seed in seeds):
        relative, expectation = False, expectation.model_copy(update={"by": 0.0})
        found["by"] = 0.0
    names = (expectation.arm, expectation.against) if than == metric else (f"{expectation.arm}: {metric}", f"{expectation.against}: {than}")
    found |= {"values": dict(zip(names, (arm, against), strict=True)), "relative": relative}
    if not seeds or (relative and not math.fsum(against[seed] for seed in seeds)):
        return Finding(**found, improvement=Improvement(mean=None, low=None, high=None, seeds=0), verdict="undecided")
    sign = -1 if direction == "lower" else 1
    level = abs(math.fsum(against[seed] for seed in seeds)) / len(seeds) if relative else 1.0
    if study.confidence is None:
        raise ValueError("the result of the study does not say how sure its intervals are")
    gains, nothing = [sign * (arm[seed] - against[seed]) / level for seed in seeds], [0.0] * len(seeds)
    race = Race.model_validate(study.race) if study.race else None
    interval = paired_interval(gains, nothing, repeated(race, seeds, study.confidence))
    improvement = Improvement(mean=interval.mean, low=interval.low, high=interval.high, seeds=len(seeds))
    return Finding(**found, improvement=improvement, verdict=decide(expectation, interval.low, interval.high))


def usual_direction(metric: str) -> Literal["lower", "higher"]:
    """Which way the number ``metric`` is better: as the evaluation says whose name it begins with; of any other number, lower."""
    from windtunnel.core import registry
    from windtunnel.slots import Evaluation

    part = registry.find(Evaluation, metric.partition("/")[0].replace("_", "-"))
    return "higher" if part is not None and issubclass(part, Evaluation) and part.better == "higher" else "lower"


def _values(result: StudyResult, arm: str, metric: str) -> dict[int, float]:
    """A number of every finished run of ``arm`` at its budget, by seed: a test number, an aggregate of transfer or a total."""
    finished = [run for run in result.runs if run.finished]
    found = {}
    for run in finished:
        value = _numbers(run).get(metric)
        if run.arm == arm and run.multiple == 1 and value is not None and math.isfinite(value):
            found[run.seed] = value
    known = {name for run in finished for name in _numbers(run)} | {GAIN}
    if finished and metric not in known:
        raise UserError(f"an expectation is about {metric!r}, which no run measured; {nearest(metric, known)}")
    return found


def _numbers(run: Run) -> dict[str, float | None]:
    """Everything that was measured of ``run``, by name."""
    return {**run.totals.model_dump(exclude={"epochs"}, exclude_unset=True), **(run.transfer or {}), **run.test}
