"""Losses of preferences against plain arithmetic, rows, votes, and that preferences move what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from windtunnel.kits.text.small import made
from windtunnel.parts.experiment.preferred_steps import (
    AGAIN,
    MODULUS,
    SMOOTH,
    STEPS,
    TERMS,
    THINK,
    PreferredSteps,
    commonest,
    exact,
    likelihoods,
    odds,
    row,
    sums_of,
    told_apart,
    truth,
)


def model(seed: int) -> torch.nn.Module:
    return made(seed, MODULUS + 2, TERMS + 2 * STEPS + 2, width=16)


def test_rows_and_results():
    sums = sums_of(np.random.default_rng(360), 50)
    assert len({tuple(one) for one in sums.tolist()}) == 50
    assert np.array_equal(truth(sums)[:, -1], sums.sum(axis=1) % MODULUS) and truth(sums).shape == (50, STEPS)
    both = row(sums, truth(sums), truth(sums))
    assert (both[:, TERMS] == THINK).all() and (both[:, TERMS + 1 + STEPS] == AGAIN).all() and both.shape[1] == TERMS + 2 * STEPS + 2
    assert commonest(np.array([[1, 2], [3, 4], [3, 0]])).tolist() == [3, 2]


def test_a_first_lesson_shows_drafts_and_learns_what_is_true():
    sums = sums_of(np.random.default_rng(361), 200)
    rows, counted = PreferredSteps()._first(sums, np.random.default_rng(362))
    assert np.array_equal(rows[counted].reshape(400, STEPS), np.concatenate([truth(sums)] * 2))
    drafts = rows[200:, TERMS + 1 : TERMS + 1 + STEPS]
    assert 0.35 < (drafts != truth(sums)).any(axis=1).mean() < 0.65


def test_odds_and_the_exact_divergence():
    likely = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.4]]))
    mean = [0.5, math.sqrt(0.36)]
    assert odds(likely).tolist() == pytest.approx([math.log(p / (1 - p)) for p in mean], abs=1e-5)
    p = 1 / (1 + math.exp(-0.7))
    wanted = p * math.log(p / (1 - SMOOTH)) + (1 - p) * math.log((1 - p) / SMOOTH)
    assert float(exact(torch.tensor([0.7]))) == pytest.approx(wanted, rel=1e-5)
    assert float(exact(torch.tensor([math.log((1 - SMOOTH) / SMOOTH)]))) == pytest.approx(0, abs=1e-6)


def test_likelihoods_are_of_the_answer():
    sums = sums_of(np.random.default_rng(363), 3)
    own = model(364)
    found = likelihoods(own, sums, truth(sums))
    with torch.no_grad():
        logits = own(torch.from_numpy(row(sums, truth(sums))))
    assert found[1, 0].item() == pytest.approx(float(logits[1, TERMS].log_softmax(dim=0)[truth(sums)[1, 0]]), rel=1e-4)


@pytest.mark.parametrize(("kind", "places"), [("odds", slice(None)), ("whole", slice(None)), ("masked", slice(-1, None))])
def test_a_stage_parts_right_from_wrong(kind, places, monkeypatch):
    random, sums = np.random.default_rng(365), sums_of(np.random.default_rng(366), 60)
    own = model(367)
    pairs = told_apart(own, sums, random)
    assert (pairs.chosen[:, -1] == truth(pairs.sums)[:, -1]).all() and (pairs.rejected[:, -1] != truth(pairs.sums)[:, -1]).all()

    for name in ("drafted", "told_apart"):
        monkeypatch.setattr(f"windtunnel.parts.experiment.preferred_steps.{name}", lambda *_: pairs)

    def margin() -> float:
        with torch.no_grad():
            good, bad = (likelihoods(own, pairs.sums, one)[:, places].sum(dim=1) for one in (pairs.chosen, pairs.rejected))
        return float((good - bad).mean())

    before = margin()
    PreferredSteps(renewed=1000)._stage(own, pairs.sums, random, 12, 3e-3, kind)
    assert margin() > before
