"""Invented facts: sentences say them, questions end with them, and a model that knows some is told from one that knows none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.invented import RELATIONS, WORDINGS, facts, person
from windtunnel.slots import Evaluation, HeldOut, Objective, Source


def told(**knobs: int) -> list[str]:
    return [text for text, _ in make(Source, {"invented-facts": knobs}).documents(Tally("x"))]


def test_facts_are_told_in_wordings_and_asked_for_in_others():
    texts = told(facts=8, wordings=WORDINGS)
    assert len(set(texts)) == 8 * WORDINGS and texts[:8] == told(facts=8) != told(facts=8, world=1)
    for number, fact in enumerate(facts(8, 0)):
        assert all(fact.who in text and fact.value in text for text in texts[number::8])
        asked = fact.question(None)
        assert not any(text.startswith(asked) for text in texts) and fact.question(None, "Ann").count("Ann") == 1
        for wording in range(WORDINGS):
            assert f"{fact.question(wording)} {fact.value}.\n" == fact.told(wording)
    assert len({person(0, number) for number in range(100)}) == 100
    assert all(len(set(relation.values)) == 10 for relation in RELATIONS)


def test_what_is_known_is_measured_against_strangers(monkeypatch):
    known = {fact.who: fact.value for fact in facts(8, 0)[:4]}  # half of the facts
    asked: list[str] = []

    def nats(model: Any, rows: Any, **_: Any) -> list[torch.Tensor]:
        texts = ["".join(map(chr, row[1:])) for row, _ in rows]
        asked.extend(texts)
        return [torch.tensor([1.0 if any(who in text and text.endswith(end) for who, end in known.items()) else 3.0]) for text in texts]

    monkeypatch.setattr("windtunnel.kits.text.prepacked.ending_nats", nats)
    stream = SimpleNamespace(facts=VOCABULARY, sources=("facts",))
    documents = lambda split, source: iter(told(facts=8))  # noqa: E731
    letters = lambda text, add_special_tokens: {"input_ids": list(map(ord, text))}  # noqa: E731
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters, documents=documents)
    precision = torch.autocast("cpu", enabled=False)
    view = HeldOut(("x",), None, stream, VOCABULARY, make(Objective, "next-token"), torch.device("cpu"), precision, "test", 200)
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    part = make(Evaluation, {"facts-known": {"source": "facts", "facts": 8}})
    found = part.evaluate(model, view)
    assert found["facts-known"] == found["facts-known/verbatim"] == pytest.approx(1.0)
    assert 0.5 <= found["facts-known/right"] <= 0.75  # where all ends are alike the first is taken, which may be the right one
    assert len(asked) == 8 * (2 + 2 + 10) and sum(any(text.startswith(one[:-8]) for one in told(facts=8)) for text in asked) >= 8
    known.clear()
    assert part.evaluate(model, view)["facts-known"] == 0
    view.made.clear()
    with pytest.raises(PartError, match="did you mean 'facts'"):
        part.model_copy(update={"source": "fact"}).evaluate(model, view)
    with pytest.raises(PartError, match="longer than the context of 8"):
        view.context = 8
        part.evaluate(model, view)
    with pytest.raises(PartError, match="tells none of the facts"):
        part.model_copy(update={"world": 7}).evaluate(model, view)
