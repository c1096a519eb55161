"""A prepared stream: the tokens of every document of every split, memory-mapped, with nothing in it taken on trust.

Opening one needs numpy only: no corpus library, and transformers only once the tokenizer itself is asked for.

A stream is a folder: ``manifest.json``; ``<split>/<number>-<source>.tokens`` (all documents one after the other, uint16 or uint32)
and ``.index`` (int64 pairs: where the document ends in tokens, its UTF-8 bytes); ``vocabulary/`` (two arrays); ``tokenizer/`` (what
AutoTokenizer loads). All numbers are little-endian. A document is the separator token and then its own tokens; so the separator,
as the label after a document's last token, also ends it.

The manifest holds its own hash, the size of every file and the CRC-32 of each of its blocks. Sizes are checked on opening, a block
when it is first touched, so that opening costs milliseconds and yet no flipped byte is ever trained on.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from windtunnel.core.errors import UserError, nearest
from windtunnel.slots import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = 1
BLOCK = 1 << 20  # bytes under one checksum: large enough to be few, small enough that touching one token costs a millisecond
SPLITS = ("train", "validation", "test")


class Stream:
    """The tokens of a corpus, by split and source. Made by :func:`windtunnel.kits.text.streams.prepare_stream`; never changes."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = manifest["fingerprint"]
        self.sources: tuple[str, ...] = tuple(manifest["sources"])
        self.table: list[dict[str, Any]] = manifest["table"]
        self._manifest = manifest
        self._files = {path: _File(folder, path, entry) for path, entry in manifest["files"].items()}
        self._shards: dict[tuple[str, str], _Shard] = {}

    @classmethod
    def open(cls, folder: Path | str) -> Stream:
        """The stream in ``folder``.

        Raises:
            UserError: naming the file that is missing, truncated or changed.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}; {folder} is not a prepared stream") from error
        except ValueError as error:
            raise UserError(f"{path}: damaged: not valid JSON; {_mend(folder)}") from error
        if not isinstance(manifest, dict) or manifest.get("hash") != manifest_hash(manifest):
            raise UserError(f"{path}: damaged: its content does not agree with its hash; {_mend(folder)}")
        if manifest["format"] != FORMAT:
            raise UserError(f"{path}: format {manifest['format']}, this version reads format {FORMAT}; {_mend(folder)}")
        return cls(folder, manifest)

    def __reduce__(self) -> Any:
        return (Stream.open, (self.folder,))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its size, special tokens, and for each token its bytes and whether it begins a word."""
        facts = self._manifest["vocabulary"]
        arrays: dict[str, Any] = {}
        for name, kind in (("token_bytes", "<i4"), ("word_starts", "|b1")):
            file = self._files[f"vocabulary/{name}"]
            file.check_all()
            arrays[name] = np.array(file.map(kind))
        return Vocabulary(**{**facts, "spans": tuple(facts["spans"])}, **arrays)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer, as transformers has it."""
        for path, file in self._files.items():
            if path.startswith("tokenizer/"):
                file.check_all()
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(str(self.folder / "tokenizer"), local_files_only=True)
        return tokenizer

    def tokenizer_for(self, special: Collection[str]) -> Any:
        """What to hand on with a model whose recipe uses the ``special`` tokens (mask, spans, modes).

        The folder of the tokenizer as it was given, unless tokens that were added to it are used; else :attr:`tokenizer`.
        """
        added = self.vocabulary.rows_needed(special) == self.vocabulary.size
        return self.tokenizer if added or not (self.folder / "given").is_dir() else self.folder / "given"

    def same_tokens(self, other: Stream) -> bool:
        """Whether ``other`` reads text with the same tokens, each of the same number."""
        if self.fingerprint == other.fingerprint:
            return True
        one, two = (json.loads((stream.folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8")) for stream in (self, other))
        numbers = [[(token["content"], token["id"]) for token in file["added_tokens"]] for file in (one, two)]
        return numbers[0] == numbers[1] and all(one.get(part) == two.get(part) for part in ("model", "pre_tokenizer", "normalizer"))

    def training_text(self, sources: Sequence[str]) -> Iterator[str]:
        """Training documents as text, one of each of ``sources`` in turn."""
        longest = max((len(self.lengths("train", source)) for source in sources), default=0)
        for document in range(longest):
            for source in sources:
                if document < len(self.lengths("train", source)):
                    yield self.text("train", source, document)

    def sizes(self, split: str) -> dict[str, int]:
        """Tokens of each source, separators included."""
        return {source: entry["tokens"] for source, entry in self._split(split).items()}

    def bytes(self, split: str) -> dict[str, int]:
        """UTF-8 bytes of the text of each source."""
        return {source: entry["bytes"] for source, entry in self._split(split).items()}

    def lengths(self, split: str, source: str) -> np.ndarray:
        """Tokens of each document, separator included: int64 [documents]."""
        return self._shard(split, source).lengths

    def document_bytes(self, split: str, source: str) -> np.ndarray:
        """UTF-8 bytes of the text of each document: int64 [documents]."""
        return self._shard(split, source).index[:, 1]

    def read(self, split: str, source: str, document: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Tokens ``start:stop`` of one document as int64 (token 0 is the separator; ``stop`` None: to the end).

        Raises:
            IndexError: outside the document.
            UserError: naming the file, if its bytes are not those that were written.
        """
        lengths = self.lengths(split, source)
        if not 0 <= document < len(lengths):
            raise IndexError(f"document {document} of {len(lengths)}")
        length = int(lengths[document])
        stop = length if stop is None else stop
        if not 0 <= start <= stop <= length:
            raise IndexError(f"tokens {start}:{stop} of a document of {length}")
        return self.gather(split, source, np.array([document]), np.array([start]), np.array([stop]))

    def gather(self, split: str, source: str, document: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Many pieces at once, ``start[i]:stop[i]`` of ``document[i]``, laid one after the other: int64 [sum of stop - start]."""
        shard = self._shard(split, source)
        lengths = stop - start
        begin = shard.begins(document) + start
        shard.file.check(begin * shard.tokens.itemsize, (begin + lengths) * shard.tokens.itemsize)
        before = np.cumsum(lengths) - lengths
        places = np.repeat(begin - before, lengths) + np.arange(int(lengths.sum()))
        return shard.tokens[places].astype(np.int64)

    def text(self, split: str, source: str, document: int) -> str:
        """One document as text, decoded from its tokens (exact for byte-level tokenizers)."""
        tokens = self.read(split, source, document, 1).tolist()
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def verify(self) -> None:
        """Read every byte. Raises UserError naming the first file that is not as it was written."""
        for file in self._files.values():
            file.check_all()

    def _split(self, split: str) -> dict[str, dict[str, Any]]:
        shards = self._manifest["shards"]
        if split not in shards:
            raise UserError(f"{self.folder}: no split is called {split!r}; {nearest(split, shards)}")
        return shards[split]

    def _shard(self, split: str, source: str) -> _Shard:
        key = (split, source)
        if key not in self._shards:
            entries = self._split(split)
            if source not in entries:
                raise UserError(f"{self.folder}: no source is called {source!r}; {nearest(source, entries)}")
            stem = entries[source]["file"]
            self._shards[key] = _Shard(self._files[stem + ".tokens"], self._files[stem + ".index"], self._manifest["dtype"])
        return self._shards[key]


class _Shard:
    """The documents of one source in one split."""

    def __init__(self, file: _File, index: _File, kind: str) -> None:
        self.file = file
        self.tokens = file.map(kind)
        index.check_all()
        self.index = index.map("<i8").reshape(-1, 2)

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.index[:, 0], prepend=0)

    def begins(self, document: np.ndarray) -> np.ndarray:
        """Where documents begin: the end of the one before."""
        return np.where(document > 0, self.index[document - 1, 0], 0)


class _File:
    """One file of a stream: its size is checked at once, its blocks when they are first touched."""

    def __init__(self, folder: Path, path: str, entry: dict[str, Any]) -> None:
        self.folder, self.path, self.size = folder, folder / path, int(entry["bytes"])
        self.sums = entry["blocks"]
        self.checked = bytearray(len(self.sums) // 8)
        self.left = len(self.checked)
        self._raw: np.ndarray | None = None
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}; {_mend(folder)}") from error
        if size != self.size:
            raise UserError(f"{self.path}: damaged: {size} bytes, {self.size} were written; {_mend(folder)}")

    def map(self, kind: str) -> np.ndarray:
        """The whole file as a read-only array; nothing is read until it is touched."""
        return self._bytes().view(kind)

    def check(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Verify the blocks that the byte ranges ``begin[i]:end[i]`` touch, each block once."""
        if not self.left:
            return
        for first, last in zip((begin // BLOCK).tolist(), (np.maximum(end - 1, begin) // BLOCK).tolist(), strict=True):
            for block in range(first, min(last + 1, len(self.checked))):
                if not self.checked[block]:
                    self._check_block(block)

    def check_all(self) -> None:
        """Verify every block."""
        self.check(np.array([0]), np.array([self.size]))

    def _bytes(self) -> np.ndarray:
        if self._raw is None:
            if not self.size:  # an empty file cannot be mapped
                self._raw = np.zeros(0, dtype=np.uint8)
            else:
                try:
                    self._raw = np.asarray(np.memmap(self.path, dtype=np.uint8, mode="r"))
                except (OSError, ValueError) as error:
                    raise UserError(f"{self.path}: {error}") from error
        return self._raw

    def _check_block(self, block: int) -> None:
        data = self._bytes()[block * BLOCK : min((block + 1) * BLOCK, self.size)]
        if zlib.crc32(data.data) != int(self.sums[8 * block : 8 * block + 8], 16):
            self._damaged(block)
        self.checked[block] = 1
        self.left -= 1

    def _damaged(self, block: int) -> NoReturn:
        where = f"bytes {block * BLOCK} to {min((block + 1) * BLOCK, self.size) - 1}"
        raise UserError(f"{self.path}: damaged: {where} are not what was written; {_mend(self.folder)}")


def manifest_hash(manifest: dict[str, Any]) -> str:
    """The hash that a manifest carries of everything else in it."""
    rest = {key: value for key, value in manifest.items() if key != "hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _mend(folder: Path) -> str:
    return f"remove the folder {folder} and prepare the stream again"
