"""The command ``windtunnel curate``: documents in, better documents out, with what went and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.options import AddressOption, CorpusOption, Engine, JsonOption, SetOption, check_engine, sources


def curate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a corpus and its curators (YAML)")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where documents, victims and report go")],
    corpus: CorpusOption = None,
    settings: SetOption = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="processes that judge documents side by side")] = 1,
    engine: Annotated[Engine, typer.Option("--engine", help="judge here, or as Ray tasks")] = Engine.local,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clean, deduplicate and choose documents; write what stays, and what went and why. Given again, it goes on where it was.

    With --corpus, your sources take the place of the whole corpus that the file names.

    Example: windtunnel curate recipe.yaml --out curated
    """
    from windtunnel.recipe import Document
    from windtunnel.report.curated import page, steps
    from windtunnel.study.curate import curate as run
    from windtunnel.study.curate import load_curation

    check_engine(engine, address)
    recipe = load_curation(Document(file, settings or ()), sources(corpus))

    def say(line: str) -> None:
        console().print(escape(line), soft_wrap=True)

    result = run(recipe, out, workers=workers, engine=engine.value, address=address, progress=say)
    report = page(result, out)
    if as_json:
        print_json(result)
        return
    table = steps(result)
    answers().print(plain_table(table.columns, table.rows))
    print(f"documents: {out / 'documents'}\nremoved: {out / 'victims.parquet'}\nreport: {report}")
