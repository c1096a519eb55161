"""Rephrasing: what a model writes takes the place of a document or is discarded, is charged and kept, and has a control of equal length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import generate
from windtunnel.parts.curator.rephrase import PROMPTS, Rephrase, cut, extract
from windtunnel.slots import Curator, CuratorContext

TEXTS = ["one  two three. Four five six.\n\nSeven eight nine ten.", "a b c d. e f g h", "silence", "   "]

SEEDS: list[int] = []  # of the batches that were written


def batch(texts: list[str] = TEXTS) -> pyarrow.RecordBatch:
    form = pyarrow.large_string()
    columns = {"text": pyarrow.array(texts, form), "origin": pyarrow.array(map(str, range(len(texts))), form)}
    return pyarrow.record_batch(columns | {"source": pyarrow.array(["s"] * len(texts), form), "#": pyarrow.array(range(len(texts)))})


class Journal:
    """What curators are handed, with what they spend and compute kept for all to see."""

    def __init__(self) -> None:
        self.tokens, self.known, self.tally = 0, {}, Tally("all")

    def counted(self, tokens: int) -> Any:
        self.tokens += tokens
        return pytest.MonkeyPatch.context()

    def once(self, name: str, compute: Any) -> Any:
        self.known.setdefault(name, None)
        if self.known[name] is None:
            self.known[name] = compute()
        return self.known[name]

    def context(self) -> CuratorContext:
        model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=400))

        def tokenizer(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": list(text.encode())}

        return CuratorContext(self.tally, {"model": model}, {"model": tokenizer}, self.counted, self.once)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """The pieces that were asked for; the writer says them in capitals, with a lead-in, and nothing of what is silent."""
    asked: list[str] = []
    SEEDS.clear()

    def written(model: Any, tokenizer: Any, prompts: list[list[int]], most: list[int], **how: Any) -> tuple[list[str], list[int]]:
        pieces = [bytes(prompt).decode().split("\n\n", 1)[1].strip() for prompt in prompts]
        asked.extend(pieces)
        texts = ["" if piece == "silence" else f"Sure, here it is\nHere's a paraphrase: {piece.upper()}" for piece in pieces]
        SEEDS.append(how["seed"])
        return texts, [len(text) + 1 for text in texts]

    monkeypatch.setattr(generate, "generated", written)
    monkeypatch.setattr("windtunnel.kits.text.judged.reading", lambda *_: None)
    return asked


def rewritten(journal: Journal, **knobs: Any) -> list[str]:
    part = make(Curator, {"rephrase": {"model": {"folder": "writer"}, "share": 1.0, "piece": 40, **knobs}})
    found = part.decide([part.scan(batch())], journal.context())
    rows, reasons = part.judge(batch(), found)
    assert reasons == [None] * 4
    return rows.column("text").to_pylist()


def test_what_is_written_takes_the_place_and_what_is_no_good_is_discarded(said) -> None:
    journal = Journal()
    once = rewritten(journal)
    assert once == ["ONE  TWO THREE. FOUR FIVE SIX.\n\nSEVEN EIGHT NINE TEN.", "A B C D. E F G H", "silence", "   "]
    assert said == [*cut(TEXTS[0], 40), TEXTS[1], "silence"] and journal.tokens > sum(map(len, said))
    spent = journal.tokens
    assert rewritten(journal) == once and len(said) == 4 and journal.tokens == spent, "something was written twice"
    control = rewritten(journal, written="rules")
    assert control[1:] == TEXTS[1:] and control[0] == "one two three. Four five six. Seven eight nine ten."


def test_what_is_charged_and_limited_is_what_was_written(said) -> None:
    journal = Journal()
    rewritten(journal, batch=1)
    prompts = sum(len(f"{PROMPTS['medium']}\n\n{piece}\n") for piece in said)
    texts = sum(len(f"Sure, here it is\nHere's a paraphrase: {piece}") for piece in said if piece != "silence")
    assert journal.tokens == prompts + texts + len(said)
    assert len(set(SEEDS)) == len(said), "batches have the same seed"
    first = len(f"Sure, here it is\nHere's a paraphrase: {said[0]}") + len(f"Sure, here it is\nHere's a paraphrase: {said[1]}") + 2
    del said[:]
    rewritten(Journal(), batch=1, most=first + 1)
    assert len(said) == 3, "what was only allowed counts as written"


def test_what_comes_to_nothing_is_refused(said) -> None:
    with pytest.raises(PartError, match=r"rephrase: none of 3 documents with text was drawn .share: 1e-09"):
        rewritten(Journal(), share=1e-9)
    with pytest.raises(PartError, match=r"none of 3 documents.*longest: 0.1, .*discarded of 3, and 0 were left"):
        rewritten(Journal(), longest=0.1)


def test_from_enough_tokens_on_nothing_is_written(said) -> None:
    with pytest.raises(PartError, match=r"none of 3 documents.*most: 1\): .*of 0, and 3 were left after \d+ tokens"):
        rewritten(Journal(), batch=1, most=1)  # half a document
    found = rewritten(Journal(), batch=2, most=1)
    assert found[0].isupper() and found[1:] == TEXTS[1:]


def test_a_share_is_drawn_by_the_text() -> None:
    part = make(Curator, {"rephrase": {"model": {"folder": "writer"}, "share": 0.3}})
    texts = [f"document {number}" for number in range(300)]
    drawn = part.scan(batch(texts))["row"].tolist()
    assert 60 < len(drawn) < 120
    assert [299 - row for row in part.scan(batch(texts[::-1]))["row"].tolist()][::-1] == drawn


def test_pieces_end_where_text_does_and_extracts_have_the_length_asked_for() -> None:
    text = "First line here.\nSecond line is longer, it goes on. And a sentence more behind it.\n\nA new paragraph."
    pieces = cut(text, 50)
    assert all(len(piece) <= 50 for piece in pieces) and " ".join(pieces).split() == text.split()
    assert cut("x" * 100, 40) == ["x" * 40, "x" * 40, "x" * 20]
    assert extract("One two.  Three four. Five six.", 19) == "One two. Three four." and len(extract("x" * 100, 10)) == 10


def test_repeats_are_discarded() -> None:
    part = Rephrase.model_validate({"model": {"folder": "writer"}})
    assert part._tidy("again\n" * 5, "x" * 30) is None and part._tidy("short", "x" * 100) is None
    assert part._tidy("x" * 60, "y" * 30) == "x" * 60 and part._tidy("x" * 61, "y" * 30) is None
    assert part._tidy("Sure!\nHere is the text: good words", "x" * 20) == "good words"
