"""Thoughts in between: rows in both orders, and thoughts that are weighed as they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.parts.experiment.latent_steps import MODULUS, PLAIN, POSTERIOR, PRIOR, LatentSteps


def test_a_thought_stands_before_the_answer_and_behind_it():
    part = LatentSteps(terms=4)
    sums, thoughts, answers = np.array([[1, 2, 3, 4]]), np.array([[3, 1]]), np.array([[0]])
    rows, counted = part._rows(sums, thoughts, answers)
    assert rows.tolist() == [[PRIOR, 1, 2, 3, 4, 3, 1, 0], [POSTERIOR, 1, 2, 3, 4, 0, 3, 1]]
    assert counted.tolist() == [[False] * 5 + [True] * 3, [False] * 6 + [True] * 2]
    rows, counted = part._rows(sums, None, answers)
    assert rows.tolist() == [[PLAIN, 1, 2, 3, 4, 0, 0, 0]] and counted[0].tolist() == [False] * 5 + [True] + [False] * 2


class Believer(torch.nn.Module):
    """Draws thoughts alike behind an answer, and before one finds those of twos a thousand times likelier."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(*rows.shape, MODULUS + 3)
        found[..., MODULUS:] = -50.0
        before = rows[:, 0] == PRIOR
        found[before, 4:6, 2] = 7.0
        return found


def test_thoughts_that_make_the_answer_likely_are_kept():
    random = np.random.default_rng(168)
    sums, answers = random.integers(0, MODULUS, (200, 4)), random.integers(0, MODULUS, (200, 1))
    weighed, any_ = (LatentSteps(terms=4, samples=16, how=how)._thoughts(Believer(), sums, answers, random) for how in ("em", "uniform"))
    assert (any_ == 2).mean() == pytest.approx(1 / MODULUS, abs=0.05) and (weighed == 2).mean() > 3 / MODULUS


def test_what_is_measured():
    found = LatentSteps(texts=60, seeds=20, steps=5, iterations=1, samples=2).measure(169)
    assert found["written"] == 120 and 0 <= found["accuracy"] <= 1 and 20 / 60 <= found["thoughts"] <= 1
    with pytest.raises(PartError, match="seeds 61: there are 60 texts"):
        LatentSteps(texts=60, seeds=61).measure(0)
    with pytest.raises(PartError, match="texts 400: 325 sums of 4 numbers"):
        LatentSteps(terms=4, texts=400).measure(0)


def test_no_sum_that_is_judged_was_told(monkeypatch):
    told, judged = [], []
    rows, written = LatentSteps._rows, LatentSteps._written
    monkeypatch.setattr(LatentSteps, "_rows", lambda self, *given: told.extend(given[0].tolist()) or rows(self, *given))
    monkeypatch.setattr(LatentSteps, "_written", lambda self, *given: judged.extend(given[1].tolist()) or written(self, *given))
    LatentSteps(terms=4, texts=320, seeds=20, steps=1, how="answers").measure(170)
    assert len(judged) == 300 and len({tuple(row) for row in told + judged}) == 620
