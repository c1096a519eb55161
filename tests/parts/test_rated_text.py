"""Rated text: ratings by the faults that were put in, shares by kind, and choosing that leaves faults out."""

from __future__ import annotations

import random

import pytest

from windtunnel.parts.experiment.rated_text import Rated, RatedText, spoil

TEXT = "\n".join(f"    line {number} of a text of some length" for number in range(12))


def test_a_rating_falls_by_every_fault():
    good = spoil(TEXT, "prose", [TEXT, "other"], random.Random(1), 0.0)
    assert good == Rated(TEXT, "prose", (5, 5, 5, 5, 5))
    bad = spoil(TEXT, "code", ["first", TEXT], random.Random(1), 1.0)
    assert bad.ratings == (1, 1, 1, 1, 1) and bad.text != TEXT


def test_what_is_chosen_is_better_and_of_both_kinds():
    found = {how: RatedText(how=how, documents=160, annotated=60, words=2500).measure(123) for how in ("stratified", "uniform", "good")}
    assert found["stratified"]["faulty"] < found["uniform"]["faulty"] and found["good"]["faulty"] == 0
    assert found["stratified"]["bits"] == pytest.approx((found["stratified"]["bits/prose"] + found["stratified"]["bits/code"]) / 2)
