"""Ranks that would not train the same: with other code, other packages, other documents or another recipe than rank 0."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import windtunnel
from windtunnel.core.errors import UserError
from windtunnel.recipe import Recipe
from windtunnel.train import machine, ranks
from windtunnel.train.parallel.mesh import Mesh

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream


def refuse_different(recipe: Recipe, stream: Stream, mesh: Mesh | None = None) -> None:
    """Raise UserError, on every rank, where one is not to train what rank 0 trains. Every rank has to come here."""
    if ranks.count() == 1:
        return
    mine = {
        "code of Windtunnel": code(),
        **{f"version of {package}": version for package, version in machine.versions().items()},
        "recipe": recipe.identity(),
        "documents": stream.fingerprint,
        "mesh": str(mesh),
    }
    first, *others = ranks.of_every(mine)
    for rank, other in enumerate(others, start=1):
        for what in first:
            if other.get(what) != first[what]:
                raise UserError(
                    f"rank {rank} has another {what} than rank 0 ({other.get(what)} and {first[what]}), and would train something else; "
                    "let all machines use one installation and one --cache"
                )


@functools.cache
def code() -> str:
    """A hash of the package's own source files."""
    folder = Path(windtunnel.__file__).parent
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]
