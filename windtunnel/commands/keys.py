"""The commands ``windtunnel keys`` and ``windtunnel schema``: what may stand in the files that people write, for people and for editors."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from rich.markup import escape

from windtunnel.commands.completion import key_names
from windtunnel.commands.console import answers, plain_table, print_json
from windtunnel.commands.options import JsonOption, PartsOption, own_parts
from windtunnel.core.errors import UserError, nearest


class File(enum.StrEnum):
    """What a schema is of."""

    study = "study"
    recipe = "recipe"
    paper = "paper"


def keys(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="only this key, and the keys below it (default: all)", autocompletion=key_names),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys of a study, a recipe and a paper: type, unit, default, an example, and what each means.

    Example: windtunnel keys budget
    """
    from windtunnel.report.reference import KeyGroup, default, example, groups

    every = groups()
    named = [KeyGroup(group.name, group.title, group.about, {name: group.keys[name]}) for group in every if name in group.keys]
    found = every if name is None else [*named, *(group for group in every if group.name == name)]
    if not found:
        known = {key for group in every for key in (group.name, *group.keys)}
        raise UserError(f"no key is called {name!r}; {nearest(str(name), known)}")
    if as_json:
        print_json([group._asdict() for group in found])
        return
    screen = answers()
    for group in found:
        screen.print(f"[bold]{escape(group.title)}[/bold]  {escape(group.about)}")
        rows = [
            (key, about["type"] + (f" ({about['unit']})" if about["unit"] else ""), default(key, about), about["description"])
            for key, about in group.keys.items()
        ]
        screen.print(plain_table(("key", "type", "default", "meaning"), rows))
        if name is not None:
            screen.print(plain_table(("example",), [(example(key, about),) for key, about in group.keys.items()]))
        screen.print()


def schema(
    file: Annotated[File, typer.Argument(help="of which file")],
    files: PartsOption = None,
) -> None:
    """Print the JSON schema of a file, for editors that complete and check YAML.

    Example: windtunnel schema study > study.schema.json, then as the first line of the study:
    # yaml-language-server: $schema=study.schema.json
    """
    from windtunnel.study.schema import schema as schema_of_file

    own_parts(files)
    print_json(schema_of_file(file.value))
