"""Papers that are judged by a law: it is fitted to a table beside the paper's file, or to one of the runs of its study.

``windtunnel reproduce`` ends here: :func:`reproduce` flies the study of a scale, fits the laws, and writes what both say of the paper's
expectations. A law is named as ``windtunnel law`` names it, and takes the options of the function of that name.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_text
from windtunnel.laws import OF_TABLES
from windtunnel.study.claims import FittedLaw
from windtunnel.study.expectations import judge
from windtunnel.study.lenient import paper_result
from windtunnel.study.paper_result import PaperResult
from windtunnel.study.papers import Paper, flown, load_paper
from windtunnel.study.result import BASELINE, Costs, Run, StudyResult
from windtunnel.study.results import save

COUNTS = ("parameters", "active_parameters")  # of an arm, in every row of its runs


def reproduce(name: str | Path | Paper, scale: str, out: Path, *, results: Path | None = None, **options: Any) -> PaperResult:
    """Fly a paper's study at ``scale`` under ``out``, fit its laws, and write what was measured to ``paper.result_file(scale, results)``.

    The table of a law of the study's own runs is written beside it, as SCALE.LAW.csv. ``options`` are those of
    :func:`windtunnel.study.fly.fly_study`; what trains nothing asks for none of them. Returns what was written.

    Raises:
        UserError: for an unknown paper or scale, a law that cannot be fitted, and as ``fly_study``.
    """
    from windtunnel.train.machine import hardware, versions

    paper = name if isinstance(name, Paper) else load_paper(name)
    for claim in paper.laws:
        check_law(paper, claim)
    result = flown(paper, scale, out, **options)
    if not paper.flies:
        import torch

        result = result.model_copy(update={"versions": versions(), "hardware": hardware(torch.device("cpu"))})
    file = paper.result_file(scale, results)
    claims = () if result.failure else paper.laws
    laws = {claim: fit(paper, claim, result, file.with_suffix(f".{claim}.csv")) for claim in claims}
    return paper_result(save(judge(paper, scale, result, laws).plain(), file))


def fit(paper: Paper, name: str, result: StudyResult, file: Path) -> dict[str, Any]:
    """What the law ``name`` of ``paper`` answers with, as JSON holds it; a table of the study's runs is written to ``file``.

    Raises:
        UserError: where the table cannot be read, or the law cannot be fitted to it.
    """
    claim = paper.laws[name]
    if claim.table:
        file = (paper.file.parent if paper.file else Path()) / claim.table
    else:
        write_text(file, table_of(result, claim))
    found: dict[str, Any] = check_law(paper, name)(file, **claim.options).plain()
    return found | ({"source": claim.source} if claim.source else {"table": file.name})


# Laws ---------------------------------------------------------------------------------------------------------------------------


def check_law(paper: Paper, name: str) -> Callable[..., Any]:
    """The function of the law that ``paper`` calls ``name``.

    Raises:
        UserError: with file and line, for a law that there is not, or an option that is unknown or missing.
    """
    claim = paper.laws[name]
    if claim.name not in OF_TABLES:
        raise paper.error(("laws", name, "law"), f"no law of tables is called {claim.name!r}; {nearest(claim.name, OF_TABLES)}")
    called = claim.name.replace("-", "_")
    law: Callable[..., Any] = getattr(importlib.import_module(f"windtunnel.laws.{called}"), called)
    options = dict(list(inspect.signature(law).parameters.items())[1:])
    for option in claim.options:
        if option not in options:
            raise paper.error(
                ("laws", name, "law", claim.name, option), f"{claim.name} has no option {option!r}; {nearest(option, options)}"
            )
    for option, about in options.items():
        if about.default is inspect.Parameter.empty and option not in claim.options:
            raise paper.error(
                ("laws", name, "law", claim.name), f"{claim.name} needs {option!r}, as `windtunnel law {claim.name} --help` says"
            )
    return law


# Tables of a study's runs -------------------------------------------------------------------------------------------------------


def table_of(result: StudyResult, claim: FittedLaw) -> str:
    """The finished runs of ``result``, or their evaluations on validation, as comma-separated text with a heading.

    Columns are arm, multiple, seed, run, the arm's parameters, what the paper says of the arm, and what was measured: totals and numbers
    on test, or where the run stood and numbers on validation.

    Raises:
        UserError: where the paper names an arm that the study does not have, or a number that a run has not, or none has finished.
    """
    known = {BASELINE, *result.arms}
    for arm in (*claim.arms, *claim.columns):
        if arm not in known:
            raise UserError(f"a law is of arm {arm!r}, which the study does not have; {nearest(arm, known)}")
    rows = [row for run in result.runs if run.finished and run.arm in (claim.arms or known) for row in _rows(run, result, claim)]
    if not rows:
        raise UserError("no run has finished that the law could be fitted to")
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.7g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def _rows(run: Run, result: StudyResult, claim: FittedLaw) -> Iterator[dict[str, Any]]:
    costs: Costs = result.baseline if run.arm == BASELINE else result.arms[run.arm]
    about = {"arm": run.arm, "multiple": run.multiple, "seed": run.seed, "run": f"{run.arm}-{run.multiple:g}-{run.seed}"}
    about |= {name: value for name in COUNTS if (value := costs.get(name)) is not None}
    about |= claim.columns.get(run.arm, {})
    if claim.rows == "runs":
        told = [{**about, **run.totals.model_dump(exclude={"epochs"}, exclude_none=True), **run.test}]
    else:
        told = [{**about, "step": one.step, "tokens": one.tokens, "flops": one.flops, **one.numbers} for one in run.validation]
    for row in told:
        if not claim.each:
            yield row
        for number, beside in claim.each.items():
            if number not in row:
                raise UserError(f"a law is of {number!r}, which {run.arm} has not measured; {nearest(number, row)}")
            yield {**row, "number": number, "measured": row[number], **beside}
