"""The result of a study: the content of result.json, typed. See ``assemble.py`` for how it comes about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from windtunnel.core.keys import Variant
from windtunnel.core.typed import Failure, JsonBlock

FORMAT = 2
BASELINE = "baseline"
SETTLED = ("finished", "failed")
Verdict = Literal["helps", "hurts", "no difference", "undecided", "failed"]


class ResultBlock(JsonBlock):
    """A block of a result. What a later version writes besides is kept."""

    model_config = ConfigDict(extra="allow")


class Estimate(ResultBlock):
    """A mean with its interval; null where it is not known."""

    mean: float | None = None
    low: float | None = None
    high: float | None = None


class Comparison(Estimate):
    """A mean, and its difference from the baseline; the interval is that of the difference."""

    difference: float | None = None


class ComputeGain(ResultBlock):
    """How many times the arm's compute the baseline needs to reach its loss."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    bounded: Literal["at least", "at most"] | bool | None = Field(None, description="where the value lies beyond the budgets flown")
    low_open: bool | None = Field(None, description="the lower end of the interval lies beyond the budgets flown")
    high_open: bool | None = Field(None, description="the upper end does")


class Costs(ResultBlock):
    """What the finished runs of an arm cost, on average."""

    tokens: float | None = Field(None, description="input tokens")
    tokens_per_parameter: float | None = Field(None, description="tokens over the weights in the matrices of the blocks")
    tokens_per_active_parameter: float | None = Field(None, description="tokens over those that no structure holds at zero, where fewer")
    unique_tokens: float | None = Field(None, description="tokens of the corpus that were read at least once")
    bytes: float | None = Field(None, description="bytes of the corpus that were read, those read again counted again")
    flops: float | None = Field(None, description="floating point operations, counted on the real step")
    effective_flops: float | None = Field(None, description="those that remain where hardware leaves out what is held at zero")
    seconds: float | None = Field(None, description="seconds of training")
    cpu_seconds: float | None = Field(None, description="of all threads; null for runs on an accelerator, whose time is not the CPU's")
    peak_memory_bytes: float | None = Field(
        None, description="the most that a step held: its tensors; on an accelerator what was allocated"
    )
    parameters: float | None = Field(None, description="parameters of the last phase")
    active_parameters: float | None = Field(None, description="those that no structure holds at zero in the end")
    trained_parameters: float | None = Field(
        None, description="those that train in the last phase; null where an older record does not say"
    )
    epochs: dict[str, float] = Field({}, description="how often each source was read")
    failed_runs: int = Field(0, description="how many of its runs failed")


class Point(Estimate):
    """The baseline at a multiple of its budget."""

    multiple: float
    flops: float | None = None
    seeds: int = 0


class Baseline(Costs):
    """The reference."""

    seeds: int = Field(0, description="finished runs at the budget")
    test: Estimate = Field(Estimate(), description="the primary metric on test")
    curve: list[Point] = Field([], description="its loss at each multiple of the budget")
    numbers: dict[str, Estimate] = Field({}, description="every other number on test")


class Look(Estimate):
    """What a look at a race said of an arm: the difference so far with its repeated interval."""

    seeds: int = Field(0, description="pairs of runs by then")
    difference: float | None = None
    verdict: Verdict | None = Field(None, description="decided by this look, or undecided")
    chance: float | None = Field(None, description="of a verdict by the last look, if undecided; null at the last")
    prior: bool | None = Field(None, description="whether the noise that was known beforehand was used; null where none was given")


class OverDocuments(ResultBlock):
    """The interval of an arm's difference if other documents had been held out, its runs being what they are: a bootstrap over them."""

    documents: int = Field(0, description="held-out documents that were read of; where they have groups, groups")
    grouped: bool = Field(False, description="whether documents of one group were drawn together")
    low: float | None = None
    high: float | None = None


class Arm(Costs):
    """An arm, compared with the baseline over the seeds that both have."""

    verdict: Verdict | None = Field(None, description="null until every run it rests on has ended")
    seeds: int = Field(0, description="pairs of runs the interval rests on")
    test: Comparison = Field(Comparison(), description="the primary metric on test")
    over_documents: OverDocuments | None = Field(None, description="where runs say what each document adds to the primary metric")
    compute_gain: ComputeGain | None = Field(None, description="against the budget of the study")
    looks: list[Look] = Field([], description="of a race, in order; its intervals are repeated confidence intervals")
    planned: int | None = Field(None, description="of a race: how many seeds the arm needs, as far as is known")
    stopped: Literal["decided", "hopeless"] | None = Field(
        None, description="of a race: why the arm got no more seeds before the most; its mean is then biased"
    )
    required_seeds: int | None = Field(None, description="for an undecided arm: how many would decide; null when more than 1000")
    budget_ratio: float | None = Field(None, description="the arm's budget over the study's")
    wall_clock_ratio: float | None = Field(None, description="arm over baseline, means of the same seeds")
    cpu_ratio: float | None = Field(None, description="the same of CPU seconds, which other work on the machine hardly changes")
    peak_memory_ratio: float | None = Field(None, description="arm over baseline, means of the same seeds")
    numbers: dict[str, Comparison] = Field({}, description="every other number on test")


class RunTotals(ResultBlock):
    """What a run cost, the models that it needed included."""

    steps: int | None = Field(None, description="optimizer steps")
    tokens: float | None = Field(None, description="input tokens")
    targets: int | None = Field(None, description="positions that counted in the loss")
    flops: float | None = Field(None, description="floating point operations, counted on the real step")
    effective_flops: float | None = Field(None, description="those that remain where hardware leaves out what is held at zero")
    seconds: float | None = Field(None, description="seconds of training")
    cpu_seconds: float | None = Field(None, description="of all threads; null for runs on an accelerator, whose time is not the CPU's")
    peak_memory_bytes: float | None = Field(
        None, description="the most that a step held: its tensors; on an accelerator what was allocated"
    )
    epochs: dict[str, float] = Field({}, description="how often each source was read")
    spikes: int | None = Field(None, description="how often the training loss jumped above what it was")


class Evaluated(ResultBlock):
    """The numbers of one evaluation on validation, and where the run stood."""

    step: int | None = None
    phase: int = 0
    tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    numbers: dict[str, float | None] = Field({}, description="what was measured, by name")


class Run(ResultBlock):
    """A run of the study."""

    arm: str
    multiple: float = Field(1.0, description="of the budget")
    seed: int
    key: str = Field("", description="the hash of what determines it")
    folder: str = Field("", description="where it is stored below the output folder")
    status: str = Field("", description="finished, failed or interrupted")
    test: dict[str, float | None] = Field({}, description="numbers on test")
    totals: RunTotals = Field(RunTotals(), description="what it cost")
    validation: list[Evaluated] = Field([], description="every evaluation on validation")
    transfer: dict[str, float | None] | None = Field(None, description="forgetting, backward and forward transfer, dips")
    failure: Failure | None = Field(None, description="how it failed")
    error: str | None = Field(None, description="the message of the failure")
    traceback: str | None = Field(None, description="its traceback, or the message where that says all")

    @model_validator(mode="before")
    @classmethod
    def _costs_in_one_block(cls, data: Any) -> Any:
        """The result of a paper holds what a run cost beside its other fields."""
        if not isinstance(data, Mapping) or data.get("totals"):
            return data
        beside = {name: value for name, value in data.items() if name in RunTotals.model_fields}
        return {**{name: value for name, value in data.items() if name not in beside}, "totals": beside}

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "finished"


class About(ResultBlock):
    """What was asked for."""

    name: str = Field("study", description="of the study")
    file: str | None = Field(None, description="the study file")
    description: str = ""
    primary: str | None = Field(None, description="the number that the study asked for, where it did")
    metric: str = Field("", description="the number on which verdicts rest; empty until a run has finished")
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    budget: dict[str, float] = Field({}, description="of one run, by unit")
    seeds: int | None = Field(None, description="how many are planned; of a race at most")
    seed_list: list[int] = []
    race: dict[str, Any] | None = Field(None, description="least and most seeds and the noise known beforehand; null for fixed seeds")
    curve: list[float] = Field([], description="multiples of the budget that the baseline flies at")
    confidence: float | None = Field(None, description="of all intervals together")
    confidence_of_each: float | None = Field(None, description="of each interval, corrected for several arms")
    margin: float | None = Field(None, description="of equivalence, in the unit of the metric")
    margin_share: float | None = Field(None, description="of equivalence, as a share of the baseline's mean")
    margin_compute: float | None = Field(None, description="the share of compute that it is worth, where the study states no margin")
    kept: list[str] = Field([], description="sources that the first model is known to have been trained on")
    variant: Variant | None = Field(None, description="how the steps of all runs were computed")


class TuningTrial(ResultBlock):
    """One setting that was tried."""

    values: dict[str, Any] = {}
    validation: float | None = Field(None, description="the primary metric")
    status: str = ""
    error: str | None = None
    key: str = ""
    flops: float | None = None
    seconds: float | None = None


class Tuned(ResultBlock):
    """The trials of one arm."""

    chosen: dict[str, Any] | None = None
    trials: list[TuningTrial] = []
    flops: float = 0.0
    seconds: float = 0.0


class Tuning(ResultBlock):
    """What was tried for every arm, and chosen on validation."""

    knobs: dict[str, list[Any]] = {}
    share: float = Field(1.0, description="of the budget that a trial may spend")
    seed: int = 0
    arms: dict[str, Tuned] = {}


class AtRate(ResultBlock):
    """An arm or the baseline at a multiple of its learning rates."""

    multiple: float
    values: dict[int, float] = Field({}, description="the primary metric on test, by seed")
    mean: float | None = None
    spikes: float | None = Field(None, description="how often the training loss of a run jumped, on average")
    failed: int = Field(0, description="how many of its runs failed")


class OverRates(ResultBlock):
    """An arm or the baseline at all rates."""

    rates: list[AtRate] = []
    best: float | None = Field(None, description="the multiple with the best mean; null until all have been flown")


class Rates(ResultBlock):
    """A check of rates: whether the baseline gains at another learning rate what arms gain."""

    seeds: list[int] = []
    arms: dict[str, OverRates] = {}
    closed: dict[str, float] = Field({}, description="the share of an arm's gain that the baseline has at its best rate instead")


class Stages(ResultBlock):
    """What an arm that trains on one source after another forgot and carried over, over its seeds."""

    stages: list[str] = Field([], description="their names")
    belongs: dict[str, int | None] = Field({}, description="the stage that trained on a source first")
    matrix: list[dict[str, float | None]] = Field([], description="the primary metric of every source after each stage")
    seeds: int = 0
    forgetting: Estimate | None = Field(None, description="how much worse sources are at the end than when they had just been learned")
    backward: Estimate | None = Field(None, description="how much better sources became that had been learned before")
    forward: Estimate | None = Field(None, description="how much better sources became that had not been learned yet")


class Sides(ResultBlock):
    """What an arm kept and gained; above zero is better."""

    kept: Estimate = Estimate()
    gained: Estimate = Estimate()
    front: bool = Field(False, description="whether no other arm beats it on one side without losing on the other")


class Axes(ResultBlock):
    """What each arm kept against what it gained."""

    reference: Literal["start", "baseline"] | None = Field(None, description="the baseline before it went on, or at its end")
    arms: dict[str, Sides] = {}


class Transfer(ResultBlock):
    """What arms that train on one source after another kept and gained."""

    metric: str = ""
    better: Literal["lower", "higher"] = "lower"
    confidence: float | None = None
    arms: dict[str, Stages] = {}
    kept: list[str] = Field([], description="the sources that are to be kept")
    axes: Axes | None = Field(None, description="where the study says what is to be kept")


class Sample(ResultBlock):
    """What a model wrote or drew; pictures as addresses that a page can hold."""

    source: str = ""
    prompt: str = ""
    pictures: dict[str, str] = Field({}, description="what it was shown, by name")
    cells: dict[str, str] = Field({}, description="what it was shown of a row of a table, by column")
    drawn: str | None = Field(None, description="a picture that it drew")
    continuation: str | None = None
    truth: str | None = Field(None, description="how the document goes on")


class CorpusRow(ResultBlock):
    """What was read, skipped or removed of one source."""

    source: str = ""
    what: str = ""
    documents: int | float | None = None
    bytes: int | float | None = None
    examples: list[str] = Field(
        [],
        description="of what a curator removed: where some came from, why they went, and how they begin; of what was decoded: a line of it",
    )


class StreamFacts(ResultBlock):
    """What runs were trained on. What the encoding says of itself stands beside."""

    fingerprint: str | None = None
    unit: str | None = None
    sizes: dict[str, dict[str, int | float] | int | float] = Field({}, description="units by split and source")

    @property
    def encoding(self) -> dict[str, Any]:
        """What the encoding says of itself, a vocabulary for example."""
        return dict(self.model_extra or {})


class RunsSoFar(ResultBlock):
    """How far the study is."""

    runs: int = 0
    finished: int = 0
    failed: int = 0


class StudyResult(ResultBlock):
    """What a study came to."""

    format: int = FORMAT
    finished: bool = Field(False, description="whether every run has finished or failed")
    progress: RunsSoFar = Field(RunsSoFar(), description="runs planned, finished and failed")
    failure: Failure | None = Field(None, description="why there is no result: every run of the baseline failed")
    error: str | None = Field(None, description="the message of the failure")
    study: About = Field(About(), description="what was asked for")
    baseline: Baseline = Field(Baseline(), description="the reference")
    arms: dict[str, Arm] = Field({}, description="by name")
    runs: list[Run] = Field([], description="one entry a run")
    transfer: Transfer | None = Field(None, description="what arms that train on one source after another kept and gained")
    tuning: Tuning | None = Field(None, description="every trial and the values that were chosen")
    rates: Rates | None = Field(None, description="baseline and arms at other learning rates, where the study asks for it")
    recipes: dict[str, dict[str, Any]] = Field({}, description="the resolved recipe of the baseline and of each arm")
    samples: dict[str, list[Sample]] = Field({}, description="what models of one seed wrote")
    corpus: list[CorpusRow] = Field([], description="what was read, skipped and removed")
    stream: StreamFacts = Field(StreamFacts(), description="what runs were trained on")
    notes: list[str] | str = Field([], description="what a reader must know about how arms differ; of a paper, how it differs from it")
    versions: dict[str, str] = Field({}, description="of the packages that the runs were flown with")
    hardware: dict[str, Any] = Field({}, description="the machine")

    @property
    def verdicts(self) -> dict[str, Verdict | None]:
        """The verdict of each arm; None where it is not decided yet."""
        return {name: arm.verdict for name, arm in self.arms.items()}
