"""The studies of papers at one scale, for a pack of all that waits for an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from windtunnel.core.errors import UserError
from windtunnel.study.file import StudyFile
from windtunnel.study.papers import list_papers, load_paper, measured, study_name

DECIDED = ("reproduced", "not reproduced")


def studies_of(names: Sequence[str], scale: str, say: Callable[[str], None]) -> tuple[list[StudyFile], list[str]]:
    """The studies of the papers called ``names`` (none: of all) at ``scale``, and the names of those that are decided at it already.

    They are called as ``windtunnel reproduce`` calls them, which so finds their runs.

    Raises:
        UserError: for an unknown paper, one that is named and lacks the scale, and where none has it.
    """
    found, decided = [], []
    for paper in [load_paper(name) for name in names] or list_papers():
        if (scale not in paper.scales or not paper.flies) and not names:
            say(f"{paper.name}: has no scale {scale!r}")
            continue
        if paper.experiment(scale) is not None:
            say(f"{paper.name}: scale {scale!r} trains nothing, and needs no accelerator")
            continue
        name = study_name(paper, scale)
        found.append(paper.study(scale).model_copy(update={"name": name}))
        result = measured(paper).get(scale)
        if result is not None and result.verdict in DECIDED:
            decided.append(name)
    if not found:
        raise UserError(f"no paper has a scale called {scale!r}")
    return found, decided
