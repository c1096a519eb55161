"""Repeated passages: what goes is what a plain search finds, the first stays, and what is left of a text is as it was written."""

from __future__ import annotations

import random

import pyarrow
import pytest

from windtunnel.core.registry import make
from windtunnel.data.corpus.judging import numbered, of_source
from windtunnel.parts.curator import repeated_passages
from windtunnel.slots import Curator, CuratorContext

WORDS = [f"{a}{b}" for a in "bdfgk" for b in "aeio"]


def kept(texts: list[str | None], size: int = 4, words: int = 5) -> list[str | None]:
    """What is left of each text, judged in batches of ``size``; None for one that goes."""
    part, text = make(Curator, {"repeated-passages": {"words": words}}), pyarrow.large_string()
    whole = pyarrow.record_batch({"text": pyarrow.array(texts, text), "origin": pyarrow.array(["x"] * len(texts), text)})
    rows = list(numbered(of_source((whole.slice(start, size) for start in range(0, len(texts), size)), "notes")))
    found = part.decide([part.scan(one) for one in rows], CuratorContext(None))
    judged = [part.judge(one, found) for one in rows]
    return [None if reason else one.as_py() for after, reasons in judged for one, reason in zip(after["text"], reasons, strict=True)]


def plainly(texts: list[str], words: int) -> list[list[str]]:
    """The words that are left of each text, by a dictionary of all runs."""
    first: dict[tuple[str, ...], tuple[int, int]] = {}
    for number, text in enumerate(texts):
        split = text.split()
        for place in range(len(split) - words + 1):
            first.setdefault(tuple(split[place : place + words]), (number, place))
    left = []
    for number, text in enumerate(texts):
        split = text.split()
        gone = set()
        for place in range(len(split) - words + 1):
            other, where = first[tuple(split[place : place + words])]
            if other != number or place >= where + words:
                gone.update(range(place, place + words))
        left.append([word for place, word in enumerate(split) if place not in gone])
    return left


@pytest.mark.parametrize("piece", [1 << 24, 16])
def test_what_goes_is_what_a_plain_search_finds(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(repeated_passages, "PIECE", piece)
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=chance.randrange(0, 60))) for _ in range(30)]
    for _ in range(40):  # passages of 3 to 12 words, put into other texts
        one, other = chance.sample(range(30), 2)
        split, into = texts[one].split(), texts[other].split()
        begin, at = chance.randrange(len(split) + 1), chance.randrange(len(into) + 1)
        texts[other] = " ".join([*into[:at], *split[begin : begin + chance.randrange(3, 13)], *into[at:]])
    wanted = plainly(texts, 5)
    assert sum(map(len, wanted)) < sum(len(text.split()) for text in texts) - 100
    assert [(text or "").split() for text in kept(texts)] == wanted


def test_the_first_stays_and_the_rest_is_as_it_was_written() -> None:
    passage = "No warranty is given, express or implied"
    first = f"# One\n\n{passage}. İstanbul -- end."
    assert kept([first, f"İİ «Two»:\n{passage.upper()};  (and more)", passage, None, "a b"]) == [
        first,
        "İİ «Two»:\nand more)",
        None,
        None,
        "a b",
    ]


def test_what_repeats_within_itself_is_cut_down() -> None:
    assert kept(["ho " * 40 + "end"]) == ["ho ho ho ho ho end"]
    assert kept(["ha " * 7]) == ["ha ha ha ha ha ha ha "], "no two passages in it that do not overlap"
