"""The command ``windtunnel merge``: several models in folders become one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a YAML file that says what is merged")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="a new or empty folder")],
) -> None:
    """Merge models in folders, one tensor at a time, into a folder that transformers loads.

    The file names a start that merges: `merge: {task-arithmetic: {base: {folder: A}, models: [{folder: B}, {folder: C}]}}`, or `soup`.

    Example: windtunnel merge merge.yaml merged
    """
    from windtunnel.train.merge import merge_models, read_merge

    made = merge_models(read_merge(recipe), out)
    print(f"{out}: {made['weights']} weights, {made['bytes'] / 1e6:,.1f} MB, merged of {made['models']} models")
