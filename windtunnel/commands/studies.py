"""The commands that fly a study, check it before, and show it again: ``windtunnel study``, ``check`` and ``report``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from windtunnel.commands.adapt import show_adaptation
from windtunnel.commands.completion import checkable_names, study_names
from windtunnel.commands.console import MENDABLE, print_json, stop_with
from windtunnel.commands.options import (
    OUT,
    AddressOption,
    BudgetOption,
    CorpusOption,
    Engine,
    EngineOption,
    HoursOption,
    JsonOption,
    LoggerOption,
    MeshOption,
    OutOption,
    RecomputeOption,
    RecordsOption,
    SaveOption,
    SeedsOption,
    SetOption,
    ShareOption,
    ThreadsOption,
    WorkersOption,
    changed,
    check_device,
    check_engine,
    look_at,
    sources,
)
from windtunnel.commands.pack import fly, is_pack
from windtunnel.core.errors import UserError
from windtunnel.core.shipped import shipped
from windtunnel.laws.elsewhere import Elsewhere
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult
from windtunnel.study.results import read_result, result_files

StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="a study (YAML), or the name of a shipped one", autocompletion=study_names)]


def study(
    file: StudyFile,
    corpus: CorpusOption = None,
    settings: SetOption = None,
    budget: BudgetOption = None,
    seeds: SeedsOption = None,
    hours: HoursOption = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    records: RecordsOption = None,
    save_records: SaveOption = None,
    share: ShareOption = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda:1, or several: cuda:0,cuda:2 (default: all GPUs, else the CPU)"),
    ] = None,
    logger: LoggerOption = None,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="N", help="of a pack: fly what ends within so many")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fly a study: a baseline and arms, on your text, until there are verdicts. Given again, it goes on where it was.

    With --corpus, your sources take the place of the whole corpus that the file names. FILE may be the folder of a pack.

    Seeds and budget are those of the file unless --seeds or --budget say otherwise. Results go to OUT/studies/NAME.

    Example: windtunnel study my-study.yaml --corpus notes=~/notes --seeds 3
    """
    if device is not None:
        check_device(device, several=True)
    if is_pack(file) or (file.is_dir() and minutes is not None):
        if device is not None or logger or share:
            raise UserError(f"--device, --logger, --share: {file} is a pack, which fills every accelerator and keeps its own books")
        if hours is not None:
            raise UserError(f"--hours {hours:g}: {file} is a pack, whose studies are sized already; say --minutes {60 * hours:g}")
        fly(file, minutes, out, workers, threads, as_json)
        return
    if minutes is not None:
        raise UserError(f"--minutes {minutes:g}: {file} is no pack; make one with: windtunnel pack {file} --out pack")
    from windtunnel.report import write_report
    from windtunnel.study.fly import fly_study

    check_engine(engine, address)
    if hours is not None and engine is not Engine.local:
        raise UserError(f"--hours {hours:g}: steps are timed on this machine, which says nothing of a cluster; give --seeds instead")
    loaded = in_hours(read_study(file, corpus, changed(settings, budget, seeds)), hours, seeds, out, workers, threads, device)
    kept: dict[str, Any] = {"records": records or (), "save_records": save_records, "device": device, "share": share}
    kept["loggers"] = [kind.value for kind in logger or ()]
    with saying_what_there_is(out / "studies" / loaded.name):
        result = fly_study(loaded, out, workers=workers, threads=threads, engine=engine.value, address=address, **kept)
    write_report(result, out / "studies" / loaded.name)
    show_result(result, out / "studies" / loaded.name, as_json)
    refuse_mistakes(result)


def check(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="a study, a recipe or a paper (YAML), or the name of a shipped one",
            autocompletion=checkable_names,
        ),
    ],
    corpus: CorpusOption = None,
    settings: SetOption = None,
    budget: BudgetOption = None,
    seeds: SeedsOption = None,
    hours: HoursOption = None,
    scale: Annotated[str | None, typer.Option("--scale", metavar="SCALE", help="of a paper (default: all that it has)")] = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="also what a run takes on such an accelerator: a100, h100 ..."),
    ] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, metavar="N", help="with --device: how many share a run (default: 1)")] = None,
    days: Annotated[float | None, typer.Option("--days", metavar="N", help="with --device: also what so many days buy")] = None,
    mfu: Annotated[
        float | None,
        typer.Option("--mfu", metavar="SHARE", help="with --device: the share of its peak that is reached (default: 0.4)"),
    ] = None,
    mesh: MeshOption = None,
    recompute: RecomputeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Validate a study, a recipe or a paper without flying it, and estimate what it will cost here, or with --device elsewhere.

    Example: windtunnel check my-study.yaml --corpus notes=~/notes
    """
    from windtunnel.recipe import Document, load_recipe
    from windtunnel.recipe.resolve import resolve

    file = shipped(file, papers=True)
    changes = changed(settings, budget, seeds)
    document = Document(file, changes)
    keys = document.data.keys()
    if changes and "scales" in keys:
        raise UserError(f"{file}: is a paper, whose settings are fixed; --set, --budget and --seeds are for studies and recipes")
    if scale and "scales" not in keys:
        raise UserError(f"--scale {scale}: {file} is no paper, and has no scales")
    elsewhere = Elsewhere.asked(device, gpus, days, mfu, mesh, recompute)
    if sys.stderr.isatty():  # it takes a minute, and much longer where others work too
        print("windtunnel: reading the beginning of every source, and timing two steps of every recipe ...", file=sys.stderr)
    found: dict[str, Any]
    if {"baseline", "arms", "seeds", "scales"} & keys:
        from windtunnel.study.fly import check_study, summary
        from windtunnel.study.papers import load_paper

        paper = load_paper(file) if "scales" in keys else None
        if paper and not paper.flies:
            raise UserError(f"{file}: flies nothing; `windtunnel reproduce {paper.name}` fits its laws in seconds")
        if paper and hours is not None:
            raise UserError(f"--hours {hours:g}: {file} is a paper, whose scales are fixed; --hours is for studies")
        experiments = {}
        if paper:
            asked = [scale] if scale else list(paper.scales)
            experiments = {one: known for one in asked if (known := paper.experiment(one)) is not None}
            studies = {one: paper.study(one) for one in asked if one not in experiments}
        else:
            studies = {"": in_hours(read_study(file, corpus, changes), hours, seeds, out, workers, threads, keep=False)}
        for each in studies.values():
            for recipe in each.written.values():
                look_at(recipe)
        checked = {one: check_study(each, out, workers=workers, threads=threads) for one, each in studies.items()}
        found = {**checked, **{one: each.about() for one, each in experiments.items()}} if paper else checked[""]
        lines = [f"{one}: {line}" if one else line for one, entry in checked.items() for line in summary(entry)]
        lines += [f"{one}: {each.summary()}" for one, each in experiments.items()]
        if elsewhere:
            for one, each in studies.items():
                checked[one]["elsewhere"], more = elsewhere.told(each.resolved)
                lines += [f"{one}: {line}" if one else line for line in more]
    else:
        from windtunnel.study.check import check_recipe
        from windtunnel.study.check_sentences import recipe_summary
        from windtunnel.study.plan import what_cannot_fly

        written = load_recipe(document, sources(corpus))
        look_at(written)
        recipe = resolve(written, document)
        problem = what_cannot_fly(recipe)
        if problem:
            raise UserError(f"{file}: {problem}")
        found = check_recipe(recipe, threads=threads)
        lines = [f"recipe {file}", *recipe_summary(found)]
        if elsewhere:
            found["elsewhere"], more = elsewhere.told({"recipe": recipe})
            lines += more
    if as_json:
        print_json(found)
    else:
        print("\n".join(lines))


def report(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a result file, its folder, or the --out of studies")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="where the page goes (default: beside result.json)")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="also draw the charts into this PNG")] = None,
) -> None:
    """Build the page of a study, a paper or an adaptation again from its result, and print its tables.

    Example: windtunnel report windtunnel-out/studies/my-study --picture report.png
    """
    found = result_files(path)
    if len(found) > 1 and (out or picture):
        raise UserError(f"{path}: holds {len(found)} results; give --out and --picture with one of them, for example {found[0]}")
    for file in found:
        result = read_result(file, adaptations=True)
        folder = out or (file.parent if file.name == "result.json" else file.with_suffix(""))
        if result.get("kind") == "adaptation":
            show_adaptation(result, folder, as_json=False)
        else:
            from windtunnel.report import write_report

            write_report(result, folder)
            show_result(as_result(result), folder, as_json=False, numbers=file)
        if picture:
            from windtunnel.report.picture import picture as draw

            print(f"picture: {draw(result, picture)}")


# Reading what was given -----------------------------------------------------------------------------------------------------------


def read_study(file: Path, corpus: Sequence[str] | None, changes: Sequence[str] = ()) -> Any:
    """The study in ``file`` with ``changes``, on the sources of ``corpus`` instead of its own if any are given."""
    from windtunnel.study.fly import load_study

    return load_study(shipped(file), sources(corpus), changes)


def in_hours(
    study: Any,
    hours: float | None,
    seeds: str | None,
    out: Path,
    workers: int | None,
    threads: int | None,
    device: str | None = None,
    keep: bool = True,
) -> Any:
    """``study`` sized to ``hours``, saying so on standard error; as it is where none are given. ``keep``: remember what was chosen."""
    if hours is None:
        return study
    if seeds is not None:
        raise UserError(f"--hours {hours:g} chooses the seeds; leave out --seeds {seeds}")
    from windtunnel.study.hours import sized

    study, said = sized(study, hours, out, workers=workers, threads=threads, device=device, keep=keep)
    print(f"windtunnel: {said}", file=sys.stderr)
    return study


@contextlib.contextmanager
def saying_what_there_is(folder: Path) -> Iterator[None]:
    """Where the study of ``folder`` is interrupted, say how its page so far is drawn, which would take too long for a process that ends."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if (folder / "result.json").is_file():
            said = "".join(f"{what}; " for what in stop.args)  # how to go on is said at the end of every command
            print(f"windtunnel: {said}what there is so far: windtunnel report {folder}", file=sys.stderr)
        raise


# Showing -----------------------------------------------------------------------------------------------------------------------


def show_result(result: StudyResult, folder: Path, as_json: bool, numbers: Path | None = None) -> None:
    """The verdicts and where the report is; an error and its exit code where no verdict was possible."""
    if as_json:
        print_json(result.plain())
    else:
        from windtunnel.report import terminal

        Console().print(terminal(result))
        print(f"report: {folder / 'report.html'}\nnumbers: {numbers or folder / 'result.json'}")
    if result.failure:
        stop_with(result.failure)


def refuse_mistakes(result: StudyResult) -> None:
    """Raise UserError where runs of an arm failed of something that the user can mend; the others are shown already."""
    failed = [(run, run.failure) for run in result.runs if run.failure and run.failure.kind in MENDABLE]
    if failed:
        run, failure = failed[0]
        first = f"{run.arm}, seed {run.seed}: {failure.message}"
        many = f"{len(failed)} of {len(result.runs)} runs failed"
        raise UserError(f"{many}; {first}; fix it and give the same command again; finished runs are kept")
