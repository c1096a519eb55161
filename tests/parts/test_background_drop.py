"""Backgrounds that usually go with a class."""

from __future__ import annotations

from windtunnel.parts.experiment.background_drop import BackgroundDrop


def test_the_drop_grows_with_how_usual_a_background_is():
    rare, usual = (BackgroundDrop(usual=share, steps=120).measure(80) for share in (0.1, 0.98))
    assert abs(rare["drop"]) < 0.08 and usual["drop"] > rare["drop"] + 0.1
    assert usual["drop"] == usual["common"] - usual["counter"]


def test_captions_teach_the_classes_too():
    assert BackgroundDrop(learns="captions", usual=0.5, steps=120).measure(80)["counter"] > 0.6
