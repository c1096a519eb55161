"""Facts and questions as rows, what questions are kept, and that tuning learns answers alone."""

from __future__ import annotations

import numpy as np
import torch

from windtunnel.kits.text.small import made
from windtunnel.parts.experiment.own_questions import (
    ASK,
    ASPECT,
    ASPECTS,
    BLANK,
    DOMAINS,
    GENERAL,
    LENGTH,
    OWN,
    SUBJECT,
    SUBJECTS,
    TOLD,
    VALUE,
    VALUES,
    OwnQuestions,
    answered,
    facts,
    questions,
    right,
    with_answers,
)


def world() -> np.ndarray:
    return np.random.default_rng(370).integers(VALUES, size=(DOMAINS, SUBJECTS, ASPECTS))


def test_tokens_of_domains_are_apart():
    which = np.stack(np.divmod(np.arange(SUBJECTS * ASPECTS), ASPECTS), axis=1)
    some = facts(world(), OWN, which, np.random.default_rng(377))
    assert all(row[-4:].tolist() in row[: 4 * TOLD].reshape(TOLD, 4).tolist() for row in some)
    sets = [set(facts(world(), domain, which, np.random.default_rng(376))[:, -3:].ravel().tolist()) for domain in (GENERAL, OWN)]
    assert sets[0].isdisjoint(sets[1]) and max(sets[1]) < BLANK and min(sets[0]) >= SUBJECT


def test_one_of_the_facts_before_a_question_answers_it():
    which = np.array([[4, 1], [59, 2], [0, 0]])
    rows = questions(world(), OWN, which, np.random.default_rng(371), told=True)
    plain = questions(world(), OWN, which, np.random.default_rng(372))
    assert (plain[:, :-5] == BLANK).all() and np.array_equal(plain[:, -5:], rows[:, -5:])
    for row in rows:
        told = row[: 4 * TOLD].reshape(TOLD, 4)
        match = told[(told[:, 1] == row[-3]) & (told[:, 2] == row[-4])]
        assert len(match) and (match[:, 3] == row[-1]).all() and VALUE <= row[-1] < BLANK


class Asks(torch.nn.Module):
    """Writes an aspect of the own domain and then a subject, drawn from all, and sometimes something else."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits = torch.full((*rows.shape, BLANK + 1), -1e9)
        after = rows[:, -1] == ASK + OWN
        logits[after, -1, ASPECT + OWN * ASPECTS : ASPECT + OWN * ASPECTS + ASPECTS] = 0
        logits[~after, -1, SUBJECT : SUBJECT + DOMAINS * SUBJECTS] = 0
        return logits


def test_own_questions_are_of_the_first_half_and_come_once():
    kept = OwnQuestions(drawn=200)._asked(Asks(), np.random.default_rng(373))
    assert len(np.unique(kept, axis=0)) == len(kept) > 20 and kept[:, 0].max() < SUBJECTS // 2 and kept[:, 1].max() < ASPECTS


def test_tuning_learns_the_answers_it_is_given():
    which = np.stack(np.divmod(np.arange(30), ASPECTS), axis=1)
    rows = questions(world(), OWN, which, np.random.default_rng(374))
    wrong = with_answers(rows, np.full(30, VALUE + 5))
    model = OwnQuestions(tuning=12, rates=(0.01,))._tuned(made(375, BLANK + 1, LENGTH, width=16), wrong, 0)
    assert right(model, wrong) == 1 and (answered(model, rows) == VALUE + 5).all()
