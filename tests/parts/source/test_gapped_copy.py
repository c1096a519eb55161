"""Gapped copies: the second copy follows from the first, a model that knows that is found out, and what is asked fits the tokenizer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import encoded
from windtunnel.kits.text.tokenizer import describe, train
from windtunnel.models import forward as forward_module
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut, Loss, Objective, Source, Weighting

KNOBS = {"count": 90, "filler": "letters", "length": 4, "letters": 9, "least": 1, "gap": 10, "offset": 2}


def texts(**knobs: Any) -> list[str]:
    return [text for text, _ in make(Source, {"gapped-copy": KNOBS | knobs}).documents(Tally("copies"))]


def test_documents_end_in_what_stood_in_them_before_and_nowhere_else():
    lengths = set()
    for text in texts():
        symbols = text.split()
        copy = symbols[-4:]
        (place,) = [at for at in range(len(symbols) - 4) if symbols[at : at + 4] == copy]
        assert place <= 2 and len(set(copy)) == 4 and not set(copy) & set(symbols[:place] + symbols[place + 4 : -4])
        lengths.add(len(symbols))
    assert lengths == set(range(9, 21))
    assert texts() == texts() != texts(seed=1)


@pytest.mark.parametrize("wrong", [{"letters": 4}, {"least": 11}, {"letters": 27}, {"filler": "dots"}])
def test_problems_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"letters|least|less than"):
        texts(**wrong)


def judged(tokenizer: Any, monkeypatch: Any, answer: Any, **knobs: Any) -> dict[str, float]:
    """The numbers of a model whose logits are those of ``answer(tokens)``."""
    facts = describe(tokenizer, sentinels=0)
    monkeypatch.setattr(encoded, "text_of", lambda stream, who: SimpleNamespace(tokenizer=tokenizer))
    monkeypatch.setattr(forward_module, "forward", lambda model, tokens: SimpleNamespace(logits=answer(tokens)))
    held_out = HeldOut((), None, None, facts, NextToken(), torch.device("cpu"), torch.no_grad, "test", 20)
    part = make(Evaluation, {"copy-accuracy": {"copied": 4, "symbols": 9, "offset": 2, "lengths": [12, 30], "questions": 3} | knobs})
    return part.evaluate(SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False, model_type="llama")), held_out)


def test_a_model_that_looks_up_what_followed_is_right_and_one_of_short_sight_only_near(monkeypatch):
    tokenizer = train(texts(), vocabulary=400, sentinels=0)

    def looked_up(tokens: torch.Tensor, sight: int = 1000) -> torch.Tensor:
        logits = torch.zeros(*tokens.shape, 400)
        for row, sequence in enumerate(tokens.tolist()):
            for at, token in enumerate(sequence):
                for before in range(max(0, at - sight), at):
                    if sequence[before] == token:
                        logits[row, at, sequence[before + 1]] = 1.0
        return logits

    assert judged(tokenizer, monkeypatch, looked_up) == {"copy-accuracy": 1.0, "copy-accuracy/12": 1.0, "copy-accuracy/30": 1.0}
    short = judged(tokenizer, monkeypatch, lambda tokens: looked_up(tokens, 10))
    assert short["copy-accuracy/12"] == 1.0 and short["copy-accuracy/30"] == 0.0
    with pytest.raises(PartError, match=r"12 symbols are 2. tokens"):
        judged(train(["other text"], vocabulary=400, sentinels=0), monkeypatch, looked_up)
    with pytest.raises(ValueError, match="lengths rise"):
        judged(tokenizer, monkeypatch, looked_up, lengths=[9])


def test_weights_are_those_of_pairs_that_came_before_in_the_document():
    tokens = torch.tensor([[5, 6, 7, 5, 6, 5, 6, 9]])
    documents = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1]])
    labels = torch.tensor([[6, 7, 5, 6, 8, 6, 7, -100]])
    loss = Loss(torch.ones(1, 8), labels != -100, None)
    weigh: Any = make(Weighting, "repeats").weigh
    batch = {"tokens": tokens, "labels": labels, "documents": documents}
    context = SimpleNamespace(objective=NextToken())
    assert weigh(loss, batch, {}, context).tolist() == [[0, 0, 0, 1, 0, 0, 0, 0]]
    with pytest.raises(PartError, match="next tokens"):
        weigh(loss, {"labels": labels}, {}, context)
    with pytest.raises(PartError, match="next tokens"):  # its labels are what was hidden, at the places where it was
        weigh(loss, batch, {}, SimpleNamespace(objective=make(Objective, "masked-token")))
