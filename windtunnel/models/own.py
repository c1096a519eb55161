"""Configurations of models in folders, also of families whose code is windtunnel's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from windtunnel.core import registry
from windtunnel.core.errors import PartError
from windtunnel.slots import Family


def config_in(folder: Path) -> Any:
    """The transformers configuration of the model in ``folder``; raises PartError with the file's name where it cannot be read.

    transformers knows no family whose code is windtunnel's own, and runs what lies beside a model only where it is trusted; here the code
    that is installed reads it.
    """
    file = folder / "config.json"
    try:
        kind = str(json.loads(file.read_text(encoding="utf-8")).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        kind = ""  # transformers says what is wrong
    family: Any = registry.find(Family, kind.replace("_", "-")) if kind else None
    own = family.config_class() if family is not None else None
    try:
        return (own or AutoConfig).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a value leads to that nobody writes: a type of numbers that torch lacks, a list for a number
        raise PartError(f"{file}: not a configuration that transformers reads: {error}") from error
