"""What the command line shows: progress, tables and JSON. Answers go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from windtunnel.commands.ending import writing_checkpoints
from windtunnel.core.asked import StopAsked
from windtunnel.core.errors import UserError
from windtunnel.core.typed import Failure

if TYPE_CHECKING:
    from rich.table import Table

UNBROKEN = 1000  # columns
MENDABLE = ("user", "disk")  # kinds of failure that the user can mend


def console() -> Console:
    """Where everything goes that is not the answer itself: standard error."""
    return Console(stderr=True, highlight=False)


def answers() -> Console:
    """Standard output. A table fits a terminal; in a pipe or a file none of its lines is broken."""
    free = not (sys.stdout.isatty() or os.environ.get("COLUMNS"))
    return Console(highlight=False, width=UNBROKEN if free else None)


def print_json(value: Any) -> None:
    """JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@contextlib.contextmanager
def stopping(speaking: bool = True) -> Iterator[Callable[[], bool]]:
    """Whether somebody asked to stop: the first Ctrl-C or SIGTERM lets the run write a checkpoint, a second one does not wait."""
    asked = StopAsked()

    def ask(number: int, frame: Any) -> None:
        if not asked.hear():
            return
        if asked.count > 1:
            raise KeyboardInterrupt
        if speaking:
            console().print("stopping at the next step, with a checkpoint; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with writing_checkpoints():
            yield lambda: asked.count > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def following(run: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show the progress of a run: a bar on a terminal, elsewhere a line for every tenth of it."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console()
    if screen.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
        with Progress(*columns, console=screen) as bar:
            task = bar.add_task(escape(run.name), total=1.0)
            yield lambda told: bar.update(
                task, completed=told["done"], description=f"{escape(run.name)} step {told['step']} loss {told['loss']:.3f}"
            )
        return
    shown = -1

    def line(told: dict[str, Any]) -> None:
        nonlocal shown
        if int(told["done"] * 10) > shown:
            shown = int(told["done"] * 10)
            screen.print(f"step {told['step']}: {told['done']:.0%}, loss {told['loss']:.3f}, {told['seconds']:.0f} s")

    yield line


def plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table without lines; its first column is never broken."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading == headings[0])
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def reflowed(text: str) -> str:
    """``text`` with each paragraph on one line, so that the terminal breaks it where it is narrow; lists and code stay."""
    paragraphs = text.split("\n\n")
    plain = [all(line[:1].isalnum() or line[:1] in "`(" for line in paragraph.splitlines()) for paragraph in paragraphs]
    return "\n\n".join(paragraph.replace("\n", " ") if flows else paragraph for paragraph, flows in zip(paragraphs, plain, strict=True))


def stop_with(failure: Failure | Mapping[str, Any]) -> NoReturn:
    """Leave because runs failed: with 2 where the user can mend it, else with 1 and the traceback."""
    found = Failure.model_validate(failure)
    if found.kind in MENDABLE:
        raise UserError(found.message)
    console().print(escape(found.story.strip()), soft_wrap=True)
    raise typer.Exit(1)


# The end --------------------------------------------------------------------------------------------------------------------------
