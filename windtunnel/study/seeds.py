"""How many seeds a study has: a list, or a race, which flies more of them where the verdict is still open (``race.py``)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from windtunnel.core.files import decided_once
from windtunnel.core.settings import Settings

BEGUN = "race.json"  # in the folder of a study: the race that it was begun with


class KnownNoise(Settings):
    """What is known of the noise before the study is flown."""

    sd: float = Field(gt=0, description="standard deviation, between seeds, of the difference of two runs, in the unit of the metric")
    freedom: float = Field(gt=0, description="degrees of freedom that it is worth, 100 at most: how alike the noise of arms is")


class Race(Settings):
    """Seeds 0, 1, 2 ... in groups of ``least``, up to ``most``; an arm gets no more once its verdict is clear or out of reach."""

    least: int = Field(3, ge=2, description="seeds of the first look, and from each look to the next")
    most: int = Field(12, description="seeds of the last look")
    noise: KnownNoise | None = Field(None, description="of a seed's difference, where it is known beforehand")

    @model_validator(mode="after")
    def _has_room(self) -> Race:
        if self.most <= self.least:
            raise ValueError(f"most is {self.most} and least {self.least}: for one number of seeds write seeds: {self.least}")
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds after which there is a look."""
        return (*range(self.least, self.most, self.least), self.most)


def begun_otherwise(race: Race, folder: Path) -> list[str]:
    """What a reader must know where the study in ``folder`` was begun as another race: its looks were planned for that one."""
    begun = Race.model_validate(decided_once(folder / BEGUN, race.model_dump))
    if begun == race:
        return []
    return [
        f"This race was begun with {begun.least} to {begun.most} seeds and now has {race.least} to {race.most}. Where that was changed "
        "after a look, intervals hold the truth less often than stated. Fresh seeds under another name would be a new race."
    ]
