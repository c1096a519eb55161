"""Surveys: which of the techniques that they describe are here, told from the registry of parts and the papers that are built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from windtunnel.core import registry
from windtunnel.core.errors import nearest
from windtunnel.core.settings import Settings
from windtunnel.core.shipped import SURVEYS, library, paper_files
from windtunnel.recipe.yaml import Document


class Technique(Settings):
    """What one or several surveys describe."""

    surveys: tuple[str, ...] = Field(description="the surveys that describe it", examples=[["survey-of-selection"]])
    parts: tuple[str, ...] = Field((), description="the parts that are it", examples=[["length"]])
    papers: tuple[str, ...] = Field((), description="papers that are about it", examples=[["slow-decay"]])
    setting: str = Field("", description="what does it and is no part", examples=["--mesh shard=2"])

    def here(self, built: Sequence[str] | set[str]) -> bool:
        """Whether it is here, where the papers ``built`` are."""
        return bool(self.parts or self.setting or set(self.papers) & set(built))


class SurveyPaper(Settings):
    """A survey."""

    title: str = Field(description="of the survey")
    year: int = Field(description="in which it appeared")
    arxiv: str = Field(description="its number there")


class Surveys(Settings):
    """The file of surveys."""

    surveys: dict[str, SurveyPaper] = Field(description="by slug")
    techniques: dict[str, dict[str, Technique]] = Field(description="by group and name")

    def of(self, survey: str) -> list[Technique]:
        """The techniques that one survey describes."""
        return [one for group in self.techniques.values() for one in group.values() if survey in one.surveys]


def load_surveys(folder: Path | None = None) -> Surveys:
    """The surveys in ``folder`` (default: that of the papers that come with Windtunnel).

    Raises:
        UserError: naming file, line and key of a part or a survey that there is not, with the nearest that there is.
    """
    document = Document((folder or library("papers")) / SURVEYS)
    try:
        found = Surveys.model_validate(document.data)
    except ValidationError as error:
        raise document.errors(error) from error
    parts = {name for slot in registry.slots().values() for name in registry.known(slot)}
    for group, techniques in found.techniques.items():
        for name, technique in techniques.items():
            for key, named, known in (("surveys", technique.surveys, found.surveys), ("parts", technique.parts, parts)):
                if wrong := [one for one in named if one not in known]:
                    raise document.error(("techniques", group, name, key), f"there is no {wrong[0]!r}; {nearest(wrong[0], known)}")
    return found


def built_papers(folder: Path | None = None) -> set[str]:
    """The names of the papers that have a file."""
    return set(paper_files(folder))


def told(survey: str, surveys: Surveys, built: set[str]) -> str:
    """How many of the techniques of ``survey`` are here: ``31 of 46``."""
    described = surveys.of(survey)
    return f"{sum(one.here(built) for one in described)} of {len(described)}"
