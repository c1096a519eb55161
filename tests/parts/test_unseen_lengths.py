"""What is asked and answered in each task, and that a decoder that can only count does so at all lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.small_decoder import SmallDecoder
from windtunnel.parts.experiment.unseen_lengths import (
    BLANK,
    END,
    EVEN,
    GOES,
    ONE,
    SYMBOL,
    UnseenLengths,
    example,
    padded,
    right,
    shifted,
    wanted,
)


@pytest.mark.parametrize("task", ["counting", "copying", "repeating", "parity", "hinted"])
def test_answers_are_right(task):
    random = np.random.default_rng(280)
    for size in (1, 4, 7, 12):
        row = example(task, size, 24, random)
        given, answer = row[1 : row.index(GOES)], row[row.index(GOES) + 1 : -1]
        assert row[-1] == END and max(row) < SYMBOL + 24
        if task == "counting":
            assert given == [answer[0], answer[-1]] and np.diff(answer).tolist() == [1] * (size - 1) and len(answer) == size
        elif task in ("copying", "repeating"):
            assert given == answer and len(answer) == size and (task == "repeating" or len(set(given)) == size)
        elif task == "parity":
            assert answer == [EVEN + given.count(ONE) % 2]
        else:
            assert given[::2] == answer[::2] == list(range(given[0], given[0] + size))
            assert (np.array(answer[1::2]) - EVEN).tolist() == (np.cumsum(np.array(given[1::2]) == ONE) % 2).tolist()


def test_answers_alone_are_learned_and_one_wrong_token_is_wrong():
    random = np.random.default_rng(281)
    rows = padded([example("copying", size, 24, random) for size in (2, 5)])
    assert wanted(rows)[0].tolist() == [BLANK] * 3 + [*rows[0, 4:7].tolist(), *[BLANK] * 6]

    class Told(torch.nn.Module):
        """Says what it is given to say."""

        def __init__(self, says: np.ndarray) -> None:
            super().__init__()
            self.says, self.positions = torch.nn.functional.one_hot(torch.from_numpy(says), 40).float(), torch.zeros(40, 1)

        def read(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 1)

        def blocks(self, states: torch.Tensor, **_: object) -> torch.Tensor:
            return self.says

        def write(self, states: torch.Tensor) -> torch.Tensor:
            return states

    says = rows[:, 1:].copy()
    assert right(Told(says), rows) == 1
    says[0, 0] = says[0, -1] = BLANK  # before the sign, and behind the end
    assert right(Told(says), rows) == 1
    says[1, -1] = BLANK
    assert right(Told(says), rows) == 0.5


def test_all_places_are_used():
    model = SmallDecoder(40, 40, 20, width=8, tokens=True, seed=3)
    rows = torch.arange(8).reshape(1, 8)
    assert torch.allclose(shifted(model, rows), model(rows), atol=1e-6)
    assert not torch.allclose(shifted(model, rows, 5), model(rows), atol=1e-3)
    shifted(model, rows, 12).sum().backward()
    moved = model.positions.grad.abs().sum(dim=1) > 0
    assert moved[12:].all() and not moved[:12].any()


def test_training_learns_to_count():
    few, more = (
        UnseenLengths(task="counting", longest=2, steps=steps, layers=1, width=16, rates=(0.01,)).measure(282) for steps in (1, 60)
    )
    assert few["seen"] < 0.1 < 0.3 < more["seen"]
    model = SmallDecoder(40, 40, 20, width=8, tokens=True, seed=3)
    assert right(model, padded([example("copying", 3, 24, np.random.default_rng(283))])) == 0
