"""Exact match: an answer counts only whole, and as the model would write it itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import SIZE, VOCABULARY, build, moved, run

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.slots import Evaluation, HeldOut, Objective


def signs(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
    """A tokenizer of one token a character."""
    return {"input_ids": [ord(letter) % (SIZE - 10) + 5 for letter in text]}


def view(documents: list[str], context: int = 24) -> Any:
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=signs, documents=lambda split, source: iter(documents))
    objective, precision = make(Objective, "next-token"), torch.autocast("cpu", enabled=False)
    return HeldOut(("sums",), None, stream, VOCABULARY, objective, torch.device("cpu"), precision, "test", context)


def test_right_is_what_the_model_would_write_itself() -> None:
    model = moved(build("llama")).eval()
    letters = {number: chr(letter) for letter in range(65, 65 + SIZE - 10) for number in signs(chr(letter))["input_ids"]}
    # What it writes after "1+1=", found one token after the other.
    tokens = [VOCABULARY.document, *signs("1+1=")["input_ids"]]
    for _ in range(3):
        with torch.no_grad():
            tokens.append(int(run(model, torch.tensor([tokens])).logits[0, -1, 5:-5].argmax()) + 5)
    own = "".join(letters[token] for token in tokens[5:])
    wrong = own[:2] + ("a" if own[2] != "a" else "b")
    part = make(Evaluation, {"exact-match": {}})
    assert part.evaluate(model, view([f"1+1={own}", f"1+1={wrong}", f"1+1={own[:2]}", "no sign"]))["exact_match"] == pytest.approx(2 / 3)
    assert part.evaluate(model, view([f"1+1={own}", f"1+1={wrong}"]))["exact_match/sums"] == 0.5
    assert make(Evaluation, {"exact-match": {"questions": 1}}).evaluate(model, view([f"1+1={own}", "1="]))["exact_match"] == 1
    for documents, context in ((["no sign", "none behind it="], 24), (["1+1=2"], 3)):
        with pytest.raises(PartError, match="something behind it"):
            part.evaluate(model, view(documents, context))
