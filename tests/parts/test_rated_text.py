"""Rated text: ratings by the faults that were put in, shares by kind, and choosing that leaves faults out."""

from __future__ import annotations

import random

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.kits.text.manual import pieces
from windtunnel.parts.experiment.rated_text import Rated, RatedText, spoil

HOWS = ("top", "stratified", "one-criterion", "half-more")
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


def test_what_is_chosen_is_in_proportion_to_what_there_is_of_each_kind():
    pool = [Rated(TEXT, kind, (5,) * 5) for kind in ("prose", "code", "code", "code") * 10]
    told = np.array([[1.0, 0.0] if one.kind == "prose" else [0.0, 1.0] for one in pool])
    kinds = {how: [pool[place].kind for place in RatedText(how=how, share=0.5)._chosen(pool, told, random.Random(2))] for how in HOWS}
    assert kinds["top"] == ["code"] * 20
    assert all(kinds[how].count("prose") == 5 and len(kinds[how]) == 20 for how in ("stratified", "one-criterion"))
    assert len(kinds["half-more"]) == 30


def test_no_more_text_is_asked_for_than_there_is():
    with pytest.raises(PartError, match="asks for 5090 pieces"):
        RatedText(documents=10000).measure(0)
    held = pieces(random.Random(3))
    lines = [line for one in held for line in one.split("\n") if len(line) > 20]
    assert len(lines) == len(set(lines))
