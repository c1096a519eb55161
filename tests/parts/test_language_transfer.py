"""Languages and a task in them: brackets that nest, texts that are spoiled by as much as said, and a model that tells them."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.kits.ridge import leaning
from windtunnel.kits.text.windowed import made, nats, windows
from windtunnel.parts.experiment.language_transfer import BYTES, LENGTH, LanguageTransfer, brackets, read, spoil


def test_brackets_close_what_was_opened_last():
    for row in brackets(20, np.random.default_rng(188)).tolist():
        open_ = []
        for sign in row:
            if sign < BYTES // 2:
                open_.append(sign)
            else:
                assert open_.pop() == sign - BYTES // 2


def test_a_spoiled_text_has_its_own_bytes_elsewhere():
    texts = np.random.default_rng(189).permuted(np.tile(np.arange(LENGTH), (30, 1)), axis=1)
    found = spoil(texts, 0.25, np.random.default_rng(190))
    assert (np.sort(found, axis=1) == np.sort(texts, axis=1)).all() and ((found != texts).sum(axis=1) == LENGTH // 4).all()


def test_what_is_read_of_a_text_is_what_it_costs():
    model, texts = made(6, BYTES), np.random.default_rng(191).integers(0, BYTES, (3, LENGTH))
    found = read(model, texts)
    assert found[1, 0] == pytest.approx(nats(model, windows(texts[1:2])), rel=1e-5) and found.shape == (3, 10 + 64)


def test_rows_that_are_apart_are_told_and_knowing_the_language_helps():
    random = np.random.default_rng(192)
    names = np.repeat([False, True], 20)
    rows = random.standard_normal((40, 5)) + 5 * names[:, None]
    assert ((leaning(rows[::2], names[::2], rows[1::2], 30) > 0) == names[1::2]).all()
    knobs = {"texts": 300, "steps": 250, "spoiled": 0.4}
    own, nothing = (LanguageTransfer(trained_on=one, **knobs).measure(193) for one in ("own", "nothing"))
    assert own["accuracy"] > nothing["accuracy"] and own["nats"] < nothing["nats"]
