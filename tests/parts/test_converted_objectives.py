"""Tasks with their answers, documents with gaps, and what each shape sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.text.windowed import chances, language
from windtunnel.parts.experiment.converted_objectives import (
    ANSWER,
    BLANK,
    END,
    GAP,
    START,
    ConvertedObjectives,
    documents,
    gapped,
    logits_of,
    made,
    offered,
    pairs,
    ranked,
    tasks,
)


def rows(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return documents(chances(language(20, random)), count, 2, random)


def test_answers_are_right():
    random = np.random.default_rng(290)
    for row in tasks(50, 0, random):
        assert dict(row[1:9].reshape(4, 2).tolist())[row[9]] == row[ANSWER] and len(set(row[1:9])) == 8
    for row in tasks(50, 1, random):
        shown = row[1:8].tolist()
        assert max(shown, key=shown.count) == row[ANSWER] and len(set(shown)) == 2
    for row in tasks(50, 2, random, True):
        assert row[1] == row[ANSWER] and len(set(row[1:8])) == 2
    for kind in range(3):
        some = tasks(50, kind, random)
        assert all(row[ANSWER] in options for row, options in zip(some, offered(some), strict=True))
    assert all(len(set(options)) == 4 for options in offered(tasks(50, 0, random)))


def test_gaps_can_be_filled_again():
    every = rows(80, 291)
    given, target = gapped(every, np.random.default_rng(292))
    for row, read, told in zip(every.tolist(), given.tolist(), target.tolist(), strict=True):
        spans, now = dict[int, list[int]](), list[int]()
        for token in told[: len(told) - told[::-1].index(END) - 1]:
            if GAP <= token < GAP + 3:
                now = spans.setdefault(token, [])
            else:
                now.append(token)
        assert sum(map(len, spans.values())) == 3 and read[-1] == START
        whole = [token for each in read[:-1] for token in spans.get(each, [each])]
        assert [token for token in whole if token != BLANK] == row


@pytest.mark.parametrize("shape", ["causal", "prefix", "encoder-decoder"])
def test_an_input_is_seen_both_ways_by_all_but_one(shape):
    every = rows(4, 293)
    given, target = pairs(every, "prefix", "next", np.random.default_rng(3))
    model = made(shape, 294)
    first = logits_of(model, shape, given, target)
    assert first.shape[:2] == target.shape
    other = target.copy()
    other[:, 1] = END
    assert torch.allclose(first[:, :2], logits_of(model, shape, given, other)[:, :2], atol=1e-5)
    if shape != "encoder-decoder":
        tokens = torch.from_numpy(every)
        changed = tokens.clone()
        changed[:, 5] = END
        moved = (model(tokens, 8 if shape == "prefix" else False) - model(changed, 8 if shape == "prefix" else False)).abs().sum(dim=2)
        assert (moved[:, 2] > 1e-6).all() == (shape == "prefix")


def test_what_is_ranked_is_offered():
    some = tasks(40, 0, np.random.default_rng(295))

    class Knows(torch.nn.Module):
        def forward(self, row: torch.Tensor, both_ways: bool) -> torch.Tensor:
            found = torch.zeros(*row.shape, 40)
            found[..., END] = 9
            found.scatter_(2, torch.from_numpy(some[:, ANSWER])[:, None, None].expand(-1, row.shape[1], 1), 5.0)
            return found

    assert ranked(Knows(), "causal", "next", some) == ranked(Knows(), "prefix", "spans", some) == 1


def test_a_conversion_trains():
    found = ConvertedObjectives(steps=2, before=2, source="causal-next", shape="prefix", taught="spans", tuning=1, rates=(0.003,)).measure(
        296
    )
    assert set(found) == {"zero_shot", "lookup", "tuned", "nats"} and 2 < found["nats"] < 5
