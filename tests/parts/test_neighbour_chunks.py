"""Chunks, their neighbours, and chances of words."""

from __future__ import annotations

import math

import pytest

from windtunnel.parts.experiment.neighbour_chunks import Bigrams, NeighbourChunks, Predicted, loss, manual, nearest


def test_chances_add_up_to_one():
    model = Bigrams([["a", "b", "a", "b", "a", "c"], ["c", "a"]])
    for last in ("a", "b", "x"):
        assert sum(model.chance(word, last, 1 / 3) for word in "abc") == pytest.approx(1)
    assert model.chance("b", "a", 1 / 3) > model.chance("c", "a", 1 / 3) and model.chance("z", "a", 0.0) == 0


def test_the_nearest_share_rare_words():
    chunks = [["the", "cat", "sat"], ["the", "dog", "ran"], ["the", "the", "the"], ["a", "cat", "slept"]]
    assert set(nearest([["cat"], ["new", "dog"]], chunks, 2)[0]) == {0, 3} and nearest([["new", "dog"]], chunks, 1).tolist() == [[1]]


def test_a_mixture_is_of_chances():
    some = [Predicted(0.5, 0.0, 1), Predicted(0.1, 0.9, 9)]
    assert loss(some, 0.5) == pytest.approx(-(math.log(0.25) + math.log(0.5)) / 2) and loss(some, 0.0) == pytest.approx(-math.log(0.05) / 2)


def test_chunks_come_with_what_follows():
    assert NeighbourChunks(chunk=4)._chunks(list("abcdefghij")) == [
        [list("abcd"), list("efgh")],
        [list("efgh"), list("ij")],
        [list("ij"), []],
    ]
    assert len(manual()) > 200
