"""Image vectors that are replaced: by which, how many, and what sees them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from windtunnel.kits.image.token_pool import TokenReader
from windtunnel.kits.image.written import IMAGE, WORDS, written
from windtunnel.parts.experiment.restored_tokens import RestoredTokens, questions


def reader(**knobs: object) -> TokenReader:
    torch.manual_seed(0)
    return TokenReader(16, 6, 6, 16, RestoredTokens(**knobs), 0)


def test_the_pool_stands_in_as_it_should():
    vectors, random = torch.randn(3, 16, 6), torch.Generator().manual_seed(0)
    for how in ("nearest", "matched"):
        made = reader(attention="mixed", replaced=how)
        seen, hidden = made.seen(vectors), made.hidden(3, random)
        assert hidden.sum(dim=1).tolist() == [12, 12, 12] and torch.allclose(seen.norm(dim=2), torch.ones(3, 16), atol=1e-5)
        chosen, apart = made.chosen(seen, hidden), torch.cdist(seen, made.pool.expand(3, -1, -1)).detach()
        for one in range(3):
            wanted = apart[one][hidden[one]]
            best = wanted.argmin(dim=1) if how == "nearest" else torch.from_numpy(linear_sum_assignment(wanted.numpy())[1])
            assert chosen[one][hidden[one]].tolist() == best.tolist()
        given = made.replaced(seen, hidden)
        assert torch.equal(given[~hidden], seen[~hidden]) and torch.equal(given[hidden], made.pool[chosen[hidden]])
    made = reader(replaced="mask")
    assert torch.equal(made.replaced(seen, hidden)[hidden][0], made.mask)


@pytest.mark.parametrize("attention", ["causal", "mixed"])
def test_image_vectors_see_those_behind_them_only_where_they_may(attention):
    made, words = reader(attention=attention), torch.tensor([[1, 2, 3]])
    seen = made.seen(torch.randn(1, 16, 6))
    changed, other = seen.clone(), torch.tensor([[1, 2, 4]])
    changed[:, 15] = torch.randn(16)
    before, after, said = made.states(seen, words), made.states(changed, words), made.states(seen, other)
    assert torch.allclose(before[:, 0], after[:, 0], atol=1e-5) is (attention == "causal")
    assert torch.allclose(before[:, :-1], said[:, :-1], atol=1e-5), "words are foretold from those before them"


def test_the_pool_learns_where_it_stands_in_and_originals_stay():
    vectors, words = torch.randn(4, 16, 6), torch.randint(0, WORDS, (4, 6))
    for knobs, restores in ({"replaced": "matched"}, True), ({"replaced": "matched", "restore": False}, False), ({}, False):
        made = reader(attention="mixed", **knobs)
        written_loss, restored = made.losses(vectors, words, torch.Generator().manual_seed(0), 0.01)
        (written_loss + restored).backward()
        assert (float(restored.detach()) > 0) is restores
        assert (made.pool.grad is not None) is bool(knobs)


def test_questions_are_answered_by_the_caption():
    found = written(np.random.default_rng(0), 5, 24, 2)
    rows, asked, answers = questions(found)
    for row, (cell, kind), answer in zip(rows.tolist(), asked.tolist(), answers.tolist(), strict=True):
        caption = found.captions[row].tolist()
        assert answer == caption[caption.index(cell) + (1 if kind == IMAGE else 2)]
    assert len(rows) == 20
