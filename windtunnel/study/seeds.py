"""How many seeds a study has: a list, or a race, which flies more of them where the verdict is still open (``race.py``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from windtunnel.core.files import decided_once
from windtunnel.core.settings import Settings, unit

MOST = 10_000  # seeds of a study: each of them is listed
BEGUN = "race.json"  # in the folder of a study: the race that it was begun with


class KnownNoise(Settings):
    """What is known of the noise before the study is flown."""

    sd: float = Field(
        gt=0,
        description="standard deviation, between seeds, of the difference of two runs, in the unit of the metric",
        examples=[0.01],
        json_schema_extra=unit("that of the metric"),
    )
    freedom: float = Field(
        gt=0,
        description="degrees of freedom that it is worth, 100 at most: how alike the noise of arms is",
        examples=[30],
        json_schema_extra=unit("degrees of freedom"),
    )
    metric: str = Field(
        "", description="the number that it is of, which has to be the primary one (default: whichever that is)", examples=["bits_per_byte"]
    )
    source: str = Field("", description="where it is known from, for the report", examples=["20 runs of last week"])


# Tags that begin so are no places in a file: a message leaves them out.
Noise = Annotated[
    Annotated[KnownNoise, Tag("function-known")] | Annotated[Literal[False], Tag("function-none")],
    Discriminator(lambda value: "function-none" if value is False else "function-known"),
]


class Race(Settings):
    """Seeds 0, 1, 2 ... in groups of ``least``, up to ``most``; an arm gets no more once its verdict is clear or out of reach."""

    least: int = Field(
        3, ge=2, description="seeds of the first look, and from each look to the next", examples=[4], json_schema_extra=unit("seeds")
    )
    most: int = Field(12, le=MOST, description="seeds of the last look", examples=[20], json_schema_extra=unit("seeds"))
    noise: Noise | None = Field(
        None,
        description="of a seed's difference, known beforehand; false: none (default: what a section's committed results show)",
        examples=[False],
    )

    @model_validator(mode="after")
    def _has_room(self) -> Race:
        if self.most <= self.least:
            raise ValueError(f"most is {self.most} and least {self.least}: for one number of seeds write seeds: {self.least}")
        return self

    def about(self, metric: str) -> Race:
        """The race of a study whose primary number is ``metric``: without known noise that is of another."""
        other = self.noise and self.noise.metric not in ("", metric)
        return self.model_copy(update={"noise": None}) if other else self

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds after which there is a look."""
        return (*range(self.least, self.most, self.least), self.most)


def as_begun(race: Race, folder: Path, noise: Callable[[], KnownNoise | None] = lambda: None) -> tuple[Race, list[str]]:
    """The race that the study in ``folder`` flies, and what a reader must know where it was begun as another one.

    Its looks were planned for the one that it was begun as. ``noise`` is asked once, when it is begun and the file says nothing of it.
    """
    begun = Race.model_validate(decided_once(folder / BEGUN, lambda: _knowing(race, noise).model_dump()))
    race = _knowing(race, lambda: begun.noise)
    if begun == race:
        return race, []
    then, now = (f"{one.least} to {one.most} seeds" for one in (begun, race))
    known = "" if begun.noise == race.noise else " The noise that is known beforehand has changed too."
    return race, [
        f"This race was begun with {then} and now has {now.removesuffix(' seeds')}.{known} Where that was changed after a look, intervals "
        "hold the truth less often than stated. Fresh seeds under another name would be a new race."
    ]


def _knowing(race: Race, noise: Callable[[], KnownNoise | Literal[False] | None]) -> Race:
    return race.model_copy(update={"noise": noise()}) if race.noise is None else race
