"""Papers that are known and that no file answers yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.shipped import AREAS, KNOWN, library
from windtunnel.study.papers import Paper
from windtunnel.study.surveys import load_surveys, told


@dataclass(frozen=True)
class KnownPaper:
    """A paper that somebody may build, or a survey, of which ``here`` says how many techniques are (``31 of 46``)."""

    name: str
    title: str
    area: str
    here: str = ""


def known_papers(folder: Path | None = None) -> list[KnownPaper]:
    """All that ``known.yaml`` in ``folder`` (default: that of the papers that come with Windtunnel) lists, by area and name.

    Raises:
        UserError: for an area that is none.
    """
    file = (folder or library("papers")) / KNOWN
    listed = yaml.safe_load(file.read_text(encoding="utf-8"))
    if wrong := [area for area in listed if area not in AREAS]:
        raise UserError(f"{file}: no area is called {wrong[0]!r}; {nearest(wrong[0], AREAS)}")
    return [KnownPaper(name, title, area) for area in sorted(listed) for name, title in sorted(listed[area].items())]


def not_built(papers: Iterable[Paper], area: str | None = None) -> list[KnownPaper]:
    """Those of :func:`known_papers` that none of ``papers`` answers, of one area or of all. Surveys say what of them is here."""
    papers, surveys = list(papers), load_surveys()
    answered, built = {slug for paper in papers for slug in paper.papers}, {paper.name for paper in papers}
    return [
        replace(one, here=told(one.name, surveys, built)) if one.name in surveys.surveys else one
        for one in known_papers()
        if one.name not in answered and area in (None, one.area)
    ]
