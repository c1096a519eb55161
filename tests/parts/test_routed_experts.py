"""Experts of low rank, chosen by routes and by keys."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.routing import Domain, fitted, standardised
from windtunnel.parts.experiment.keyed_pool import KeyedPool
from windtunnel.parts.experiment.routed_experts import RoutedExperts


def test_a_planted_matrix_of_low_rank_is_found():
    random = np.random.default_rng(0)
    domain = Domain(random, width=12, inside=4, louder=2.0, apart=3.0, rank=2)
    given = domain.inputs(300)
    assert np.linalg.matrix_rank(domain.needs) == 2 and fitted(given, given @ domain.needs.T, 2) == pytest.approx(domain.needs, abs=1e-8)
    assert np.linalg.norm(given.mean(axis=0) - domain.mean) < 0.5 < np.linalg.norm(domain.mean)
    rows = standardised(given)
    assert rows.mean(axis=1) == pytest.approx(np.zeros(300), abs=1e-9) and rows.std(axis=1) == pytest.approx(np.ones(300))


def test_a_gate_is_the_gradient_descent_of_its_loss():
    import torch

    random = np.random.default_rng(0)
    given, out, expert = (random.standard_normal(shape) for shape in ((30, 8), (30, 8), (8, 8)))
    held = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    added = torch.tensor(given @ expert.T)
    loss = 0.5 * (torch.sigmoid(torch.tensor(given) @ held)[:, None] * added - torch.tensor(out)).square().sum(dim=1).mean()
    loss.backward()
    scale = float(added.square().sum(dim=1).mean())
    assert RoutedExperts(width=8, steps=1, rate=0.5)._gate(given, out, expert) == pytest.approx((-0.5 * held.grad / scale).numpy())


def test_gates_find_the_domain_and_random_routes_do_not():
    gate, random, oracle = (RoutedExperts(route=route, domains=4, inputs=200).measure(80) for route in ("gate", "random", "oracle"))
    assert gate["right"] > 0.6 and oracle["right"] == 1 and oracle["error"] < gate["error"] < random["error"]


def test_one_expert_forgets_and_told_ones_do_not():
    one, told, means = (KeyedPool(way=way, tasks=3).measure(80) for way in ("one", "told", "means"))
    assert one["error"] > 10 * told["error"] and one["old"] > 10 * told["old"] and means["used"] == 3
    assert KeyedPool(pool=6, tasks=3).measure(80)["used"] <= 6
