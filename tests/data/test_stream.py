"""The stream room: tokenizers, preparing, damage, packing, mixture, order."""

import errno
import fcntl
import itertools
import json
import os
import pickle
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import warm
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from windtunnel.core.errors import UserError
from windtunnel.core.registry import make, names
from windtunnel.core.shared import Share
from windtunnel.data import encode as encode_room
from windtunnel.data import loader as loader_room
from windtunnel.data.corpus.prepare import prepare_corpus
from windtunnel.data.encode import prepare_stream as prepare_encoded
from windtunnel.data.loader import Loader
from windtunnel.data.stream import Stream
from windtunnel.kits.text import tokenise as tokenise_room
from windtunnel.kits.text import tokenizer as tokenizer_room
from windtunnel.kits.text.encoded import text_of
from windtunnel.kits.text.tokenise import encode_documents, slices
from windtunnel.parts.encoding.bpe import Bpe
from windtunnel.parts.packing.whole_documents import best_fit
from windtunnel.recipe import recipe_from
from windtunnel.slots import Curator, Documents, Mixture, Packing, Progress, Source
from windtunnel.train.step import drawn_from, loader_of

PROGRESS = Progress(step=0, steps=1, tokens=0, step_tokens=0, sequences=0, done=0.0, overall=0.0, phase=0)
CONTEXT = 16
VOCABULARY, SENTINELS = 310, 8


def prepare_stream(corpus, *, cache, progress=None, **knobs):
    """The stream of text by knobs of bpe, which here may be smaller than anybody would want."""
    return prepare_encoded(corpus, Bpe.model_construct(**knobs), cache=cache, progress=progress)


class Texts:
    """A corpus in memory."""

    def __init__(self, splits: dict[str, dict[str, list[str]]]) -> None:
        self.splits = {"validation": {}, "test": {}, **splits}
        self.sources = tuple(splits["train"])
        self.fingerprint = f"{zlib.crc32(json.dumps(splits).encode()):08x}"
        self.table = [
            {"source": source, "what": "train", "documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
            for source, texts in splits["train"].items()
        ]
        self.asked = 0

    def documents(self, split, source):
        self.asked += 1
        texts = self.splits[split].get(source, [])
        for begin in range(0, len(texts), 3):
            yield texts[begin : begin + 3]


def words(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(["wing", "flow", "lift", "drag", "tunnel", "model(x)", "größe", "\n\n", "風洞", "🛩"]) for _ in range(count))


TRAIN = {
    "code": [words(3 + 7 * (number % 11), number) for number in range(40)],
    "prose": [words(5 + number, 100 + number) for number in range(12)] + [""],
    "tiny": ["wing"],
}
HELD_OUT = {"code": [words(20, 900), words(1, 901), words(50, 902)], "prose": [words(9, 903)]}
CORPUS = {"train": TRAIN, "validation": HELD_OUT, "test": HELD_OUT}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def stream(cache):
    return prepare_stream(Texts(CORPUS), vocabulary=VOCABULARY, sentinels=SENTINELS, cache=cache)


@pytest.fixture(scope="module")
def bpe():
    return tokenizer_room.train([text for texts in TRAIN.values() for text in texts], vocabulary=VOCABULARY, sentinels=SENTINELS)


def test_a_stream_that_somebody_brought_is_not_made_again(stream, tmp_path, monkeypatch):
    share = Share(f"memory://{tmp_path.name}/team", pytest.fail)
    how = Bpe.model_construct(vocabulary=VOCABULARY, sentinels=SENTINELS)
    prepare_encoded(Texts(CORPUS), how, cache=stream.folder.parent, share=share)  # was there before
    monkeypatch.setattr(tokenise_room.tokenizers_room, "train", lambda *_, **__: pytest.fail("it was brought"))
    found = prepare_encoded(Texts(CORPUS), how, cache=tmp_path, share=share)
    assert found.folder.parent == tmp_path and found.fingerprint == stream.fingerprint
    assert text_of(found, "test").text("test", "code", 0) == HELD_OUT["code"][0]


def fresh(tmp_path, **keywords):
    return prepare_stream(Texts(CORPUS), **{"vocabulary": VOCABULARY, "sentinels": SENTINELS, "cache": tmp_path, **keywords})


# Tokenizer ----------------------------------------------------------------------------------------------------------------------


def test_the_special_tokens_have_the_promised_ids(bpe):
    expected = ["<|document|>", "<|pad|>", "<|mask|>", "[R]", "[S]", "[X]", *(f"<|span_{number}|>" for number in range(SENTINELS))]
    assert bpe.convert_ids_to_tokens(list(range(len(expected)))) == expected
    facts = tokenizer_room.describe(bpe, sentinels=SENTINELS)
    assert (facts.document, facts.pad, facts.mask, facts.modes) == (0, 1, 2, {"R": 3, "S": 4, "X": 5})
    assert facts.spans == tuple(range(6, 6 + SENTINELS)) and facts.size == VOCABULARY == len(bpe)
    assert bpe.bos_token == bpe.eos_token == "<|document|>"
    assert not facts.token_bytes[:14].any() and facts.token_bytes[14:].all() and facts.token_bytes.dtype == np.int32


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60) | st.lists(st.sampled_from(["[R]", "<|document|>", "<|span_1|>", " a", "\n", "é"])).map("".join))
def test_any_text_round_trips_byte_for_byte(bpe, text):
    facts = tokenizer_room.describe(bpe, sentinels=SENTINELS)
    ids = tokenizer_room.encoder(bpe).encode(text, add_special_tokens=False).ids
    assert all(number >= 6 + SENTINELS for number in ids), "text that looks like a special token became one"
    assert bpe.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert facts.token_bytes[ids].sum() == len(text.encode())


def test_words_begin_where_documented(bpe):
    facts = tokenizer_room.describe(bpe, sentinels=SENTINELS)
    ids = tokenizer_room.encoder(bpe).encode("wing flow(drag)\ngröße 日本", add_special_tokens=False).ids
    text = [bpe.decode([number]) for number in ids]
    starts = [place for place, number in enumerate(ids) if facts.word_starts[number]]
    groups = [bpe.decode(ids[a:b]) for a, b in zip([0, *starts], [*starts, len(ids)], strict=True) if b > a]
    assert groups[:5] == ["wing", " flow", "(drag", ")", "\ngröße"], text
    assert "".join(groups) == "wing flow(drag)\ngröße 日本" and groups[-2:] == ["日", "本"]
    assert facts.word_starts[: 6 + SENTINELS].all()


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(UserError, match=r"tokenizer\.vocabulary: 300 .* 326"):
        tokenizer_room.train(["a"], vocabulary=300, sentinels=64)


def test_training_the_same_text_gives_the_same_tokenizer(bpe):
    again = tokenizer_room.train([text for texts in TRAIN.values() for text in texts], vocabulary=VOCABULARY, sentinels=SENTINELS)
    assert again.backend_tokenizer.to_str() == bpe.backend_tokenizer.to_str()


def save_foreign(folder: Path, kind: str) -> Path:
    """Tokenizers as others make them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [text for texts in TRAIN.values() for text in texts]
    special = {"eos_token": "</s>", "unk_token": "<unk>"}
    if kind == "sentencepiece":
        pieces = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *"wingflotdraue(x)m", "▁w", "in", "▁win"]
        entries = {piece: number for number, piece in enumerate(dict.fromkeys(["<unk>", "</s>", *pieces]))}
        backend = Tokenizer(models.BPE(entries, [("▁", "w"), ("i", "n"), ("▁w", "in")], unk_token="<unk>", byte_fallback=True))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
        )
    elif kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
        backend.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<unk>", "</s>"], show_progress=False))
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        if kind == "lossy":
            backend.normalizer = normalizers.Replace("wing", "w")
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False)
        )
        special = {"eos_token": "</s>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_a_tokenizer_from_a_folder_gets_what_it_lacks(tmp_path, kind):
    folder = save_foreign(tmp_path / "given", kind)
    before = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    stream = fresh(tmp_path / "cache", folder=str(folder))
    facts = stream.facts
    assert text_of(stream, "test").tokenizer.convert_ids_to_tokens(facts.document) == "</s>"
    added = [facts.mask, *facts.modes.values(), *facts.spans]
    assert sorted(added) == list(range(before, before + 4 + SENTINELS)) and facts.size == before + 4 + SENTINELS
    assert facts.pad == facts.document, "no row of an embedding is added for what is never looked at"
    for path in (stream.folder / "given").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    offered = text_of(stream, "test")
    assert offered.tokenizer_for(()) == stream.folder / "given" and offered.tokenizer_for(("spans",)) is offered.tokenizer
    assert not facts.token_bytes[added].any()
    for source, texts in TRAIN.items():
        for number, text in enumerate(texts):
            tokens = stream.read("train", source, number)
            assert tokens[0] == facts.document
            extra = 1 if kind == "sentencepiece" and text else 0  # the space that sentencepiece puts before a text
            assert facts.token_bytes[tokens].sum() == len(text.encode()) + extra
            assert text_of(stream, "test").text("train", source, number) == text


def test_a_tokenizer_whose_bytes_are_unknown_or_wrong_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.folder: the bytes .* WordPiece"):
        fresh(tmp_path / "cache", folder=str(save_foreign(tmp_path / "wordpiece", "wordpiece")))
    with pytest.raises(UserError, match="changes or loses text"):
        fresh(tmp_path / "cache", folder=str(save_foreign(tmp_path / "lossy", "lossy")))
    with pytest.raises(UserError, match="is not a folder"):
        fresh(tmp_path / "cache", folder=str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no tokenizer"):
        fresh(tmp_path / "cache", folder=str(tmp_path / "empty"))
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()], "an unfinished stream was left behind"


def test_a_trained_tokenizer_can_be_given_back_as_a_folder(stream, tmp_path):
    again = fresh(tmp_path, folder=str(stream.folder / "tokenizer"))
    assert again.fingerprint != stream.fingerprint and again.facts.size == stream.facts.size
    assert again.facts.spans == stream.facts.spans and again.facts.modes == stream.facts.modes
    assert (again.read("train", "code", 5) == stream.read("train", "code", 5)).all()


# Preparing ----------------------------------------------------------------------------------------------------------------------


def test_the_stream_holds_every_document(stream):
    assert stream.sources == ("code", "prose", "tiny")
    for split, sources in CORPUS.items():
        for source in stream.sources:
            texts = sources.get(source, [])
            lengths = stream.lengths(split, source)
            assert len(lengths) == len(texts) and lengths.sum() == stream.sizes(split)[source]
            assert stream.bytes(split)[source] == sum(len(text.encode()) for text in texts)
            assert stream.document_bytes(split, source).tolist() == [len(text.encode()) for text in texts]
            for number, text in enumerate(texts):
                tokens = stream.read(split, source, number)
                assert len(tokens) == lengths[number] and tokens[0] == stream.facts.document
                assert (tokens[1:] != stream.facts.document).all() and text_of(stream, "test").text(split, source, number) == text
                assert (stream.read(split, source, number, 1, len(tokens) // 2 + 1) == tokens[1 : len(tokens) // 2 + 1]).all()
    stream.verify()
    with pytest.raises(IndexError):
        stream.read("train", "tiny", 0, 0, 1000)
    with pytest.raises(UserError, match=r"'cod'.*'code'"):
        stream.lengths("train", "cod")
    with pytest.raises(UserError, match=r"'training'.*'train'"):
        stream.sizes("training")
    assert pickle.loads(pickle.dumps(stream)).fingerprint == stream.fingerprint


def test_documents_of_one_group_are_one_unit_of_the_held_out_text(tmp_path: Path) -> None:
    """Where documents have groups, their names decide, in every source alike; a document without one is a unit of its own."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("one", "two"):
        rows = [
            {"text": f"{name} {words(30, number)}", "site": None if number % 5 == 0 else f"site {number % 40}"} for number in range(200)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {name: make(Source, {"files": {"path": str(folder / f"{name}.jsonl"), "group": "site"}}) for name in ("one", "two")}
    corpus = prepare_corpus(sources, validation=0.2, test=0.2, near_duplicates=1.0, cache=tmp_path / "corpora")
    found = prepare_stream(corpus, vocabulary=VOCABULARY, sentinels=SENTINELS, cache=tmp_path / "streams")
    units: dict[str, set[int]] = {}
    for source in ("one", "two"):
        names = [row["group"] for batch in corpus.rows("test", source, ["group"]) for row in batch.to_pylist()]
        own = found.units("test", source)
        assert len(own) == len(names) and len({*own[[name is None for name in names]]}) == names.count(None) > 0
        for name, unit in zip(names, own.tolist(), strict=True):
            units.setdefault(name or f"{source} {unit}", set()).add(unit)
    assert all(len(one) == 1 for one in units.values()) and len(set.union(*units.values())) == len(units)
    assert len(found.units("train", "one")) == len(set(found.units("train", "one").tolist()))


def test_a_prepared_stream_is_used_again_and_anything_that_matters_makes_another(stream, cache):
    corpus = Texts(CORPUS)
    assert prepare_stream(corpus, vocabulary=VOCABULARY, sentinels=SENTINELS, cache=cache).folder == stream.folder
    assert corpus.asked == 0
    other = Texts({**CORPUS, "test": {}})
    assert prepare_stream(other, vocabulary=VOCABULARY, sentinels=SENTINELS, cache=cache).folder != stream.folder
    assert prepare_stream(corpus, vocabulary=VOCABULARY, sentinels=3, cache=cache).folder != stream.folder
    assert not list(cache.glob("*.partial-*"))


def test_opening_needs_no_corpus_library_and_no_transformers(stream):
    code = f"""
import sys
from windtunnel.data.stream import Stream
stream = Stream.open({str(stream.folder)!r})
stream.facts, stream.read("train", "code", 0)
print(sorted({{"daft", "ray", "torch", "transformers", "tokenizers", "pyarrow"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path):
    path = save_foreign(tmp_path / "large", "byte-level") / "tokenizer.json"
    definition = json.loads(path.read_text())
    entries = definition["model"]["vocab"]
    entries.update({f"never{number}": len(entries) + number for number in range(66000)})
    path.write_text(json.dumps(definition))
    stream = fresh(tmp_path / "cache", folder=str(path.parent))
    assert stream.facts.size > 65536 and stream.facts.spans[0] > 65536
    (path,) = (stream.folder / "train").glob("000*.tokens")
    assert path.stat().st_size == 4 * stream.sizes("train")["code"]
    assert text_of(stream, "test").text("train", "code", 7) == TRAIN["code"][7]


@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet="ab \n.é風", max_size=300), size=st.integers(5, 40))
def test_slices_give_the_tokens_of_the_whole(bpe, text, size):
    backend = tokenizer_room.encoder(bpe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenise_room, "SLICE", size)
        patch.setattr(tokenise_room, "BATCH", 2 * size)
        parts = list(slices(text))
        encoded = list(encode_documents([text, "tail"], backend))
    assert "".join(part for part, _ in parts) == text and all(len(part) <= size for part, _ in parts)
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(length for _, length, _ in encoded) == len(text.encode()) + 4
    if all(part[:1] == " " and not before[-1:].isspace() for (before, _), (part, _) in itertools.pairwise(parts)):
        ids = np.concatenate([ids for ids, _, _ in encoded]).tolist()
        assert ids == [*backend.encode(text, add_special_tokens=False).ids, *backend.encode("tail", add_special_tokens=False).ids]


def test_a_document_of_many_slices_is_one_document(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenise_room, "SLICE", 1000)
    monkeypatch.setattr(tokenise_room, "BATCH", 3000)
    text = words(20000, 7)
    stream = prepare_stream(Texts({"train": {"one": ["a", text, "b"]}}), vocabulary=400, sentinels=2, cache=tmp_path)
    assert text_of(stream, "test").text("train", "one", 1) == text and len(stream.lengths("train", "one")) == 3
    assert stream.document_bytes("train", "one").tolist() == [1, len(text.encode()), 1]


def test_the_sample_is_bounded_and_takes_from_every_source(monkeypatch):
    monkeypatch.setattr(tokenise_room, "SAMPLE", 2000)
    monkeypatch.setattr(tokenise_room, "LONGEST", 300)
    train = {"long": ["x" * 5000], "many": [f"doc{number:03d}" for number in range(1000)], "few": ["few", "more"]}
    sample = list(tokenise_room._sample(Texts({"train": train})))
    assert sum(map(len, sample)) <= 2000 and max(map(len, sample)) <= 300
    assert any("few" in text for text in sample) and any("x" in text for text in sample)
    many = [int(text[3:]) for text in sample if text.startswith("doc") and len(text) == 6]
    assert len(many) > 100 and max(many) > 900, "the sample must reach over the whole source"
    with pytest.raises(UserError, match="no training text"):
        list(tokenise_room._sample(Texts({"train": {"a": [], "b": [""]}})))


# Faults -------------------------------------------------------------------------------------------------------------------------


def files_of(stream):
    return sorted(path for path in stream.folder.rglob("*") if path.is_file() and path.stat().st_size)


def read_everything(folder):
    stream = Stream.open(folder)
    for split in CORPUS:
        for source in stream.sources:
            for number in range(len(stream.lengths(split, source))):
                stream.read(split, source, number)
    return stream.facts, text_of(stream, "test").tokenizer


def test_any_flipped_byte_and_any_truncation_is_found_and_named(tmp_path):
    stream = fresh(tmp_path)
    paths = files_of(stream)
    assert {"manifest.json", "token_bytes", "tokenizer.json"} <= {path.name for path in paths} and len(paths) >= 12
    draw = random.Random(0)
    for path in paths:
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        for content in (bytes(damaged), whole[:-1], whole + b"\0"):
            path.write_bytes(content)
            with pytest.raises(UserError, match=f"{path.name}: .*damaged.*remove the folder"):
                read_everything(stream.folder)
        path.unlink()
        with pytest.raises(UserError, match=path.name):
            Stream.open(stream.folder)
        path.write_bytes(whole)
    read_everything(stream.folder)
    with pytest.raises(UserError, match="not a prepared stream"):
        Stream.open(tmp_path)


def test_damage_is_found_when_it_is_touched_and_not_before(tmp_path, monkeypatch):
    for room in (encode_room, sys.modules["windtunnel.data.stream"]):
        monkeypatch.setattr(room, "BLOCK", 64)
    stream = fresh(tmp_path)
    (path,) = (stream.folder / "train").glob("000*.tokens")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = Stream.open(stream.folder)
    assert (again.read("train", "code", 0) == stream.read("train", "code", 0)).all()
    with pytest.raises(UserError, match=f"{path.name}: damaged: bytes"):
        again.read("train", "code", len(TRAIN["code"]) - 1)
    with pytest.raises(UserError, match=path.name):
        again.verify()


def test_a_long_piece_is_checked_in_every_block_it_covers(tmp_path, monkeypatch):
    for room in (encode_room, sys.modules["windtunnel.data.stream"]):
        monkeypatch.setattr(room, "BLOCK", 64)
    stream = prepare_stream(Texts({"train": {"one": [words(400, 1)]}}), vocabulary=400, sentinels=2, cache=tmp_path)
    (path,) = (stream.folder / "train").glob("000*.tokens")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        Stream.open(stream.folder).read("train", "one", 0)


def test_a_disk_that_fills_leaves_nothing_and_names_the_file(tmp_path):
    """The system's own limit on file size makes writes fail in the middle of a shard."""
    corpus = Texts({"train": {"one": [words(60000, 1)]}})
    code = f"""
import resource
from pathlib import Path
from test_stream import Texts, prepare_stream, words
from windtunnel.core.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    prepare_stream(Texts({{"train": {{"one": [words(60000, 1)]}}}}), vocabulary=400, sentinels=2, cache=Path({str(tmp_path)!r}))
except UserError as error:
    print(error)
"""
    done = warm.run(code=code)
    assert ".tokens: File too large" in done.stdout, done.stdout + done.stderr
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert text_of(prepare_stream(corpus, vocabulary=400, sentinels=2, cache=tmp_path), "test").text("train", "one", 0) == words(60000, 1)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_folder_that_refuses_is_named(tmp_path, monkeypatch, number):
    def refuse(self, *arguments, **keywords):
        raise OSError(number, os.strerror(number), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(UserError, match=f"{tmp_path}.*: {os.strerror(number)}"):
            fresh(tmp_path / "cache")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file"):
        fresh(tmp_path / "file" / "cache")


def test_what_a_killed_process_left_is_cleared_and_never_used(tmp_path, stream):
    left = tmp_path / f"{stream.fingerprint}.partial-dead"
    left.mkdir()
    (left / "manifest.json").write_text("{}")
    assert fresh(tmp_path).fingerprint == stream.fingerprint and not left.exists()


def test_the_second_waits_and_leaves_the_work_of_the_first_alone(tmp_path, stream):
    busy = tmp_path / f"{stream.fingerprint}.partial-busy"
    busy.mkdir()
    told = queue.Queue()
    with (tmp_path / f"{stream.fingerprint}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a process that is preparing it does
        second = threading.Thread(target=fresh, args=(tmp_path,), kwargs={"progress": told.put}, daemon=True)
        second.start()
        assert "waiting" in told.get(timeout=60)
        assert busy.exists() and second.is_alive() and told.empty()
        busy.rename(tmp_path / stream.fingerprint)  # the first has finished
        shutil.copytree(stream.folder, tmp_path / stream.fingerprint, dirs_exist_ok=True)
    second.join(timeout=60)
    assert not second.is_alive() and told.empty(), "nothing may be done twice"


class SlowTexts(Texts):
    """Slow enough for two processes to be at it at once."""

    def documents(self, split, source):
        time.sleep(0.1)
        yield from super().documents(split, source)


def prepare_in_process(folder, gate, results):
    gate.wait()
    results.put(str(prepare_stream(SlowTexts(CORPUS), vocabulary=VOCABULARY, sentinels=SENTINELS, cache=folder).folder))


def test_two_processes_preparing_the_same_stream_both_get_it(tmp_path):
    context = warm.CONTEXT
    gate, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=prepare_in_process, args=(tmp_path, gate, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1 and [worker.exitcode for worker in workers] == [0, 0]
    read_everything(found.pop())
    assert not list(tmp_path.glob("*.partial-*"))


# Packing ------------------------------------------------------------------------------------------------------------------------

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=25).filter(lambda lengths: sum(lengths) > 1).map(np.array)


def laid(layout):
    """Sequences as lists of (document, token)."""
    pieces = [[(int(d), token) for token in range(a, b)] for d, a, b in zip(layout.document, layout.start, layout.stop, strict=True)]
    return [[token for piece in pieces[a:b] for token in piece] for a, b in zip(layout.first[:-1], layout.first[1:], strict=True)]


@settings(max_examples=80, deadline=None)
@given(lengths=LENGTHS, length=st.integers(3, 40), seed=st.integers(0, 99))
def test_concatenate_makes_every_token_a_label_once(lengths, length, seed):
    sequences = laid(make(Packing, "concatenate").pack(Documents(lengths), length, np.random.default_rng(seed)))
    if lengths.sum() < length:
        assert len(sequences) == 1 and len(sequences[0]) == lengths.sum()
        return
    assert all(len(sequence) == length for sequence in sequences)
    after = {sequence[0]: sequence for sequence in sequences}
    ends = {sequence[-1] for sequence in sequences}
    place = next(begin for begin in after if begin not in ends)
    row = [place]
    while place in after:  # they come shuffled: each begins with the token another ends with
        row += after.pop(place)[1:]
        place = row[-1]
    assert not after
    assert len(set(row)) == len(row) and lengths.sum() - len(row) < length - 1
    order = list(dict.fromkeys(document for document, _ in row))
    whole = [(document, token) for document in order for token in range(lengths[document])]
    assert row == whole[: len(row)], "documents must lie whole, one after the other"


@pytest.mark.parametrize("packing", ["concatenate", "whole-documents"])
def test_a_small_batch_is_not_one_document(packing):
    """Windows of a long document do not come one after the other, or the loss would jump from document to document."""
    lengths = np.full(20, 1000)
    sequences = laid(make(Packing, packing).pack(Documents(lengths), 11, np.random.default_rng(0)))
    neighbours = [one[0][0] == other[0][0] for one, other in itertools.pairwise(sequences)]
    assert sum(neighbours) / len(neighbours) < 0.1


@settings(max_examples=80, deadline=None)
@given(lengths=LENGTHS, length=st.integers(3, 40), seed=st.integers(0, 99))
def test_whole_documents_cuts_only_what_is_too_long(lengths, length, seed):
    layout = make(Packing, "whole-documents").pack(Documents(lengths), length, np.random.default_rng(seed))
    sequences = laid(layout)
    assert all(1 <= len(sequence) <= length for sequence in sequences)
    for document, count in enumerate(lengths):
        parts = sorted((int(a), int(b)) for d, a, b in zip(layout.document, layout.start, layout.stop, strict=True) if d == document)
        if 0 < count <= length:
            assert parts == [(0, count)]
        elif count:
            assert parts[0][0] == 0 and parts[-1][1] == count
            assert all(before[1] == after[0] + 1 for before, after in itertools.pairwise(parts))
    assert all(start == 0 for place, start in enumerate(layout.start) if place not in layout.first), "only first may be from inside"
    begun = [length - len(sequence) for sequence in sequences if sequence[0][1] == 0]
    inside = [length - len(sequence) for sequence in sequences if sequence[0][1] > 0]
    assert all(one + other < length for number, one in enumerate(begun) for other in begun[:number] + inside), "two would fit into one"


def test_best_fit_takes_the_fullest_bin_that_still_holds_it():
    assert best_fit([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]
    assert best_fit([4, 3, 6, 5], 10, apart=2) == [[0, 2], [1, 3]]


def test_the_parts_are_found_by_name():
    assert {"concatenate", "whole-documents"} <= set(names(Packing))
    assert {"proportional", "fixed", "temperature"} <= set(names(Mixture))


# Loader -------------------------------------------------------------------------------------------------------------------------


def loader(stream, **keywords):
    return Loader(stream, **{"split": "train", "sources": ("code", "prose"), "context": CONTEXT, "sequences": 4, "seed": 3, **keywords})


def take(loader, sequences):
    """The next sequences, whatever the batch size: rows of every key."""
    rows = []
    while len(rows) < sequences:
        batch = loader.rows(PROGRESS, {})
        rows += [{key: value[place].tolist() for key, value in batch.items()} for place in range(len(batch["sources"]))]
    return rows[:sequences]


@pytest.mark.parametrize("packing", ["concatenate", "whole-documents"])
def test_rows_are_pieces_of_documents(stream, packing):
    flying = loader(stream, packing=make(Packing, packing), sequences=7)
    documents = {
        source: [stream.read("train", source, number).tolist() for number in range(len(TRAIN[source]))] for source in stream.sources
    }
    padded = 0
    for _ in range(30):
        batch = flying.rows(PROGRESS, {})
        assert {key: value.shape for key, value in batch.items()} == {
            **dict.fromkeys(["tokens", "documents", "positions"], (7, CONTEXT + 1)),
            "sources": (7,),
        }
        for tokens, pieces, positions, place in zip(*(batch[key] for key in ("tokens", "documents", "positions", "sources")), strict=True):
            padded += int((pieces == -1).sum())
            assert (tokens[pieces == -1] == stream.facts.pad).all()
            assert (np.diff(np.where(pieces < 0, CONTEXT + 1, pieces)) >= 0).all(), "padding stands last"
            assert list(dict.fromkeys(pieces[pieces >= 0].tolist())) == list(range(pieces.max() + 1))
            for piece in range(pieces.max() + 1):
                content = tokens[pieces == piece].tolist()
                assert positions[pieces == piece].tolist() == list(range(len(content)))
                if piece:
                    assert content[0] == stream.facts.document, "only the first piece may begin inside a document"
                source = documents[stream.sources[place]]
                assert any(content == text[a : a + len(content)] for text in source for a in range(len(text) - len(content) + 1))
    assert bool(padded) == (packing == "whole-documents")


def test_an_epoch_holds_every_token_once_and_the_next_has_another_order(stream):
    flying = loader(stream, sources=("code",), sequences=1)
    size = stream.sizes("train")["code"]
    windows = (size - 1) // CONTEXT
    first, second = take(flying, windows), take(flying, windows)
    counts = np.bincount(np.concatenate([stream.read("train", "code", number) for number in range(40)]), minlength=VOCABULARY)
    for epoch in (first, second):
        seen = np.bincount([token for row in epoch for token in row["tokens"][:-1]], minlength=VOCABULARY)
        assert (seen <= counts).all() and counts.sum() - seen.sum() <= CONTEXT
    assert first != second and flying.epochs() == {"code": 2.0}
    assert flying.state()["cursors"] == {"code": 2 * size}


def test_the_order_depends_on_nothing_but_seed_sources_and_settings(stream, cache):
    want = take(loader(stream), 60)
    for sequences in (1, 3, 16):
        assert take(loader(stream, sequences=sequences), 60) == want
    assert take(loader(Stream.open(stream.folder)), 60) == want
    assert take(loader(stream, seed=4), 60) != want
    alone = take(loader(stream, sources=("code",)), 20)
    code = [row for row in want if row["sources"] == 0][:20]
    assert alone[: len(code)] == code, "adding a source must not reshuffle another"


def test_without_boundaries_a_sequence_is_one_document(stream):
    """The same tokens, but one document and one run of positions; evaluation keeps the boundaries."""
    whole = make(Packing, {"concatenate": {"separate": False}})
    apart, together = loader(stream, sequences=40).rows(PROGRESS), loader(stream, sequences=40, packing=whole).rows(PROGRESS)
    assert (together["tokens"] == apart["tokens"]).all()
    assert apart["documents"].max() > 0 and (together["documents"] == np.minimum(apart["documents"], 0)).all()
    assert (together["positions"] == np.arange(CONTEXT + 1)).all()
    assert max(rows["documents"].max() for rows in loader(stream, packing=whole).fixed("code")) > 0


@pytest.mark.parametrize("packing", ["concatenate", "whole-documents"])
@pytest.mark.parametrize("chapter", [1 << 25, 200])
def test_going_on_from_a_state_is_as_if_never_stopped(stream, packing, chapter, monkeypatch):
    monkeypatch.setattr(loader_room, "CHAPTER", chapter)
    keywords = {"packing": make(Packing, packing), "sources": None, "mixture": make(Mixture, "temperature"), "sequences": 2}
    undisturbed = loader(stream, **keywords)
    want = [undisturbed.rows(PROGRESS, {})["tokens"].tolist() for _ in range(80)]
    flying = loader(stream, **keywords)
    for number in range(80):
        state = json.loads(json.dumps(flying.state()))
        flying = loader(stream, **keywords)
        flying.load_state(state)
        assert flying.rows(PROGRESS, {})["tokens"].tolist() == want[number]
    assert flying.epochs() == undisturbed.epochs() and max(flying.epochs().values()) > 2
    with pytest.raises(UserError, match="the state is of sources"):
        loader(stream, sources=("code",)).load_state(state)


@pytest.mark.parametrize("packing", ["concatenate", "whole-documents"])
def test_chapters_hold_every_document_once_an_epoch(stream, packing, monkeypatch):
    monkeypatch.setattr(loader_room, "CHAPTER", 150)
    flying = loader(stream, sources=("code",), sequences=1, packing=make(Packing, packing))
    begun = 0
    while flying.epochs()["code"] < 1:
        begun += int((flying.rows(PROGRESS, {})["tokens"][:, :-1] == stream.facts.document).sum())
    assert flying.epochs() == {"code": 1.0}
    chapters = len(flying._orders["code"].bounds) - 1
    assert chapters > 3
    assert begun == 40 if packing == "whole-documents" else 40 - 3 * chapters <= begun <= 40


def test_a_document_longer_than_a_chapter_is_one_chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(loader_room, "CHAPTER", 100)
    corpus = Texts({"train": {"one": [words(500, 1)], "two": [words(500, 2), "wing", words(9, 3)]}})
    stream = prepare_stream(corpus, vocabulary=310, sentinels=2, cache=tmp_path)
    flying = Loader(stream, context=CONTEXT, sequences=5)
    while min(flying.epochs().values()) < 3:
        assert (flying.rows(PROGRESS)["documents"][:, 0] == 0).all()


def test_a_later_phase_goes_on_where_the_earlier_one_stopped(stream):
    before = loader(stream, sources=("code",), context=8, sequences=1)
    for _ in range(21):
        before.rows(PROGRESS, {})
    after = loader(stream, sources=("code", "prose"), context=32, cursors=before.state()["cursors"], sequences=1)
    assert after.epochs() == {"code": before.epochs()["code"], "prose": 0.0}
    for _ in range(200):
        after.rows(PROGRESS, {})
    assert after.epochs()["code"] > 2
    # from every cursor there is a next sequence, and it moves on
    for cursor in range(stream.sizes("train")["code"]):
        flying = loader(stream, sources=("code",), context=32, cursors={"code": cursor}, sequences=1)
        flying._layouts, flying._orders = after._layouts, {}
        flying.rows(PROGRESS, {})
        assert flying.state()["cursors"]["code"] > cursor


def test_a_source_shorter_than_a_sequence_is_padded(stream):
    flying = loader(stream, sources=("tiny",), sequences=2)
    batch = flying.rows(PROGRESS, {})
    length = stream.sizes("train")["tiny"]
    assert (batch["documents"][:, :length] == 0).all() and (batch["documents"][:, length:] == -1).all()
    assert flying.epochs() == {"tiny": 2.0} and (batch["sources"] == stream.sources.index("tiny")).all()


@pytest.mark.parametrize("sequences", [1, 4, 100])
def test_held_out_sequences_make_each_token_a_label_once(stream, sequences):
    flying = loader(stream, split="validation", sequences=sequences)
    want = np.concatenate([stream.read("validation", "code", number) for number in range(3)]).tolist()
    batches = list(flying.fixed("code"))
    assert all(1 <= len(batch["tokens"]) <= sequences for batch in batches)
    rows = [row[documents >= 0] for batch in batches for row, documents in zip(batch["tokens"], batch["documents"], strict=True)]
    assert [want[0]] + [token for row in rows for token in row[1:].tolist()] == want
    limited = sum(len(batch["tokens"]) for batch in flying.fixed("code", 3 * CONTEXT + 5))
    assert limited == 3 and sum(len(batch["tokens"]) for batch in flying.fixed("code", 1)) == 1
    whole = np.concatenate([batch["tokens"] for batch in batches])
    spread = np.concatenate([batch["tokens"] for batch in flying.fixed("code", 3 * CONTEXT)])
    assert (spread == whole[[0, len(whole) // 3, 2 * len(whole) // 3]]).all(), "a limit reads from all over the source"
    assert list(flying.fixed("tiny")) == [] and flying.epochs() == {"code": 0.0, "prose": 0.0}


# Mixture ------------------------------------------------------------------------------------------------------------------------


class Drawing(Loader):
    """Only the choice of sources."""

    def __init__(self, weights):
        self.sources = tuple(map(str, range(len(weights))))
        self._credits = dict.fromkeys(self.sources, 0)
        self.sizes = dict.fromkeys(self.sources, 1)
        self.mixture = make(Mixture, {"fixed": {"shares": dict(zip(self.sources, weights, strict=True))}})


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_counts_stay_within_one_sequence_of_the_mixture(weights):
    flying = Drawing(weights)
    shares = flying._weights(PROGRESS, {})
    assert sum(shares) == loader_room.ONE
    counts = [0] * len(weights)
    for drawn in range(1, 200):
        counts[flying._draw(shares)] += 1
        for count, share, weight in zip(counts, shares, weights, strict=True):
            assert abs(count - Fraction(share, loader_room.ONE) * drawn) < 1
            assert abs(count - weight / sum(weights) * drawn) < 1 + 1e-6


def test_the_mixtures(stream):
    sizes = {"a": 900, "b": 100}
    assert make(Mixture, "proportional").weights(sizes, PROGRESS, {}) == {"a": 900.0, "b": 100.0}
    even = make(Mixture, {"temperature": {"temperature": 2}}).weights(sizes, PROGRESS, {})
    assert even["a"] / even["b"] == pytest.approx(3)
    flying = loader(stream, mixture=make(Mixture, {"fixed": {"shares": {"code": 1, "prose": 3}}}))
    assert np.bincount([row["sources"] for row in take(flying, 40)]).tolist() == [10, 30]


def test_shares_that_do_not_fit_are_refused(stream):
    flying = loader(stream, mixture=make(Mixture, {"fixed": {"shares": {"code": 1, "prse": 1}}}))
    for attempt in (flying.check, lambda: flying.rows(PROGRESS, {})):
        with pytest.raises(UserError, match="no source is called 'prse'; did you mean 'prose'"):
            attempt()


@pytest.mark.parametrize("shares", [{"code": 1}, {"code": 1, "prose": 0}])
def test_a_source_without_a_share_is_not_drawn(stream, shares):
    flying = loader(stream, mixture=make(Mixture, {"fixed": {"shares": shares}}))
    assert {stream.sources[row["sources"]] for row in take(flying, 40)} == {"code"}


@pytest.mark.parametrize("share", [-1, float("nan"), float("inf")])
def test_shares_that_are_no_shares_are_refused(share):
    with pytest.raises(ValidationError, match="the share of source 'prose' is"):
        make(Mixture, {"fixed": {"shares": {"code": 1, "prose": share}}})


def test_what_cannot_be_drawn_is_refused(stream):
    with pytest.raises(UserError, match="sources: no source is called 'cod'; did you mean 'code'"):
        loader(stream, sources=("cod",))
    with pytest.raises(UserError, match="at least one"):
        loader(stream, sources=())
    with pytest.raises(UserError, match="source 'tiny' has no validation tokens"):
        loader(stream, sources=None, split="validation").check()

    class Wrong(Mixture):
        def weights(self, sizes, progress, feedback):
            return {"code": -1.0, "prose": 1.0}

    with pytest.raises(UserError, match=r"the share of source 'code' is -1\.0"):
        loader(stream, mixture=Wrong.model_construct()).rows(PROGRESS, {})


def test_a_source_that_curators_emptied_is_not_drawn_from_unless_it_is_named(tmp_path: Path) -> None:
    for name, length in (("long", 40), ("short", 5)):
        rows = [{"text": words(length, 1000 * length + number)} for number in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {name: make(Source, {"files": {"path": str(tmp_path / f"{name}.jsonl")}}) for name in ("long", "short")}
    said = {"corpus": {name: str(tmp_path / f"{name}.jsonl") for name in sources}, "budget": {"steps": 2}, "context": 16, "batch": 2}
    found = {}
    for least in (1, 100):
        kept = {"curators": [make(Curator, {"length": {"shortest": least}})], "cache": tmp_path / "corpora"}
        corpus = prepare_corpus(sources, validation=0.2, test=0.2, near_duplicates=1.0, **kept)
        found[least] = prepare_stream(corpus, vocabulary=VOCABULARY, sentinels=SENTINELS, cache=tmp_path / "streams")
    assert found[1].emptied() == frozenset() and found[100].emptied() == {"short"} and found[100].sizes("test")["short"]
    recipe = recipe_from(said)
    assert [drawn_from(recipe, recipe.phases[0], stream) for stream in found.values()] == [("long", "short"), ("long",)]
    named = recipe_from({**said, "sources": ["short"]})
    with pytest.raises(UserError, match=r"source 'short' has no train tokens .*removed: curator length: "):
        loader_of(named, named.phases[0], found[100], 0, {}).check()
