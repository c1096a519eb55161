"""The corpus room: reading, splitting, deduplicating and storing documents, and what it says about bad input."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import random
import re
import shutil
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.files import temporary_folder
from windtunnel.core.registry import make
from windtunnel.data.corpus import frame, prepare, shards
from windtunnel.data.corpus.near_duplicates import HASHES, HeldOutSignatures, band_width, signatures, similarity
from windtunnel.data.corpus.prepare import Corpus, prepare_corpus
from windtunnel.data.corpus.split import SPLITS, Seen, content_key, fraction, split_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source import files as files_module
from windtunnel.slots import Curator, Source

WORDS = [first + second + third for first in "bdfgklmnprstv" for second in "aeiou" for third in ("n", "r", "sk", "t", "mb")]


def prose(number: int, words: int = 60) -> str:
    """A text unlike that of any other number."""
    return " ".join(random.Random(number).choices(WORDS, k=words))


def files(path: Path | str, **fields: str) -> Source:
    return make(Source, {"files": {"path": str(path), **fields}})


def flown(cache: Path, sources: dict[str, Source], validation: float = 0.2, test: float = 0.2, near: float = 0.8, **more) -> Corpus:
    return prepare_corpus(sources, validation=validation, test=test, near_duplicates=near, cache=cache, **more)


def texts(corpus: Corpus, split: str, source: str) -> list[str]:
    return [text for batch in corpus.documents(split, source) for text in batch]


def everything(corpus: Corpus) -> list[str]:
    return [text for split in SPLITS for source in corpus.sources for text in texts(corpus, split, source)]


def counts(corpus: Corpus, source: str) -> dict[str, int]:
    return {row["what"]: row["documents"] for row in corpus.table if row["source"] == source}


def read(source: Source) -> tuple[list[str], Tally]:
    tally = Tally("x")
    return list(frame.texts_of(source, tally)), tally


def refused(source: Source) -> str:
    with pytest.raises(UserError) as caught:
        read(source)
    return str(caught.value)


def lines(documents: list[str]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in documents)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    for number in range(40):
        place = folder / f"part {number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02d}.txt").write_text(prose(number))
    return folder


# Formats ------------------------------------------------------------------------------------------------------------------------

THREE = ["the first, with a comma", 'the "second"\nof two lines', "третий 三 \U0001f680"]


def as_csv(documents: list[str], mark: str) -> str:
    quoted = ['"' + text.replace('"', '""') + '"' for text in documents]
    return f"id{mark}text\n" + "".join(f"{number}{mark}{text}\n" for number, text in enumerate(quoted))


CONTENTS = {
    "a.jsonl": lines(THREE),
    "a.ndjson": lines(THREE) + "\n\n",
    "list.json": json.dumps([{"id": 1, "text": text} for text in THREE], indent=2),
    "strings.json": json.dumps(THREE),
    "lines.json": lines(THREE),
    "unicode.json": json.dumps(THREE, ensure_ascii=False),
    "a.csv": as_csv(THREE, ","),
    "semicolon.csv": as_csv(THREE, ";"),
    "a.tsv": as_csv(THREE, "\t"),
}
PACKED = {"": lambda data: data, ".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", CONTENTS)
def test_every_record_format_plain_and_compressed(tmp_path: Path, name: str, packing: str) -> None:
    path = tmp_path / (name + packing)
    path.write_bytes(PACKED[packing](CONTENTS[name].encode()))
    assert read(files(path))[0] == THREE


@pytest.mark.parametrize("packing", PACKED)
def test_a_text_file_is_one_document(tmp_path: Path, packing: str) -> None:
    (tmp_path / f"a.md{packing}").write_bytes(PACKED[packing]("\n".join(THREE).encode()))
    assert read(files(tmp_path / f"a.md{packing}"))[0] == ["\n".join(THREE)]


def test_zst_of_several_frames_and_byte_order_marks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines(THREE[:1]).encode()) + zstandard.compress(lines(THREE[1:]).encode()))
    (tmp_path / "b.jsonl").write_text(lines(THREE), encoding="utf-8-sig")
    (tmp_path / "c.csv").write_text(as_csv(THREE, ","), encoding="utf-8-sig")
    for name in ("a.jsonl.zst", "b.jsonl", "c.csv"):
        assert read(files(tmp_path / name))[0] == THREE


@pytest.mark.parametrize("form", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_parquet_with_another_field(tmp_path: Path, form: pyarrow.DataType) -> None:
    table = pyarrow.table({"id": range(3), "body": pyarrow.array(THREE).cast(form)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert read(files(tmp_path / "a.parquet", field="body"))[0] == THREE
    message = refused(files(tmp_path / "a.parquet", field="bodi"))
    assert "no column 'bodi'" in message and "did you mean 'body'?" in message and "id" in message
    assert "which is not text" in refused(files(tmp_path / "a.parquet", field="id"))


def test_json_values_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.data.corpus.formats.CHUNK", 7)
    documents = [prose(number, 1 + number * 3) for number in range(30)]
    for name, content in {"a.json": json.dumps([{"text": text} for text in documents]), "b.json": lines(documents)}.items():
        (tmp_path / name).write_text(content)
        assert read(files(tmp_path / name))[0] == documents


@pytest.mark.parametrize("splits", [None, ("train", "test")])
def test_a_folder_of_the_datasets_library(tmp_path: Path, splits: tuple[str, ...] | None) -> None:
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"text": [prose(number) for number in range(20)]})
    whole = (
        one if splits is None else datasets.DatasetDict({split: one.select(range(i * 10, i * 10 + 10)) for i, split in enumerate(splits)})
    )
    whole.save_to_disk(tmp_path / "saved")
    assert read(files(tmp_path / "saved"))[0] == one["text"][:]
    assert "no column 'txt'; did you mean 'text'?" in refused(files(tmp_path / "saved", field="txt"))
    next((tmp_path / "saved").rglob("*.arrow")).unlink()
    assert "missing, though" in refused(files(tmp_path / "saved"))


ENCODED = {
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. Всё смешалось в доме.",
    "cp1252": "Die Straße führt über den Fluß, und die Bäume blühen früh in diesem Jahr, schöner als je zuvor. Äpfel fallen süß.",
    "shift_jis": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。",
    "utf-16": "All happy families are alike; each unhappy family is unhappy in its own way.",
    "utf-8-sig": "a mark at the beginning is no part of the text",
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_encodings_are_detected(tmp_path: Path, encoding: str) -> None:
    text = ENCODED[encoding] * 3
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    documents, tally = read(files(tmp_path / "a.txt"))
    assert documents == [text]
    assert encoding == "utf-8-sig" or any(row["what"].startswith("decoded from") for row in tally.rows())


def test_a_folder_skips_and_counts_what_is_no_text(notes: Path, tmp_path: Path) -> None:
    (notes / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    (notes / "noise").write_bytes(np.random.default_rng(0).bytes(400).replace(b"\0", b"\1"))
    (notes / "damaged.txt").write_bytes(("schöne Grüße aus Köln über Düsseldorf " * 50).encode() + b"\xff\xfe")
    (notes / "cut.txt.gz").write_bytes(gzip.compress(prose(1, 5000).encode())[:-20])
    (notes / "cut.jsonl.zst").write_bytes(zstandard.compress(lines([prose(n) for n in range(5000, 5900)]).encode())[:-2000])
    (notes / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    (notes / "settings.json").write_text('{"colour": "blue"}')
    (notes / "empty.txt").write_text(" \n ")
    (notes / ".hidden").write_text("secret")
    corpus = flown(tmp_path / "cache", {"notes": files(notes)})
    found = counts(corpus, "notes")
    assert found["skipped: binary file"] == 2
    assert found["skipped: not valid UTF-8"] == 1
    assert found["skipped: damaged or truncated file"] + found.get("skipped: damaged or truncated file, rest of a file", 0) == 3
    assert found["skipped: no field 'text'"] == 1
    assert found["skipped: empty document"] == 1
    assert found["skipped: hidden file"] == 1
    assert "image.png" in corpus.examples["notes"]["skipped: binary file"][0]
    assert found["read"] >= 40 and "secret" not in everything(corpus)
    assert sum(found[split] for split in SPLITS) == found["read"] - found.get("removed: near-duplicate of held-out", 0)


def test_glob_pattern_in_the_path_and_home(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(notes.parent))
    assert len(read(files("~/notes"))[0]) == 40
    assert len(read(files("~/notes", glob="part 1/*.txt"))[0]) == 13
    assert len(read(files(notes / "part 1" / "*.txt"))[0]) == 13


# Bad input ----------------------------------------------------------------------------------------------------------------------


def test_bad_paths(notes: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert "did you mean 'notes'?" in refused(files(tmp_path / "note"))
    assert "it is empty" in refused(files(tmp_path / "nothing"))
    message = refused(files(notes, glob="*.md"))
    assert "'*.md'" in message and "part 0" in message
    assert "no pattern" in refused(files(notes, glob="/etc/*"))
    assert "~nobody-of-this-name" in refused(files("~nobody-of-this-name/x"))


def test_only_binary_files(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(bytes(range(256)))
    message = refused(files(tmp_path))
    assert str(tmp_path) in message and "binary file: 3" in message and "0.bin" in message


BAD = {
    "a.jsonl": (b'{"text": "fine"}\n{"txt": "oops", "id": 1}\n', ["line 2", "no field 'text'", "did you mean 'txt'?", "id"]),
    "b.jsonl": (b'{"text": "fine"}\n\n{"text": \n', ["line 3", "not valid JSON"]),
    "c.jsonl": (b'{"text": "fine"}\n{"text": "\xff"}\n', ["line 2", "0xff", "UTF-8"]),
    "d.jsonl": (b'{"text": 7}\n', ["line 1", "7", "not text"]),
    "e.jsonl": (b"[1, 2]\n", ["line 1", "list"]),
    "f.json": (b'[{"text": "fine"},\n {"text": "cut', ["line 2", "not valid JSON"]),
    "g.json": (b'[{"text": "fine"},\n {"body": 1}]', ["line 2", "no field 'text'", "body"]),
    "h.json": (b'[{"text": "fine"},\n {"text" "x"}]' + b" " * 100, ["line 2", "not valid JSON"]),
    "j.jsonl.gz": (gzip.compress(lines([prose(1)]).encode())[:-9], [".gz", "cut short"]),
    "k.jsonl.zst": (zstandard.compress(lines([prose(1, 9000)]).encode())[:-9], [".zst", "cut short"]),
    "l.jsonl.zst": (b"not zstandard at all", [".zst", "damaged"]),
    "m.txt.gz": (b"not gzip at all", [".gz", "damaged"]),
    "n.parquet": (b"PAR1 nothing", [".parquet", "damaged or cut short"]),
    "o.txt": (b"\0\1\2" * 100, ["binary"]),
    "p.txt": (("schöne Grüße " * 100).encode() + b"\xff ", ["UTF-8", "0xff", "byte 1600"]),
    "q.csv": (b"", ["no column 'text'"]),
    "r.jsonl": (b"", ["no document"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_named_alone_is_an_error_that_says_what_and_where(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    (tmp_path / name).write_bytes(content)
    message = refused(files(tmp_path / name))
    for part in [name if name != "r.jsonl" else str(tmp_path), *expected]:
        assert part in message
    assert "\n" not in message


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": [prose(number) for number in range(500)]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    assert "damaged or cut short" in refused(files(tmp_path / "a.parquet"))


def test_half_a_surrogate_pair_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines([prose(number) for number in range(40)]) + '{"text": "\\ud83d"}\n')
    corpus = flown(tmp_path / "cache", {"x": files(tmp_path / "a.jsonl")})
    assert counts(corpus, "x")["skipped: not valid Unicode (half of a surrogate pair)"] == 1


def test_a_corpus_too_small_for_its_split_names_shares_that_do(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines([prose(number) for number in range(6)]))
    with pytest.raises(UserError) as caught:
        flown(tmp_path / "cache", {"small": files(tmp_path / "a.jsonl")}, validation=0.001, test=0.001)
    message = str(caught.value)
    assert "'small'" in message and "6 documents were read" in message
    advice = re.search(r"validation: ([\d.]+), test: ([\d.]+)", message)
    assert advice
    corpus = flown(tmp_path / "cache", {"small": files(tmp_path / "a.jsonl")}, validation=float(advice[1]), test=float(advice[2]))
    assert all(corpus.count(split, "small") for split in SPLITS)


def test_duplicates_only_and_a_single_document(tmp_path: Path) -> None:
    (tmp_path / "same.jsonl").write_text(lines([prose(1)] * 50))
    (tmp_path / "other.jsonl").write_text(lines([prose(number) for number in range(60)]))
    with pytest.raises(UserError, match=r"'x': 50 documents were read, 49 of them exact duplicates, which leaves 1;.*three or more"):
        flown(tmp_path / "cache", {"x": files(tmp_path / "same.jsonl")})
    with pytest.raises(UserError, match="'y': 50 documents were read, but all of them also occur in sources before it"):
        flown(tmp_path / "cache", {"x": files(tmp_path / "other.jsonl"), "y": files(tmp_path / "same.jsonl")})
    assert not [entry for entry in (tmp_path / "cache").iterdir()]


# Split and duplicates -----------------------------------------------------------------------------------------------------------


@given(st.text(alphabet="ab \t\n\u00a0", max_size=40), st.integers(1, 9))
def test_the_key_sees_words_only_however_the_text_is_cut(text: str, piece: int) -> None:
    from windtunnel.data.corpus import split

    whole, kept = content_key(" ".join(text.split())), split._PIECE
    try:
        split._PIECE = piece
        assert content_key(text) == whole
    finally:
        split._PIECE = kept


def test_the_rule_is_fixed_and_uniform() -> None:
    # The published rule: were it to change, every stored result would be about other documents.
    assert content_key("hello  world\n").hex() == "e9a804b2e527fd3601d2ffc0bb023cd6"
    assert fraction(content_key("hello world")) == 0.91272000663335
    positions = [fraction(content_key(prose(number, 5))) for number in range(4000)]
    split = [split_of(position, validation=0.1, test=0.2) for position in positions]
    assert abs(split.count("test") / 4000 - 0.2) < 0.03 and abs(split.count("validation") / 4000 - 0.1) < 0.02


@given(st.lists(st.lists(st.integers(0, 60), max_size=20), max_size=8))
def test_seen_is_a_set(batches: list[list[int]]) -> None:
    seen, reference = Seen(), set()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(number not in reference)
            reference.add(number)
        assert seen.new([content_key(str(number)) for number in batch]).tolist() == expected


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=30, max_size=80), st.lists(st.integers(30, 90), min_size=30, max_size=80), st.randoms())
def test_no_leak_between_splits_whatever_the_order(one: list[int], other: list[int], shuffled: random.Random) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        spaced = [prose(number).replace(" ", " \n", number % 3) for number in one]  # exact duplicates up to white space
        (folder / "one.jsonl").write_text(lines(spaced))
        (folder / "two.jsonl").write_text(lines([prose(number) for number in other] + [prose(number) for number in range(100, 140)]))
        sources = {"one": files(folder / "one.jsonl"), "two": files(folder / "two.jsonl")}
        sources["one"] = files(folder / "one.jsonl")
        (folder / "one.jsonl").write_text(lines(spaced + [prose(number) for number in range(200, 240)]))
        placed: dict[str, str] = {}
        for turn in range(2):
            corpus = flown(folder / f"cache{turn}", sources)
            words = [" ".join(text.split()) for text in everything(corpus)]
            assert len(words) == len(set(words))
            for split in SPLITS:
                for source in corpus.sources:
                    for text in texts(corpus, split, source):
                        assert placed.setdefault(" ".join(text.split()), split) == split
            for path in folder.glob("*.jsonl"):
                content = path.read_text().splitlines(keepends=True)
                shuffled.shuffle(content)
                path.write_text("".join(content))
            sources = dict(reversed(sources.items()))
    finally:
        shutil.rmtree(folder)


def changed(text: str, edits: int, seed: int) -> str:
    words = text.split()
    for place in random.Random(seed).sample(range(len(words)), edits):
        words[place] = f"changed{seed}x{place}"
    return " ".join(words)


def test_near_duplicates_of_held_out_documents_leave_training_and_others_stay(tmp_path: Path) -> None:
    originals = [prose(number, 400) for number in range(120)]
    held_out = [text for text in originals if split_of(fraction(content_key(text)), validation=0.2, test=0.2) != "train"]
    copies = [text for number, original in enumerate(held_out) for text in [changed(original, 2, number)]]
    distant = [changed(original, 200, 1000 + number) for number, original in enumerate(held_out)]
    (tmp_path / "a.jsonl").write_text(lines(originals))
    (tmp_path / "b.jsonl").write_text(lines(copies + distant + [prose(number) for number in range(500, 520)]))
    corpus = flown(tmp_path / "cache", {"a": files(tmp_path / "a.jsonl"), "b": files(tmp_path / "b.jsonl")})
    training = set(texts(corpus, "train", "a") + texts(corpus, "train", "b"))
    assert not training.intersection(copies)
    in_training = [text for text in distant if split_of(fraction(content_key(text)), validation=0.2, test=0.2) == "train"]
    assert in_training and training.issuperset(in_training)
    assert counts(corpus, "b")["removed: near-duplicate of held-out"] > 5
    assert not training.intersection(held_out)
    held = signatures([text for split in ("validation", "test") for source in "ab" for text in texts(corpus, split, source)])
    for signature in signatures(sorted(training)):
        assert similarity(held, signature).max() < 0.8


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 100), st.integers(0, 10**6))
def test_banding_misses_no_pair_at_any_threshold(percent: int, seed: int) -> None:
    threshold, random_ = percent / 100, np.random.default_rng(seed)
    assert HASHES // band_width(threshold) >= 1
    held_out = random_.integers(0, 2**32, (20, HASHES), dtype=np.uint32)
    documents = held_out[random_.integers(0, 20, 60)].copy()
    for document in documents:  # the changed places are as even as can be: the hardest case for bands
        places = random_.permutation(HASHES)[: random_.integers(0, HASHES + 1)]
        document[places] ^= np.uint32(1)
    expected = [similarity(held_out, document).max() >= threshold - 1e-9 for document in documents]
    assert HeldOutSignatures(held_out, threshold).copies(documents).tolist() == expected


def test_signatures_estimate_similarity_also_of_scripts_without_spaces() -> None:
    text = "".join(random.Random(0).choices("一二三四五六七八九十天地人水火木金土日月山川", k=600))
    near, far = text[:300] + "龍" + text[300:], text[::-1]
    one, other, third = signatures([text, near, far])
    assert similarity(one, other) > 0.9 and similarity(one, third) < 0.2
    english = prose(1, 1000)
    shingles = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (english.split(), changed(english, 40, 1).split())]
    exact = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    one, other = signatures([english, changed(english, 40, 1)])
    assert abs(similarity(one, other) - exact) < 0.15


# Curators and other sources -------------------------------------------------------------------------------------------------------


def test_curators_see_training_only_and_are_counted(tmp_path: Path) -> None:
    documents = [prose(number, 5 + number) for number in range(80)]
    (tmp_path / "a.jsonl").write_text(lines(documents))
    (tmp_path / "b.jsonl").write_text(lines([prose(number, 60) for number in range(200, 240)]))
    sources = {"a": files(tmp_path / "a.jsonl"), "b": files(tmp_path / "b.jsonl")}
    plain = flown(tmp_path / "cache", sources)
    curated = flown(tmp_path / "cache", sources, curators=[make(Curator, {"length": {"shortest": 200, "longest": 300}})])
    assert curated.fingerprint != plain.fingerprint
    assert texts(curated, "train", "a") == [text for text in texts(plain, "train", "a") if 200 <= len(text) <= 300]
    assert counts(curated, "a")["removed: curator length"] == plain.count("train", "a") - curated.count("train", "a") > 0
    for split in ("validation", "test"):
        assert texts(curated, split, "a") == texts(plain, split, "a")
    with pytest.raises(UserError, match="'a': curator 'length' removed all of its"):
        flown(tmp_path / "cache", sources, curators=[make(Curator, {"length": {"shortest": 10**6}})])
    with pytest.raises(ValueError, match="below shortest"):
        make(Curator, {"length": {"shortest": 5, "longest": 4}})


def test_any_source_part_that_gives_a_frame_will_do(tmp_path: Path) -> None:
    import daft

    class Listed(Source):
        def read(self, tally: Tally) -> daft.DataFrame:
            tally.count("skipped: page without text", 3)
            return daft.from_pydict({"text": [prose(number) for number in range(50)], "origin": [str(number) for number in range(50)]})

    class Wrong(Source):
        name = "wrong"

        def read(self, tally: Tally) -> daft.DataFrame:
            return daft.from_pydict({"body": ["x"]})

    corpus = flown(tmp_path / "cache", {"listed": Listed.model_construct()})
    assert sorted(everything(corpus)) == sorted(prose(number) for number in range(50))
    assert counts(corpus, "listed")["skipped: page without text"] == 3
    with pytest.raises(PartError, match="no column 'origin'; the columns are body"):
        flown(tmp_path / "cache", {"wrong": Wrong.model_construct()})


def test_read_gives_a_frame_of_the_same_documents(notes: Path) -> None:
    frame_ = files(notes).read(Tally("x"))
    assert frame_.column_names == ["text", "origin"]
    rows = frame_.to_pydict()
    assert rows["text"] == read(files(notes))[0] and rows["origin"][0] == "part 0/00.txt"
    assert list(frame.streamed(files(notes).read(Tally("x"))))[1][1] == "part 0/03.txt"


def test_builtins_are_deterministic(tmp_path: Path) -> None:
    code, prose_ = make(Source, {"builtin": {"text": "stdlib"}}), make(Source, {"builtin": {"text": "docstrings"}})
    first, again = list(code.documents(Tally("x"))), list(islice(code.documents(Tally("x")), 100))
    assert first[:100] == again and len(first) > 300
    origins = [origin for _, origin in first]
    assert "json/decoder.py" in origins and not [origin for origin in origins if origin.startswith(("test/", "site-packages/"))]
    documents = {origin: text for text, origin in prose_.documents(Tally("x"))}
    assert "JSON (JavaScript Object Notation)" in documents["json/__init__.py"]
    assert "json.decoder.JSONDecoder.raw_decode" in documents["json/decoder.py"] and "def " not in documents["json/decoder.py"]
    assert "pydoc topic assignment" in documents
    assert code.signature() == make(Source, {"builtin": {"text": "stdlib"}}).signature()
    with pytest.raises(ValueError, match="stdlib"):
        make(Source, {"builtin": {"text": "stdlob"}})


# The prepared folder ------------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_was_prepared_and_unchanged_files_are_not_read_again(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = flown(tmp_path / "cache", {"notes": files(notes)})
    calls = []
    original = files_module.read_file
    monkeypatch.setattr(files_module, "read_file", lambda *all_: calls.append(all_) or original(*all_))
    again = flown(tmp_path / "cache", {"notes": files(notes)})
    assert again.fingerprint == first.fingerprint and not calls
    assert again.table == first.table and again.folder == first.folder == tmp_path / "cache" / first.fingerprint
    (notes / "part 0" / "00.txt").touch()  # another look, the same content
    assert flown(tmp_path / "cache", {"notes": files(notes)}).fingerprint == first.fingerprint and calls
    moved = shutil.copytree(notes, tmp_path / "elsewhere")
    assert flown(tmp_path / "other cache", {"notes": files(moved)}).fingerprint == first.fingerprint
    prints = {first.fingerprint}
    prints.add(flown(tmp_path / "cache", {"notes": files(notes)}, validation=0.3).fingerprint)
    prints.add(flown(tmp_path / "cache", {"named": files(notes)}).fingerprint)
    (notes / "part 0" / "00.txt").write_text("another text")
    prints.add(flown(tmp_path / "cache", {"notes": files(notes)}).fingerprint)
    assert len(prints) == 4


def test_documents_in_order_and_long_ones_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP", 2000)
    monkeypatch.setattr(frame, "BATCH_BYTES", 3000)
    documents = [prose(number, 10) for number in range(300)] + ["long " * 200_000]
    (tmp_path / "a.jsonl").write_text(lines(documents))
    corpus = flown(tmp_path / "cache", {"a/b: c": files(tmp_path / "a.jsonl")})
    for split in SPLITS:
        expected = [text for text in documents if split_of(fraction(content_key(text)), validation=0.2, test=0.2) == split]
        assert texts(corpus, split, "a/b: c") == expected
        assert corpus.count(split, "a/b: c") == len(expected)
        assert corpus.bytes(split, "a/b: c") == sum(map(len, expected))
        rows = [row for batch in corpus.rows(split, "a/b: c") for row in batch.to_pylist()]
        assert [row["text"] for row in rows] == expected and rows[0]["origin"].startswith("a.jsonl:")
        assert next(row for batch in corpus.rows(split, "a/b: c", ["origin"]) for row in batch.to_pylist()) == {"origin": rows[0]["origin"]}
    with pytest.raises(UserError, match="no field 'txt'; did you mean 'text'"):
        list(corpus.rows("train", "a/b: c", ["txt"]))
    with pytest.raises(UserError, match="did you mean 'train'"):
        list(corpus.documents("trane", "a/b: c"))
    with pytest.raises(UserError, match="no source 'b'"):
        list(corpus.documents("train", "b"))


def test_damage_is_named_and_mended(notes: Path, tmp_path: Path) -> None:
    corpus = flown(tmp_path / "cache", {"notes": files(notes)})
    path = next((corpus.folder / "train").iterdir())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 4] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=re.escape(str(path))):
        texts(Corpus.open(corpus.folder), "train", "notes")
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=re.escape(str(path))):
        Corpus.open(corpus.folder)
    again = flown(tmp_path / "cache", {"notes": files(notes)})  # not whole: prepared afresh
    assert again.fingerprint == corpus.fingerprint and path.read_bytes() == whole
    with pytest.raises(UserError, match="not a prepared corpus"):
        Corpus.open(tmp_path)


def fly_in_another_process(folder: str, gate, answers) -> None:
    gate.wait()
    # The part itself and not its name: looking for names would import every room in both processes.
    source = files_module.Files(path=str(Path(folder) / "notes"))
    answers.put(flown(Path(folder) / "cache", {"notes": source}).fingerprint)


def test_two_processes_at_once(notes: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=fly_in_another_process, args=(str(tmp_path), gate, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    prints = {answers.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(prints) == 1 and not list((tmp_path / "cache").glob(".preparing-*"))
    assert everything(Corpus.open(tmp_path / "cache" / prints.pop()))


def test_a_failing_disk_leaves_nothing_behind(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, rows: pyarrow.RecordBatch) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shards.Shard, "add", full)
        with pytest.raises(UserError, match=f"{re.escape(str(tmp_path / 'cache'))}.*No space left on device"):
            flown(tmp_path / "cache", {"notes": files(notes)})
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "file"))):
        flown(tmp_path / "file", {"notes": files(notes)})


def test_what_a_killed_preparation_left_is_removed(notes: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".preparing-left"
    left.mkdir(parents=True)
    (left / "lock").touch()
    with temporary_folder(tmp_path / "cache", prepare.TEMPORARY) as living:
        flown(tmp_path / "cache", {"notes": files(notes)})
        assert living.is_dir() and not left.exists()
