"""Orders of classes and what foretells them."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from windtunnel.parts.experiment.class_orders import ClassOrders


def test_terms_are_distances_along_orders():
    random = np.random.default_rng(0)
    means, orders = random.random((5, 64)), np.array(list(permutations(range(5))))
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    away = 1 - unit @ unit.T
    wanted = np.array([sum(away[one, other] for one, other in pairwise(order)) for order in orders.tolist()])
    found = ClassOrders(score="neighbours")._terms(means, orders, random)[0]
    assert found == pytest.approx((wanted - wanted.mean()) / wanted.std())
    assert ClassOrders()._terms(means, orders, random).shape == (2, 120)
    central = ClassOrders(score="central")._terms(means, orders, random)[0]
    assert orders[central.argmax()][0] == away.sum(axis=1).argmin(), "the class nearest to all others comes first"


def test_orders_matter_and_replay_forgets_less():
    naive, replay = (
        ClassOrders(score="central", learner=learner, images=15, repeats=2, rate=0.02).measure(80) for learner in ("naive", "replay")
    )
    assert replay["accuracy"] > naive["accuracy"] + 0.1 and -1 <= naive["correlation"] <= 1 and naive["spread"] > 0
