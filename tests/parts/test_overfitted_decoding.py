"""How repetitive a text is, what of it is copied, temperatures, and that tuning learns its few texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from windtunnel.parts.experiment.overfitted_decoding import copied, entropy, judge, ratio, tempered, tokens_of, tune, windows


def test_ratios_and_copies():
    rows = np.stack([np.arange(64), np.tile([1, 2], 32)])
    assert ratio(rows) == pytest.approx((1 + 2 / 32) / 2)
    assert copied(np.array([[1, 2, 3, 4, 5, 6, 9]]), np.array([[0, 1, 2, 3, 4, 5, 7]])) == pytest.approx(1 / 3)


class Table(torch.nn.Module):
    """The next token by the one before."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(tokens, tokens)
        torch.nn.init.zeros_(self.table.weight)

    def forward(self, rows: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.table(rows))


def test_a_temperature_has_the_entropy_that_is_wanted():
    model, odds = Table(4), torch.tensor([0.4, 0.3, 0.2, 0.1])
    with torch.no_grad():
        model.table.weight[:] = odds.log()
    rows = np.zeros((2, 5), int)
    wanted = entropy(odds.log()[None] / 0.3)
    assert judge(model, rows)[1] == pytest.approx(float(-(odds * odds.log()).sum()), abs=1e-5)
    assert judge(model, rows)[0] == pytest.approx(-np.log(0.4), abs=1e-5)
    assert tempered(model, rows, wanted) == pytest.approx(0.3, rel=0.03)


def test_tuning_learns_its_rows():
    model, rows = Table(6), np.tile([0, 1, 2, 3, 4, 5], (4, 2))
    tune(model, np.tile(rows, (20, 1)), 4, 0.3)
    assert judge(model, rows)[0] < 0.1


def test_pieces_of_the_manual_are_long_enough_and_dealt_by_the_seed():
    def tokenizer(text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    one, other = (tokens_of(tokenizer, seed, 300, "part") for seed in (1, 2))
    assert min(map(len, one)) >= 300 and one[:5] != other[:5] and sorted(one) == sorted(other)
    rows = windows(one[:8], 40, np.random.default_rng(280))
    assert all("".join(map(chr, row)) in "".join(map(chr, piece)) for row, piece in zip(rows.tolist(), one[:8], strict=True))
