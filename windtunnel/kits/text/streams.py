"""Prepare a stream: tokenise every document of a corpus once, into memory-mapped shards that are reused by content.

Memory stays flat: documents pass through in batches and their tokens are written at once; no split and no tokenised source is ever
held. The folder appears under its final name only when everything in it is written, synced and hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.core.files import awaited, naming, publish, temporary_folder
from windtunnel.data.stream import BLOCK, FORMAT, SPLITS, Stream, manifest_hash
from windtunnel.kits.text import tokenizer as tokenizers_room
from windtunnel.kits.text.extend import extended
from windtunnel.models.content import copy_tokenizer
from windtunnel.slots import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE = 64 << 20  # bytes of text the vocabulary is learnt from: more changes a vocabulary of pilot size very little
LONGEST = 1 << 20  # characters of one document in that sample, so that no single file becomes the vocabulary
SLICE = 1 << 20  # characters encoded in one piece: an encoding takes some hundred times its text while it exists
BATCH = 1 << 21  # characters encoded in one call: enough for every core to have work


class Documents(Protocol):
    """What is needed of a corpus."""

    fingerprint: str
    sources: tuple[str, ...]
    table: list[dict[str, Any]]

    def documents(self, split: str, source: str) -> Iterator[list[str]]:
        """The texts of one source in one split, in batches, always in the same order."""
        ...


class Wanted(NamedTuple):
    """The tokenizer that is asked for, as :func:`prepare_stream` says it."""

    folder: str | None
    vocabulary: int
    sentinels: int
    extend: int
    learn_from: tuple[str, ...]


def prepare_stream(
    corpus: Documents,
    *,
    folder: str | None = None,
    vocabulary: int = 4096,
    sentinels: int = 64,
    extend: int = 0,
    learn_from: Sequence[str] | None = None,
    cache: Path,
    progress: Callable[[str], None] | None = None,
) -> Stream:
    """The stream of ``corpus``, made in ``cache/<fingerprint>/`` unless it is there already.

    Args:
        corpus: the documents.
        folder: a tokenizer folder; None trains a byte-level BPE of ``vocabulary`` tokens on training documents only.
        vocabulary: size of the trained vocabulary, special tokens included.
        sentinels: how many span sentinels the vocabulary has.
        extend: how many tokens are added to those of ``folder``; see :func:`windtunnel.kits.text.extend.extended`.
        learn_from: the sources that tokens are learnt from; None: all.
        cache: where streams are kept.
        progress: told what is being done, a line at a time.

    Two processes that prepare the same stream at once both get it: the second waits for the first. The BPE is learnt from at most
    64 MiB of text: every n-th document of each source in proportion to its size, and at most 1 MiB of any one document.

    Raises:
        UserError: naming the tokenizer setting, the file that cannot be written, or what is damaged in a stream found in the cache.
    """
    tell = progress or (lambda message: None)
    cache = Path(cache)
    wanted = Wanted(folder, vocabulary, sentinels, extend, tuple(learn_from or corpus.sources))
    fingerprint = _fingerprint(corpus, wanted)
    target = cache / fingerprint
    if target.exists():
        return Stream.open(target)
    waiting = partial(tell, "another process is preparing this stream; waiting for it")
    with naming(cache, "; nothing unfinished was kept, free or choose another folder"):
        cache.mkdir(parents=True, exist_ok=True)
        with awaited(cache / f"{fingerprint}.lock", waiting) as alone:
            if target.exists():
                return Stream.open(target)
            if alone:  # what a killed process left behind
                for stale in cache.glob(f"{fingerprint}.partial-*"):
                    shutil.rmtree(stale, ignore_errors=True)
            with temporary_folder(cache, f"{fingerprint}.partial-") as made:
                _build(corpus, made, fingerprint, wanted, tell)
                publish(made, target)
    return Stream.open(target)


def encode_documents(texts: Iterable[str], backend: Tokenizer) -> Iterator[tuple[np.ndarray, int, bool]]:
    """The tokens of documents in order, in pieces: (uint32 tokens, UTF-8 bytes of their text, whether the document ends here).

    Documents longer than 1 Mi characters are encoded in slices, so that memory is bounded. A slice ends before a space that follows
    something else, where the pre-tokenizers of GPT-2, Llama 3 and their kin begin a new piece anyway: the tokens are the same as for
    the whole. They can differ at such a place only for a tokenizer that puts a space before every text, or inside a run of a million
    characters without a space.
    """
    waiting: list[str] = []
    ends: list[bool] = []
    characters = 0

    def flush() -> Iterator[tuple[np.ndarray, int, bool]]:
        encodings = backend.encode_batch_fast(waiting, add_special_tokens=False)
        for text, end, encoding in zip(waiting, ends, encodings, strict=True):
            yield np.array(encoding.ids, dtype=np.uint32), utf8_length(text), end

    for text in texts:
        for piece, end in slices(text):
            if characters and characters + len(piece) > BATCH:
                yield from flush()
                waiting, ends, characters = [], [], 0
            waiting.append(piece)
            ends.append(end)
            characters += len(piece)
    if waiting:
        yield from flush()


def slices(text: str) -> Iterator[tuple[str, bool]]:
    """``text`` in slices of at most :data:`SLICE` characters, each with whether it is the last; see :func:`encode_documents`."""
    begin = 0
    while len(text) - begin > SLICE:
        window = text[begin : begin + SLICE]
        end = begin + _last_break(window)
        yield text[begin:end], False
        begin = end
    yield (text[begin:] if begin else text), True


def utf8_length(text: str) -> int:
    """UTF-8 bytes of ``text``."""
    return len(text) if text.isascii() else len(text.encode())


def _last_break(window: str) -> int:
    """Where to cut a window of text: before its last space (else line break) that follows something else, else at its end."""
    for character in (" ", "\n"):
        place = window.rfind(character, 1)
        while place > 0 and window[place - 1].isspace():
            place = window.rfind(character, 1, place)
        if place > 0:
            return place
    return len(window)


# Making one ---------------------------------------------------------------------------------------------------------------------


def _build(corpus: Documents, folder: Path, fingerprint: str, wanted: Wanted, tell: Callable[[str], None]) -> None:
    """Everything of a stream, written and synced, into the empty ``folder``."""
    given, vocabulary, sentinels, extend, learn_from = wanted
    if given is not None:
        tokenizer = tokenizers_room.load(given, sentinels=sentinels)
        if not extend:
            copy_tokenizer(Path(given).expanduser(), folder / "given")
        else:
            tell("learning further tokens")
            asked = len(tokenizer) + extend
            tokenizer = extended(tokenizer, _sample(corpus, learn_from), extend)
            if len(tokenizer) < asked:
                tell(f"the text offers {len(tokenizer) - asked + extend} of the {extend} further tokens asked for")
    else:
        tell("learning the vocabulary")
        tokenizer = tokenizers_room.train(_sample(corpus, learn_from), vocabulary=vocabulary, sentinels=sentinels)
        if len(tokenizer) < vocabulary:
            tell(f"the text offers {len(tokenizer)} of the {vocabulary} tokens asked for")
    facts = tokenizers_room.describe(tokenizer, sentinels=sentinels)
    _save_tokenizer(tokenizer, folder / "tokenizer")
    kind = "<u2" if facts.size <= 1 << 16 else "<u4"
    files: dict[str, dict[str, Any]] = {}
    for name, array in (("token_bytes", facts.token_bytes.astype("<i4")), ("word_starts", facts.word_starts)):
        with _Writer(folder, f"vocabulary/{name}", files) as writer:
            writer.write(array.tobytes())
    backend = tokenizers_room.encoder(tokenizer)
    shards: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for number, source in enumerate(corpus.sources):
            tell(f"tokenising {split}/{source}")
            stem = f"{split}/{number:03d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', source)[:40]}"
            shards[split][source] = _write_shard(corpus, split, source, folder, stem, backend, facts, kind, files, given)
    for path in sorted([*(folder / "tokenizer").rglob("*"), *(folder / "given").rglob("*")]):
        if path.is_file():
            _enter(folder, path, files)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "corpus": corpus.fingerprint,
        "sources": list(corpus.sources),
        "table": list(corpus.table),
        "dtype": kind,
        "vocabulary": {
            "size": facts.size,
            "document": facts.document,
            "pad": facts.pad,
            "mask": facts.mask,
            "spans": list(facts.spans),
            "modes": dict(facts.modes),
        },
        "shards": shards,
        "files": files,
    }
    manifest = json.loads(json.dumps(manifest))
    manifest["hash"] = manifest_hash(manifest)
    with _Writer(folder, "manifest.json", {}) as writer:
        writer.write(json.dumps(manifest).encode())


def _write_shard(
    corpus: Documents,
    split: str,
    source: str,
    folder: Path,
    stem: str,
    backend: Tokenizer,
    facts: Vocabulary,
    kind: str,
    files: dict[str, dict[str, Any]],
    given: str | None,
) -> dict[str, Any]:
    """Tokenise one source of one split. Raises UserError where the tokens do not stand for the text they were made of."""
    separator = np.array([facts.document], dtype=kind).tobytes()
    tokens = documents = size = counted = 0
    with _Writer(folder, stem + ".tokens", files) as shard, _Writer(folder, stem + ".index", files) as index:
        begins, document_size = True, 0
        texts = (text for batch in corpus.documents(split, source) for text in batch)
        for numbers, length, ends in encode_documents(texts, backend):
            if begins:
                shard.write(separator)
                tokens += 1
            shard.write(numbers.astype(kind).tobytes())
            tokens += len(numbers)
            counted += int(facts.token_bytes[numbers].sum())
            document_size += length
            begins = ends
            if ends:
                index.write(np.array([tokens, document_size], dtype="<i8").tobytes())
                documents += 1
                size += document_size
                document_size = 0
    if abs(counted - size) > 0.01 * size + documents:  # one space before each document is allowed for
        raise UserError(
            f"tokenizer.folder: {given}: the tokens of {split}/{source} stand for {counted} bytes, its text has {size}: this tokenizer "
            "changes or loses text, so bits per byte cannot be measured with it"
        )
    return {"file": stem, "tokens": tokens, "documents": documents, "bytes": size}


def _sample(corpus: Documents, sources: Sequence[str] | None = None) -> Iterator[str]:
    """Training text to learn a vocabulary from: evenly spaced documents of every one of ``sources``, at most :data:`SAMPLE` bytes.

    In proportion to the size of each source; only an eighth is kept for sources so small that they would hardly be seen.
    """
    sources = corpus.sources if sources is None else sources
    sizes = {row["source"]: int(row["bytes"]) for row in corpus.table if row["what"] == "train"}
    for source in sources:
        if source not in sizes:
            sizes[source] = sum(utf8_length(text) for batch in corpus.documents("train", source) for text in batch)
    total = sum(sizes[source] for source in sources)
    if not total:
        raise UserError(f"the corpus has no training text to learn a vocabulary from (sources: {', '.join(sources)})")
    least = SAMPLE // 8 // len(sources)
    for source in sources:
        wanted = sizes[source] if total <= SAMPLE else max(sizes[source] * (SAMPLE - SAMPLE // 8) // total, min(sizes[source], least))
        left, share = wanted, wanted / max(1, sizes[source])
        texts = (text for batch in corpus.documents("train", source) for text in batch)
        for number, text in enumerate(texts):
            if left <= 0:
                break
            if number == 0 or int((number + 1) * share) > int(number * share):
                part = text[: min(LONGEST, left)]
                left -= utf8_length(part)
                yield part


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(str(folder))
    except OSError:
        raise
    except Exception as error:  # the tokenizers library reports a full disk as a plain Exception
        raise OSError(None, str(error), str(folder)) from error


def _fingerprint(corpus: Documents, wanted: Wanted) -> str:
    """A hash of everything that determines the stream."""
    import tokenizers

    facts = {
        "format": FORMAT,
        "corpus": corpus.fingerprint,
        "sources": list(corpus.sources),
        "vocabulary": wanted.vocabulary if wanted.folder is None else None,
        "tokenizer": None if wanted.folder is None else _folder_hash(Path(wanted.folder).expanduser()),
        "sentinels": wanted.sentinels,
        "tokenizers": tokenizers.__version__,
    }
    if wanted.folder is not None:
        facts["given"] = "kept"  # streams from before the files of the tokenizer were kept are made anew
    if wanted.extend:
        facts["extend"] = wanted.extend
    if wanted.learn_from != corpus.sources and (wanted.extend or wanted.folder is None):
        facts["learn_from"] = list(wanted.learn_from)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _folder_hash(folder: Path) -> str:
    """A hash of the files of a tokenizer folder, weights left out."""
    if not folder.is_dir():
        raise UserError(f"tokenizer.folder: {folder} is not a folder")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".md"):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
    return digest.hexdigest()


# Files --------------------------------------------------------------------------------------------------------------------------


class _Writer:
    """A file written from beginning to end, synced on closing, with the checksum of each block entered under its path in ``files``."""

    def __init__(self, folder: Path, path: str, files: dict[str, dict[str, Any]]) -> None:
        self.path, self.name, self.files = folder / path, path, files
        self.sums: list[str] = []
        self.size = self.sum = 0

    def __enter__(self) -> _Writer:
        self.path.parent.mkdir(exist_ok=True)
        self.file = self.path.open("xb", buffering=BLOCK)
        return self

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        view = memoryview(data)
        while len(view):
            room = BLOCK - self.size % BLOCK
            part = view[:room]
            self.sum = zlib.crc32(part, self.sum)
            self.size += len(part)
            if self.size % BLOCK == 0:
                self.sums.append(f"{self.sum:08x}")
                self.sum = 0
            view = view[room:]

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
        except OSError as failure:
            raise OSError(failure.errno, failure.strerror, str(self.path)) from failure
        finally:
            with contextlib.suppress(OSError):  # closing flushes once more; the first failure is the one that is told
                self.file.close()
        if self.size % BLOCK:
            self.sums.append(f"{self.sum:08x}")
        self.files[self.name] = {"bytes": self.size, "blocks": "".join(self.sums)}


def _enter(folder: Path, path: Path, files: dict[str, dict[str, Any]]) -> None:
    """Sync a file that another library wrote and enter its checksums."""
    data = path.read_bytes()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sums = [f"{zlib.crc32(data[begin : begin + BLOCK]):08x}" for begin in range(0, len(data), BLOCK)]
    files[path.relative_to(folder).as_posix()] = {"bytes": len(data), "blocks": "".join(sums)}


__all__: Sequence[str] = ("Documents", "encode_documents", "prepare_stream", "slices", "utf8_length")
