"""Exact match: an answer counts only whole, and as the model would write it itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import SIZE, VOCABULARY, build

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT, cut
from windtunnel.slots import Evaluation, HeldOut, Objective


def signs(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
    """A tokenizer of one token a character."""
    return {"input_ids": [ord(letter) % (SIZE - 10) + 5 for letter in text]}


def view(documents: list[str], context: int = 24) -> Any:
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=signs, documents=lambda split, source: iter(documents))
    objective, precision = make(Objective, "next-token"), torch.autocast("cpu", enabled=False)
    return HeldOut(("sums",), None, stream, VOCABULARY, objective, torch.device("cpu"), precision, "test", context)


def writing(text: str, tokenizer: Any, end: int = VOCABULARY.document) -> Any:
    """A forward pass that writes the tokens of ``text`` behind each of their beginnings, then the end; anything else is followed by it."""
    whole = [VOCABULARY.document, *tokenizer(text)["input_ids"], end]

    def forward(model: Any, tokens: torch.Tensor, documents: torch.Tensor, positions: torch.Tensor) -> Any:
        logits = torch.zeros(*tokens.shape, SIZE)
        for row, numbers in enumerate(tokens.tolist()):
            for place in range(len(numbers)):
                known = numbers[: place + 1] == whole[: place + 1] and place + 1 < len(whole)
                logits[row, place, whole[place + 1] if known else end] = 1.0
        return SimpleNamespace(logits=logits)

    return forward


def joined(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
    """A tokenizer of one token a character, but that ``=2`` is one."""
    return {"input_ids": [6 if letter == "#" else ord(letter) % (SIZE - 12) + 7 for letter in text.replace("=2", "#")]}


def view_of(documents: list[str], tokenizer: Any, context: int = 24) -> Any:
    found = view(documents, context)
    found.stream.__dict__[KEPT].tokenizer = tokenizer
    return found


def test_a_sign_that_is_joined_to_the_answer_is_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cut(joined, "1+1=", "23") == (joined("1+1")["input_ids"], joined("=23")["input_ids"])
    part = make(Evaluation, {"exact-match": {}})
    for written, share in (("1+1=2", 1.0), ("1+1=3", 0.0)):
        monkeypatch.setattr("windtunnel.models.forward.forward", writing(written, joined))
        found = part.evaluate(build("llama"), view_of(["1+1=2", "1+1="], joined))
        assert found["exact_match"] == share and found["exact_match/left_out"] == 1


def test_an_answer_that_runs_on_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    part = make(Evaluation, {"exact-match": {}})
    for written, share in (("6+6=12", 1.0), ("6+6=123", 0.0)):
        monkeypatch.setattr("windtunnel.models.forward.forward", writing(written, signs))
        found = part.evaluate(build("llama"), view(["6+6=12"]))
        assert found == {"exact_match": share, "exact_match/sums": share}
        open_ended = make(Evaluation, {"exact-match": {"ends": False}}).evaluate(build("llama"), view(["6+6=12"]))
        assert open_ended["exact_match"] == 1, "the end is not asked for"


def test_right_is_what_the_model_would_write_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("llama")
    monkeypatch.setattr("windtunnel.models.forward.forward", writing("1+1=abc", signs))
    part = make(Evaluation, {"exact-match": {}})
    assert part.evaluate(model, view(["1+1=abc", "1+1=abd", "1+1=ab", "no sign"]))["exact_match"] == pytest.approx(1 / 3)
    assert part.evaluate(model, view(["1+1=abc", "1+1=abd"]))["exact_match/sums"] == 0.5
    assert make(Evaluation, {"exact-match": {"questions": 1}}).evaluate(model, view(["1+1=abc", "1="]))["exact_match"] == 1
    for documents, context in ((["no sign", "none behind it="], 24), (["1+1=2"], 3)):
        with pytest.raises(PartError, match="something behind it"):
            part.evaluate(model, view(documents, context))
