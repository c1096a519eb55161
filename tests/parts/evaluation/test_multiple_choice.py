"""Multiple choice: scores are those of the model's own logits, lengths count, and a bad file is refused by its line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import SIZE, VOCABULARY, build, run

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.questions import paired, read_questions
from windtunnel.slots import Evaluation, HeldOut, Objective

LINES = [
    {"question": "ab", "choices": ["cd", "c", "def"], "answer": "B"},
    {"question": "b", "choices": ["ace", "d"], "answer": 0},
    {"question": "cab", "choices": ["dd", "e"], "answer": "e"},
]


def letters(text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
    """A tokenizer of one token a letter."""
    return {"input_ids": [ord(letter) % (SIZE - 10) + 5 for letter in text]}


def held_out() -> HeldOut:
    stream = SimpleNamespace(facts=VOCABULARY)
    stream.__dict__[KEPT] = SimpleNamespace(tokenizer=letters)
    objective, precision = make(Objective, "next-token"), torch.autocast("cpu", enabled=False)
    return HeldOut((), None, stream, VOCABULARY, objective, torch.device("cpu"), precision, "test", 24)


def written(folder: Path, lines: list[Any]) -> str:
    (folder / "mine.jsonl").write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(folder / "mine.jsonl")


@pytest.mark.parametrize("per", ["characters", "nothing"])
def test_scores_are_the_likelihoods_of_the_choices(tmp_path, per):
    model, file = build("llama").eval(), written(tmp_path, LINES)
    part = make(Evaluation, {"multiple-choice": {"file": file, "per": per}})
    right = []
    for line, answer in zip(LINES, (1, 0, 1), strict=True):
        scores = []
        for choice in line["choices"]:
            tokens = torch.tensor([[0, *letters(f"{line['question']} {choice}")["input_ids"]]])
            with torch.no_grad():
                odds = run(model, tokens).logits.log_softmax(-1)[0, :-1].gather(1, tokens[0, 1:, None])[:, 0]
            # The space belongs to the choice: it is cut as lm-evaluation-harness cuts it.
            scores.append(float(odds[-len(choice) - 1 :].sum()) / (len(choice) if per == "characters" else 1))
        right.append(scores.index(max(scores)) == answer)
    found = part.evaluate(model, held_out())
    assert found["multiple_choice/mine"] == pytest.approx(sum(right) / 3)
    assert found["multiple_choice/mine/chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert found.by_document.unit.tolist() == [1, 2, 3] and found.by_document.above.tolist() == right
    share = sum(right) / 3
    assert found["multiple_choice/mine/standard_error"] == pytest.approx((share * (1 - share) / 2) ** 0.5)


def test_spaces_belong_to_the_choice():
    assert [len(side) for side in paired(letters, "ab ", "cd")] == [2, 3]


def test_a_mark_at_the_beginning_and_separators_within_a_text_are_no_trouble(tmp_path):
    line = json.dumps({"question": "a\u2028b", "choices": ["c", "d"], "answer": 0}, ensure_ascii=False)
    (tmp_path / "q.jsonl").write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n")
    (found,) = read_questions(tmp_path / "q.jsonl", question="question", choices="choices", answer="answer")
    assert found.text == "a\u2028b"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r":2: not JSON"),
        ({"question": "a", "choices": ["b", "c"]}, r":2: has no answer"),
        ({"question": "a", "choices": ["b"], "answer": 0}, r":2: choices is a list of two"),
        ({"question": "a", "choices": ["b", "c"], "answer": 2}, r":2: answer is 2, which is none of 2 choices"),
        ({"question": "a", "choices": ["b", "c", "b"], "answer": 0}, r":2: choices has the answer 'b' twice; leave one out"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    with pytest.raises(PartError, match=says):
        read_questions(Path(written(tmp_path, [LINES[0], line])), question="question", choices="choices", answer="answer")


def test_content_is_pinned_and_what_does_not_fit_is_refused(tmp_path):
    file = written(tmp_path, LINES)
    part = make(Evaluation, {"multiple-choice": file}).pinned()
    assert part.digest and part.pinned() == part
    written(tmp_path, LINES[:2])
    with pytest.raises(PartError, match="has changed"):
        part.evaluate(build("llama").eval(), held_out())
    written(tmp_path, [{**LINES[0], "question": "a" * 40}])
    with pytest.raises(PartError, match=r"mine\.jsonl:1: takes 4\d tokens, more than the context of 24"):
        make(Evaluation, {"multiple-choice": file}).evaluate(build("llama").eval(), held_out())
    with pytest.raises(PartError, match="no such file"):
        make(Evaluation, {"multiple-choice": "nowhere.jsonl"}).pinned()
