"""The command ``windtunnel forecast``: what studies at several scales say of a larger budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windtunnel.commands.console import console, plain_table, print_json
from windtunnel.commands.options import JsonOption

if TYPE_CHECKING:
    from windtunnel.laws.decision import ForecastResult

ResultPaths = Annotated[
    list[Path], typer.Argument(metavar="RESULT", help="results of the same arms at several scales: files or folders", show_default=False)
]


def forecast(
    results: ResultPaths,
    flops: Annotated[float, typer.Option("--flops", metavar="F", help="of the run that is to be decided", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="write report.html and forecast.json there", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Which arm will be ahead at a larger budget, how likely, and whether more pilots would change the choice."""
    from windtunnel.core.files import write_text
    from windtunnel.laws.decision import forecast as foretell
    from windtunnel.study.lenient import as_result
    from windtunnel.study.results import read_result, result_files

    read = [as_result(read_result(file)) for path in results for file in result_files(path)]
    found = foretell(read, flops)
    if out is not None:
        from windtunnel.report.document import page

        largest = max(read, key=lambda result: max((run.totals.flops or 0.0 for run in result.runs), default=0.0))
        write_text(out / "forecast.json", json.dumps(found.plain(), indent=1) + "\n")
        page(largest, out, found)
    if as_json:
        print_json(found.plain())
        return
    show(found)
    if out is not None:
        print(f"report: {out / 'report.html'}\nnumbers: {out / 'forecast.json'}")


def show(found: ForecastResult) -> None:
    """Print a forecast, its warnings on standard error."""
    from rich.console import Console

    from windtunnel.report import outlook

    print("\n".join(outlook.sentences(found)))
    for table in (outlook.table(found), outlook.pilots(found)):
        if table.rows:
            screen = Console(highlight=False)
            screen.print(table.title, markup=False)
            screen.print(plain_table(table.columns, table.rows))
    for warning in found.warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)
