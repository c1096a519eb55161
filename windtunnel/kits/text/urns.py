"""Draws from urns: how they are written, and what two ideal observers expect of the next draw."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windtunnel.kits.vectors import softmax

Array = NDArray[np.float64]


def urn(chance: random.Random, colours: int) -> list[float]:
    """The shares of the colours in an urn: a draw from the flat Dirichlet distribution."""
    found = [chance.expovariate(1.0) for _ in range(colours)]
    return [one / sum(found) for one in found]


def pool(count: int, colours: int, seed: int) -> Array:
    """The shares of ``count`` urns, [count, colours]; the n-th depends on ``seed`` and n alone."""
    return np.array([urn(random.Random(f"urn {seed} {number}"), colours) for number in range(count)])


def memorising(draws: NDArray[Any], urns: Array) -> Array:
    """What one who knows that a sequence comes from one of ``urns`` expects of each draw: [sequences, draws, colours], before seeing it.

    ``draws``: colours as numbers, [sequences, draws]. The Bayes estimator under the urns as prior, each as likely.
    """
    each = np.log(urns)[:, draws].transpose(1, 2, 0)  # [sequences, draws, urns]
    known = np.cumsum(each, axis=1) - each
    return np.asarray(softmax(known) @ urns)


def generalising(draws: NDArray[Any], colours: int) -> Array:
    """The same of one who knows only how urns are filled: the Bayes estimator under the flat Dirichlet distribution."""
    one = np.eye(colours)[draws]
    counts = np.cumsum(one, axis=1) - one
    return np.asarray((counts + 1) / (counts.sum(axis=-1, keepdims=True) + colours))


def divergence(one: Array, other: Array) -> float:
    """The mean over draws of the symmetrised Kullback-Leibler divergence, in nats."""
    one, other = (np.maximum(each, 1e-12) for each in (one, other))
    return float(((one - other) * (np.log(one) - np.log(other))).sum(axis=-1).mean() / 2)


def share_of(one: Array, other: Array, own: Array) -> float:
    """The share of ``one`` in the mixture of ``one`` and ``other`` that is nearest to ``own``, 0 to 1; all [sequences, draws, colours].

    Nearest is the least Kullback-Leibler divergence of the mixture from ``own``, which has one lowest point.
    """
    one, other = (np.maximum(each, 1e-12) for each in (one, other))
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        rising = float((own * (one - other) / (middle * one + (1 - middle) * other)).sum()) > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2


def nats(expected: Array, draws: NDArray[Any]) -> float:
    """The mean over ``draws`` [sequences, draws] of the surprise of one who expected [sequences, draws, colours]."""
    return float(-np.log(np.maximum(np.take_along_axis(expected, draws[..., None], axis=-1), 1e-12)).mean())
