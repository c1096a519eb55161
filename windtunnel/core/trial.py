"""The tiny setting in which a part acts, for the contract that tests every part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Trial:
    """A tiny setting in which a part acts within four steps, two for each phase where there are two.

    What is not said is that of a tiny recipe: a llama of two layers of width 32 with two heads, context 32, batch 4, a corpus of the
    sources ``code`` and ``prose``. Anywhere, ``"@model"`` stands for the folder of a model of these sizes that has been trained,
    ``"@other"`` for one with another tokenizer, ``"@code"`` and ``"@prose"`` for the paths of the sources, ``"@questions"`` for that of
    multiple-choice questions.

    Args:
        knobs: of the part.
        model: what of ``model`` differs.
        beside: what other fields of the recipe or phase must be, such as a structure that the part acts on.
        before: the fields of a phase before the part's; None where there is only one phase.
        untried: why it is not flown, where it cannot be.
    """

    knobs: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] | None = None
    untried: str = ""


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """``fields`` but for those that the tried part fills itself."""
    return {name: value for name, value in fields.items() if name not in names}
