"""What there is: parts that can be plugged in, and papers that can be reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.api.given import OUT, Where
from windtunnel.api.studies import Result
from windtunnel.core.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas


def parts(slot: str | None = None) -> pandas.DataFrame:
    """What can be plugged in: a row a part, with its slot and what it does.

    Raises:
        UserError: for a slot that does not exist.
    """
    import pandas

    from windtunnel.core import registry
    from windtunnel.slots import by_name

    known = by_name()
    if slot is not None and slot not in known:
        raise UserError(f"no slot is called {slot!r}; {nearest(slot, known)}")
    rows = [
        {"slot": key, "part": name, "meaning": registry.summary(kind, name)}
        for key, kind in known.items()
        for name in sorted(registry.known(kind))
        if slot in (None, key)
    ]
    return pandas.DataFrame(rows, columns=["slot", "part", "meaning"])


def papers() -> pandas.DataFrame:
    """The papers that can be reproduced: a row a paper and scale, with the verdict where it was measured."""
    import pandas

    from windtunnel.study.papers import list_papers, measured

    rows = []
    for paper in list_papers():
        found = measured(paper)
        rows += [
            {
                "paper": paper.name,
                "title": paper.title,
                "year": paper.year,
                "scale": scale,
                "verdict": found[scale].verdict if scale in found else None,
            }
            for scale in paper.scales
        ]
    return pandas.DataFrame(rows, columns=["paper", "title", "year", "scale", "verdict"])


def reproduce(
    paper: str,
    out: Where = OUT,
    *,
    scale: str | None = None,
    results: Where | None = None,
    workers: int | None = None,
    threads: int | None = None,
) -> Result:
    """Fly the study of a paper (its name, or its file), or fit its laws, and judge whether its claim was reproduced.

    Args:
        paper: a name that :func:`papers` lists, or the file of one.
        out: where runs, prepared text and results are kept and found again.
        scale: one of those that the paper has, cpu or gpu in most (default: its first).
        results: the folder that the measurement is written to (default: beside the paper).
        workers: runs flown side by side.
        threads: of one run.
    """
    from windtunnel.laws import claims
    from windtunnel.study.papers import load_paper

    read = load_paper(paper)
    scale = scale or next(iter(read.scales))
    found = claims.reproduce(read, scale, Path(out), results=Path(results) if results else None, workers=workers, threads=threads)
    return Result(found)
