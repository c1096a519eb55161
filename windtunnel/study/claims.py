"""What a paper leads us to expect: of arms of a study, or of the numbers of a law; and when an interval fulfils it."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.settings import Many, Settings, unit
from windtunnel.study.paper_result import Finding, Improvement, Outcome
from windtunnel.study.result import BASELINE

GAIN = "compute_gain"  # a metric that the study itself finds


class FittedLaw(Settings):
    """A law that a paper is judged by: which one, and the table that it is fitted to."""

    law: dict[str, dict[str, Any]] = Field(
        description="a law of tables and its options, as `windtunnel law` and the function of that name take them",
        examples=[{"chinchilla": {"size": "parameters", "tokens": "tokens", "loss": "nats"}}],
    )
    table: str = Field("", description="a table beside the paper's file (default: one of the runs of its study)", examples=["runs.csv"])
    source: str = Field("", description="of a table: where it comes from, with its licence", examples=["Our own runs, CC BY 4.0"])
    rows: Literal["runs", "evaluations"] = Field(
        "runs", description="of the study's runs: a row each finished run, or each evaluation on validation", examples=["evaluations"]
    )
    arms: Many[str] = Field((), description="only these arms (default: all, the baseline with them)", examples=[["baseline", "wide"]])
    columns: dict[str, dict[str, float | str]] = Field(
        {}, description="by arm: what its rows say beside what was measured", examples=[{"wide": {"share": 0.5}}]
    )
    each: dict[str, dict[str, float | str]] = Field(
        {},
        description="by number that was measured: a row of its own, which has it as `measured` and says this beside",
        examples=[{"exact_match/rare": {"count": 2}, "exact_match/frequent": {"count": 64}}],
    )

    @field_validator("law")
    @classmethod
    def _one(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(value) != 1:
            raise ValueError("expected one law with its options, such as {chinchilla: {size: parameters, tokens: tokens, loss: nats}}")
        return value

    @model_validator(mode="after")
    def _tables_have_sources(self) -> FittedLaw:
        if bool(self.table) != bool(self.source):
            raise ValueError("a table needs its source with the licence, and a law of the study's own runs needs none")
        if self.table and (PurePath(self.table).name != self.table):
            raise ValueError(f"table {self.table!r} must lie beside the paper's file; give its name alone")
        if self.table and (self.arms or self.columns or self.each or self.rows != "runs"):
            raise ValueError("rows, arms, columns and each are of the study's own runs, and not of a table")
        return self

    @property
    def name(self) -> str:
        """Of the law."""
        return next(iter(self.law))

    @property
    def options(self) -> dict[str, Any]:
        """What it is given beside its table."""
        return self.law[self.name]


class Expectation(Settings):
    """One thing the paper leads us to expect, said before anything is flown: of an arm, or of a number of a law."""

    arm: str = Field("", description="the arm the claim is about", examples=["long-decay"])
    against: str = Field(BASELINE, description="what it is compared with: the baseline or another arm", examples=["wsd"])
    metric: str = Field(
        "primary",
        description="a number on test (primary, bits_per_byte/code), a total (flops), an aggregate (forgetting, backward, forward, "
        "dip/NUMBER) or compute_gain",
        examples=["bits_per_byte/code"],
    )
    than: str | None = Field(
        None,
        description="the number of `against` that it is compared with, such as another score of the same models (default: the same number)",
        examples=["membership/loss"],
    )
    direction: Literal["lower", "higher"] | None = Field(
        None, description="which way is better (default: as the study or the evaluation of that name says, else lower)", examples=["higher"]
    )
    relation: Literal["better", "not-worse", "worse"] = Field("better", description="what is expected of the arm", examples=["not-worse"])
    by: float = Field(
        0.0,
        ge=0,
        description="better or worse, or at most worse, by this; relative to `against`, but for numbers of transfer",
        examples=[0.01],
        json_schema_extra=unit("share of `against`"),
    )
    law: str = Field("", description="instead of an arm: one of the paper's `laws`", examples=["size-and-tokens"])
    number: str = Field("", description="of the law: a parameter, or a path in what it answers with", examples=["largest_left_out/error"])
    between: tuple[float | None, float | None] | None = Field(
        None, description="the ends between which the number is expected; null is no end", examples=[[0.3, 0.4]]
    )
    note: str = Field("", description="the paper's own number for this, and where it stands there", examples=["one percent, figure 3"])

    @model_validator(mode="after")
    def _of_an_arm_or_a_law(self) -> Expectation:
        if bool(self.arm) == bool(self.law):
            raise ValueError("an expectation is of an `arm` or of a `law`: give one of them")
        of_arms = self.model_fields_set & {"against", "metric", "than", "direction", "relation", "by"}
        if self.law and of_arms:
            raise ValueError(f"{sorted(of_arms)[0]} is of arms; what is expected of a law is a `number` and what it lies `between`")
        if self.law and (not self.number or self.between in (None, (None, None))):
            raise ValueError(
                "what is expected of a law is a `number` and what it lies `between`, such as {number: alpha, between: [0.3, 0.4]}"
            )
        if self.arm and (self.number or self.between is not None):
            raise ValueError("`number` and `between` are of a law; what is expected of an arm is a `relation` in a `metric`")
        return self


def decide(expectation: Expectation, low: float | None, high: float | None) -> Outcome:
    """What an interval says about an expectation; None is an end that is not known (as far out as can be).

    The interval is of the arm's improvement, or of the law's number. Reproduced if the whole interval fulfils the expectation, not
    reproduced if none of it does, else undecided. What is equal is not worse; whether it is better is left undecided, because numbers are
    equal to the last digit where neither side rises from the floor.
    """
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if expectation.between is not None:
        least, most = expectation.between
        least, most = -math.inf if least is None else least, math.inf if most is None else most
        if least <= low and high <= most:
            return "reproduced"
        return "not reproduced" if high < least or low > most else "undecided"
    if expectation.relation == "worse":
        low, high = -high, -low
    holds, least = (operator.ge, -expectation.by) if expectation.relation == "not-worse" else (operator.gt, expectation.by)
    if holds(low, least):
        return "reproduced"
    return "not reproduced" if high < least else "undecided"


def finding_of_law(expectation: Expectation, fitted: Mapping[str, Any] | None) -> Finding:
    """An expectation about a number of the law ``fitted``, with the number and its interval; one without is taken as it is.

    Nothing is decided where there is no law, because its study failed.
    """
    value = None if fitted is None else number_of(fitted, expectation.number)
    low, mean, high = (value.get(end) for end in ("low", "value", "high")) if isinstance(value, Mapping) else (value,) * 3
    found = expectation.model_dump(mode="json", include={"law", "number", "between", "note"})
    ends = Improvement(mean=mean, low=low, high=high, seeds=0)
    return Finding(**found, relative=False, improvement=ends, verdict="undecided" if mean is None else decide(expectation, low, high))


def number_of(fitted: Mapping[str, Any], path: str) -> Any:
    """The number at ``path`` of what a law answers with: a parameter by its name, or keys and places joined by ``/``.

    Raises:
        UserError: for a path that leads nowhere, naming the nearest key.
    """
    found: Any = fitted
    keys = path.split("/")
    if keys[0] in fitted.get("parameters", {}):
        keys = ["parameters", *keys]
    for key in keys:
        inside = {str(place): one for place, one in enumerate(found)} if isinstance(found, list) else found
        if not isinstance(inside, Mapping) or key not in inside:
            known = [*inside, *fitted.get("parameters", {})] if isinstance(inside, Mapping) else []
            raise UserError(f"an expectation is about {path!r}, which the law does not tell: no {key!r}; {nearest(key, known)}")
        found = inside[key]
    return found
