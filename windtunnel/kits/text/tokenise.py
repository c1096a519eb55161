"""Text as a stream: a vocabulary learnt from training documents, every document tokenised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.core.memory import hand_back
from windtunnel.data.corpus.fields import ORIGIN, SOURCE
from windtunnel.data.corpus.written import Template
from windtunnel.kits.text import tokenizer as tokenizers_room
from windtunnel.kits.text.extend import extended
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.content import copy_tokenizer
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE = 64 << 20  # bytes of text the vocabulary is learnt from: more changes a vocabulary of pilot size very little
LONGEST = 1 << 20  # characters of one document in that sample, so that no single file becomes the vocabulary
SLICE = 1 << 19  # characters encoded in one piece: an encoding takes some hundred times its text while it exists
BATCH = 1 << 19  # characters encoded in one call: enough for some dozen cores to have work
READ = 1 << 20  # bytes read at a time where a file is hashed

Metadata = tuple[str, int] | None  # a template, and how many tokens of what it writes are kept


class TextCorpus(Protocol):
    """What is needed of a corpus."""

    fingerprint: str
    sources: tuple[str, ...]
    table: list[dict[str, Any]]

    def documents(self, split: str, source: str) -> Iterator[list[str]]:
        """The texts of one source in one split, in batches, always in the same order."""
        ...


def signature(
    corpus: TextCorpus, *, given: Path | None, vocabulary: int, sentinels: int, extend: int, learn_from: Any, metadata: Metadata = None
) -> dict[str, Any]:
    """What determines the tokens of ``corpus``, as :func:`fit` has it; ``given`` is the folder of a tokenizer, known by its content."""
    import tokenizers

    facts: dict[str, Any] = {
        "vocabulary": vocabulary if given is None else None,
        "tokenizer": None if given is None else _folder_hash(given),
        "sentinels": sentinels,
        "tokenizers": tokenizers.__version__,
        "extend": extend,
    }
    if given is not None and _may_begin(given):
        facts["beginning"] = True  # documents of such tokenizers had none before
    if tuple(learn_from or corpus.sources) != corpus.sources and (extend or given is None):
        facts["learn_from"] = list(learn_from)
    if metadata is not None:
        facts["metadata"] = list(metadata)
    return facts


def fit(
    corpus: TextCorpus,
    folder: Path,
    *,
    given: Path | None,
    vocabulary: int,
    sentinels: int,
    extend: int,
    learn_from: Sequence[str] | None,
    metadata: Metadata = None,
    tell: Callable[[str], None],
) -> Fitted:
    """The tokenizer for ``corpus``, saved under ``folder``, and how it makes tokens of documents.

    The BPE is learnt from at most 64 MiB of text: every n-th document of each source in proportion to its size, and at most 1 MiB of
    any one document. A document is the separator token and then its own tokens; so the separator, as the label after a document's last
    token, also ends it. With a tokenizer that begins texts with a token of its own it is that, its tokens, and the end-of-text token.

    Args:
        corpus: the documents.
        folder: of the stream; ``tokenizer/`` is what AutoTokenizer loads, ``given/`` the files of a tokenizer as they were given.
        given: a tokenizer folder; None trains a byte-level BPE of ``vocabulary`` tokens on training documents only.
        vocabulary: size of the trained vocabulary, special tokens included.
        sentinels: how many span sentinels the vocabulary has.
        extend: how many tokens are added to those of ``given``; see :func:`windtunnel.kits.text.extend.extended`.
        learn_from: the sources that tokens are learnt from; None: all.
        metadata: a template that names fields of the documents, and how many tokens of what it writes are kept beside each document.
        tell: is told what is being done, a line at a time.

    Raises:
        UserError: naming the tokenizer setting.
    """
    learn_from = tuple(learn_from or corpus.sources)
    if given is not None:
        tokenizer = tokenizers_room.load(given, sentinels=sentinels)
        if not extend:
            copy_tokenizer(given, folder / "given")
        else:
            tell("learning further tokens")
            asked = len(tokenizer) + extend
            tokenizer = extended(tokenizer, _sample(corpus, learn_from), extend)
            if len(tokenizer) < asked:
                tell(f"the text offers {len(tokenizer) - asked + extend} of the {extend} further tokens asked for")
    else:
        tell("learning the vocabulary")
        tokenizer = tokenizers_room.train(_sample(corpus, learn_from), vocabulary=vocabulary, sentinels=sentinels)
        hand_back()  # what counting words held; else it stays with the process while the text is encoded
        if len(tokenizer) < vocabulary:
            tell(f"the text offers {len(tokenizer)} of the {vocabulary} tokens asked for")
    facts = tokenizers_room.describe(tokenizer, sentinels=sentinels)
    _save_tokenizer(tokenizer, folder / "tokenizer")
    backend = tokenizers_room.encoder(tokenizer)
    kind = Kind("<u2" if facts.size <= 1 << 16 else "<u4", fill=facts.pad)
    beside = {} if metadata is None else {"metadata": kind._replace(shape=(metadata[1],), along="document")}
    return Fitted(
        fields={"tokens": kind, **beside},
        facts={
            "size": facts.size,
            "document": facts.document,
            "pad": facts.pad,
            "mask": facts.mask,
            "spans": list(facts.spans),
            "modes": dict(facts.modes),
            "token_bytes": facts.token_bytes,
            "word_starts": facts.word_starts,
            **({} if facts.end is None else {"end": facts.end}),
        },
        encode=lambda split, source: _with_metadata(
            _encode(corpus, split, source, backend, facts, kind.dtype, given), corpus, split, source, backend, kind, metadata
        ),
    )


def _with_metadata(
    pieces: Iterator[Piece], corpus: Any, split: str, source: str, backend: Tokenizer, kind: Kind, metadata: Metadata
) -> Iterator[Piece]:
    """``pieces``, the last of each document with what ``metadata`` writes of it, as tokens [1, most], padded."""
    if metadata is None:
        yield from pieces
        return
    written = _metadata(corpus, split, source, metadata[0])
    for piece in pieces:
        if not piece.ends:
            yield piece
            continue
        row = np.full((1, metadata[1]), kind.fill, kind.dtype)
        numbers = backend.encode(next(written), add_special_tokens=False).ids[: metadata[1]]
        row[0, : len(numbers)] = numbers
        yield piece._replace(arrays={**piece.arrays, "metadata": row})


def _metadata(corpus: Any, split: str, source: str, template: str) -> Iterator[str]:
    """What ``template`` writes of each document. Raises UserError where documents of the source lack a field that it names."""
    wanted = Template(template)
    fields = [name for name in wanted.fields if name != SOURCE]
    for batch in corpus.rows(split, source, fields or [ORIGIN]):
        for row in batch.to_pylist():
            yield wanted.write({**row, SOURCE: source})


def _encode(
    corpus: TextCorpus, split: str, source: str, backend: Tokenizer, facts: Vocabulary, kind: str, given: Path | None
) -> Iterator[Piece]:
    """The tokens of one source of one split. Raises UserError where they do not stand for the text they were made of."""
    separator = np.array([facts.document], dtype=kind)
    last = np.array([] if facts.end is None else [facts.end], dtype=kind)
    documents = size = counted = 0
    begins = True
    texts = (text for batch in corpus.documents(split, source) for text in batch)
    for numbers, length, ends in encode_documents(texts, backend):
        tokens = numbers.astype(kind)
        parts = [*([separator] if begins else []), tokens, *([last] if ends else [])]
        yield Piece({"tokens": np.concatenate(parts) if len(parts) > 1 else tokens}, length, ends)
        counted += int(facts.token_bytes[numbers].sum())
        size += length
        documents += ends
        begins = ends
    if abs(counted - size) > 0.01 * size + documents:  # one space before each document is allowed for
        raise UserError(
            f"tokenizer.folder: {given}: the tokens of {split}/{source} stand for {counted} bytes, its text has {size}: this tokenizer "
            "changes or loses text, so bits per byte cannot be measured with it"
        )


def encode_documents(texts: Iterable[str], backend: Tokenizer) -> Iterator[tuple[np.ndarray, int, bool]]:
    """The tokens of documents in order, in pieces: (uint32 tokens, UTF-8 bytes of their text, whether the document ends here).

    Documents longer than half a million characters are encoded in slices, so that memory is bounded. A slice ends before a space that
    follows something else, where the pre-tokenizers of GPT-2, Llama 3 and their kin begin a new piece anyway: the tokens are the same as
    for the whole. They can differ at such a place only for a tokenizer that puts a space before every text, or inside a run of half a
    million characters without a space.
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


def _sample(corpus: TextCorpus, sources: Sequence[str] | None = None) -> Iterator[str]:
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


def _may_begin(folder: Path) -> bool:
    """Whether the tokenizer in ``folder`` may put a token before a text, told from its files alone."""
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
    found = [json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {} for file in files]
    kind = (found[0].get("post_processor") or {}).get("type", "ByteLevel")
    return kind != "ByteLevel" or bool(found[1].get("add_bos_token"))


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    try:
        tokenizer.save_pretrained(str(folder))
    except OSError:
        raise
    except Exception as error:  # the tokenizers library reports a full disk as a plain Exception
        raise OSError(None, str(error), str(folder)) from error


def _folder_hash(folder: Path) -> str:
    """A hash of the files of a tokenizer folder, weights left out."""
    if not folder.is_dir():
        raise UserError(f"tokenizer.folder: {folder} is not a folder")
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".md"):
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(READ):
                    digest.update(block)
    return digest.hexdigest()
