"""The commands about papers: list them, show one, fly one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from windtunnel.commands.completion import paper_names
from windtunnel.commands.console import answers, plain_table, print_json, reflowed, stop_with
from windtunnel.commands.options import (
    OUT,
    AddressOption,
    Engine,
    EngineOption,
    JsonOption,
    OutOption,
    RecordsOption,
    SaveOption,
    ThreadsOption,
    WorkersOption,
    check_engine,
)
from windtunnel.core.errors import UserError
from windtunnel.core.shipped import checkout
from windtunnel.core.shipped import page as shipped_page

if TYPE_CHECKING:
    from windtunnel.study.papers import Paper


def papers(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="show this paper in full", autocompletion=paper_names)] = None,
    area: Annotated[str | None, typer.Option("--area", metavar="AREA", help="only papers of this area")] = None,
    atlas: Annotated[Path | None, typer.Option("--atlas", metavar="FILE", help="write a page of all papers and what was measured")] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", metavar="DIR", help="of the atlas: results flown elsewhere, DIR/NAME/SCALE.json; repeat it for several"),
    ] = None,
    ahead: Annotated[
        bool, typer.Option("--forecast", help="show instead how likely each claim holds at ten times the largest scale flown")
    ] = False,
    surveys: Annotated[bool, typer.Option("--surveys", help="show instead which techniques of published surveys are here")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the papers that can be reproduced, and what was measured of them; with NAME its claim, expectations and notes.

    Example: windtunnel papers g-stack
    """
    from windtunnel.study.papers import list_papers, load_paper, measured

    if surveys:
        if name or area or atlas or ahead:
            raise UserError("--surveys: shows all surveys, without NAME, --area, --atlas and --forecast")
        show_surveys(as_json)
        return
    if name is not None and area is not None:
        raise UserError(f"--area {area}: narrows the list; {name} is one paper")
    chosen = list_papers(area=area) if name is None else [load_paper(name)]
    if ahead and atlas is not None:
        raise UserError("--forecast and --atlas are two answers: ask for one at a time")
    if ahead:
        show_ahead(chosen, as_json)
        return
    if missing := [folder for folder in results or () if not folder.is_dir()]:
        raise UserError(f"--results {missing[0]}: there is no such folder; `windtunnel reproduce NAME --results DIR` writes one")
    if results and atlas is None:
        raise UserError("--results is for the atlas: say --atlas FILE too")
    if atlas is not None:
        from windtunnel.report.atlas import entries, page
        from windtunnel.study.known import not_built

        for folder in results or ():
            if not any(paper.result_file(scale, folder).exists() for paper in chosen for scale in paper.scales):
                raise UserError(f"--results {folder}: holds no result of these papers; they are called NAME/SCALE.json")
        unbuilt = not_built(list_papers(), area=area) if name is None else []
        written = page(entries(chosen, results or ()), atlas, unbuilt)
        if as_json:
            print_json({"atlas": str(written)})
        else:
            print(f"atlas: {written}")
        return
    found = [
        {
            "name": paper.name,
            "area": paper.area,
            **paper.model_dump(mode="json", include={"papers", "title", "authors", "year", "arxiv", "claim", "parts", "notes", "outcomes"}),
            "scales": list(paper.scales),
            "measured": {
                scale: {"verdict": result.verdict, "date": result.date, "flops": result.flops, "seconds": result.seconds}
                for scale, result in measured(paper).items()
            },
        }
        for paper in chosen
    ]
    if as_json:
        print_json(found)
        return
    if name is not None:
        show_paper(chosen[0])
        return
    rows = [
        (
            paper["name"],
            paper["area"],
            f"{paper['title']} ({paper['year']})",
            ", ".join(f"{scale}: {paper['measured'].get(scale, {}).get('verdict', 'not measured')}" for scale in paper["scales"]),
        )
        for paper in found
    ]
    answers().print(plain_table(("name", "area", "paper", "measured"), rows))


def show_ahead(chosen: Sequence[Paper], as_json: bool) -> None:
    """How likely the claims of ``chosen`` hold at larger budgets, from their committed results."""
    from windtunnel.laws.ahead import TIMES, claims_ahead
    from windtunnel.study.papers import measured

    found = {paper.name: claims for paper in chosen if (claims := claims_ahead(measured(paper)))}
    if as_json:
        print_json({name: [claim.plain() for claim in claims] for name, claims in found.items()})
        return
    rows = [
        (
            name,
            f"{claim.arm} {claim.relation} {claim.against}" + (f" ({claim.by:.1%})" if claim.by else ""),
            claim.metric,
            ", ".join(claim.scales),
            "–" if claim.measured is None else f"{claim.measured:+.1%}",
            *([f"{one.holds:.2f}" for one in claim.ahead] or ["–"] * len(TIMES)),
        )
        for name, claims in found.items()
        for claim in claims
    ]
    near, far = (f"holds at {times:g} x" for times in TIMES)
    columns = ("paper", "claim", "of", "scales", "there", near, f"{far} (unverified)")
    answers().print(plain_table(columns, rows))
    single = sum(len(claim.scales) == 1 and bool(claim.ahead) for claims in found.values() for claim in claims)
    told = [
        f"{far}: an extrapolation that nothing here verifies.",
        f"{single} claims were flown at one scale: how their difference changes with compute is what a prior says, and no run of theirs.",
        "–: of a gain in compute, or of a number that may be zero, nothing is foretold.",
    ]
    print("\n".join(told[: 1 + bool(single)] + told[2:]))


def show_surveys(as_json: bool) -> None:
    """Which techniques of published surveys are here."""
    from windtunnel.report.coverage import rows, summary
    from windtunnel.study.surveys import built_papers, load_surveys

    surveys, built = load_surveys(), built_papers()
    if as_json:
        found = surveys.model_dump(mode="json")
        for group, techniques in surveys.techniques.items():
            for technique, one in techniques.items():
                found["techniques"][group][technique]["here"] = one.here(built)
        print_json(found)
        return
    answers().print(plain_table(("survey", "title", "techniques that are here"), summary(surveys, built)))
    answers().print()
    answers().print(plain_table(("technique", "here", "described by"), [row[1:] for row in rows(surveys, built)]))


def show_paper(paper: Paper) -> None:
    """One paper in full."""
    from windtunnel.report.expectations import expected
    from windtunnel.report.reading import Reading
    from windtunnel.report.screen import verdict_table
    from windtunnel.study.papers import measured

    screen = Console(highlight=False)
    source = f" [{paper.authors or 'authors not named'}, {paper.year}]" + (f" arXiv:{paper.arxiv}" if paper.arxiv else "")
    screen.print(f"[bold]{paper.name}[/bold] {escape(paper.title)}{escape(source)}\n\n{escape(paper.claim)}\n")
    results = measured(paper)
    for scale in paper.scales:
        if scale not in results:
            screen.print(f"[bold]{scale}: not measured yet[/bold]\n")
            continue
        reading = Reading(results[scale])
        screen.print(f"[bold]{scale}: {results[scale].verdict}[/bold]\n{escape(paper.outcomes.get(scale, ''))}\n")
        found = expected(reading)
        screen.print(plain_table(found.columns[:-1], [row[:-1] for row in found.rows]))  # notes are on the paper's page
        screen.print()
        if paper.flies:
            screen.print(verdict_table(reading))
    if paper.notes:
        screen.print(escape(reflowed(paper.notes)))
    for what, path in (("study", paper.file), ("page", shipped_page("papers", paper.name))):
        if path is not None:
            print(f"{what}: {path}")


def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a paper, or the file of one", autocompletion=paper_names)],
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="SCALE",
            help="of those that the paper has, by default its first; cpu: on two cores, gpu: on one accelerator",
        ),
    ] = None,
    out: OutOption = OUT,
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="DIR", help="write DIR/NAME/SCALE.json (default: SCALE.json beside the paper's file)"),
    ] = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    records: RecordsOption = None,
    save_records: SaveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fly the study of a paper, or fit its laws, and write down whether its claim was reproduced. Given again, it goes on where it was.

    Example: windtunnel reproduce g-stack --scale cpu
    """
    from windtunnel.laws import claims
    from windtunnel.report import write_report
    from windtunnel.report.expectations import expected
    from windtunnel.report.reading import Reading
    from windtunnel.study import papers as library
    from windtunnel.study.results import read_result

    check_engine(engine, address)
    paper = library.load_paper(name)
    if results is None and not name.endswith((".yaml", ".yml")) and checkout() is None:
        results = out / "papers"  # an installed package is not written to
    scale = scale or next(iter(paper.scales))
    found = claims.reproduce(
        paper,
        scale,
        out,
        results=results,
        workers=workers,
        threads=threads,
        engine=engine.value,
        address=address,
        records=records or (),
        save_records=save_records,
    )
    if paper.flies:
        flown = out / "studies" / library.study_name(paper, scale)
        write_report(read_result(flown / "result.json"), flown)
    if as_json:
        print_json(found.plain())
    else:
        table = expected(Reading(found))
        screen = Console(highlight=False)
        screen.print(f"[bold]{escape(paper.title)}[/bold] at {scale} scale: [bold]{found.verdict}[/bold]\n{escape(paper.claim)}\n")
        screen.print(plain_table(table.columns[:-1], [row[:-1] for row in table.rows]))
        print(f"written: {paper.result_file(scale, results)}")
    if found.failure:
        stop_with(found.failure)
