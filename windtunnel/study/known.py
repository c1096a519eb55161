"""Papers that are known and that no file answers yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.shipped import AREAS, KNOWN, library
from windtunnel.study.papers import Paper


@dataclass(frozen=True)
class KnownPaper:
    """A paper that somebody may build."""

    name: str
    title: str
    area: str


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


def not_built(papers: Iterable[Paper], area: str | None = None, folder: Path | None = None) -> list[KnownPaper]:
    """Those of :func:`known_papers` that none of ``papers`` answers, of one area or of all."""
    answered = {slug for paper in papers for slug in paper.papers}
    return [one for one in known_papers(folder) if one.name not in answered and area in (None, one.area)]
