"""A reader that is told what to read."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.prompted_reader import PromptedReader, pages


def test_pages_show_two_digits_and_ask_for_one():
    images = np.stack([np.full((8, 8), value) for value in (0.1, 0.4, 0.8)])
    images[:, 0, 0] = 0
    shown, labels, tasks = pages(images, np.array([1, 4, 8]), 300, np.random.default_rng(0))
    page = shown.reshape(300, 8, 16) + 0.5
    asked = np.where(tasks % 2 == 0, page[:, 4, 4], page[:, 4, 12])
    assert np.allclose(np.where(tasks // 2 == 2, 1 - asked, asked), labels / 10)
    turned = page[tasks // 2 == 1]
    assert (turned[:, 7, 0] == 0).all() and (turned[:, 0, 0] > 0).all(), "the first corner goes down where a digit is turned"


def test_a_prompt_counts():
    tiny = dict(images=900, sums=120)
    one, silent, wrong = (PromptedReader(**more, **tiny).measure(80)["accuracy"] for more in ({}, {"reader": "silent"}, {"told": "wrong"}))
    assert one > silent + 0.1 and one > wrong + 0.2
