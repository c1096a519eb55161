"""Going on in a domain: made languages are as near as said, noise has its size, copies and noise are removed, shares are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.kits.text.windowed import BACK, chances, drawn, language, learn, made, nats, windows
from windtunnel.parts.experiment.domain_continuation import LENGTH, DomainContinuation, shaken


def test_languages_share_what_they_should():
    random = np.random.default_rng(126)
    first = language(30, random)
    near, far = (language(30, random, like=first, shared=share) for share in (0.9, 0.0))
    assert np.corrcoef(first.ravel(), near.ravel())[0, 1] == pytest.approx(0.9, abs=0.03)
    assert abs(np.corrcoef(first.ravel(), far.ravel())[0, 1]) < 0.1
    assert near.std() == pytest.approx(first.std(), rel=0.05) and far.std() == pytest.approx(first.std(), rel=0.05)  # equally sharp
    odds = chances(first)
    assert odds.sum(axis=2) == pytest.approx(np.ones((30, 30)))
    assert odds[3, 5] == pytest.approx(np.exp(first[0, 3] + first[1, 5]) / np.exp(first[0, 3] + first[1, 5]).sum())


def test_texts_follow_their_language():
    odds = np.zeros((5, 5, 5))
    for one in range(5):
        for two in range(5):
            odds[one, two, (one + two) % 5] = 1
    texts = drawn(odds, 20, 9, np.random.default_rng(127))
    assert ((texts[:, :-2] + texts[:, 1:-1]) % 5 == texts[:, 2:]).all()
    runs = windows(texts)
    assert runs.shape == (20 * 7, BACK + 1) and runs[0].tolist() == texts[0, :3].tolist()


def test_the_model_learns_a_language():
    random = np.random.default_rng(128)
    odds = chances(language(12, random))
    rows, held = (windows(drawn(odds, 150, 12, random)) for _ in range(2))
    model = made(1, 12)
    before = nats(model, held)
    learn(model, [rows], [1.0], random, steps=120, rate=0.02)
    assert nats(model, held) < before - 0.3


def test_what_is_cleaned_is_gone():
    odds = np.full((40, 40, 40), 1 / 40)
    sizes = {}
    for clean in ("no", "copies", "all"):
        part = DomainContinuation(texts=20, copies=5, spoiled=0.5, clean=clean)
        texts = part._texts(odds, np.random.default_rng(129))
        sizes[clean] = (len(texts), len(np.unique(texts, axis=0)))
        assert texts.shape[1] == LENGTH
    assert sizes == {"no": (48, 40), "copies": (40, 40), "all": (20, 20)}


def test_noise_is_of_the_size_of_the_weights():
    model = made(2, 40)
    before = [one.detach().clone() for one in model.parameters()]
    shaken(model, 0.5, np.random.default_rng(130))
    for old, new in zip(before, model.parameters(), strict=True):
        if old.numel() > 500:
            assert float((new - old).std() / old.std()) == pytest.approx(0.5, rel=0.1)
    shaken(model, 0.0, np.random.default_rng(131))
    assert all(torch.isfinite(one).all() for one in model.parameters())


def test_languages_are_told_by_how_much_there_is_of_them():
    found = DomainContinuation(general=0, steps=40, texts=20, sizes=(10, 80)).measure(132)
    assert set(found) == {"domain", "general", "rarest", "commonest"} and found["domain"] not in (found["rarest"], found["commonest"])


def test_arms_of_a_seed_meet_the_same_texts():
    knobs = {"general": 2, "steps": 4, "texts": 20, "purity": 0.0}
    alone, several = (DomainContinuation(sizes=sizes, **knobs).measure(133) for sizes in ((), (10, 80)))
    assert (alone["domain"], alone["general"]) == pytest.approx((several["domain"], several["general"]))
    with pytest.raises(PartError, match="general 5"):
        DomainContinuation(general=5, steps=4).measure(0)
