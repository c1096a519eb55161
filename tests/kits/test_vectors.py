"""Rows of numbers: a softmax that large numbers do not break, columns drawn as often as they are said to be, and chains of words."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax as theirs

from windtunnel.kits.text.chains import followed
from windtunnel.kits.vectors import picked, softmax


def test_a_softmax_is_scipys_and_takes_large_numbers():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5)) * 300
    assert np.allclose(softmax(logits), theirs(logits, axis=-1))


def test_columns_are_drawn_as_often_as_their_odds_say():
    odds = np.array([[0.5, 0.0, 0.3, 0.2]])
    drawn = picked(np.repeat(odds, 20_000, axis=0), np.random.default_rng(0))
    assert np.abs(np.bincount(drawn, minlength=4) / 20_000 - odds[0]).max() < 0.015


def test_odds_that_round_to_less_than_one_draw_no_column_that_is_not_there():
    class Highest:
        def random(self, shape):
            return np.full(shape, 1.0)

    assert (picked(np.full((3, 4), 0.2499), Highest()) == 3).all()


def test_a_chain_without_choice_goes_its_only_way():
    found = followed(np.roll(np.eye(4), 1, axis=1), np.array([0, 2]), 5, np.random.default_rng(0))
    assert found.tolist() == [[0, 1, 2, 3, 0], [2, 3, 0, 1, 2]]
