"""The commands ``windtunnel law`` of what models know: how much, of what, for how long, and by which strategy."""

from __future__ import annotations

from typing import Annotated

import typer

from windtunnel.commands.law_options import DrawsOption, GroupOption, HoldOption, SizeOption, TableFile, WhereOption, choice, choices, show
from windtunnel.commands.options import JsonOption
from windtunnel.laws.forecast import DRAWS


def capacity(
    table: TableFile,
    size: SizeOption,
    bits: Annotated[str, typer.Option("--bits", metavar="COLUMN", help="bits of knowledge stored")],
    most: Annotated[str, typer.Option("--most", metavar="COLUMN", help="bits that there are to store")],
    group: GroupOption = None,
    where: WhereOption = None,
    hold: HoldOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """How many bits of knowledge a parameter holds."""
    from windtunnel.laws.capacity import capacity

    show(capacity(table, size=size, bits=bits, most=most, group=group, **choice(where, hold), draws=draws), as_json)


def frequency(
    table: TableFile,
    count: Annotated[str, typer.Option("--count", metavar="COLUMN", help="documents that state the fact")],
    score: Annotated[str, typer.Option("--score", metavar="COLUMN", help="the share answered right")],
    size: Annotated[str | None, typer.Option("--size", metavar="COLUMN", help="parameters")] = None,
    group: GroupOption = None,
    where: WhereOption = None,
    hold: HoldOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Knowledge of facts from how many documents state them, and from size."""
    from windtunnel.laws.frequency import frequency

    show(frequency(table, count=count, score=score, size=size, group=group, **choice(where, hold), draws=draws), as_json)


def retention(
    table: TableFile,
    at: Annotated[str, typer.Option("--at", metavar="COLUMN", help="steps or tokens")],
    known: Annotated[str, typer.Option("--known", metavar="COLUMN", help="what is measured, higher for known")],
    kind: Annotated[str, typer.Option("--kind", metavar="COLUMN", help="the kind of telling")],
    run: Annotated[str, typer.Option("--run", metavar="COLUMN", help="the run")],
    against: Annotated[str, typer.Option("--against", metavar="KIND", help="the kind to compare with")],
    begins: Annotated[float, typer.Option("--begins", help="where telling begins")],
    ends: Annotated[float, typer.Option("--ends", help="where telling ends")],
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """How fast what was told is forgotten: the share left, a line in the logarithm of what was read since."""
    from windtunnel.laws.retention import retention

    columns = {"at": at, "known": known, "kind": kind, "run": run}
    found = retention(table, **columns, against=against, begins=begins, ends=ends, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        for name, one in found.kinds.items():
            lasts = "is not forgotten" if one.lasts is None else f"is gone after {one.lasts:.3g}"
            print(f"{name}: {one.gain.value:.3g} gained, {one.decay.value:.3g} of it lost with every tenfold; {lasts}")


def strategies(
    table: TableFile,
    step: Annotated[str, typer.Option("--step", metavar="COLUMN", help="training steps")],
    tasks: Annotated[str, typer.Option("--tasks", metavar="COLUMN", help="tasks of training")],
    weight: Annotated[str, typer.Option("--weight", metavar="COLUMN", help="of knowing by heart, 0 to 1")],
    gap: Annotated[str, typer.Option("--gap", metavar="COLUMN", help="nats it predicts better by")],
    since: Annotated[float, typer.Option("--since", help="leave out earlier steps")] = 1.0,
    group: GroupOption = None,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Whether a model knows its tasks by heart or learns each anew: the weight of both from steps and tasks."""
    from windtunnel.laws.strategies import strategies

    columns = {"step": step, "tasks": tasks, "weight": weight, "gap": gap}
    found = strategies(table, **columns, since=since, group=group, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        print(f"half of the grid by the other: {found.explained:.0%} explained, {found.against_one:.2f} of the error of one strategy")
        for one in found.crossings:
            measured = "not measured" if one.step is None else f"measured {one.step:.4g}"
            print(f"{one.tasks:g} tasks: by heart from step {one.law:.4g} by the law, {measured}")
