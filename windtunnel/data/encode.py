"""Prepare a stream: encode every document of a corpus once, into memory-mapped shards that are reused by content.

Memory stays flat: documents pass through in batches and their numbers are written at once; no split and no encoded source is ever
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from windtunnel.core.errors import PartError
from windtunnel.core.files import awaited, naming, publish, temporary_folder
from windtunnel.core.shared import Share
from windtunnel.data.stream import BLOCK, FORMAT, GROUP, SPLITS, Stream, manifest_hash
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind

RESERVED = {"index", GROUP, "documents", "positions", "sources"}  # files and rows of these names are not of a field


def prepare_stream(
    corpus: Any,
    encoding: Encoding,
    *,
    before: Stream | None = None,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    share: Share | None = None,
) -> Stream:
    """The stream of ``corpus``, made in ``cache/<fingerprint>/`` unless it is there already.

    Args:
        corpus: the documents; it has ``fingerprint``, ``sources``, ``table`` and what ``encoding`` reads of it.
        encoding: how they become numbers.
        before: the stream of the recipe that ``encoding`` takes over or goes on from.
        cache: where streams are kept.
        progress: told what is being done, a line at a time.
        share: where it is fetched from, if it is there, and else brought to.

    Two processes that prepare the same stream at once both get it: the second waits for the first.

    Raises:
        UserError: naming the setting, the file that cannot be written, or what is damaged in a stream found in the cache.
    """
    tell = progress or (lambda message: None)
    cache = Path(cache)
    fingerprint = fingerprint_of(corpus, encoding, before)
    target = cache / fingerprint
    if target.exists() and share is None:
        return Stream.open(target)
    waiting = partial(tell, "another process is preparing this stream; waiting for it")
    with naming(cache, "; free some space or choose another folder, and give the same command again: finished work is kept"):
        cache.mkdir(parents=True, exist_ok=True)
        with awaited(cache / f"{fingerprint}.lock", waiting):
            if not target.exists():
                for stale in cache.glob(f"{fingerprint}.partial-*"):  # what a killed process left behind
                    shutil.rmtree(stale, ignore_errors=True)
                with temporary_folder(cache, f"{fingerprint}.partial-") as made:
                    if share is None or not share.fetch(f"streams/{fingerprint}", made):
                        _build(corpus, encoding, before, made, fingerprint, tell)
                    publish(made, target)
    if share is not None:
        share.bring(f"streams/{fingerprint}", target)
    return Stream.open(target)


def fingerprint_of(corpus: Any, encoding: Encoding, before: Stream | None = None) -> str:
    """That of the stream which :func:`prepare_stream` makes."""
    decided = {"format": FORMAT, "corpus": corpus.fingerprint, "sources": list(corpus.sources), "encoding": encoding.name}
    decided |= encoding.signature(corpus, before)
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:20]


def _build(corpus: Any, encoding: Encoding, before: Stream | None, folder: Path, fingerprint: str, tell: Callable[[str], None]) -> None:
    """Everything of a stream, written and synced, into the empty ``folder``."""
    fitted = encoding.fit(corpus, folder, before, tell)
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent != folder:
            _enter(folder, path, files)
    arrays = {name: value for name, value in fitted.facts.items() if isinstance(value, np.ndarray)}
    for name, array in arrays.items():
        with _Writer(folder, f"facts/{name}", files) as writer:
            writer.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    shards: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for number, source in enumerate(corpus.sources):
            tell(f"encoding {split}/{source}")
            stem = f"{split}/{number:03d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', source)[:40]}"
            shards[split][source] = _write_shard(fitted, split, source, folder, stem, files)
            groups = corpus.groups(split, source) if split != "train" and hasattr(corpus, "groups") else None
            if groups is not None:
                more = shards[split][source]["documents"] - len(groups)  # an encoding may hold out parts of training documents behind them
                with _Writer(folder, f"{stem}.{GROUP}", files) as writer:
                    writer.write(np.pad(groups, (0, more), constant_values=-1).astype("<i8").tobytes())
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "corpus": corpus.fingerprint,
        "sources": list(corpus.sources),
        "table": list(corpus.table),
        **({"curation": costs} if (costs := getattr(corpus, "curation", None)) else {}),
        "encoding": encoding.name,
        "fields": {name: kind._asdict() for name, kind in fitted.fields.items()},
        "facts": {name: value for name, value in fitted.facts.items() if name not in arrays},
        "arrays": {name: {"dtype": array.dtype.newbyteorder("<").str, "shape": array.shape} for name, array in arrays.items()},
        "shards": shards,
        "files": files,
    }
    manifest = json.loads(json.dumps(manifest))
    manifest["hash"] = manifest_hash(manifest)
    with _Writer(folder, "manifest.json", {}) as writer:
        writer.write(json.dumps(manifest).encode())


def _write_shard(fitted: Fitted, split: str, source: str, folder: Path, stem: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Encode one source of one split. Raises PartError where the arrays are not what the encoding promised."""
    fields = fitted.fields
    if taken := RESERVED & fields.keys():
        raise PartError(f"the encoding calls a field {', '.join(sorted(taken))}, which is the name of something else")
    ends = dict.fromkeys(fields, 0)
    documents = size = document_size = 0
    begins = dict(ends)
    with contextlib.ExitStack() as stack:
        shards = {name: stack.enter_context(_Writer(folder, f"{stem}.{name}", files)) for name in fields}
        index = stack.enter_context(_Writer(folder, f"{stem}.index", files))
        for piece in fitted.encode(split, source):
            for name, array in piece.arrays.items():
                if array.shape[1:] != fields[name].shape:
                    raise PartError(f"the encoding gave {name!r} entries of shape {array.shape[1:]}, not {fields[name].shape}")
                shards[name].write(np.ascontiguousarray(array, fields[name].dtype).tobytes())
                ends[name] += len(array)
            document_size += piece.size
            if piece.ends:
                _check_lengths(fields, {name: ends[name] - begins[name] for name in fields}, source)
                index.write(np.array([*ends.values(), document_size], dtype="<i8").tobytes())
                documents, size, document_size, begins = documents + 1, size + document_size, 0, dict(ends)
    return {"file": stem, "units": ends[next(iter(fields))], "documents": documents, "bytes": size}


def _check_lengths(fields: Any, lengths: dict[str, int], source: str) -> None:
    """Raise PartError unless fields along ``unit`` are equally long and those along ``document`` have one entry."""
    units = lengths[next(iter(fields))]
    kind: Kind
    for name, kind in fields.items():
        expected = units if kind.along == "unit" else 1
        if lengths[name] != expected:
            raise PartError(f"the encoding gave {lengths[name]} entries of {name!r} for a document of source {source!r}, not {expected}")


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
