"""From sources to a prepared corpus: read, deduplicate, split, keep held-out text out of training, curate, write.

Texts stream through in batches of some megabytes. What stays in memory is 16 bytes for each document and the MinHash signatures of the
held-out ones, so a corpus may be many times larger than memory. Parquet is written here and not by Daft, whose writer neither keeps the
order of documents nor limits how many it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import importlib.metadata
import itertools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.files import naming, publish, remove_abandoned, temporary_folder, write_text
from windtunnel.data.corpus.corpus import FORMAT, MANIFEST, Corpus
from windtunnel.data.corpus.frame import StreamedSource, engine, grouped, streamed
from windtunnel.data.corpus.near_duplicates import HASHES, HeldOutSignatures, signatures
from windtunnel.data.corpus.shards import Shard, new_shards, rows
from windtunnel.data.corpus.split import SPLITS, Seen, content_key, fraction, split_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Curator, Source

TEMPORARY = ".preparing-"
Say = Callable[[str], None]


def prepare_corpus(
    sources: Mapping[str, Source],
    *,
    validation: float,
    test: float,
    near_duplicates: float,
    curators: Sequence[Curator] = (),
    cache: Path,
    progress: Say | None = None,
) -> Corpus:
    """The corpus of ``sources`` under ``cache/<fingerprint>/``, prepared now or found there.

    Exact duplicates are removed over the whole corpus (the first source in order keeps the document). ``validation`` and ``test`` are
    shares of documents; which ones is decided by a hash of the text alone. Training documents whose estimated Jaccard similarity to a
    held-out document is at least ``near_duplicates`` are removed. ``curators`` see training documents only.

    ``progress`` is called with one line of text now and then.

    Raises:
        UserError: where a source cannot be read or is too small to be split, and where ``cache`` cannot be written.
    """
    say = progress or (lambda line: None)
    cache = Path(cache)
    settings = {"validation": validation, "test": test, "near_duplicates": near_duplicates}
    if not sources:
        raise UserError("the corpus has no source")
    pointer = _pointer(cache, sources, settings, curators)
    known = _known(cache, pointer)
    if known is not None:
        return known
    with naming(cache, what=f"{cache}: the corpus cannot be written"):
        cache.mkdir(parents=True, exist_ok=True)
        remove_abandoned(cache, TEMPORARY)
        with temporary_folder(cache, TEMPORARY) as folder:
            fingerprint = _build(folder, sources, settings, curators, say)
            corpus = _publish(folder, cache / fingerprint)
        # A source that changed while it was read is not remembered under the look it had before.
        if pointer is not None and pointer == _pointer(cache, sources, settings, curators):
            write_text(pointer, json.dumps({"fingerprint": fingerprint}))
    return corpus


# Finding what was prepared before ------------------------------------------------------------------------------------------------


def _pointer(cache: Path, sources: Mapping[str, Source], settings: dict[str, Any], curators: Sequence[Curator]) -> Path | None:
    """The file that says which corpus these settings gave while the sources looked as they look now; None where a source cannot tell."""
    looks = []
    for name, source in sources.items():
        signature = getattr(source, "signature", None)
        if signature is None:
            return None
        with _naming(name):
            looks.append([name, source.model_dump(mode="json"), signature()])
    versions = {package: importlib.metadata.version(package) for package in ("daft", "charset-normalizer")}
    everything = [FORMAT, versions, settings, looks, [curator.model_dump(mode="json") for curator in curators]]
    return cache / f"key-{hashlib.blake2b(json.dumps(everything).encode(), digest_size=16).hexdigest()}.json"


def _known(cache: Path, pointer: Path | None) -> Corpus | None:
    if pointer is None or not pointer.is_file():
        return None
    try:
        return Corpus.open(cache / json.loads(pointer.read_text(encoding="utf-8"))["fingerprint"])
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None  # damaged or removed by hand: prepared afresh


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise (PartError if isinstance(error, PartError) else UserError)(f"corpus source {source!r}: {error}") from error


# Preparing ----------------------------------------------------------------------------------------------------------------------


def _build(folder: Path, sources: Mapping[str, Source], settings: dict[str, Any], curators: Sequence[Curator], say: Say) -> str:
    """Write everything into ``folder``; the fingerprint."""
    names = list(sources)
    tallies = {name: Tally(name) for name in names}
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    seen = Seen()
    for name in names:
        with _naming(name), _source_shards(folder, names, name) as (shards, written):
            lowest = _read_one(sources[name], tallies[name], shards, seen, settings, say)
        entries.update({(split, name): entry for split, entry in written.items()})
        _check_split(name, tallies[name], entries, settings, lowest)
    _remove_copies(folder, names, entries, tallies, settings["near_duplicates"], say)
    curated: list[dict[str, Any]] = []
    for curator in curators:
        curated += _curate(folder, names, entries, tallies, curator, say)
    for name in names:
        for split in SPLITS:
            entry = entries[split, name]
            tallies[name].count(split, entry["documents"], entry["bytes"])
    table = [row for tally in tallies.values() for row in tally.rows()] + curated
    files = {split: {name: entries[split, name] for name in names} for split in SPLITS}
    # The result itself is hashed, so the same documents read from elsewhere, or touched, are still the same corpus.
    decided = [FORMAT, settings, names, table, [[entry["hash"] for entry in by_source.values()] for by_source in files.values()]]
    fingerprint = hashlib.blake2b(json.dumps(decided).encode(), digest_size=10).hexdigest()
    manifest = {"format": FORMAT, "fingerprint": fingerprint, "sources": names, "settings": settings, "table": table, "files": files}
    manifest["examples"] = {name: {what: places for what, places in tally.examples.items() if places} for name, tally in tallies.items()}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    return fingerprint


def _file_name(names: list[str], name: str) -> str:
    """A file name for a source whatever its name is made of; the number keeps two of them apart."""
    return f"{names.index(name):03d}-{quote(name, safe=' ')[:80]}.parquet"


def _source_shards(folder: Path, names: list[str], name: str) -> Any:
    return new_shards(folder, SPLITS, lambda split: f"{split}/{_file_name(names, name)}")


def _read_one(source: Source, tally: Tally, shards: dict[str, Shard], seen: Seen, settings: dict[str, Any], say: Say) -> list[float]:
    """Read one source into the shards of its splits; where its documents stand, as far as advice on the shares needs it."""
    shares = {"validation": settings["validation"], "test": settings["test"]}
    documents = source.documents(tally) if isinstance(source, StreamedSource) else _frame_rows(source, tally)
    lowest: list[float] = []
    beyond: list[float] = []  # the first documents that are not in test
    since = time.monotonic()
    for batch in grouped(_usable(documents, tally)):
        keys = [content_key(text) for text, _ in batch]
        fresh = seen.new(keys)
        positions = [fraction(key) for key in keys]
        added = list(itertools.compress(positions, fresh))
        lowest = heapq.nsmallest(8, lowest + added)
        beyond = heapq.nsmallest(8, beyond + [position for position in added if position >= shares["test"]])
        for (text, origin), position, new in zip(batch, positions, fresh, strict=True):
            if new:
                shards[split_of(position, **shares)].add(text, origin)
            else:
                tally.count("removed: exact duplicate", size=_utf8_size(text), where=origin)
        if time.monotonic() - since > 2:
            since = time.monotonic()
            say(f"reading {tally.source}: {tally.documents('read'):,} documents")
        del batch
    say(f"read {tally.source}: {tally.documents('read'):,} documents")
    return sorted({*lowest, *beyond})


def _frame_rows(source: Source, tally: Tally) -> Iterator[tuple[str, str]]:
    try:
        yield from streamed(source.read(tally))
    except ValueError as error:
        raise PartError(f"source part {source.name!r} gave a table without its columns: {error}") from error


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _usable(documents: Iterable[tuple[str | None, str]], tally: Tally) -> Iterator[tuple[str, str]]:
    """The documents that hold text, counted as read."""
    for text, origin in documents:
        if not text or text.isspace():
            tally.count("skipped: empty document", where=origin)
            continue
        try:
            size = _utf8_size(text)
        except UnicodeEncodeError as error:
            tally.count("skipped: not valid Unicode (half of a surrogate pair)", where=f"{origin}: {error.reason}")
            continue
        tally.count("read", 1, size)
        yield text, origin
        del text


def _check_split(
    name: str, tally: Tally, entries: dict[tuple[str, str], dict[str, Any]], settings: dict[str, Any], lowest: list[float]
) -> None:
    """Refuse a source of which a split would be empty, with shares that would do."""
    counts = {split: entries[split, name]["documents"] for split in SPLITS}
    empty = [split for split, count in counts.items() if not count]
    if not empty:
        return
    read, total = tally.documents("read"), sum(counts.values())
    if not read:
        reason = tally.summary("skipped") or "it has none"
        raise UserError(f"corpus source {name!r}: no document with text in it: {reason}")
    what = f"corpus source {name!r}: {read:,} documents were read"
    duplicates = tally.documents("removed: exact duplicate")
    if not total:
        raise UserError(f"{what}, but all of them also occur in sources before it; leave it out, or put it first")
    if duplicates:
        what += f", {duplicates:,} of them exact duplicates, which leaves {total:,}"
    what += f"; none of them fell into {' or '.join(empty)} (validation {settings['validation']:g}, test {settings['test']:g} of documents)"
    advice = _shares_that_do(lowest, total, settings)
    if advice is None:
        few = "three or more are needed" if total < 3 else "with so few, no share below one half would do"
        raise UserError(f"{what}. Add documents: {few}. If it is one long text, cut it into several, e.g. by chapter")
    validation, test = advice
    shares = f"validation: {validation:g}, test: {test:g}"
    raise UserError(f"{what}. Add documents (a long one can be cut into several), or hold out a larger share: split: {{{shares}}} would do")


def _shares_that_do(lowest: list[float], total: int, settings: dict[str, Any]) -> tuple[float, float] | None:
    """The smallest shares of validation and test, in hundredths and not below those set, that leave no split of this source empty."""

    def enough(value: float) -> float:
        return (math.floor(value * 100) + 1) / 100

    for candidate in range(len(lowest)):
        test = max(settings["test"], enough(lowest[candidate]))
        later = [position for position in lowest if position >= test]
        if not later:
            continue
        validation = max(settings["validation"], enough(later[0] - test))
        held_out = sum(position < test + validation for position in lowest)
        if held_out < total and test < 0.5 and validation < 0.5:
            return round(validation, 2) if validation != settings["validation"] else validation, test
    return None


def _remove_copies(
    folder: Path, names: list[str], entries: dict[tuple[str, str], dict[str, Any]], tallies: dict[str, Tally], threshold: float, say: Say
) -> None:
    """Rewrite the training shards without near-duplicates of any held-out document."""
    say("comparing training documents with held-out ones")
    held_out = [np.zeros((0, HASHES), dtype=np.uint32)]
    for split, name in itertools.product(("validation", "test"), names):
        for batch in rows(folder / entries[split, name]["file"]):
            held_out.append(signatures([text for text, _ in batch]))
    index = HeldOutSignatures(np.concatenate(held_out), threshold)
    del held_out
    for name in names:
        file = folder / entries["train", name]["file"]
        with new_shards(folder, ["train"], lambda split, name=name: f"{split}/{_file_name(names, name)}.new") as (shards, written):  # type: ignore[misc]
            for batch in rows(file):
                copies = index.copies(signatures([text for text, _ in batch]))
                for (text, origin), copy in zip(batch, copies, strict=True):
                    if copy:
                        tallies[name].count("removed: near-duplicate of held-out", size=_utf8_size(text), where=origin)
                    else:
                        shards["train"].add(text, origin)
        _replace(folder, names, name, entries, written["train"])
        if not written["train"]["documents"]:
            raise UserError(
                f"corpus source {name!r}: every training document is nearly a copy of a held-out one (similarity {threshold:g} or more); "
                "add documents that differ, or raise split.near_duplicates"
            )


def _replace(folder: Path, names: list[str], name: str, entries: dict[tuple[str, str], dict[str, Any]], written: dict[str, Any]) -> None:
    os.replace(folder / written["file"], folder / "train" / _file_name(names, name))
    entries["train", name] = {**written, "file": f"train/{_file_name(names, name)}"}


def _curate(
    folder: Path, names: list[str], entries: dict[tuple[str, str], dict[str, Any]], tallies: dict[str, Tally], curator: Curator, say: Say
) -> list[dict[str, Any]]:
    """Rewrite the training shards as ``curator`` wants them; what it counted itself, as table rows.

    It sees all sources at once, with the column ``source``, and what it removed of each is counted here. Unlike the rest this may hold
    much of the training text in memory: Daft 0.7.26 computes a DataFrame faster than its rows are taken, and does not wait.
    """
    say(f"curating: {curator.name}")
    daft = engine()
    frames = [
        daft.read_parquet(str(folder / entries["train", name]["file"])).with_column("source", daft.lit(name).cast(daft.DataType.string()))
        for name in names
    ]
    documents = frames[0]
    for more in frames[1:]:
        documents = documents.concat(more)
    tally = Tally("all sources")
    with new_shards(folder, names, lambda name: f"train/{_file_name(names, name)}.new") as (shards, written):
        try:
            for text, origin, name in streamed(curator.curate(documents, tally), ("text", "origin", "source")):
                if text and not text.isspace():
                    shards[name].add(text, origin)
        except (ValueError, KeyError) as error:
            raise PartError(f"curator {curator.name!r} gave a table that is no longer one of documents: {error}") from error
    for name in names:
        before, after = entries["train", name], written[name]
        if not after["documents"]:
            count = f"all of its {before['documents']:,} training documents"
            raise UserError(f"corpus source {name!r}: curator {curator.name!r} removed {count}")
        removed = before["documents"] - after["documents"]
        what = "removed" if removed >= 0 else "added"
        tallies[name].count(f"{what}: curator {curator.name}", abs(removed), abs(before["bytes"] - after["bytes"]))
        _replace(folder, names, name, entries, after)
    return [{**row, "what": f"curator {curator.name}: {row['what']}"} for row in tally.rows()]


# Folders ------------------------------------------------------------------------------------------------------------------------


def _publish(folder: Path, target: Path) -> Corpus:
    """Rename a finished folder to its final name. Where another process was faster, its result is used, being the same."""
    for _ in range(3):
        if publish(folder, target):
            return Corpus.open(target)
        try:
            return Corpus.open(target)
        except UserError:  # what is there is damaged: out of the way with it
            aside = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=target.parent))
            with contextlib.suppress(OSError):
                os.rename(target, aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)
    raise UserError(f"{target}: damaged, and cannot be replaced; remove it and prepare the corpus again")


__all__ = ["Corpus", "prepare_corpus"]
