"""Mechanisms that were written for text, unchanged on a vision transformer: each keeps its contract there and changes what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from windtunnel import testing
from windtunnel.core import registry
from windtunnel.core.trial import Trial
from windtunnel.slots import AfterStep, LossTerm, Start, Structure

IMAGES = {
    "corpus": {"digits": "builtin:digits"},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": "pixels",
    "objective": "classify",
    "context": 8,
    "evaluations": "labels",
    "evaluate_every": 1,
}
VIT = {"family": "vit", "head": "classify", "layers": 2, "width": 16, "heads": 2}
BEFORE = {"stack": {"model": VIT | {"layers": 1}, "objective": "classify", "context": 8}}
PARTS: list[tuple[Any, str, dict[str, Any]]] = [
    (Start, "stack", {"factor": 2}),
    (Structure, "fixed-mask", {"sparsity": 0.75}),
    (Structure, "low-rank", {"rank": 4}),
    (LossTerm, "distillation", {"weight": 0.9}),
    (AfterStep, "reptile", {"every": 2, "kept": 0.5}),
]


@pytest.mark.parametrize(("slot", "name", "knobs"), PARTS, ids=[name for _, name, _ in PARTS])
def test_it_keeps_its_contract_and_changes_what_is_measured(
    slot: Any, name: str, knobs: dict[str, Any], workshop: testing.Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = registry.find(slot, name)
    assert part is not None
    plain = workshop.plain(workshop.recipe(budget={"steps": testing.STEPS}, model=VIT, **IMAGES))
    if name == "distillation":
        knobs = knobs | {"teacher": {"folder": str(plain / "model")}}
    monkeypatch.setattr(part, "trial", Trial(knobs, model=VIT, beside=IMAGES, before=BEFORE.get(name)))
    testing.trains_and_resumes(part, workshop, tmp_path)
    numbers = [json.loads((folder / "record.json").read_text())["test"]["bits_per_label"] for folder in (plain, tmp_path / "whole")]
    assert numbers[0] != numbers[1]
