"""Techniques by survey: which are here, as which part or paper, and which are not."""

from __future__ import annotations

from windtunnel.report.markup import code, escaped, table_of
from windtunnel.report.words import DASH
from windtunnel.study.surveys import Surveys, built_papers, load_surveys, told

INTRODUCTION = """\
# What surveys describe, and what is here

Which techniques seven surveys describe, and which of them are here: as parts (`windtunnel parts NAME`), as papers
(`windtunnel papers NAME`), or as a setting. `windtunnel papers --surveys` shows the same table, made from what is installed. A technique
that is not here is an invitation: [adding-a-part.md](adding-a-part.md). Which survey describes what is told from abstracts and tables of
contents; names of techniques are ours.
"""


def rows(surveys: Surveys, built: set[str]) -> list[tuple[str, str, str, str]]:
    """Of each technique its group, name, what it is here, and the surveys that describe it."""
    found = []
    for group, techniques in surveys.techniques.items():
        for name, one in techniques.items():
            papers = [paper if paper in built else f"{paper} (not built)" for paper in one.papers]
            here = ", ".join([*one.parts, *papers, *([one.setting] if one.setting else [])])
            found.append((group, name, here if one.here(built) else f"not here{f': {here}' if here else ''}", ", ".join(one.surveys)))
    return found


def summary(surveys: Surveys, built: set[str]) -> list[tuple[str, str, str]]:
    """Of each survey its slug, title with year, and how many of its techniques are here."""
    return [(slug, f"{one.title} ({one.year})", told(slug, surveys, built)) for slug, one in surveys.surveys.items()]


def coverage_page() -> str:
    """The page as Markdown."""
    surveys, built = load_surveys(), built_papers()
    of_surveys = [
        (f"[{escaped(slug)}](https://arxiv.org/abs/{surveys.surveys[slug].arxiv})", escaped(title), escaped(here))
        for slug, title, here in summary(surveys, built)
    ]
    blocks = [INTRODUCTION.strip(), table_of(("survey", "title", "here"), of_surveys, frozenset(range(3)))]
    told_of = rows(surveys, built)
    for group in surveys.techniques:
        own = [(escaped(name), _linked(here), escaped(which) or DASH) for other, name, here, which in told_of if other == group]
        blocks.append(f"## {escaped(group).capitalize()}\n\n{table_of(('technique', 'here', 'described by'), own, frozenset(range(3)))}")
    return "\n\n".join(blocks) + "\n"


def _linked(here: str) -> str:
    if "`" in here:
        return here
    return escaped(here, whole=False) if here.startswith("not here") else ", ".join(map(code, here.split(", ")))
