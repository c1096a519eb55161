"""What was measured of a paper: the content of a committed result, typed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from windtunnel.study.result import BASELINE, Estimate, ResultBlock, StudyResult

Outcome = Literal["reproduced", "not reproduced", "undecided"]


class Improvement(Estimate):
    """By how much an arm is better than what it is compared with; above zero is better."""

    seeds: int = 0


class Finding(ResultBlock):
    """An expectation of a paper, and what was measured of it."""

    arm: str = ""
    against: str = BASELINE
    metric: str = ""
    than: str | None = Field(None, description="the number of the other side, where it is another one")
    direction: Literal["lower", "higher"] = "lower"
    relation: Literal["better", "not-worse", "worse"] = "better"
    by: float = 0.0
    law: str = Field("", description="instead of an arm: the law it is about")
    number: str = Field("", description="of the law")
    between: tuple[float | None, float | None] | None = Field(None, description="the ends that the number is expected between")
    note: str = ""
    relative: bool = Field(True, description="whether the improvement is a share of what it is compared with")
    values: dict[str, dict[int, float]] = Field({}, description="by arm (and number, where these are two) and seed")
    improvement: Improvement = Field(Improvement(), description="of a law the number itself, with its interval")
    verdict: Outcome = "undecided"

    @property
    def rival(self) -> str:
        """What the arm is compared with, in words."""
        return self.against if self.than is None else f"{self.than.replace('_', ' ')} of {self.against}"


class PaperResult(StudyResult):
    """What was measured of a paper at one scale: the result of its study, in brief, and what it says of each expectation."""

    finished: bool = Field(True, description="a paper is measured when its study has come to an end")
    paper: str = Field("", description="its name")
    papers: list[str] = Field([], description="the slugs that it answers")
    title: str = ""
    scale: str = Field("", description="cpu, gpu, or table where nothing is flown")
    claim: str = Field("", description="in our own words, with the paper's numbers")
    verdict: Outcome = Field("undecided", description="of all expectations together")
    laws: dict[str, dict[str, Any]] = Field({}, description="by name: what each fitted law answers with")
    expectations: list[Finding] = Field([], description="each with the improvement measured, its interval and its verdict")
    date: str = Field("", description="when it was measured")
    flops: float = Field(0.0, description="of all runs, tuning included")
    seconds: float = Field(0.0, description="of all runs, tuning included")

    def plain(self) -> dict[str, Any]:
        """As JSON holds it: of its study what is worth keeping, so no field that was not set."""
        return self.model_dump(mode="json", exclude_unset=True)
