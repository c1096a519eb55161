"""Text with feedback: what a rule finds is marked or left out, shown or dropped, and counted in what is written."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.frame import engine
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.encoded import KEPT
from windtunnel.parts.objective.conditioned import Conditioned
from windtunnel.parts.source.remarks import RUDE
from windtunnel.slots import Curator, CuratorContext, Evaluation, HeldOut, Objective, Source

PATTERN = rf"\b({'|'.join(RUDE)})\b"


def test_a_rude_remark_is_rude_of_both_and_as_many_are_as_asked():
    found = [text for text, _ in make(Source, {"remarks": {"count": 400, "rude": 0.25}}).documents(Tally("x"))]
    counts = [len(re.findall(PATTERN, text)) for text in found]
    assert set(counts) == {0, 2} and 70 <= counts.count(2) <= 130
    harsh = [count for text, count in zip(found, counts, strict=True) if text.startswith(("as ever", "once again"))]
    assert 0.7 < np.mean([count == 2 for count in harsh]) < 1 and len(harsh) > 50
    assert all(re.fullmatch(r"[a-z ]+ the \w+ \w+ \w+ the \w+ \w+ \w+ [\w ]+\.\n", text) for text in found)


def test_documents_are_marked_or_left_out_by_the_share_that_a_pattern_covers():
    texts = ["a calm sea", "a lazy dog", None, "lazy lazy", "lazy"]
    table = engine().from_pydict({"text": texts, "origin": list("abcde"), "source": ["x", "x", "x", "x", "y"], "#": list(range(5))})

    def curated(**knobs: Any) -> dict[str, list[Any]]:
        return make(Curator, {"score": {"pattern": "lazy", **knobs}}).curate(table, CuratorContext(None)).to_pydict()

    assert curated()["feedback"] == ["good", "bad", None, "bad", "bad"]
    assert curated(most=0.5, bad="", sources=["x"], field="said")["said"] == ["good", "good", None, "", None]
    assert curated(remove=True)["removed"] == [None, "score: pattern", None, "score: pattern", "score: pattern"]
    for wrong, told in (("(", "no regular expression"), ("x*", "an empty text")):
        with pytest.raises(ValueError, match=told):
            make(Curator, {"score": {"pattern": wrong}})
    with pytest.raises(ValueError, match="'text' holds something else"):
        make(Curator, {"score": {"pattern": "lazy", "field": "text"}})


def test_feedback_is_dropped_as_often_as_asked():
    metadata = np.full((400, 5, 1), 50)
    rows = {name: np.tile(np.array(row), (400, 1)) for name, row in {"tokens": [0, 10, 11, 12, 13], "documents": [0] * 5}.items()}
    rows |= {"positions": np.tile(np.arange(5), (400, 1)), "sources": np.zeros(400, int), "metadata": metadata}
    shown = Conditioned(dropped=0.25).batch(rows, VOCABULARY, np.random.default_rng(0))["tokens"][:, 1] == 50
    assert 0.68 < shown.mean() < 0.82


def test_what_is_written_is_counted_and_what_is_prompted_with_is_not(monkeypatch):
    documents = {"x": ["a lazy dog saw a lazy cat", "lazy", "the lazy end", "one"], "y": ["so lazy", "no", "one two three four five lazy"]}
    words: list[str] = ["<end>", "good"]

    def numbers(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        for word in text.split():
            if word not in words:
                words.append(word)
        return {"input_ids": [words.index(word) for word in text.split()]}

    asked: list[list[list[int]]] = []

    def generated(model: Any, _: Any, prompts: list[list[int]], most: list[int], **how: Any) -> tuple[list[str], list[int]]:
        asked.append(prompts)
        return ["so lazy" if place % 2 else "so kind" for place in range(len(prompts))], most

    monkeypatch.setattr("windtunnel.kits.text.generate.generated", generated)
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=numbers, documents=lambda split, source: iter(documents[source]))
    precision = torch.autocast("cpu", enabled=False)
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    view = HeldOut(("x", "y"), None, stream, VOCABULARY, make(Objective, "next-token"), torch.device("cpu"), precision, "test", 12)
    with pytest.raises(PartError, match="tokens 11 behind 2 of its own"):
        make(Evaluation, {"unwanted": {"pattern": "lazy", "shown": "good", "tokens": 11}}).evaluate(model, view)
    part = make(Evaluation, {"unwanted": {"pattern": "lazy", "shown": "good", "texts": 4, "tokens": 6}})
    assert part.evaluate(model, view) == {"unwanted": 0.5, "unwanted/prompted": 1 / 3, "unwanted/held_out": 5 / 7}
    said = [[" ".join(words[number] for number in row[1:]) for row in rows] for rows in asked]
    assert said == [["good"] * 4, ["good a", "good so", "good the"]] and asked[0][0][0] == VOCABULARY.document
