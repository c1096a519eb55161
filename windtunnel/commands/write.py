"""The commands that write a study for the user: ``windtunnel new`` and ``windtunnel ask``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from windtunnel.commands.console import answers, plain_table, print_json
from windtunnel.commands.options import OUT, CorpusOption, HoursOption, JsonOption, OutOption, ThreadsOption, WorkersOption, sources
from windtunnel.core.errors import UserError

ask = typer.Typer(
    no_args_is_help=True, help="Ask a ready question of your own text.", context_settings={"help_option_names": ["-h", "--help"]}
)


def new(
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="folders or files, or builtin:NAME", show_default=False)],
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
    from windtunnel.study.write import first_study, named

    if to.exists():
        raise UserError(f"{to}: exists already; remove it, or name another file with --to")
    builtin = {one.removeprefix("builtin:"): one for one in folders if one.startswith("builtin:")}
    corpus = named([one for one in folders if not one.startswith("builtin:")])
    if both := sorted(builtin.keys() & corpus.keys()):
        raise UserError(f"{both[0]}: is also the name of a built-in source; rename the folder")
    corpus |= builtin
    to.parent.mkdir(parents=True, exist_ok=True)
    known: dict[str, Glance] = {}
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
        first = f"windtunnel new without --hours writes {to}; take arms out of it, or fly it with"
        raise UserError(f"{error}. For either of these, {first} windtunnel study {to} --hours {hours:g} --budget ...") from error
    except UserError:
        to.unlink(missing_ok=True)
        raise
    again = f" --out {out}" if out != OUT else ""
    print(f"{to}: {said + '; ' if said else ''}see what it costs: windtunnel check {to}{again}; fly it: windtunnel study {to}{again}")


@ask.command("sources")
def ask_sources(
    corpus: CorpusOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME=PATH", help="a test set that is never trained on, and decides", show_default=False),
    ] = None,
    decides: Annotated[
        str | None, typer.Option("--decides", metavar="NAME", help="the source or target that verdicts rest on", show_default=False)
    ] = None,
    shares: Annotated[str, typer.Option("--shares", help="multiples of each source's own share that are flown; 0 leaves it out")] = "0,2",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="write the study there instead of flying it", show_default=False)
    ] = None,
    hours: HoursOption = None,
    out: OutOption = OUT,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask which of your sources helps: each is left out once and drawn with twice its weight, and measured on all.

    Example: windtunnel ask sources --corpus wiki=~/wiki --corpus mail=mail.jsonl --target tickets=tickets.jsonl --hours 4
    """
    from windtunnel.core.files import write_text
    from windtunnel.study.write import which_sources

    try:
        multiples = [float(share) for share in shares.split(",")]
    except ValueError:
        raise UserError(f"--shares {shares}: expected numbers with commas between them, for example 0,0.5,2") from None
    if to is not None and (hours is not None or as_json):
        raise UserError(f"--to writes the study and flies nothing; give --hours and --json to: windtunnel study {to}")
    raw = which_sources(sources(corpus), target=sources(target, "--target"), decides=decides, shares=multiples)
    if to is not None:
        if to.exists():
            raise UserError(f"{to}: exists already; remove it, or name another file with --to")
        to.parent.mkdir(parents=True, exist_ok=True)
        write_text(to, "# Written by `windtunnel ask sources`.\n" + yaml.safe_dump(raw, sort_keys=False, allow_unicode=True, width=120))
        print(f"{to}: fly it with: windtunnel study {to}")
        return
    fly_sources(raw, hours, out, workers, threads, as_json)


def fly_sources(raw: dict[str, Any], hours: float | None, out: Path, workers: int | None, threads: int | None, as_json: bool) -> None:
    """Fly the study ``raw`` of sources and show what came of it, with the table of sources."""
    from windtunnel.commands.main import refuse_mistakes, show_result
    from windtunnel.report import write_report
    from windtunnel.report.sources import sources as table_of
    from windtunnel.report.words import Reading
    from windtunnel.study.file import study_from
    from windtunnel.study.fly import fly_study

    study = study_from(raw, name="which-sources")
    if hours is not None:
        from windtunnel.study.hours import sized

        study, said = sized(study, hours, out, workers=workers, threads=threads)
        Console(stderr=True, highlight=False).print(said, soft_wrap=True, markup=False)
    result = fly_study(study, out, workers=workers, threads=threads)
    folder = out / "studies" / study.name
    write_report(result, folder)
    table = table_of(Reading(result))
    if as_json:
        print_json({**result.plain(), "sources": {"columns": table.columns, "rows": table.rows}})
    else:
        answers().print(plain_table(table.columns, table.rows))
        print(f"{table.note}\n")
        show_result(result, folder, as_json)
    refuse_mistakes(result)
