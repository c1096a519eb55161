"""Acronyms that are common or rare, and a layer that goes with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.answer_priors import (
    ANSWERS,
    FIRST,
    LETTERS,
    SIGN,
    AnswerPriors,
    correlation,
    going_with,
    letters,
    prompts,
    right,
)


def test_prompts_have_the_initials_of_their_answer():
    answers = np.random.default_rng(260).integers(ANSWERS, size=500)
    rows = prompts(answers, np.random.default_rng(261))
    assert (rows[:, :2] // 4 == rows[:, 3:] - FIRST).all() and (rows[:, 2] == SIGN).all()
    assert (rows[:, 3:] == letters(answers)).all() and (letters(answers)[:, 0] - FIRST == answers // LETTERS).all()


class Told:
    """A model that always says one letter, whose first block holds frequencies of second letters and whose second holds nothing."""

    def __init__(self, share: np.ndarray, letter: int) -> None:
        self.letter = letter
        self.after = torch.from_numpy(
            np.hstack([np.zeros((LETTERS, FIRST)), np.log(share).reshape(LETTERS, LETTERS), np.zeros((LETTERS, 1))])
        )

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.full_like(tokens, FIRST + self.letter), SIGN + 1)

    def states(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        found = self.after[(tokens - FIRST).clamp(0, LETTERS - 1)]
        return [found, 0 * found]

    def read(self, state: torch.Tensor) -> torch.Tensor:
        return state


def test_what_only_knows_frequencies_says_the_commonest_and_is_found():
    share = np.random.default_rng(262).dirichlet(np.ones(ANSWERS))
    model = Told(share, 3)
    rows = prompts(np.repeat(np.arange(ANSWERS), 3), np.random.default_rng(263))
    assert np.flatnonzero(right(model, rows)).tolist() == [3 * LETTERS + 3]  # type: ignore[arg-type]
    assert going_with(model, rows[:, :-1], share) == pytest.approx([1, 0])  # type: ignore[arg-type]
    assert correlation(np.ones(3), np.arange(3.0)) == 0


def test_common_acronyms_are_learned_first():
    found = AnswerPriors(steps=90, tuning=2, rate=0.006, skew=2.0).measure(264)
    assert found["before"] < 0.7 and found["lean_before"] > 0.2
