"""Derivatives: right by sympy-free arithmetic, placeholders that can be put back, and forms that are told apart from values."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.kits.text.placeholders import abstracted, restored
from windtunnel.parts.experiment.differentiated_strings import (
    GIVEN,
    NUMBERS,
    SYMBOLS,
    DifferentiatedStrings,
    derivatives,
    polynomial,
)


def test_answers_are_the_derivatives():
    rows = derivatives(50, np.arange(3), np.random.default_rng(170))
    for row in rows.tolist():
        (a, s, m), (b, t, n) = row[2:5], row[6:9]
        assert s == t == row[1] and m < n

        def slope(x: float, a: int = a, b: int = b, m: int = m, n: int = n) -> float:
            return (a * (x + 1e-6) ** m + b * (x + 1e-6) ** n - a * (x - 1e-6) ** m - b * (x - 1e-6) ** n) / 2e-6

        told = sum(value * 1.3**power for _, power, value in polynomial(np.array(row[GIVEN:])) or ())
        assert abs(told - slope(1.3)) < 1e-4 * max(1, abs(told))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, NUMBERS + SYMBOLS + 4), min_size=5, max_size=20))
def test_symbols_come_back(tokens):
    rows = np.array([tokens])
    found, back = abstracted(rows, NUMBERS, NUMBERS + SYMBOLS)
    assert (restored(found, back, NUMBERS) == rows).all()
    names = [token for token in found[0] if NUMBERS <= token < NUMBERS + SYMBOLS]
    assert not names or (names[0] == NUMBERS and max(names) - NUMBERS < len(set(tokens)))


def test_sums_are_compared_as_polynomials():
    plus = NUMBERS + SYMBOLS + 2
    one, two = np.array([3, 50, 1, plus, 4, 50, 2]), np.array([4, 50, 2, plus, 3, 50, 1])
    assert polynomial(one) == polynomial(two) != polynomial(np.array([3, 50, 1, plus, 4, 51, 2]))
    assert polynomial(np.array([3, 50, 1, 7, 4, 50, 2])) is None and polynomial(np.array([50, 3, 1, plus, 4, 50, 2])) is None


def test_what_is_measured_are_shares():
    found = DifferentiatedStrings(steps=4, judged=20, renamed=True).measure(171)
    assert set(found) == {"as_trained", "unseen", "exchanged"} and all(0 <= value <= 1 for value in found.values())
