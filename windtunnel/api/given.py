"""What callers may give: paths, and sources by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from windtunnel.core.errors import UserError, told

OUT = "windtunnel-out"
Where = str | Path


def expanded(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """Sources with ``~`` in paths replaced by the home folder; everything else as it is."""
    return {name: str(Path(source).expanduser()) if isinstance(source, (str, Path)) else source for name, source in corpus.items()}


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """Let mistakes in ``what`` be told as those of a file are. Raises UserError with a line for each."""
    try:
        yield
    except ValidationError as error:
        lines = []
        for one in error.errors():
            path = ".".join(str(key) for key in one["loc"] if not str(key).startswith("function-"))
            lines.append(f"{what}: {path + ': ' if path else ''}{told(one)}")
        raise UserError("\n".join(dict.fromkeys(lines))) from error
