"""The command ``windtunnel release``: what changed between two releases of a model, and what the new one fails to say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from windtunnel.commands.console import print_json
from windtunnel.commands.options import JsonOption


def release(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="the folder of the former release")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="the folder of the new one")],
    as_json: JsonOption = False,
) -> None:
    """Compare two releases of a model by their content: what changed, which version that asks for, and what is not said.

    The exit code is 2 where something should be mended before NEW is published.
    """
    from windtunnel.models.release import compared

    found = compared(old, new)
    if as_json:
        print_json(found._asdict())
    else:
        print(f"changed: {', '.join(found.changed) or 'nothing'}")
        print(f"that asks for: {found.asks}; made: {found.made or 'not known, for want of a version'}")
        for sentence in found.findings:
            print(f"- {sentence}")
    if found.findings:
        raise typer.Exit(2)
