"""Prepacking: rows in one sequence get the numbers that each gets by itself, and are packed only where that saves tokens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_models import LENGTH, SIZE, VOCABULARY, build, moved, run

from windtunnel.core.registry import make
from windtunnel.kits.text.prepacked import batches, bins, ending_nats, laid_out
from windtunnel.slots import HeldOut, Objective


def held(objective) -> HeldOut:
    return HeldOut((), None, None, VOCABULARY, objective, torch.device("cpu"), torch.autocast("cpu", enabled=False), "test", LENGTH)


def rows_of(lengths, seed=0):
    random = np.random.default_rng(seed)
    return [([0, *random.integers(5, SIZE, length - 1).tolist()], max(1, length // 2)) for length in lengths]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_packed_rows_have_the_numbers_of_each_by_itself(family):
    model, lengths = moved(build(family)).eval(), [24, 3, 5, 20, 2, 9, 4, 4, 7, 24, 6]
    rows, objective = rows_of(lengths), make(Objective, "next-token")
    assert any(len(sequence) > 1 for batch in batches(lengths) for sequence in batch)
    found = ending_nats(model, rows, objective=objective, held_out=held(objective))
    for (tokens, ending), nats in zip(rows, found, strict=True):
        one = torch.tensor([tokens])
        with torch.no_grad():
            odds = run(model, one).logits.double().log_softmax(-1)[0, :-1].gather(1, one[0, 1:, None])[:, 0]
        assert nats == pytest.approx(-odds[-ending:].numpy(), abs=1e-5)
    laid = laid_out([[rows[place][0] for place in sequence] for sequence in bins(lengths)], 1)
    wrong = run(model, torch.tensor(laid.tokens), torch.tensor(laid.documents), torch.arange(24).expand(len(laid.tokens), -1)).logits
    right = run(model, torch.tensor(laid.tokens), torch.tensor(laid.documents), torch.tensor(laid.positions)).logits
    second = torch.tensor(laid.documents) == 1
    if family == "gpt2":  # llama's rotations see differences of positions alone
        assert (wrong - right)[second].abs().max() > 1e-3


def test_rows_with_a_mode_token_stand_alone():
    model, rows = moved(build("llama", context=48)).eval(), rows_of([20, 3, 3, 3])
    objective, facts = make(Objective, {"next-token": {"mode": "S"}}), dataclasses.replace(VOCABULARY, modes={"S": 4})
    place = held(objective)
    place.facts = facts
    found = ending_nats(model, rows, objective=objective, held_out=place)
    tokens = torch.tensor([[4, *rows[1][0]]])
    with torch.no_grad():
        odds = run(model, tokens, torch.zeros_like(tokens), torch.tensor([[0, 0, 1, 2]])).logits.double().log_softmax(-1)
    assert found[1] == pytest.approx([-float(odds[0, 2, rows[1][0][2]])], abs=1e-5)


def test_what_is_packed_takes_the_fewer_tokens():
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(3, 1, 40).astype(int), 2, 300).tolist()
    packed = bins(lengths)
    assert sorted(place for sequence in packed for place in sequence) == list(range(40))
    assert max(sum(lengths[place] for place in sequence) for sequence in packed) == max(lengths)
    assert len(packed) * max(lengths) < 1.3 * sum(lengths) + max(lengths)
    assert batches(lengths) == [packed]  # 32 of 40 in one batch would be as long as the longest
    even = batches([20] * 40)
    assert [len(batch) for batch in even] == [32, 8] and all(len(sequence) == 1 for batch in even for sequence in batch)
    assert all(len(sequence) == 1 for batch in batches(lengths, packs=False) for sequence in batch) and batches([]) == []
