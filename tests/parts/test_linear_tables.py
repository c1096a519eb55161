"""Tables as text: what is hidden can be told from what is left, and questions have one answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.linear_tables import (
    ANSWER,
    ASK,
    COLUMN,
    END,
    GAP,
    LONGEST,
    NAME,
    TASKS,
    VALUE,
    YES,
    asked,
    hidden,
    laid,
    right,
)


def restored(given: list[int], answer: list[int]) -> list[int]:
    """What stood there before two parts were hidden."""
    second = answer.index(GAP + 1)
    parts = {GAP: answer[1:second], GAP + 1: answer[second + 1 : -1]}
    found: list[int] = []
    for place, token in enumerate(given[:-1]):
        found += parts.get(token, [token]) if token not in parts or given[place - 1] != token else []
    return found


@pytest.mark.parametrize("kind", ["cells", "spans", "text"])
def test_what_is_hidden_is_in_the_answer(kind):
    random = np.random.default_rng(0)
    for _ in range(40):
        given, answer = hidden(kind, random)
        whole = restored(given, answer)
        assert len(given) == 31 and given[-1] == ASK and answer[-1] == END and len(answer) <= ANSWER
        assert len(whole) == 30 and not {GAP, GAP + 1} & set(whole)
        if kind == "cells":
            assert sum(token >= NAME and not COLUMN <= token < VALUE for token in answer) == 2 and len(answer) == 5
            told = [whole[18 + 1], whole[18 + 3], whole[18 + 5]]  # the sentences are about the table
            row = whole.index(told[1])
            assert whole[row : row + 5][whole[row : row + 5].index(told[0]) + 1] == told[2]


def test_questions_are_about_the_table():
    random = np.random.default_rng(1)
    yes = 0
    for _ in range(60):
        given, answer = asked("lookup", random)
        row = given[: given.index(given[21])] + given[given.index(given[21]) : 18]
        begin = row.index(given[21])
        assert row[begin : begin + 5][row[begin : begin + 5].index(given[19]) + 1] == answer[0]
        given, answer = asked("verify", random)
        begin = given.index(given[22])
        cells = given[begin : begin + 5]
        assert (answer[0] == YES) == (cells[cells.index(given[20]) + 1] == given[24])
        yes += answer[0] == YES
    assert 15 < yes < 45
    rows, counted = laid([asked(task, random) for task in TASKS])
    assert rows.shape == (3, LONGEST) and (rows[:, LONGEST - ANSWER - 1] == ASK).all() and not counted[:, : LONGEST - ANSWER].any()


class Knowing(torch.nn.Module):
    """Says the next token of rows that it knows, but for one."""

    def __init__(self, rows: np.ndarray) -> None:
        super().__init__()
        self.rows = torch.from_numpy(rows)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        wanted = self.rows[: len(tokens), 1 : tokens.shape[1] + 1].clone()
        wanted[0] = YES
        return torch.nn.functional.one_hot(wanted, VALUE + 16).float()


def test_an_answer_is_right_to_its_end():
    examples = [asked("query", np.random.default_rng(seed)) for seed in range(4)]
    assert right(Knowing(laid(examples)[0]), examples) == 0.75
