"""The command ``windtunnel parts``: what can be plugged in, and whether a part of one's own keeps the contract."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from windtunnel.commands.completion import part_names, slot_names
from windtunnel.commands.console import answers, plain_table, print_json, reflowed
from windtunnel.commands.options import JsonOption, PartsOption, own_parts
from windtunnel.core.errors import UserError, nearest

if TYPE_CHECKING:
    from rich.table import Table


def parts(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="show this part in full", autocompletion=part_names)] = None,
    slot: Annotated[str | None, typer.Option("--slot", metavar="SLOT", help="only parts of this slot", autocompletion=slot_names)] = None,
    files: PartsOption = None,
    test: Annotated[bool, typer.Option("--test", help="try the part, or all those of --parts, by the contract of parts")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what can be plugged in; with NAME its knobs, defaults and source.

    With --test it is tried: it trains, resumes to the bit, survives saving, changes nothing at its identity, refuses what it must.

    Example: windtunnel parts --slot Schedule
    """
    from windtunnel.core import registry
    from windtunnel.core.schema import describe
    from windtunnel.core.shipped import page
    from windtunnel.slots import by_name

    own, known = own_parts(files), by_name()
    if slot is not None and slot not in known:
        raise UserError(f"no slot is called {slot!r}; {nearest(slot, known)}")
    chosen = {kind: registry.known(kind) for key, kind in known.items() if slot in (None, key)}
    if name is not None and not any(name in filling for filling in chosen.values()):
        raise UserError(f"no part is called {name!r}; {nearest(name, {key for filling in chosen.values() for key in filling})}")
    if name is None and not test and not as_json:  # which imports none of them
        rows = [(kind.__name__, each, registry.summary(kind, each)) for kind, filling in chosen.items() for each in sorted(filling)]
        answers().print(overview(rows, [kind.__name__ for kind in chosen if not chosen[kind]]))
        return
    asked = [registry.find(kind, each) for kind, filling in chosen.items() for each in sorted(filling) if name in (None, each)]
    if test:
        tried = [part for part in asked if part is not None and (name is not None or part in own)]
        if not tried:
            raise UserError("--test: say which part is tried, or with --parts in which file your parts are")
        try_out(tried)
    elif as_json:
        print_json([describe(part) for part in asked if part is not None])
    else:
        for part in (describe(part) for part in asked if part is not None):
            show_part(part)
            if part["module"].startswith("windtunnel.") and (built := page("parts", registry.folder_of(part["slot"]))):
                print(f"page: {built}")


def try_out(tried: Sequence[Any]) -> None:
    """Ask each part for what it promises, and print what it keeps. Raises UserError with what it does not."""
    from windtunnel.testing import Workshop, promises

    broken = []
    with tempfile.TemporaryDirectory(prefix="windtunnel-trial-") as folder:
        shop = Workshop(Path(folder) / "workshop")
        asked = [(part, promise) for part in tried for promise in promises(part)]
        for number, (part, promise) in enumerate(asked):
            said = f"{part.name}: {promise.__name__.replace('_', ' ')}"
            try:
                promise(part, shop, Path(folder) / str(number))
            except Exception as error:  # a part that raises breaks its promise, and the others are still asked
                kind = "" if isinstance(error, (AssertionError, UserError)) else f"{type(error).__name__}: "
                broken.append(f"{said}: no. {kind}{error}")
            else:
                print(f"{said}: yes", flush=True)
    if broken:
        raise UserError("\n".join(broken))


def overview(parts: Sequence[tuple[str, str, str]], empty: Sequence[str]) -> Table:
    """Every part on a line (slot, name, what it does), and the slots that nothing fills."""
    rows, before = [], ""
    for slot, name, meaning in parts:
        rows.append(("" if slot == before else slot, name, meaning))
        before = slot
    return plain_table(("slot", "part", "what it does"), [*rows, *((slot, "–", "") for slot in empty)])


def show_part(part: Mapping[str, Any]) -> None:
    """One part in full."""
    screen = Console(highlight=False)
    screen.print(f"[bold]{part['name']}[/bold] fills the slot {part['slot']}\n\n{escape(reflowed(part['documentation']))}\n")
    rows = [
        (key, "(must be given)" if knob["required"] else json.dumps(knob["default"], ensure_ascii=False), knob["type"], knob["description"])
        for key, knob in part["knobs"].items()
    ]
    screen.print(plain_table(("knob", "default", "type", "meaning"), rows) if rows else "It has no knobs.")
    for other, reason in part["conflicts"].items():
        screen.print(f"not together with {other}: {escape(reason)}")
