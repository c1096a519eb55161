"""Near-duplicates: what is proposed is decided exactly, groups are transitive, short documents and exercise sheets are judged right."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import daft
import numpy as np
import pyarrow
import pytest
from daft.functions import when

from windtunnel.core.registry import make
from windtunnel.data.corpus import known
from windtunnel.data.corpus.curation import Curation
from windtunnel.data.corpus.frame import StreamedSource
from windtunnel.data.corpus.judging import curated, numbered, of_source
from windtunnel.data.corpus.prepare import prepare_corpus
from windtunnel.kits.text.words import runs, shingles, words_of
from windtunnel.slots import Curator, CuratorContext, Source

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeio" for c in "rstx"]


def batch(texts: list[str | None]) -> pyarrow.RecordBatch:
    text = pyarrow.large_string()
    return pyarrow.record_batch(
        {"text": pyarrow.array(texts, text), "origin": pyarrow.array([f"file {n}" for n in range(len(texts))], text)}
    )


def reasons(part: Curator, texts: list[str | None], size: int = 7) -> list[str | None]:
    """Why each text goes, judged in batches of ``size``."""
    rows = list(numbered(of_source((batch(texts).slice(start, size) for start in range(0, len(texts), size)), "notes")))
    found = part.decide([part.scan(one) for one in rows], CuratorContext(None)) if part.scans else {}
    return [reason for one in rows for reason in part.judge(one, found)[1]]


def near(**knobs: object) -> Curator:
    return make(Curator, {"near-duplicates": knobs})


def edited(words: list[str], share: float, chance: random.Random) -> list[str]:
    return [chance.choice(WORDS) if chance.random() < share else word for word in words]


def test_hashes_of_words_are_those_of_plain_python():
    texts = ["One, two; THREE_4 two", "", "…", "日本語 text ไทย", "naïve café 12 345", "x" * 40 + " 1"]
    words = words_of(texts)
    split = [["one", "two", "three_4", "two"], [], [], [*"日本語", "text", *"ไทย"], ["naïve", "café", "12", "345"], ["x" * 40, "1"]]
    flat = [word for entry in split for word in entry]
    assert words.document.tolist() == [number for number, entry in enumerate(split) for _ in entry]
    assert words.length.tolist() == [len(word) for word in flat]
    assert words.number.tolist() == [word.isdigit() for word in flat]
    for (one, a), (other, b) in itertools.combinations(zip(flat, words.hashes, strict=True), 2):
        assert (one == other) == (a == b)
    assert len(runs(words, 3)[0]) == sum(max(0, len(entry) - 2) for entry in split)
    assert np.diff(np.append(0, shingles(texts, words, 3).ends)).tolist() == [2, 0, 1, 5, 2, 1]


def test_a_long_text_is_the_same_in_pieces(monkeypatch):
    text = " ".join(random.Random(1).choices(WORDS, k=500))
    whole = words_of([text, "end"])
    monkeypatch.setattr("windtunnel.kits.text.words.PIECE", 64)
    for one, other in zip(whole, words_of([text, "end"]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_groups_are_those_of_brute_force(threshold):
    """What stays, and which document stands for which: exact similarity of sets in plain Python, every pair, transitive."""
    chance = random.Random(3)
    texts = []
    for _ in range(30):
        words = chance.choices(WORDS, k=chance.randint(3, 60))
        texts += [" ".join(edited(words, share, chance)) for share in (0, 0, 0.01, 0.03, 0.06, 0.1)]
    chance.shuffle(texts)
    split = [text.split() for text in texts]
    sets = [{tuple(words[n : n + 5]) for n in range(max(1, len(words) - 4))} for words in split]
    group = list(range(len(sets)))
    for one, other in itertools.combinations(range(len(sets)), 2):
        if len(sets[one] & sets[other]) / len(sets[one] | sets[other]) >= threshold:
            low, high = sorted((group[one], group[other]))
            group = [low if entry == high else entry for entry in group]
    expected = [None if group[n] == n else f"of file {group[n] % 7}" for n in range(len(group))]
    found = reasons(near(similarity=threshold), texts)
    assert [one is None for one in found] == [one is None for one in expected]
    assert 0 < sum(one is not None for one in found) < len(found)


def test_short_documents_are_duplicates_only_where_they_are_the_same():
    texts = ["Yes.", "yes", "No.", "--- ---", "------", "+++", None, "", "one two three", "one two four"]
    assert [bool(one) for one in reasons(near(), texts)] == [False, True, False, False, True, False, False, False, False, False]


def test_exercise_sheets_that_differ_in_their_numbers_stay():
    def sheet(seed: int) -> str:
        chance = random.Random(seed)
        line = "Tom has {} apples in a basket from the old garden behind the house and buys {} more."
        return "\n".join(line.format(chance.randint(100, 999), chance.randint(100, 999)) for _ in range(2))

    assert reasons(near(similarity=0.3, words=1), [sheet(1), sheet(2), sheet(1)]) == [None, None, "duplicate: of file 0"]
    assert reasons(near(similarity=0.3, words=1, numbers=1), [sheet(1), sheet(2)])[1], "the words alone are alike"


def test_alike_through_others():
    words = random.Random(5).choices(WORDS, k=80)
    chain = [" ".join(words[start : start + 40]) for start in (0, 8, 16, 24)]
    found = reasons(near(similarity=0.6), chain)
    assert found[0] is None and found[3] is not None and "through others" in found[3]


def test_many_near_copies_are_one_group():
    chance = random.Random(6)
    words = chance.choices(WORDS, k=60)
    texts = [" ".join(edited(words, 0.02, chance)) for _ in range(150)]
    assert sum(one is None for one in reasons(near(similarity=0.5), texts, 60)) == 1


def test_exact_duplicates_up_to_white_space():
    found = reasons(make(Curator, "exact-duplicates"), ["a b", "a  b\n", "a c", "", "", None, "a b"], 3)
    assert [bool(one) for one in found] == [False, True, False, False, False, False, True]


def test_scans_go_on_where_they_were(tmp_path, monkeypatch):
    texts = [" ".join(random.Random(n % 9).choices(WORDS, k=20)) for n in range(20)]
    part, calls = near(), []
    scan = type(part).scan

    def counting(self: Curator, documents: pyarrow.RecordBatch) -> object:
        calls.append(documents.num_rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scan(self, documents)

    monkeypatch.setattr(type(part), "scan", counting)

    def rows():
        yield from numbered(of_source(iter([batch(texts).slice(0, 8), batch(texts).slice(8)]), "notes"))

    def run() -> list[int]:
        return [kept.num_rows for kept, _ in curated(part, CuratorContext(None), rows, next(rows()).schema, tmp_path)]

    with pytest.raises(KeyboardInterrupt):
        run()
    assert run() == [8, 1] and calls == [8, 12, 12]
    assert run() == [8, 1] and len(calls) == 3
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_was_removed_and_why_lies_beside_the_corpus(tmp_path: Path):
    texts = [" ".join(random.Random(n).choices(WORDS, k=20 + n % 12)) for n in range(60)]
    copies = [text.replace(text.split()[0], "changed", 1) for text in texts[:20]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts + copies))
    source = make(Source, {"files": {"path": str(tmp_path / "a.jsonl")}})
    how = {"validation": 0.1, "test": 0.1, "near_duplicates": 1.0, "cache": tmp_path / "cache"}
    corpus = prepare_corpus({"a": source}, curators=[near(), make(Curator, {"length": {"longest": 110}})], **how)
    rows = {row["what"]: row for row in corpus.table}
    row = rows["removed: curator near-duplicates: near-duplicate"]
    gone = list(corpus.victims())
    assert row["documents"] == sum(one["curator"] == "near-duplicates" for one in gone) > 10
    assert all(" of a.jsonl:" in one["detail"] and one["beginning"] for one in gone if one["curator"] == "near-duplicates")
    assert row["bytes"] == sum(one["bytes"] for one in gone if one["curator"] == "near-duplicates")
    assert len(row["examples"]) == 3 and "(0." in row["examples"][0]
    # A curator that just leaves rows out is asked which.
    assert rows["removed: curator length"]["documents"] == sum(one["reason"] == "length" for one in gone) > 0
    assert corpus.curation and all(cost["seconds"] > 0 and cost["flops"] == 0 for cost in corpus.curation.values())


def test_what_goes_with_a_reason_and_what_is_left_out_are_both_counted(tmp_path: Path):
    class Both(Curator):
        name = "both"

        def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
            left = documents.where(~daft.col("text").startswith("left"))
            told = when(daft.col("text").startswith("told"), daft.lit("rule: it")).otherwise(daft.lit(None))
            return left.with_column("removed", told)

    texts = [f"{word} {n}" for word in ("left", "told", "stays") for n in range(20)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = make(Source, {"files": {"path": str(tmp_path / "a.jsonl")}})
    how = {"validation": 0.1, "test": 0.1, "near_duplicates": 1.0, "cache": tmp_path / "cache"}
    corpus = prepare_corpus({"a": source}, curators=[Both.model_construct()], **how)
    rows = {row["what"]: row["documents"] for row in corpus.table}
    gone = rows["removed: curator both"], rows["removed: curator both: rule"]
    assert all(gone) and sum(gone) + rows["train"] + rows["validation"] + rows["test"] == 60


def test_a_corpus_is_found_again_only_by_the_same_tests_and_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tests.txt").write_text("a question")
    part = make(Curator, {"decontaminate": {"tests": {"files": {"path": str(tmp_path / "tests.txt")}}}})

    def pointer() -> Path | None:
        return known.pointer_of(tmp_path, {}, {}, [part], Curation())

    first = pointer()
    assert first == pointer() is not None
    (tmp_path / "tests.txt").write_text("another question")
    second = pointer()
    monkeypatch.setattr("windtunnel.core.keys.digest_of", lambda part: "text")
    assert len({first, second, pointer()}) == 3
    monkeypatch.delattr(type(part.tests), "signature")
    monkeypatch.delattr(StreamedSource, "signature")
    assert pointer() is None


def test_through_daft_it_says_the_same():
    """What runs on a cluster is the same code: documents, reasons and order."""
    from windtunnel.data.corpus.frame import frame, streamed_rows

    texts = [" ".join(random.Random(n % 11).choices(WORDS, k=20)) for n in range(25)] + [None]
    (rows,) = numbered(of_source(iter([batch(texts)]), "notes"))
    found = near().curate(frame(lambda: iter([rows]), rows.schema), CuratorContext(None))
    table = pyarrow.Table.from_batches(list(streamed_rows(found)))
    assert table["removed"].to_pylist() == reasons(near(), texts, 99) and table["text"].to_pylist() == texts


def test_paragraphs_that_are_alike_go_and_headings_stay():
    chance = random.Random(3)
    words = [chance.choices(WORDS, k=30) for _ in range(4)]
    first, second, third, fourth = (" ".join(each) for each in words)
    copy = " ".join([*words[0][:15], "another", *words[0][16:]])
    texts = [
        f"Notes\n\n{first}\n\n{second}",
        f"Notes\n\n{copy.upper()}\n \n{third}\n\nNotes",
        f"{second}\n\n\n{first}",
        f"{fourth}\n\n{fourth}",
        None,
        f"{'漢字仮名交じり文' * 4}\n\n{'漢字仮名交じり文' * 4}",
    ]
    part = near(unit="paragraph", similarity=0.6)
    (rows,) = numbered(of_source(iter([batch(texts)]), "notes"))
    after, reasons_ = part.judge(rows, part.decide([part.scan(rows)], CuratorContext(None)))
    assert after["text"].to_pylist() == [texts[0], f"Notes\n\n{third}\n\nNotes", "", fourth, None, "漢字仮名交じり文" * 4]
    assert reasons_[:2] == [None, None] and reasons_[2] == "duplicate: of file 0" and reasons_[3:] == [None] * 3
