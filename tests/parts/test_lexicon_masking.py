"""Masks that take words of a lexicon first: which places, how many, and what the network may see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.kits.ridge import leaning
from windtunnel.parts.experiment.lexicon_masking import LENGTH, LEXICON, MASK, WIDTH, WORDS, context, masked, written


@pytest.fixture(scope="module")
def texts() -> np.ndarray:
    return written(np.full((WORDS, WORDS - LEXICON), 1 / (WORDS - LEXICON)), 300, np.random.default_rng(155))[0]


def test_a_fifth_is_masked_and_the_lexicon_first(texts):
    own = texts >= WORDS - LEXICON
    for how in ("random", "lexicon", "shuffled", "wrong"):
        found = masked(texts, how, np.random.default_rng(156))
        assert (found.sum(axis=1) == round(LENGTH / 5)).all()
        if how in ("lexicon", "shuffled"):
            few = own.sum(axis=1) <= LENGTH // 5
            assert (found[few] >= own[few]).all() and own[found].mean() > 2 * own.mean()
        elif how == "random":
            assert own[found].mean() == pytest.approx(own.mean(), abs=0.03)


def test_the_released_order_is_from_left_to_right():
    text = np.full((1, LENGTH), WORDS - 1)
    assert masked(text, "lexicon", np.random.default_rng(157))[0].tolist() == [True] * 4 + [False] * 16
    assert masked(text, "shuffled", np.random.default_rng(158))[0].tolist() != [True] * 4 + [False] * 16


def test_topics_have_words_of_their_own(texts):
    rows, topics = written(np.full((WORDS, WORDS - LEXICON), 1 / (WORDS - LEXICON)), 400, np.random.default_rng(159))
    for topic in (0, 1):
        words = rows[topics == topic]
        own = words[words >= WORDS - LEXICON] - (WORDS - LEXICON)
        assert (own // (LEXICON // 2) == topic).all() and 0.05 < (words >= WORDS - LEXICON).mean() < 0.15


def test_the_network_sees_neighbours_and_the_mean_of_what_is_not_masked():
    table = torch.nn.Embedding(WORDS + 1, WIDTH)
    tokens = torch.tensor([[3, MASK, 5, 7]])
    found = context(table, tokens)[0, 1]
    assert torch.equal(found[:WIDTH], table.weight[3]) and torch.equal(found[WIDTH : 2 * WIDTH], table.weight[5])
    assert torch.allclose(found[2 * WIDTH :], table.weight[[3, 5, 7]].mean(dim=0))


def test_a_ridge_tells_topics_that_are_apart():
    random = np.random.default_rng(160)
    topics = np.repeat([0, 1], 20)
    rows = random.standard_normal((40, 6)) + 6 * topics[:, None]
    assert ((leaning(rows[::2], topics[::2], rows[1::2], 10) > 0) == topics[1::2]).all()
