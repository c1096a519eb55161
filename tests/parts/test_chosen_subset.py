"""Subsets of a redundant pool: gains of facility location against a plain computation, orders that do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.core.errors import PartError
from windtunnel.kits.vectors import unit
from windtunnel.parts.experiment.chosen_subset import ChosenSubset, facility_gains, in_turn, spread


@pytest.fixture(scope="module")
def alike() -> np.ndarray:
    rows = unit(np.abs(np.random.default_rng(104).standard_normal((14, 5))))
    return rows @ rows.T


def test_gains_are_those_of_the_greedy_order(alike):
    found, chosen, total = facility_gains(alike), [], 0.0
    for _ in range(len(alike)):
        values = {n: alike[:, [*chosen, n]].max(axis=1).sum() - total for n in range(len(alike)) if n not in chosen}
        best = max(values, key=values.__getitem__)
        assert found[best] == pytest.approx(values[best], abs=1e-9)
        chosen.append(best)
        total += values[best]
    assert (np.diff(found[chosen]) <= 1e-9).all()


def test_spread_takes_the_farthest_from_what_it_has(alike):
    order = spread(alike, 3)
    assert sorted(order) == list(range(14)) and order[0] == 3
    for place in range(1, 14):
        near = alike[:, order[:place]].max(axis=1)
        near[order[:place]] = np.inf
        assert order[place] == near.argmin()


def test_copies_are_told_and_taken_once():
    knobs = {"images": 60, "copied": 6, "copies": 15, "share": 0.3}
    found = {how: ChosenSubset(how=how, **knobs).measure(105) for how in ("unlike", "greedy", "random", "most-typical")}
    assert found["unlike"]["copies"] == 0 and found["greedy"]["copies"] < 0.1 < found["random"]["copies"]
    noisy = ChosenSubset(how="least-typical", foreign=20, **knobs).measure(105)
    assert noisy["foreign"] > 0.3
    with pytest.raises(PartError, match="copied 70"):
        ChosenSubset(images=60, copied=70).measure(0)


def test_labels_get_equal_shares():
    kinds = np.array([1, 1, 1, 1, 2, 1, 2, 3])
    assert in_turn(np.arange(10, 18), kinds).tolist() == [10, 14, 17, 11, 16, 12, 13, 15]
    part = ChosenSubset(how="random", by_label=True, share=1.0, images=40, copied=2, copies=20)
    assert part.measure(106)["copies"] == pytest.approx(0.5)  # all is taken: 40 of 80 are copies
