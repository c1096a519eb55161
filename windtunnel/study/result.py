"""The result of a study: the content of result.json, typed. See ``assemble.py`` for how it comes about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field

from windtunnel.core.keys import Variant
from windtunnel.core.typed import Block, Failure
from windtunnel.recipe import Recipe
from windtunnel.train.record import failure_of_format_1

FORMAT = 2
BASELINE = "baseline"
SETTLED = ("finished", "failed")
Verdict = Literal["helps", "hurts", "no difference", "undecided", "failed"]


@dataclass(frozen=True)
class Entry:
    """A run that a study needs, and where it is stored (``folder`` below the output folder)."""

    arm: str
    multiple: float
    seed: int
    recipe: Recipe
    key: str
    folder: str
    variant: Variant | None = None  # of the study


class Table(Block):
    """A block of a result. What a later version writes besides is kept."""

    model_config = ConfigDict(extra="allow")


class Interval(Table):
    """A mean with its interval; null where it is not known."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Comparison(Interval):
    """A mean, and its difference from the baseline; the interval is that of the difference."""

    difference: float | None = None


class Gain(Table):
    """How many times the arm's compute the baseline needs to reach its loss."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    bounded: Literal["at least", "at most"] | bool | None = Field(None, description="where the value lies beyond the budgets flown")
    low_open: bool | None = Field(None, description="the lower end of the interval lies beyond the budgets flown")
    high_open: bool | None = Field(None, description="the upper end does")


class Costs(Table):
    """What the finished runs of an arm cost, on average."""

    tokens: float | None = Field(None, description="input tokens")
    flops: float | None = Field(None, description="floating point operations, counted on the real step")
    effective_flops: float | None = Field(None, description="those that remain where hardware leaves out what is held at zero")
    seconds: float | None = Field(None, description="seconds of training")
    peak_memory_bytes: float | None = Field(None, description="peak memory above what the process held before")
    parameters: float | None = Field(None, description="parameters of the last phase")
    active_parameters: float | None = Field(None, description="those that no structure holds at zero in the end")
    epochs: dict[str, float] = Field({}, description="how often each source was read")
    failed_runs: int = Field(0, description="how many of its runs failed")


class Point(Interval):
    """The baseline at a multiple of its budget."""

    multiple: float
    flops: float | None = None
    seeds: int = 0


class Baseline(Costs):
    """The reference."""

    seeds: int = Field(0, description="finished runs at the budget")
    test: Interval = Field(Interval(), description="the primary metric on test")
    curve: list[Point] = Field([], description="its loss at each multiple of the budget")
    numbers: dict[str, Interval] = Field({}, description="every other number on test")


class Look(Interval):
    """What a look at a race said of an arm: the difference so far with its repeated interval."""

    seeds: int = Field(0, description="pairs of runs by then")
    difference: float | None = None
    verdict: Verdict | None = Field(None, description="decided by this look, or undecided")
    chance: float | None = Field(None, description="of a verdict by the last look, if undecided; null at the last")
    prior: bool | None = Field(None, description="whether the noise that was known beforehand was used; null where none was given")


class Arm(Costs):
    """An arm, compared with the baseline over the seeds that both have."""

    verdict: Verdict | None = Field(None, description="null until every run it rests on has ended")
    seeds: int = Field(0, description="pairs of runs the interval rests on")
    test: Comparison = Field(Comparison(), description="the primary metric on test")
    compute_gain: Gain | None = Field(None, description="against the budget of the study")
    looks: list[Look] = Field([], description="of a race, in order; its intervals are repeated confidence intervals")
    planned: int | None = Field(None, description="of a race: how many seeds the arm needs, as far as is known")
    stopped: Literal["decided", "hopeless"] | None = Field(
        None, description="of a race: why the arm got no more seeds before the most; its mean is then biased"
    )
    required_seeds: int | None = Field(None, description="for an undecided arm: how many would decide; null when more than 1000")
    budget_ratio: float | None = Field(None, description="the arm's budget over the study's")
    wall_clock_ratio: float | None = Field(None, description="arm over baseline, means of the same seeds")
    peak_memory_ratio: float | None = Field(None, description="arm over baseline, means of the same seeds")
    numbers: dict[str, Comparison] = Field({}, description="every other number on test")


class Run(Table):
    """A run of the study."""

    arm: str
    multiple: float = Field(1.0, description="of the budget")
    seed: int
    key: str = Field("", description="the hash of what determines it")
    folder: str = Field("", description="where it is stored below the output folder")
    status: str = Field("", description="finished, failed or interrupted")
    test: dict[str, float | None] = Field({}, description="numbers on test")
    totals: dict[str, Any] = Field({}, description="what it cost; see record.json")
    validation: list[dict[str, Any]] = Field([], description="every evaluation on validation: step, phase, tokens, flops, seconds, numbers")
    transfer: dict[str, float | None] | None = Field(None, description="forgetting, backward and forward transfer, dips")
    failure: Failure | None = Field(None, description="how it failed")
    error: str | None = Field(None, description="the message of the failure")
    traceback: str | None = Field(None, description="its traceback, or the message where that says all")


class About(Table):
    """What was asked for."""

    name: str = Field("study", description="of the study")
    file: str | None = Field(None, description="the study file")
    description: str = ""
    metric: str = Field("bits_per_byte", description="the first number of the first evaluation, on which verdicts rest")
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    budget: dict[str, float] = Field({}, description="of one run, by unit")
    seeds: int = Field(0, description="how many are planned; of a race at most")
    seed_list: list[int] = []
    race: dict[str, Any] | None = Field(None, description="least and most seeds and the noise known beforehand; null for fixed seeds")
    curve: list[float] = Field([], description="multiples of the budget that the baseline flies at")
    confidence: float | None = Field(None, description="of all intervals together")
    confidence_of_each: float | None = Field(None, description="of each interval, corrected for several arms")
    margin: float | None = Field(None, description="of equivalence, in the unit of the metric")
    margin_share: float | None = Field(None, description="of equivalence, as a share of the baseline's mean")
    kept: list[str] = Field([], description="sources that the first model is known to have been trained on")
    variant: Variant | None = Field(None, description="how the steps of all runs were computed")


class Trial(Table):
    """One setting that was tried."""

    values: dict[str, Any] = {}
    validation: float | None = Field(None, description="the primary metric")
    status: str = ""
    error: str | None = None
    key: str = ""
    flops: float | None = None
    seconds: float | None = None


class Tuned(Table):
    """The trials of one arm."""

    chosen: dict[str, Any] | None = None
    trials: list[Trial] = []
    flops: float = 0.0
    seconds: float = 0.0


class Tuning(Table):
    """What was tried for every arm, and chosen on validation."""

    knobs: dict[str, list[Any]] = {}
    share: float = Field(1.0, description="of the budget that a trial may spend")
    seed: int = 0
    arms: dict[str, Tuned] = {}


class Progress(Table):
    """How far the study is."""

    runs: int = 0
    finished: int = 0
    failed: int = 0


class StudyResult(Table):
    """What a study came to."""

    format: int = FORMAT
    finished: bool = Field(False, description="whether every run has finished or failed")
    progress: Progress = Field(Progress(), description="runs planned, finished and failed")
    failure: Failure | None = Field(None, description="why there is no result: every run of the baseline failed")
    error: str | None = Field(None, description="the message of the failure")
    study: About = Field(About(), description="what was asked for")
    baseline: Baseline = Field(Baseline(), description="the reference")
    arms: dict[str, Arm] = Field({}, description="by name")
    runs: list[Run] = Field([], description="one entry a run")
    transfer: dict[str, Any] | None = Field(None, description="what arms that train on one source after another kept and gained")
    tuning: Tuning | None = Field(None, description="every trial and the values that were chosen")
    recipes: dict[str, dict[str, Any]] = Field({}, description="the resolved recipe of the baseline and of each arm")
    samples: dict[str, list[dict[str, Any]]] = Field({}, description="what models of one seed wrote: source, prompt, continuation, truth")
    corpus: list[dict[str, Any]] = Field([], description="what was read, skipped and removed: source, what, documents, bytes")
    stream: dict[str, Any] = Field({}, description="fingerprint, unit, what the encoding says of itself, units by split and source")
    notes: list[str] | str = Field([], description="what a reader must know about how arms differ; of a paper, how it differs from it")
    versions: dict[str, str] = Field({}, description="of the packages that the runs were flown with")
    hardware: dict[str, Any] = Field({}, description="the machine")

    @property
    def verdicts(self) -> dict[str, Verdict | None]:
        """The verdict of each arm; None where it is not decided yet."""
        return {name: arm.verdict for name, arm in self.arms.items()}


class PaperResult(StudyResult):
    """What was measured of a paper at one scale: the result of its study, in brief, and what it says of each expectation."""

    finished: bool = Field(True, description="a paper is measured when its study has come to an end")
    paper: str = Field(description="its name")
    papers: list[str] = Field([], description="the slugs that it answers")
    title: str = ""
    scale: str = Field("", description="cpu or gpu")
    claim: str = Field("", description="in our own words, with the paper's numbers")
    verdict: Literal["reproduced", "not reproduced", "undecided"] = Field("undecided", description="of all expectations together")
    expectations: list[dict[str, Any]] = Field([], description="each with the improvement measured, its interval and its verdict")
    date: str = Field("", description="when it was measured")
    flops: float = Field(0.0, description="of all runs, tuning included")
    seconds: float = Field(0.0, description="of all runs, tuning included")


def upgraded(result: dict[str, Any]) -> dict[str, Any]:
    """A result of format 1, of a study or a paper, as format 2 has it; any other unchanged.

    Format 1 named the primary metric in its keys (``test_bits_per_byte``) and told failures by the name of the exception.
    """
    if result.get("format") != 1:
        return result
    metric = (result.get("study") or {}).get("metric", "bits_per_byte")
    found = {**result, "format": FORMAT}
    if result.get("error"):
        found["failure"] = result.get("failure") or {**failure_of_format_1(result["error"], None), "message": result["error"]}
    if "baseline" in result:
        found["baseline"] = _with_test(result["baseline"], metric)
    if "arms" in result:
        found["arms"] = {name: _with_test(arm, metric) for name, arm in result["arms"].items()}
    if "runs" in result:
        found["runs"] = [_with_failure(run) for run in result["runs"]]
    return found


def _with_test(block: Any, metric: str) -> Any:
    key = f"test_{metric}"
    return {"test" if name == key else name: value for name, value in block.items()} if isinstance(block, Mapping) else block


def _with_failure(run: Any) -> Any:
    if not isinstance(run, Mapping) or run.get("status") != "failed" or run.get("failure"):
        return run
    return {**run, "failure": failure_of_format_1(run.get("error"), run.get("traceback"))}


def finite(value: Any) -> Any:
    """``value`` with null for every number that JSON cannot hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value
