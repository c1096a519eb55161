"""The commands that write a study for the user: ``windtunnel new`` and ``windtunnel ask``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console

from windtunnel.commands.console import answers, plain_table, print_json
from windtunnel.commands.options import OUT, CorpusOption, HoursOption, JsonOption, OutOption, ThreadsOption, WorkersOption, sources
from windtunnel.commands.studies import refuse_mistakes, show_result
from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    from windtunnel.report.reading import Reading
    from windtunnel.report.tables import Table
    from windtunnel.study.result import StudyResult

ask = typer.Typer(
    no_args_is_help=True, help="Ask a ready question of your own text.", context_settings={"help_option_names": ["-h", "--help"]}
)


def refuse_within(to: Path, corpus: Mapping[str, str]) -> None:
    """Raise UserError where ``to`` lies in a folder of ``corpus``: each change to the study would change its text, and re-fly its runs."""
    file = to.resolve()
    for folder in (Path(path).expanduser() for path in corpus.values()):
        if folder.is_dir() and file.is_relative_to(folder.resolve()):
            beside = os.path.relpath(folder.resolve().parent / file.name)
            raise UserError(f"{to}: lies in {folder} and would be read as text, and each change to it fly all again; add --to {beside}")


def new(
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="folders or files, or builtin:NAME")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="the study that is written")] = Path("study.yaml"),
    hours: HoursOption = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Write a commented study on your folders. With --hours, steps are timed here, and model and seeds fit that time.

    Example: windtunnel new ~/notes ~/mail.jsonl --hours 2
    """
    from windtunnel.core.files import write_text
    from windtunnel.data.corpus.glance import Glance
    from windtunnel.study.file import load_study
    from windtunnel.study.hours import TooFewHours, sized
    from windtunnel.study.write import first_study, named, with_text

    if to.exists():
        raise UserError(f"{to}: exists already; remove it, or name another file with --to")
    builtin = {one.removeprefix("builtin:"): one for one in folders if one.startswith("builtin:")}
    corpus = named([one for one in folders if not one.startswith("builtin:")])
    if both := sorted(builtin.keys() & corpus.keys()):
        raise UserError(f"{both[0]}: is also the name of a built-in source; rename the folder")
    refuse_within(to, corpus)
    corpus |= builtin
    to.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Glance] = {}
    corpus = with_text(corpus, known)
    write_text(to, first_study(corpus, to, hours=hours, known=known))
    said = ""
    try:
        study = load_study(to)  # whatever is wrong with it is said with its line
        if hours is not None:
            study, said = sized(study, hours, out, workers=workers, threads=threads, keep=False, known=known)
            seeds = study.race.model_dump(include={"least", "most"}) if study.race else len(study.seed_list)
            written = f"{{least: {seeds['least']}, most: {seeds['most']}}}" if isinstance(seeds, dict) else str(seeds)
            write_text(to, first_study(corpus, to, section=study.baseline["section"], seeds=written, known=known))
    except TooFewHours as error:
        to.unlink(missing_ok=True)
        how = f"take arms out of it, or give windtunnel study {to} --hours {hours:g} the --budget"
        raise UserError(f"{error}; windtunnel new without --hours writes {to}: {how}") from error
    except UserError:
        to.unlink(missing_ok=True)
        raise
    again = f" --out {out}" if out != OUT else ""
    if left := [name for name in corpus if name not in study.corpus]:
        said = f"{', '.join(left)}: too few documents to hold some out, written as a comment" + (f"; {said}" if said else "")
    print(f"{to}: {said + '; ' if said else ''}see what it costs: windtunnel check {to}{again}; fly it: windtunnel study {to}{again}")


@ask.command("sources")
def ask_sources(
    corpus: CorpusOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME=PATH", help="a test set that is never trained on, and decides"),
    ] = None,
    decides: Annotated[str | None, typer.Option("--decides", metavar="NAME", help="the source or target that verdicts rest on")] = None,
    shares: Annotated[str, typer.Option("--shares", help="multiples of each source's own share that are flown; 0 leaves it out")] = "0,2",
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="write the study there instead of flying it")] = None,
    hours: HoursOption = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask which of your sources helps: each is left out once and drawn with twice its weight, and measured on all.

    Example: windtunnel ask sources --corpus wiki=~/wiki --corpus mail=mail.jsonl --target tickets=tickets.jsonl --hours 4
    """
    from windtunnel.report.sources import sources as table_of
    from windtunnel.study.write import which_sources

    try:
        multiples = [float(share) for share in shares.split(",")]
    except ValueError:
        raise UserError(f"--shares {shares}: expected numbers with commas between them, for example 0,0.5,2") from None
    raw = which_sources(sources(corpus), target=sources(target, "--target"), decides=decides, shares=multiples)
    if to is not None:
        write_study(raw, to, "ask sources", as_json, hours)
        return
    result, table = fly_question(raw, "which-sources", table_of, hours, out, workers, threads)
    show_question(result, table, {"sources": {"columns": table.columns, "rows": table.rows}}, out, as_json)


@ask.command("continue")
def ask_continue(
    checkpoint: Annotated[str, typer.Argument(metavar="MODEL", help="a folder, a file of weights or a hub name")],
    tokens: Annotated[float, typer.Option("--tokens", metavar="N", help="of each run")],
    corpus: CorpusOption = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="NAME=PATH", help="text like what must be kept, which is replayed"),
    ] = None,
    max_forgetting: Annotated[
        str, typer.Option("--max-forgetting", help="how far bits per byte of what is kept may rise (none: as far as it likes)")
    ] = "1%",
    context: Annotated[int, typer.Option("--context", min=8, help="tokens of a sequence")] = 256,
    batch: Annotated[int, typer.Option("--batch", min=1, help="sequences of a step")] = 4,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="of each arm")] = 3,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="write the study there instead of flying it")] = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask how to go on with a trained model: how much old text to replay, at what rate, whether to warm up again, and to repeat text.

    Example: windtunnel ask continue ./model --corpus notes=~/notes --keep general=~/general --tokens 2e6
    """
    from windtunnel.recipe import Budget
    from windtunnel.report.ways import table as table_of
    from windtunnel.study.adapt_request import AdaptRequest, share_of
    from windtunnel.study.continuing import ways_on
    from windtunnel.study.ways import best_way

    if not 0 < tokens < math.inf:
        raise UserError(f"--tokens {tokens:g}: expected a number above 0, such as 2e6")
    tolerance, given = share_of(max_forgetting), (sources(corpus), sources(keep, "--keep"))
    request = AdaptRequest(checkpoint, *given, Budget(tokens=tokens), tolerance, context=context, batch=batch)
    raw = ways_on(request, seeds)
    if to is not None:
        write_study(raw, to, "ask continue", as_json)
        return
    result, table = fly_question(raw, "how-to-continue", table_of, None, out, workers, threads)
    best = best_way(result, tolerance)
    limit = "" if tolerance is None else f" of those that lose {tolerance:.1%} at most of what is kept (or kept most, where none does)"
    said = f"{best} gained most{limit}; the verdicts say how sure that is" if best else ""
    show_question(result, table, {"best": best}, out, as_json, said)


def write_study(raw: dict[str, Any], to: Path, command: str, as_json: bool, hours: float | None = None) -> None:
    """Write the study ``raw`` to the file ``to`` instead of flying it. Raises UserError where that exists, and for options of flying."""
    from windtunnel.core.files import write_text

    if hours is not None or as_json:
        raise UserError(f"--to writes the study and flies nothing; give --hours and --json to: windtunnel study {to}")
    if to.exists():
        raise UserError(f"{to}: exists already; remove it, or name another file with --to")
    to.parent.mkdir(parents=True, exist_ok=True)
    write_text(to, f"# Written by `windtunnel {command}`.\n" + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120))
    print(f"{to}: fly it with: windtunnel study {to}")


def fly_question(
    raw: dict[str, Any],
    name: str,
    table_of: Callable[[Reading], Table],
    hours: float | None,
    out: Path,
    workers: int | None,
    threads: int | None,
) -> tuple[StudyResult, Table]:
    """Fly the study ``raw`` of a question; its result, whose report is written, and the table that answers it."""
    from windtunnel.report import write_report
    from windtunnel.report.reading import Reading
    from windtunnel.study.file import study_from
    from windtunnel.study.fly import fly_study

    study = study_from(raw, name=name)
    if hours is not None:
        from windtunnel.study.hours import sized

        study, said = sized(study, hours, out, workers=workers, threads=threads)
        Console(stderr=True, highlight=False).print(said, soft_wrap=True, markup=False)
    result = fly_study(study, out, workers=workers, threads=threads)
    write_report(result, out / "studies" / study.name)
    return result, table_of(Reading(result))


def show_question(result: StudyResult, table: Table, more: dict[str, Any], out: Path, as_json: bool, said: str = "") -> None:
    """Print the table that answers a question, what is ``said`` of it, and the verdicts; as JSON ``more`` with the result."""
    if as_json:
        print_json({**result.plain(), **more})
    else:
        answers().print(plain_table(table.columns, table.rows))
        print(f"{table.note}\n" + (f"{said}\n" if said else ""))
        show_result(result, out / "studies" / str(result.study.name), as_json)
    refuse_mistakes(result)
