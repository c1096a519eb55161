"""Weights as a bounded function."""

from __future__ import annotations

import math

import torch

from windtunnel.kits.image.tiny import begun
from windtunnel.parts.experiment.bounded_weights import BoundedWeights


def test_weights_begin_as_they_were_and_stay_within_the_bound():
    first = begun((64, 20, 20, 10), 0)
    part = BoundedWeights(function="fixed", room=1.5)
    free = part.inverse(first)
    found = part.weights(free)
    assert all(torch.allclose(found[name], first[name], atol=1e-5) for name in first)
    pushed = part.weights({name: value * (1e6 if name == "1.weight" else 1) for name, value in free.items()})
    assert float(pushed["1.weight"].abs().max()) <= 1.5 * float(first["1.weight"].abs().max()) * 1.0001
    bound = 1.5 * float(first["1.weight"].abs().max()) / (math.pi / 2)
    assert torch.allclose(pushed["1.weight"].abs().median(), torch.tensor(bound * math.pi / 2), rtol=1e-3)


def test_a_fixed_function_has_no_gradient_and_a_learned_one_has():
    first = begun((64, 8, 8, 10), 0)
    for function, moves in (("fixed", False), ("learned", True)):
        part = BoundedWeights(function=function)
        free = {name: value.clone().requires_grad_() for name, value in part.inverse(first).items()}
        sum(value.sum() for value in part.weights(free).values()).backward()
        assert (free["1.weight:a"].grad is not None) == moves


def test_large_weights_become_fewer():
    knobs = {"steps": 60, "width": 48, "rates": (1e-2,), "decays": (0.0,)}
    plain, fixed = (BoundedWeights(function=function, **knobs).measure(80) for function in ("none", "fixed"))
    assert fixed["largest"] < plain["largest"] and fixed["accuracy"] > 0.4


def test_decay_leads_what_is_learned_back_to_where_it_began():
    first = begun((64, 8, 8, 10), 0)
    part = BoundedWeights(function="learned")
    free = {
        name: value * (0.1 if name[-2:] in (":a", ":b") else 1e6) for name, value in part.inverse(first).items() if ":begun" not in name
    }
    found = part.weights(free | {name: value for name, value in part.inverse(first).items() if ":begun" in name})
    bound = 1.5 * float(first["1.weight"].abs().max())
    assert float(found["1.weight"].abs().max()) <= bound * 1.0001, "the bound is no larger for having decayed"
