"""The next item: histories follow their chain, cold items stay out, and text tells of items that numbers cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from windtunnel.core.registry import make
from windtunnel.parts.experiment.next_item import FOUND, Catalogue, found
from windtunnel.slots import Experiment


def test_histories_follow_the_chain_and_leave_cold_items_out():
    random = np.random.default_rng(0)
    catalogue = Catalogue.drawn(400, random)
    warm, cold = np.flatnonzero(~catalogue.cold), np.flatnonzero(catalogue.cold)
    assert len(cold) == 80
    rows = catalogue.histories(400, random, warm, cold)
    assert not catalogue.cold[rows[:, :-1]].any() and catalogue.cold[rows[:, -1]].all()
    kinds = catalogue.kind[rows[:, :-1]]
    usual = (catalogue.follows[kinds[:, :-1]] == kinds[:, 1:]).mean()
    assert 0.7 < usual < 0.9, "four of five follow, and a twentieth by chance"
    brands = catalogue.brand[rows[:, :-1]]
    assert (brands[:, :-1] == brands[:, 1:]).mean() > 2 / 15, "a user keeps to a brand where the kind has it"


def test_items_that_are_alike_share_their_words():
    catalogue = Catalogue.drawn(200, np.random.default_rng(1))
    near = catalogue.alike()
    assert near.shape == (200, 10) and not (near == np.arange(200)[:, None]).any()
    shared = catalogue.words @ catalogue.words.T - 99 * np.eye(200)
    assert (shared[np.arange(200), near[:, 0]] == shared.max(axis=1)).all()


def test_ties_count_against_what_is_found():
    scores = np.zeros((2, 2 * FOUND))
    scores[1, 3] = 1.0
    assert found(scores, np.array([3, 3])) == 0.5


def test_text_finds_what_was_never_sold():
    def numbers(**knobs: object) -> dict[str, float]:
        return make(Experiment, {"next-item": {"asked": 400, "users": 800, "steps": 100, **knobs}}).measure(0)

    text, ids, shuffled = numbers(known_by="text"), numbers(), numbers(known_by="shuffled-text")
    assert text["cold"] > 0.1 > ids["cold"] and text["found"] > shuffled["found"] + 0.1


def test_contrast_brings_views_of_a_history_together():
    random = np.random.default_rng(2)
    catalogue = Catalogue.drawn(100, random)
    warm = np.flatnonzero(~catalogue.cold)
    learned, alike = catalogue.histories(400, random, warm, warm), catalogue.alike()

    def together(contrast: str) -> float:
        part = make(Experiment, {"next-item": {"contrast": contrast, "weight": 5.0, "items": 100, "steps": 60}})
        network = part._trained(catalogue, learned, np.random.default_rng(3))
        own = learned[:100, :-1]
        changed = np.where(np.random.default_rng(4).random(own.shape) < 0.3, alike[own, 0], own)
        with torch.no_grad():
            one, other = (normalize(network.histories(torch.from_numpy(each)), dim=1) for each in (own, changed))
        return float((one @ other.T).argmax(dim=1).eq(torch.arange(100)).double().mean())

    assert together("alike") > together("none") + 0.1


def test_numbers_have_three_digits():
    with pytest.raises(ValidationError, match="less than or equal to 1000"):
        make(Experiment, {"next-item": {"items": 1001}})
