"""Mechanisms written for text, on models of images, series, rows and graphs: each keeps its contract and changes what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from windtunnel import testing
from windtunnel.core import registry
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import DIGITS, GRAPHS, ROWS, SERIES
from windtunnel.slots import AfterStep, LossTerm, Schedule, Start, Structure

IMAGES = {**DIGITS, "objective": "classify", "evaluations": "labels"}
SIZES = {"layers": 2, "width": 16, "heads": 2}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "images": ({"family": "vit", "head": "classify", **SIZES}, IMAGES, "bits_per_label"),
    "series": ({"family": "patchtst", "patch": 4, **SIZES}, SERIES, "relative"),
    "rows": ({"family": "cells", **SIZES}, ROWS, "bits_per_label"),
    "graphs": ({"family": "graph-attention", **SIZES}, GRAPHS, "bits_per_label"),
}
LABELS = ("images", "rows", "graphs")  # numbers have no soft labels
PARTS: list[tuple[Any, str, dict[str, Any], tuple[str, ...]]] = [
    (Start, "stack", {"factor": 2}, tuple(SETTINGS)),
    (Structure, "fixed-mask", {"sparsity": 0.75}, tuple(SETTINGS)),
    (Structure, "low-rank", {"rank": 4}, tuple(SETTINGS)),
    (LossTerm, "distillation", {"weight": 0.9}, LABELS),
    (AfterStep, "reptile", {"every": 2, "kept": 0.5}, tuple(SETTINGS)),
    (Schedule, "wsd", {"decay": 0.5}, ("series",)),
]
CASES = [pytest.param(slot, name, knobs, setting, id=f"{name}-{setting}") for slot, name, knobs, of in PARTS for setting in of]


@pytest.mark.parametrize(("slot", "name", "knobs", "setting"), CASES)
def test_it_keeps_its_contract_and_changes_what_is_measured(
    slot: Any,
    name: str,
    knobs: dict[str, Any],
    setting: str,
    workshop: testing.Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, beside, number = SETTINGS[setting]
    part = registry.find(slot, name)
    assert part is not None
    plain = workshop.plain(workshop.recipe(budget={"steps": testing.STEPS}, model=model, **beside))
    if name == "distillation":
        knobs = knobs | {"teacher": {"folder": str(plain / "model")}}
    before = {"model": model | {"layers": 1}, "objective": beside["objective"], "context": beside["context"]} if name == "stack" else None
    monkeypatch.setattr(part, "trial", Trial(knobs, model=model, beside=beside, before=before))
    testing.trains_and_resumes(part, workshop, tmp_path)
    numbers = [json.loads((folder / "record.json").read_text())["test"][number] for folder in (plain, tmp_path / "whole")]
    assert numbers[0] != numbers[1]
