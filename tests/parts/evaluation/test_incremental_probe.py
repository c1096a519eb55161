"""The evaluation incremental-probe: what it counts, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits import features
from windtunnel.slots import Evaluation


def asked(monkeypatch, classes=6, held_classes=None, **knobs):
    """The numbers on features of classes that lie apart, made up in the place of a model's."""

    def labelled(model, held_out, split, *, pixels):
        random = np.random.default_rng(split == "train")
        labels = np.repeat(np.arange(classes if split == "train" else held_classes or classes), 12)
        centres = np.random.default_rng(7).standard_normal((classes, 10))
        return 0.1 * pixels + centres[labels] * (0.2 if pixels else 0.7) + random.standard_normal((len(labels), 10)), labels

    monkeypatch.setattr(features, "labelled", labelled)
    held_out = SimpleNamespace(stream=SimpleNamespace(fields={"pixels": None}), facts=SimpleNamespace(classes=classes), split="test")
    return make(Evaluation, {"incremental-probe": {"tasks": 3, "orders": 2, **knobs}}).evaluate(None, held_out)


def test_heads_forget_as_they_should(monkeypatch):
    found = {
        head: asked(monkeypatch, head=head, epochs=4, rate=0.1, books=8, keys=8)
        for head in ("nearest-mean", "cosine-mean", "lda", "sequential", "gaussian-replay", "key-value", "key-votes", "oracle-joint")
    }
    value = {head: numbers["incremental_probe"] for head, numbers in found.items()}
    assert value["sequential"] < value["nearest-mean"] and value["sequential"] < value["gaussian-replay"]
    assert found["sequential"]["incremental_probe/forgetting"] > found["nearest-mean"]["incremental_probe/forgetting"] >= 0
    assert value["oracle-joint"] > value["sequential"]
    assert asked(monkeypatch, head="oracle-task")["incremental_probe"] > value["nearest-mean"]
    assert found["nearest-mean"]["incremental_probe/numbers"] == 6 * 11
    assert asked(monkeypatch, on="pixels")["incremental_probe"] < value["nearest-mean"]


def test_tasks_that_cannot_be_made_are_refused(monkeypatch):
    with pytest.raises(PartError, match="3 tasks of 2 classes"):
        asked(monkeypatch, classes=2)
    with pytest.raises(PartError, match="alike"):
        asked(monkeypatch, held_classes=5)
