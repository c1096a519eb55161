"""Retrieval: pairs are of one document, the loss is that of the definition, exact search finds what is nearest, BM25 is its formula."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rows import VOCABULARY, generator, make_rows, tensors

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.search import bm25_ranks, pooled, ranks, reciprocal
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.objective.inverse_cloze import InverseCloze
from windtunnel.slots import Evaluation, HeldOut, Objective


def small_decoder() -> Any:
    return fresh(config_for(ModelSettings(family="llama", layers=1, width=16, heads=2), VOCABULARY, 32), 0).eval()


@pytest.mark.parametrize("take", ["random", "beginning"])
def test_query_and_passage_are_one_document(take):
    rows = make_rows(2, 40, 32, 0.08, 0.3)
    batch = InverseCloze(take=take, kept=0.0, query=0.3).prepare(rows, VOCABULARY, generator())
    assert (batch["labels"] == 0).mean() > 0.8
    for row, (query, passage) in enumerate(zip(batch["queries"], batch["passages"], strict=True)):
        if batch["labels"][row, 0] == -100:
            assert (query == VOCABULARY.pad).all()
            continue
        counts = np.bincount(rows["documents"][row][rows["documents"][row] >= 0])
        text = rows["tokens"][row][rows["documents"][row] == counts.argmax()]
        text = text[text != VOCABULARY.document].tolist()
        query, passage = ([*each[(each != VOCABULARY.pad) & (each != VOCABULARY.document)]] for each in (query, passage))
        assert len(query) == max(1, round(len(text) * 0.3))
        assert any(passage[:at] + query + passage[at:] == text for at in range(len(passage) + 1))
        assert take == "random" or query == text[: len(query)]
    kept = InverseCloze(kept=1.0).prepare(rows, VOCABULARY, generator())["passages"]
    assert (kept != VOCABULARY.pad).sum() > (batch["passages"] != VOCABULARY.pad).sum()
    length = rows["tokens"].shape[1]
    assert kept.shape[1] == length + 2 and batch["passages"].shape[1] == length + 2 - round(length * 0.3)
    whole = {"tokens": np.full((1, length), 7), "documents": np.zeros((1, length), int)}
    longest = InverseCloze(take=take, kept=0.0, query=0.3).prepare(whole, VOCABULARY, generator())
    assert (longest["lengths"][0] == [longest[side].shape[1] for side in ("queries", "passages")]).all(), "no more padding than it takes"
    with pytest.raises(UserError, match="too short for a pair"):
        InverseCloze().prepare(make_rows(1, 2, 7), VOCABULARY, generator())


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_the_loss_is_that_of_its_definition_and_padding_changes_nothing(pool):
    model, objective = small_decoder(), InverseCloze(pool=pool, temperature=0.1)
    rows = make_rows(4, 6, 32, 0.0)
    rows["documents"][2] = -1  # no pair
    batch = tensors(objective.prepare(rows, VOCABULARY, generator()))
    with torch.no_grad():
        loss = objective.loss(model, batch)
    real = [0, 1, 3, 4, 5]
    alone = {}
    for side in ("queries", "passages"):
        texts = [tokens[tokens != VOCABULARY.pad][None] for tokens in batch[side][real]]
        with torch.no_grad():
            alone[side] = torch.cat([pooled(model, text, torch.tensor([text.shape[1]]), pool) for text in texts])
    scores = alone["queries"] @ alone["passages"].T / 0.1
    expected = torch.logsumexp(scores, dim=1) - scores.diagonal()
    assert loss.counts[:, 0].tolist() == [True, True, False, True, True, True]
    assert torch.allclose(loss.values[real, 0], expected, atol=1e-5)


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_padding_with_the_token_that_ends_texts_changes_nothing(pool):
    model, objective = small_decoder(), InverseCloze(pool=pool)
    losses = []
    for vocabulary in (VOCABULARY, dataclasses.replace(VOCABULARY, pad=VOCABULARY.document)):  # as of many checkpoints
        batch = tensors(objective.prepare(make_rows(4, 6, 32, 0.08), vocabulary, generator()))
        with torch.no_grad():
            losses.append(objective.loss(model, batch).values)
    assert torch.allclose(*losses, atol=1e-5)


def test_exact_search_counts_what_is_at_least_as_near(monkeypatch):
    random = np.random.default_rng(0)
    queries, passages = (random.standard_normal((count, 4)).astype(np.float32) for count in (7, 30))
    own = random.integers(30, size=7)
    scores = queries @ passages.T
    wanted = [sum(scores[row, other] >= scores[row, place] for other in range(30) if other != place) for row, place in enumerate(own)]
    monkeypatch.setattr("windtunnel.kits.text.search.CELLS", 60)  # two queries at once
    assert ranks(queries, passages, own).tolist() == wanted
    assert ranks(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)).tolist() == [2, 2, 2], "ties count against the model"
    assert ranks(np.full((3, 2), np.nan, np.float32), np.ones((3, 2), np.float32)).tolist() == [2, 2, 2], "what is no number finds nothing"
    assert reciprocal(np.array([0, 1, 9, 10])) == pytest.approx((1 + 1 / 2 + 1 / 10) / 4)


def test_bm25_is_its_formula():
    passages = [text.split() for text in ("a a b", "b c", "c d e f")]
    queries = [["a", "b"], ["b", "nowhere"], ["c"]]

    def score(query: list[str], passage: list[str]) -> float:
        total = 0.0
        for word in query:
            holds = sum(word in other for other in passages)
            often = passage.count(word)
            rare = math.log(1 + (3 - holds + 0.5) / (holds + 0.5))
            total += rare * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(passage) / 3)) if often else 0
        return total

    wanted = [sum(score(query, other) >= score(query, passages[row]) for other in passages) - 1 for row, query in enumerate(queries)]
    assert wanted == [0, 0, 1]
    assert bm25_ranks(queries, passages).tolist() == wanted
    assert bm25_ranks([["a"], ["nowhere"]], passages[:2]).tolist() == [0, 1], "no word in common: a tie with all"


def test_retrieval_tells_a_model_that_knows_from_one_that_does_not(monkeypatch):
    objective = make(Objective, {"inverse-cloze": {"kept": 0.0}})
    batches = [tensors(objective.prepare(make_rows(seed, 8, 32, 0.0), VOCABULARY, generator(seed))) for seed in range(2)]
    stream: Any = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(
        tokenizer=SimpleNamespace(batch_decode=lambda rows, skip_special_tokens: [" ".join(f"w{number}" for number in row) for row in rows])
    )
    precision = torch.autocast("cpu", enabled=False)
    view = HeldOut(
        ("x",), lambda source, objective: iter(batches), stream, VOCABULARY, objective, torch.device("cpu"), precision, "test", 32
    )
    part = make(Evaluation, "retrieval")
    blind = part.evaluate(small_decoder(), view)
    assert blind["retrieval/passages"] == 16 and 0 <= blind["recall_1"] <= blind["recall_10"] <= 1

    def knows(self: Any, model: Any, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.arange(len(tokens)) + calls.pop(0), 16).float()

    calls = [0, 0, 8, 8]  # queries and passages of the first batch, then of the second
    monkeypatch.setattr(InverseCloze, "vectors", knows)
    found = part.evaluate(small_decoder(), view)
    assert found["retrieval"] == found["recall_1"] == 1 and found["retrieval/bm25"] == blind["retrieval/bm25"]
    for batch in batches:
        batch["labels"][:] = -100
    with pytest.raises(PartError, match="0 held-out sequences make a pair"):
        make(Evaluation, "retrieval").evaluate(small_decoder(), view)
    with pytest.raises(PartError, match="makes no pairs"):
        make(Evaluation, {"retrieval": {"objective": "next-token"}}).evaluate(small_decoder(), view)
    with pytest.raises(PartError, match="needs a decoder"):
        part.evaluate(fresh(config_for(ModelSettings(family="bert", layers=1, width=16, heads=2), VOCABULARY, 32), 0), view)
