"""What a study has to fly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windtunnel.core.keys import Variant
from windtunnel.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """A run that a study needs, and where it is stored (``folder`` below the output folder)."""

    arm: str
    multiple: float
    seed: int
    recipe: Recipe
    key: str
    folder: str
    variant: Variant | None = None  # of the study
    rate: float = 1.0  # what its learning rates are multiplied with
    tried: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of a trial of tuning: its values by knob

    @property
    def label(self) -> str:
        """What it is called while it flies."""
        budget = "" if self.multiple == 1.0 else f" at {self.multiple:g} budgets"
        rate = "" if self.rate == 1.0 else f" at {self.rate:g} times its rates"
        tried = ", ".join(f"{knob.rpartition('.')[2]} {value}" for knob, value in self.tried.items())
        return f"{self.arm}{budget}{rate}" + (f" with {tried}" if tried else "")
