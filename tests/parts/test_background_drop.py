"""Backgrounds that usually go with a class."""

from __future__ import annotations

import torch

from windtunnel.kits.image import tiny
from windtunnel.kits.image.tiny import said
from windtunnel.parts.experiment.background_drop import BackgroundDrop


def test_the_drop_grows_with_how_usual_a_background_is():
    rare, usual = (BackgroundDrop(usual=share, steps=120, rates=(3e-3,)).measure(80) for share in (0.1, 0.98))
    assert abs(rare["drop"]) < 0.08 and usual["drop"] > rare["drop"] + 0.1
    assert usual["drop"] == usual["common"] - usual["counter"]


def test_captions_teach_the_classes_too():
    assert BackgroundDrop(learns="captions", usual=0.5, steps=120, rates=(3e-3,)).measure(80)["counter"] > 0.6


def test_networks_of_labels_and_of_captions_are_asked_about_the_same_images(monkeypatch):
    found: dict[str, list[torch.Tensor]] = {}
    for learns in ("labels", "told"):
        kept: list[torch.Tensor] = []
        with monkeypatch.context() as patch:
            patch.setattr(tiny, "said", lambda weights, inputs, kept=kept, layers=None: (kept.append(inputs), said(weights, inputs))[1])
            BackgroundDrop(learns=learns, steps=1, rates=(1e-3, 3e-3)).measure(81)
        found[learns] = kept[-2:]
    assert all(torch.equal(one, two) for one, two in zip(found["labels"], found["told"], strict=True))
