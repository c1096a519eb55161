"""Test sets of one's own, and splits by a field: what lands where, and what is said of mistakes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.prepare import Corpus, prepare_corpus
from windtunnel.recipe.settings import SplitSettings
from windtunnel.slots import Source

WORDS = [first + second + third for first in "bdfgklmnprstv" for second in "aeiou" for third in ("n", "r", "sk", "t")]


def text(number: int) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=60))


def file(path: Path, rows: list[dict[str, object]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return make(Source, {"files": {"path": str(path)}})


def prepared(folder: Path, notes: Source, **more: object) -> Corpus:
    shares = {"validation": 0.1, "test": 0.1, "near_duplicates": 0.8}
    return prepare_corpus({"notes": notes}, **(shares | more), cache=folder / "cache")  # type: ignore[arg-type]


def texts(corpus: Corpus, split: str, source: str = "notes") -> list[str]:
    return [one for batch in corpus.documents(split, source) for one in batch]


def test_a_held_out_source_is_never_trained_on_and_neither_are_copies_of_it(tmp_path):
    notes = file(tmp_path / "notes.jsonl", [{"text": text(number)} for number in range(60)])
    own = [text(number) for number in range(100, 120)]
    target = file(tmp_path / "target.jsonl", [{"text": one} for one in (*own, text(3), text(4) + " and more")])
    corpus = prepared(tmp_path, notes, held_out={"target": target}, held_out_validation=0.2)
    assert corpus.sources == ("notes", "target")
    assert not texts(corpus, "train", "target")
    assert sorted(texts(corpus, "test", "target") + texts(corpus, "validation", "target")) == sorted([*own, text(3), text(4) + " and more"])
    assert len(texts(corpus, "validation", "target")) < len(texts(corpus, "test", "target"))
    everywhere = {one for split in ("train", "validation", "test") for one in texts(corpus, split)}
    assert text(3) not in everywhere  # the exact copy goes from the whole corpus, though the corpus was named first
    assert text(4) not in texts(corpus, "train")
    counts = {row["what"]: row["documents"] for row in corpus.table if row["source"] == "notes"}
    assert counts["removed: exact duplicate"] == 1
    without = prepared(tmp_path, notes)
    assert without.fingerprint != corpus.fingerprint and without.sources == ("notes",)
    one = prepared(tmp_path, notes, held_out={"one": file(tmp_path / "one.jsonl", [{"text": text(9)}])}, held_out_validation=0.99)
    assert texts(one, "test", "one") == [text(9)]  # with too few for both, test has it
    whole = prepared(tmp_path, notes, held_out={"target": target}, held_out_validation=0.0)
    assert len(texts(whole, "test", "target")) == 22


def test_a_date_splits(tmp_path):
    notes = file(tmp_path / "notes.jsonl", [{"text": text(year), "published": f"{year}-03-01"} for year in range(1990, 2020)])
    by = SplitSettings(field="published", since={"validation": "2010-01-01", "test": "2015-01-01"}).by()
    corpus = prepared(tmp_path, notes, by=by)
    assert texts(corpus, "test") == [text(year) for year in range(2015, 2020)]
    assert texts(corpus, "validation") == [text(year) for year in range(2010, 2015)]
    assert texts(corpus, "train") == [text(year) for year in range(1990, 2010)]
    late = SplitSettings(field="published", since={"test": "2030"}).by()
    with pytest.raises(UserError, match=r"field 'published' holds '1990-03-01', .*change split.since"):
        prepared(tmp_path, notes, by=late)


def test_names_split_and_a_share_of_the_rest_is_validation(tmp_path):
    rows = [{"text": text(number), "part": "eval" if number % 5 == 0 else "main"} for number in range(80)]
    rows += [{"text": text(99), "part": None}]
    corpus = prepared(tmp_path, file(tmp_path / "notes.jsonl", rows), by=SplitSettings(field="part", where={"test": "eval"}).by())
    assert texts(corpus, "test") == [text(number) for number in range(0, 80, 5)]
    assert 0 < len(texts(corpus, "validation")) < 20
    assert text(99) not in texts(corpus, "train")
    counts = {row["what"]: row["documents"] for row in corpus.table}
    assert counts["removed: no value in field 'part', by which the corpus is split"] == 1


@pytest.mark.parametrize(
    ("value", "split", "message"),
    [
        ("2011-01-01", {"field": "publishd", "since": {"test": "2010"}}, "no field 'publishd'.*did you mean 'published'"),
        ("5 January 2011", {"field": "published", "since": {"test": "2010-01-01"}}, "notes.jsonl:1: .*no date like 2010-01-01"),
        (7, {"field": "published", "since": {"test": "2010-01-01"}}, "a number, and split.since says '2010-01-01'"),
        ("late", {"field": "published", "since": {"test": 7}}, "cannot be compared with 7"),
    ],
)
def test_what_cannot_split_is_said(tmp_path, value, split, message):
    notes = file(tmp_path / "notes.jsonl", [{"text": text(number), "published": value} for number in range(5)])
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, notes, by=SplitSettings(**split).by())


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"since": {"test": 3}}, "name the field"),
        ({"field": "year"}, "one of `since`"),
        ({"field": "year", "since": {"validation": 3}}, "say what is test"),
        ({"field": "year", "since": {"validation": 5, "test": 3}}, "not before test"),
        ({"field": "year", "where": {"tests": "x"}}, "where.tests"),
    ],
)
def test_a_rule_that_is_none_is_refused(split, message):
    with pytest.raises(ValidationError, match=message):
        SplitSettings(**split)
