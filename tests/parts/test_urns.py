"""Urns: the two observers are what they are said to be, and models that predict as they do are told apart."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import urns as kit
from windtunnel.kits.text.encoded import KEPT
from windtunnel.slots import Evaluation, HeldOut, Objective, Source


def test_observers_are_bayes_estimators():
    draws, urns = np.array([[0, 1, 1]]), np.array([[0.5, 0.5], [0.1, 0.9]])
    found = kit.memorising(draws, urns)[0]
    assert found[0] == pytest.approx([0.3, 0.7])
    odds = np.array([0.5 * 0.5, 0.1 * 0.9]) / (0.25 + 0.09)
    assert found[2] == pytest.approx(odds @ urns)
    assert kit.generalising(draws, 2)[0] == pytest.approx(np.array([[1 / 2, 1 / 2], [2 / 3, 1 / 3], [2 / 4, 2 / 4]]))
    one, two = np.array([[[0.5, 0.5]]]), np.array([[[0.25, 0.75]]])
    assert kit.divergence(one, two) == pytest.approx((0.25 * np.log(2) - 0.25 * np.log(2 / 3)) / 2)


def test_a_mixture_of_observers_is_told_by_its_share():
    draws = np.random.default_rng(0).integers(0, 3, (20, 9))
    one, other = kit.memorising(draws, kit.pool(4, 3, 0)), kit.generalising(draws, 3)
    for share in (0.0, 0.3, 1.0):
        assert kit.share_of(one, other, share * one + (1 - share) * other) == pytest.approx(share, abs=1e-6)
    assert kit.nats(np.full((1, 2, 4), 0.25), np.array([[0, 3]])) == pytest.approx(np.log(4))


def test_sequences_come_from_the_urns_of_the_pool():
    texts = [text for text, _ in make(Source, {"urns": {"urns": 2, "colours": 3, "draws": 200, "count": 40}}).documents(Tally("x"))]
    shares = np.array([[text.split().count(colour) / 200 for colour in "abc"] for text in texts])
    distances = np.abs(shares[:, None] - kit.pool(2, 3, 0)).max(axis=-1)
    assert distances.min(axis=1).max() < 0.15 and set(distances.argmin(axis=1)) == {0, 1}
    assert kit.urn(random.Random(1), 4) != kit.urn(random.Random(2), 4) and sum(kit.urn(random.Random(1), 4)) == pytest.approx(1)


@pytest.mark.parametrize(("observer", "stands"), [("memorising", 1.0), ("generalising", 0.0)])
def test_a_model_that_predicts_as_an_observer_does_is_told(monkeypatch, observer, stands):
    def forward(model: Any, tokens: torch.Tensor) -> Any:
        draws = np.concatenate([tokens[:, 1:].numpy() - 10, np.zeros((len(tokens), 1), int)], axis=1)
        expected = kit.memorising(draws, kit.pool(3, 4, 0)) if observer == "memorising" else kit.generalising(draws, 4)
        logits = torch.zeros(*tokens.shape, 20)
        logits[..., 10:14] = torch.from_numpy(np.log(expected)).float()
        return SimpleNamespace(logits=logits)

    def letters(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [10 + ord(letter) - ord("a") for letter in text.split()]}

    monkeypatch.setattr("windtunnel.models.forward.forward", forward)
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters)
    precision = torch.autocast("cpu", enabled=False)
    view = HeldOut(("x",), None, stream, VOCABULARY, make(Objective, "next-token"), torch.device("cpu"), precision, "test", 12)
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    part = make(Evaluation, {"icl-strategy": {"urns": 3, "colours": 4, "draws": 11, "sequences": 32}})
    found = part.evaluate(model, view)
    assert found["icl-strategy"] == pytest.approx(stands, abs=1e-4) and found[f"icl-strategy/{observer}"] == pytest.approx(0, abs=1e-5)
    assert found[f"icl-strategy/{observer}/new"] == pytest.approx(0, abs=1e-5) and found["icl-strategy/generalising/new"] >= 0
    assert found["icl-strategy/weight"] == pytest.approx(stands, abs=1e-4) and found["icl-strategy/mixed"] == pytest.approx(0, abs=1e-5)
    assert found["icl-strategy/gap"] > 0
    with pytest.raises(PartError, match="draws 13 is more than the context of 12"):
        part.model_copy(update={"draws": 13}).evaluate(model, view)
    stream.__dict__[KEPT].tokenizer = lambda text, add_special_tokens: {"input_ids": [1, 2]}
    with pytest.raises(PartError, match="'a' is no token"):
        part.evaluate(model, view)
