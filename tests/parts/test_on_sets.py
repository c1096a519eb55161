"""Mechanisms that were written for text, unchanged on rows and on graphs: each trains, comes out whole, and changes what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windtunnel import testing
from windtunnel.core import registry
from windtunnel.core.trial import Trial
from windtunnel.slots import AfterStep, LossTerm, Start, Structure

SMALL = {"layers": 2, "width": 16, "heads": 2}
MODALITIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rows": (
        {"family": "cells", **SMALL},
        {"corpus": {"iris": {"bundled-table": "iris"}}, "encoding": "rows", "objective": "classify-rows"},
    ),
    "graphs": (
        {"family": "graph-attention", **SMALL},
        {"corpus": {"drawn": {"random-graphs": {"count": 80, "nodes": 9}}}, "encoding": "graphs", "objective": "classify-graphs"},
    ),
}
COMMON = {"split": {"validation": 0.2, "test": 0.2}, "context": 4, "evaluations": "labels", "evaluate_every": 1}
PARTS: list[tuple[Any, str, dict[str, Any]]] = [
    (Start, "stack", {"factor": 2}),
    (Structure, "fixed-mask", {"sparsity": 0.75}),
    (Structure, "low-rank", {"rank": 4}),
    (LossTerm, "distillation", {"weight": 0.9}),
    (AfterStep, "reptile", {"every": 2, "kept": 0.5}),
]


@pytest.mark.parametrize("modality", MODALITIES)
def test_parts_of_other_areas_act_on_it_unchanged(
    modality: str, workshop: testing.Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, own = MODALITIES[modality]
    beside = COMMON | own
    recipe = workshop.recipe(budget={"steps": testing.STEPS}, model=model, **beside)
    stream = workshop.prepared(recipe)
    plain = workshop.plain(recipe)
    found = {"plain": testing.weights(plain)}
    for slot, name, knobs in PARTS:
        part = registry.find(slot, name)
        assert part is not None
        knobs = knobs | ({"teacher": {"folder": str(plain / "model")}} if name == "distillation" else {})
        before = {"model": model | {"layers": 1}, "objective": own["objective"], "context": 4} if name == "stack" else None
        monkeypatch.setattr(part, "trial", Trial(knobs, model=model, beside=beside, before=before))
        record = testing.flown(part, testing.trial_recipe(part, workshop), stream, tmp_path / name)
        assert record["test"]["bits_per_label"] > 0
        found[name] = testing.weights(tmp_path / name)
        testing.survives_saving_and_loading(tmp_path / name / "model", found[name], stream)
    for name in found.keys() - {"plain"}:
        assert testing.differing(found["plain"], found[name]), f"{name} changes nothing"
    masked = [weight for key, weight in found["fixed-mask"].items() if key.endswith("mlp.fc1.weight")]
    assert all(float((weight == 0).float().mean()) == pytest.approx(0.75, abs=0.02) for weight in masked)
