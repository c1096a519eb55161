"""Planted noise: each kind is what it says, and no document stands in two."""

from __future__ import annotations

from collections import Counter

import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.frame import texts_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text import planted
from windtunnel.slots import Source

PROSE = tuple(f"Document {number} speaks of matter {number * 7} and of nothing else that is found in others." for number in range(60))
CODE = tuple(f"def function_{number}():\n    return {number}" for number in range(90))


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(planted, "material", lambda: (PROSE, CODE))


def of(kind: str, characters: int = 600) -> list[str]:
    return list(texts_of(make(Source, {"planted-noise": {"kind": kind, "characters": characters, "seed": 3}}), Tally(kind)))


def test_no_document_stands_in_two_kinds_and_each_has_its_characters():
    clean, shuffled, other, copies, reference = map(of, ("clean", "shuffled", "other", "copies", "reference"))
    words = [sorted(text.split()) for text in PROSE]
    assert set(clean) | set(reference) <= set(PROSE) and not set(clean) & set(reference)
    assert set(other) <= set(CODE)
    from_prose = [words.index(sorted(text.split())) for text in shuffled]
    assert not {PROSE[place] for place in from_prose} & (set(clean) | set(reference)) and not set(shuffled) & set(PROSE)
    assert all(600 <= sum(map(len, texts)) < 720 for texts in (clean, shuffled, other, copies))


def test_copies_are_near_copies_of_a_few_documents():
    templates = Counter(
        max(PROSE, key=lambda text: sum(a == b for a, b in zip(text.split(), copy.split(), strict=True))) for copy in of("copies", 1200)
    )
    assert len(templates) == planted.TEMPLATES and min(templates.values()) > 1
    assert not set(templates) & {*of("clean"), *of("reference")}


def test_docstrings_are_taken_out_of_code():
    code = 'def one():\n    """Says what\n    it does."""\n    return "kept"\n'
    assert planted.without_docstrings(code) == 'def one():\n\n\n    return "kept"\n' and planted.without_docstrings("def (") == ""


def test_pieces_that_differ_in_case_alone_are_one():
    assert list(planted.pieces(["A word. " * 120, "a WORD. " * 120]).values()) == [("a WORD. " * 120).strip()]


def test_too_many_characters_are_refused():
    with pytest.raises(UserError, match=r"planted-noise\.characters: 3000 of each kind are too many"):
        of("clean", 3000)
