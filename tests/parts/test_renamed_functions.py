"""Functions of Python's library, their renamings, and an encoder that learns to see through them."""

from __future__ import annotations

import ast

import numpy as np
import torch

from windtunnel.parts.experiment.renamed_functions import (
    BUCKETS,
    SHOWN,
    Encoder,
    Function,
    functions,
    own_names,
    padded,
    renaming,
    thinned,
    words,
)

SOURCE = "def add(self, one, two=1):\n    total = one + two\n    for each in range(total):\n        self.see(each, one)\n    return total"


def test_a_renaming_changes_names_and_nothing_else():
    node = ast.parse(SOURCE).body[0]
    assert own_names(node) == ("one", "two", "total", "each")  # type: ignore[arg-type]
    renamed = renaming(Function("m", SOURCE, ("one", "two", "total", "each")), ["a", "b", "c"])
    assert renamed == SOURCE.replace("one", "a").replace("two", "b").replace("total", "c").replace("each", "a3")


def test_words_have_buckets():
    assert words("if a_1 == 20: pass") == ["if", "a_1", "=", "=", "20", ":", "pass"]
    rows = padded([["if", "x"], ["x"] * 80])
    assert rows.shape == (2, SHOWN) and rows[0, 1] == rows[1, 0] and rows[0, 2] == BUCKETS and rows[1].unique().numel() == 1
    assert abs(len(thinned(["x"] * 1000, 0.3, np.random.default_rng(310))) - 700) < 60


def test_masking_hides_the_word():
    encoder, rows = Encoder(311), padded([["a", "b", "c"], ["a", "d", "c"]])
    with torch.no_grad():
        both = encoder.mean(torch.where(rows == rows[:, 1:2], BUCKETS, rows), encoder.net)
    assert torch.allclose(both[0], both[1]) and not torch.allclose(encoder.code(rows)[0], encoder.code(rows)[1])


def test_the_library_has_functions():
    every = functions()
    assert len(every) > 800 and len({each.module for each in every}) > 30
    assert all(len(each.names) > 1 and '"""' not in each.source for each in every[:50])
