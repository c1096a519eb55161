"""A prepared stream: the documents of every split as named arrays, memory-mapped, with nothing in it taken on trust.

Opening one needs numpy only: no corpus library, and none of what made it.

A stream is a folder: ``manifest.json``; for every field of the documents ``<split>/<number>-<source>.<field>`` (its entries of all
documents one after the other) and one ``.index`` (for each document int64: where it ends in every field, in their order, and the bytes
of what it was made of); of held-out documents with groups a ``.group`` (int64: a number for the name of each, -1 for none); ``facts/``
(arrays that the encoding knows its numbers by); and what files the encoding keeps there. All numbers are little-endian. Text is the
case of one field, ``tokens``.

The manifest holds its own hash, the size of every file and the CRC-32 of each of its blocks. Sizes are checked on opening, a block
when it is first touched, so that opening costs milliseconds and yet no flipped byte is ever trained on.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.data.corpus.tally import REMOVED_BY_CURATOR
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Facts, Kind
from windtunnel.slots.evaluation import PLACE

FORMAT = 2
BLOCK = 1 << 20  # bytes under one checksum: large enough to be few, small enough that touching one token costs a millisecond
SPLITS = ("train", "validation", "test")
GROUP = "group"  # how the file ends that holds the groups of documents


class Stream:
    """The documents of a corpus as arrays, by split and source. Made by :func:`windtunnel.data.encode.prepare_stream`; never changes.

    Attributes:
        folder: where it lies.
        fingerprint: a hash of everything that determines it.
        sources: the names of its sources, in the order of the corpus.
        table: what became of the documents of the corpus.
        fields: what each array of a document holds; the entries of the first are the units that are counted.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = manifest["fingerprint"]
        self.sources: tuple[str, ...] = tuple(manifest["sources"])
        self.table: list[dict[str, Any]] = manifest["table"]
        self.fields = {name: Kind(**{**entry, "shape": tuple(entry["shape"])}) for name, entry in manifest["fields"].items()}
        self.curation: dict[str, dict[str, float]] = manifest.get("curation", {})  # as :attr:`Corpus.curation`
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
    def encoding(self) -> type[Encoding]:
        """What made it, whose class methods say what it offers."""
        name = str(self._manifest["encoding"])
        found = registry.find(Encoding, name)
        if found is None:
            raise UserError(f"{self.folder}: it was made by the encoding {name!r}; {nearest(name, registry.known(Encoding))}")
        return found  # type: ignore[return-value]

    @cached_property
    def stored(self) -> dict[str, Any]:
        """The facts that its encoding stored, by name: plain values and arrays."""
        found = dict(self._manifest["facts"])
        for name, entry in self._manifest["arrays"].items():
            file = self._files[f"facts/{name}"]
            file.check_all()
            found[name] = np.array(file.map(entry["dtype"])).reshape(entry["shape"])
        return found

    @cached_property
    def facts(self) -> Facts:
        """What is known of its numbers, in the form of its encoding."""
        return self.encoding.facts(self.stored)

    def check_tokenizer(self) -> None:
        """Verify the files of its tokenizer. Raises UserError naming the first that is not as it was written."""
        for path, file in self._files.items():
            if path.startswith("tokenizer/"):
                file.check_all()

    def sizes(self, split: str) -> dict[str, int]:
        """Units of each source (for text tokens, separators included)."""
        return {source: entry["units"] for source, entry in self._split(split).items()}

    def emptied(self) -> frozenset[str]:
        """Sources of which curators have removed every training document."""
        by_curators = {row["source"] for row in self.table if row["what"].startswith(REMOVED_BY_CURATOR)}
        return frozenset(source for source, size in self.sizes("train").items() if source in by_curators and not size)

    def bytes(self, split: str) -> dict[str, int]:
        """Bytes of what the documents of each source were made of (for text, in UTF-8)."""
        return {source: entry["bytes"] for source, entry in self._split(split).items()}

    def bytes_per_unit(self, split: str) -> dict[str, float]:
        """Bytes of what the documents of each source were made of, over its units; sources without any are left out."""
        sizes = self.sizes(split)
        return {source: amount / sizes[source] for source, amount in self.bytes(split).items() if sizes[source]}

    def lengths(self, split: str, source: str) -> np.ndarray:
        """Units of each document (for text tokens, separator included): int64 [documents]."""
        return self._shard(split, source).lengths

    def document_bytes(self, split: str, source: str) -> np.ndarray:
        """Bytes of what each document was made of: int64 [documents]."""
        return self._shard(split, source).index[:, -1]

    def units(self, split: str, source: str) -> np.ndarray:
        """A number for each document, the same for documents of one group and for no others of the stream: int64 [documents].

        It depends on the corpus alone, not on the encoding. Groups of training documents are not kept.
        """
        own = np.arange(len(self.lengths(split, source)), dtype=np.int64) + (self.sources.index(source) << PLACE)
        groups = self._files.get(f"{self._split(split)[source]['file']}.{GROUP}")
        if groups is None:
            return own
        groups.check_all()
        named = groups.map("<i8")
        return np.where(named < 0, own, named)

    def read(self, split: str, source: str, document: int, start: int = 0, stop: int | None = None, field: str | None = None) -> np.ndarray:
        """Entries ``start:stop`` of a field of one document (None: the first field; ``stop`` None: to the end), as :meth:`gather`.

        Of text, token 0 is the separator.

        Raises:
            IndexError: outside the document.
            UserError: naming the file, if its bytes are not those that were written; for an unknown field.
        """
        ends = self._shard(split, source).ends(self.field(field))
        if not 0 <= document < len(ends):
            raise IndexError(f"document {document} of {len(ends)}")
        length = int(ends[document] - (ends[document - 1] if document else 0))
        stop = length if stop is None else stop
        if not 0 <= start <= stop <= length:
            raise IndexError(f"{field or self.encoding.unit + 's'} {start}:{stop} of a document of {length}")
        return self.gather(split, source, np.array([document]), np.array([start]), np.array([stop]), field)

    def gather(
        self, split: str, source: str, document: np.ndarray, start: np.ndarray, stop: np.ndarray, field: str | None = None
    ) -> np.ndarray:
        """Many pieces at once, ``start[i]:stop[i]`` of ``document[i]``, laid one after the other: [sum of stop - start, *shape].

        Plain integers come as int64; entries with a shape of their own, and floats, as they are stored.
        """
        shard, name = self._shard(split, source), self.field(field)
        file, array = shard.files[name], shard.arrays[name]
        if shard.kept is not None and not shard.kept[document].all():
            raise UserError(
                f"{self.folder}: holds a part of the documents of {source!r} alone, and others are asked for; pack the study again with a "
                "larger budget, or prepare the whole stream where the corpus is"
            )
        lengths = stop - start
        begin = shard.begins(document, name) + start
        width = array.dtype.itemsize * math.prod(array.shape[1:])
        file.check(begin * width, (begin + lengths) * width)
        before = np.cumsum(lengths) - lengths
        places = np.repeat(begin - before, lengths) + np.arange(int(lengths.sum()))
        return array[places].astype(np.int64) if self.counted(name) else array[places]

    def field(self, name: str | None = None) -> str:
        """``name``, or the name of the first field, whose entries are the units. Raises UserError where there is none of that name."""
        if name is not None and name not in self.fields:
            raise UserError(f"{self.folder}: the documents have no field {name!r}; {nearest(name, self.fields)}")
        return name or next(iter(self.fields))

    def counted(self, name: str) -> bool:
        """Whether the entries of a field are plain integers."""
        kind = self.fields[name]
        return not kind.shape and np.dtype(kind.dtype).kind in "iu"

    def stem(self, split: str, source: str) -> str:
        """What the names of the files of one source in one split begin with."""
        return str(self._split(split)[source]["file"])

    def ends(self, split: str, source: str, field: str) -> np.ndarray:
        """Where each document ends in a field, in entries: int64 [documents]."""
        return self._shard(split, source).ends(field)

    def bytes_of(self, path: str) -> np.ndarray:
        """The bytes of one of its files, every one checked: uint8. Raises UserError where they are not as they were written."""
        self._files[path].check_all()
        return self._files[path].map("u1")

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
            stem, kept = entries[source]["file"], entries[source].get("kept")
            files = {name: self._files[f"{stem}.{name}"] for name in self.fields}
            self._shards[key] = _Shard(files, self._files[f"{stem}.index"], self.fields, self._files.get(kept))
        return self._shards[key]


class _Shard:
    """The documents of one source in one split; ``kept`` says of which the content is there, where it is not of all."""

    def __init__(self, files: dict[str, _File], index: _File, fields: dict[str, Kind], kept: _File | None) -> None:
        self.files = files
        self.arrays = {name: files[name].map(kind.dtype).reshape(-1, *kind.shape) for name, kind in fields.items()}
        index.check_all()
        self.index = index.map("<i8").reshape(-1, len(fields) + 1)
        self.columns = {name: column for column, name in enumerate(fields)}
        if kept is not None:
            kept.check_all()
        self.kept = None if kept is None else kept.map("u1").astype(bool)

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.diff(self.index[:, 0], prepend=0)

    def ends(self, field: str) -> np.ndarray:
        """Where each document ends in a field."""
        return self.index[:, self.columns[field]]

    def begins(self, document: np.ndarray, field: str) -> np.ndarray:
        """Where documents begin in a field: the end of the one before."""
        return np.where(document > 0, self.ends(field)[document - 1], 0)


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
