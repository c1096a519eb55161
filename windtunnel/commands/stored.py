"""The commands about what is stored: ``windtunnel runs``, ``du`` and ``clean``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from windtunnel.commands.completion import study_names
from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.options import OUT, JsonOption, OutOption
from windtunnel.core.errors import UserError

StudyArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="STUDY", help="of one study alone: its file, its folder or its name", show_default=False, autocompletion=study_names
    ),
]


def runs(study: StudyArgument = None, out: OutOption = OUT, as_json: JsonOption = False) -> None:
    """List the runs that are stored: status, size, the number on test, and which studies need them.

    Example: windtunnel runs my-study.yaml
    """
    from windtunnel.report.words import plural, storage
    from windtunnel.study.stored import begun_study, stored_runs

    name = begun_study(study, out) if study else None
    found = stored_runs(out, name)
    if as_json:
        print_json([{**vars(run), "folder": str(run.folder)} for run in found])
        return
    rows = []
    for run in found:
        seed, needed = "" if run.seed is None else str(run.seed), "; ".join(run.needed_by) or "none"
        rows.append((run.name, run.status, storage(run.bytes), seed, run.primary, needed))
    answers().print(plain_table(("run", "status", "size", "seed", "on test", "needed by"), rows))
    idle = [run for run in found if not run.needed_by]
    if idle:
        many, size = plural(len(idle), "run"), storage(sum(run.bytes for run in idle))
        print(f"{many} {'is' if len(idle) == 1 else 'are'} needed by no study ({size}): windtunnel clean --out {out}")


def du(study: StudyArgument = None, out: OutOption = OUT, as_json: JsonOption = False) -> None:
    """Say how much disk runs, prepared text and studies take. Prepared text is everybody's, and counts to no single study.

    Example: windtunnel du my-study.yaml
    """
    from windtunnel.report.words import storage
    from windtunnel.study.stored import begun_study, usage

    found = usage(out, begun_study(study, out) if study else None)
    if as_json:
        print_json(found)
        return
    rows = [(what, storage(amount)) for what, amount in found.items() if amount]
    answers().print(plain_table(("what", "size"), [*rows, ("all", storage(sum(found.values())))]))


def clean(
    study: StudyArgument = None,
    out: OutOption = OUT,
    weights: Annotated[bool, typer.Option("--weights", help="also the weights of finished runs; their records stay")] = False,
    cache: Annotated[bool, typer.Option("--cache", help="also prepared text, which is made again when needed")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="remove without asking")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove runs that no study needs, after a question. Nothing that a study needs goes unless --weights or --cache says so.

    With STUDY it removes the weights of finished runs that this study alone needs, and nothing else.

    Example: windtunnel clean --weights
    """
    from windtunnel.report.words import storage
    from windtunnel.study.stored import begun_study, removable, remove

    if study and (cache or not weights):
        raise UserError(f"{study}: of one study only the weights of its runs can go: give --weights, and no --cache, which is everybody's")
    found = removable(out, begun_study(study, out) if study else None, weights=weights, cache=cache)
    freed, left = 0, list[str]()
    if not found:
        console().print(f"{out}: nothing to remove; --weights and --cache offer more")
    else:
        for one in found:
            console().print(f"{one.path}: {storage(one.bytes)}, {one.why}", markup=False, soft_wrap=True)
        total = storage(sum(one.bytes for one in found))
        if not yes:
            if not sys.stdin.isatty():
                raise UserError(f"nothing was removed: nobody can answer here; give --yes to remove what is listed ({total})")
            if not typer.confirm(f"Remove what is listed ({total})?", err=True):
                print("nothing was removed", file=sys.stderr)
                return
        freed, left = remove(found)
    if as_json:
        print_json({"freed": freed, "left": left})
    elif found:
        print(f"{storage(freed)} freed")
    if left:
        raise UserError("\n".join(left))
