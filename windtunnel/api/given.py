"""What callers may give: paths, and sources by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

OUT = "windtunnel-out"
Where = str | Path


def expanded(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """Sources with ``~`` in paths replaced by the home folder; everything else as it is."""
    return {name: str(Path(source).expanduser()) if isinstance(source, (str, Path)) else source for name, source in corpus.items()}
