"""Own labels, patients in codes, and proxies."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.image.digits import digits
from windtunnel.parts.experiment.coded_visits import CODES, CodedVisits, drawn_patients, faded
from windtunnel.parts.experiment.neighbour_votes import NeighbourVotes, agreed, likely
from windtunnel.parts.experiment.proxy_sets import CHOICES, ProxySets, judged


def test_neighbours_agree_where_most_of_the_others_do():
    features = np.array([[0.0], [0.1], [0.2], [0.3], [9.0], [9.1], [9.2], [9.3]])
    assert agreed(features, np.array([1, 1, 1, 0, 2, 2, 3, 3]), 3).tolist() == [True, True, True, False, False, False, False, False]
    shares = likely(np.eye(3), np.zeros((4, 10)))
    assert shares == pytest.approx(0.1)


def test_own_labels_help_and_are_mostly_right():
    found = {own: NeighbourVotes(own=own, rounds=2).measure(80) for own in ("none", "votes")}
    assert found["votes"]["area"] > found["none"]["area"] and found["votes"]["precision"] > 0.85 and found["none"]["taken"] == 0


def test_counts_fade_by_their_rates():
    found = faded(np.array([[3, 5, 3]]))[0, -1].reshape(3, CODES)
    assert found[:, 3] == pytest.approx([0.5 + 0.125, 0.15 * (1 + 0.85**2), 0.03 * (1 + 0.97**2)], rel=1e-5)
    assert found[:, 5] == pytest.approx([0.25, 0.15 * 0.85, 0.03 * 0.97], rel=1e-5)


def test_states_last_and_emit_their_codes():
    chain, emits = np.full((8, 8), 1 / 8), np.eye(CODES)[:8]
    codes, state = drawn_patients(np.random.default_rng(0), chain, emits, 400, 30)
    assert (codes[:, -1] == state).all() and (np.diff(codes, axis=1) == 0).mean() == pytest.approx(1 - 0.1 * 7 / 8, abs=0.01)
    found = [CodedVisits(positives=16, strengths=strengths).measure(80)["auroc"] for strengths in ((1e-4,), (3.0,), (1e-4, 3.0))]
    assert found[1] == found[2] > found[0] and found[1] > 0.55


def test_choices_change_something_and_are_ranked_alike_on_the_same_data():
    found = digits("test")
    images, train, held = found.images / 16, np.arange(300), np.arange(300, 700)
    scores = [judged(images, found.target, train, held, choice, np.random.default_rng(0)) for choice in (None, *CHOICES)]
    assert len(set(scores)) > 7 and min(scores) > 0.5
    assert ProxySets(part="again", repeats=2).measure(80)["ranks"] > 0.8
