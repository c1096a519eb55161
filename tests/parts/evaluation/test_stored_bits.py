"""Stored bits: a model that knows nothing stores none, one that knows everybody all there are."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import SIZE, VOCABULARY, build

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.encoded import KEPT
from windtunnel.slots import Evaluation, HeldOut, Objective, Source

PEOPLE = [text for text, _ in make(Source, {"made-up-people": {"count": 40}}).documents(Tally("people"))]


def letters(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
    """A tokenizer of one token a character."""
    return {"input_ids": [ord(letter) % (SIZE - 10) + 5 for letter in text]}


def view(documents: list[str], context: int = 24) -> Any:
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters, documents=lambda split, source: iter(documents if split == "train" else ()))
    objective, precision = make(Objective, "next-token"), torch.autocast("cpu", enabled=False)
    about = {"device": torch.device("cpu"), "precision": precision, "split": "test", "context": context, "trained_on": ("told",)}
    return HeldOut(("told", "held"), None, stream, VOCABULARY, objective, **about)


def test_a_model_that_finds_everything_as_likely_stores_what_is_left_of_the_bits_that_there_are() -> None:
    model: Any = build("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    name, answers = 7 * math.log2(SIZE), 7 * math.log2(SIZE)  # six letters and the sign; six letters and a space
    known = {"names": 2.0 ** (name + 3), "answers": 2.0 ** (answers + 2), "most": 7}
    found = make(Evaluation, {"stored-bits": known}).evaluate(model, view(PEOPLE))
    size = sum(weight.numel() for weight in model.parameters())
    assert found["stored_bits"] == pytest.approx(40 * 5, rel=1e-4) and found["stored_bits/parameter"] == found["stored_bits"] / size
    assert found["stored_bits/block_parameter"] > found["stored_bits/parameter"]
    assert make(Evaluation, "stored-bits").evaluate(model, view(PEOPLE))["stored_bits"] == 0, "less than nothing cannot be known"


def test_a_model_that_knows_everybody_stores_all_and_one_that_knows_names_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def knowing(per_answer: float) -> Any:
        return lambda model, rows, **how: [np.r_[math.log(40), np.zeros(6), np.full(7, per_answer)] for _ in rows]

    part, model = make(Evaluation, "stored-bits"), build("llama")
    monkeypatch.setattr("windtunnel.kits.text.prepacked.ending_nats", knowing(0.0))
    everything = part.evaluate(model, view(PEOPLE))
    assert everything["stored_bits/share"] == pytest.approx(1)
    assert everything["stored_bits/there"] == pytest.approx(40 * (12 * math.log2(26) - math.log2(40)))
    monkeypatch.setattr("windtunnel.kits.text.prepacked.ending_nats", knowing(10.0))
    assert part.evaluate(model, view(PEOPLE))["stored_bits"] == pytest.approx(40 * (6 * math.log2(26) - math.log2(40)))


def test_documents_that_tell_of_no_person_or_of_one_twice_are_refused() -> None:
    part, model = make(Evaluation, "stored-bits"), build("llama")
    twice = [*PEOPLE, PEOPLE[0]]
    for documents, context, said in ((["no sign"], 24, "behind a name"), (twice, 24, "of one name"), (PEOPLE, 8, "context of 8")):
        with pytest.raises(PartError, match=said):
            part.evaluate(model, view(documents, context))
