"""From one source to the shards of its splits: what is usable, what is a duplicate, and which split a document falls into."""

from __future__ import annotations

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.core.errors import SourceError, UserError, nearest
from windtunnel.core.part import Part
from windtunnel.data.corpus.digest import sizes
from windtunnel.data.corpus.fields import ORIGIN, TEXT
from windtunnel.data.corpus.frame import Document, batches, documents_of
from windtunnel.data.corpus.placing import Placing
from windtunnel.data.corpus.shards import Shard
from windtunnel.data.corpus.split import SPLITS, Seen, content_keys, shares_that_do, split_keys
from windtunnel.data.corpus.tally import Tally
from windtunnel.slots import Source

if TYPE_CHECKING:
    import pyarrow

Say = Callable[[str], None]

READING = 5  # raised when files give other documents than before: what was prepared of them is prepared again
_PACKAGES = ("daft", "pypdf", "python-docx", "resiliparse", "mwparserfromhell")


def reading_versions() -> list[Any]:
    """What decides, besides the files, which documents they give: :data:`READING` and the versions of the packages that are installed."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return [READING, versions]


def look_of(part: Part) -> list[str] | None:
    """The signatures of the sources that the knobs of ``part`` name, such as tests or a reference; None where one cannot tell."""
    signatures = [getattr(source, "signature", None) for source in _sources_in(part)]
    return None if None in signatures else [signature() for signature in signatures if signature]


def _sources_in(value: Any) -> Iterator[Source]:
    if isinstance(value, Source):
        yield value
    elif isinstance(value, Part):
        for key in type(value).model_fields:
            yield from _sources_in(getattr(value, key))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _sources_in(entry)
    elif isinstance(value, Mapping):
        yield from _sources_in(list(value.values()))


def read_one(source: Source, tally: Tally, shards: dict[str, Shard], seen: Seen, placing: Placing, say: Say) -> None:
    """Read one source into the shards of its splits, as ``placing`` says.

    Raises:
        UserError: where the source cannot be read, or lacks a field that it says its documents are made of.
    """
    known: set[str] = set()
    since = time.monotonic()
    for batch in batches(encodable(documents_of(source, tally), tally)):
        known.update(batch.schema.names)
        rows, keys = usable(batch, source.content_fields(), tally)
        if not keys:
            continue
        tally.count("read", rows.num_rows, int(sizes(rows).sum()))
        fresh = seen.new(keys)
        placing.remember([key for key, new in zip(split_keys(rows, keys), fresh, strict=True) if new])
        placed = placing.places(rows, keys, tally)
        for split in SPLITS:
            shards[split].add(chosen(rows, fresh & (placed == split)))
        copies = chosen(rows, ~fresh)
        for size, origin in zip(sizes(copies).tolist(), copies.column(ORIGIN).to_pylist(), strict=True):
            tally.count("removed: exact duplicate", size=size, where=origin)
        if time.monotonic() - since > 2:
            since = time.monotonic()
            say(f"reading {tally.source}: {tally.documents('read'):,} documents")
        del batch, rows, copies
    say(f"read {tally.source}: {tally.documents('read'):,} documents")
    for name in source.content_fields():
        if known and name not in known:
            raise UserError(f"its documents have no field {name!r}, which is said to be their content; {nearest(name, known)}")
    for what in shards[SPLITS[0]].fields.widened:
        tally.count(f"widened to text: {what}", tally.documents("read"))


def encodable(documents: Iterable[Document], tally: Tally) -> Iterator[Document]:
    """The documents whose text can be written as UTF-8."""
    for document in documents:
        if isinstance(document, (tuple, Mapping)):
            text, origin = document if isinstance(document, tuple) else (document.get(TEXT), document.get(ORIGIN, ""))
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    tally.count("skipped: not valid Unicode (half of a surrogate pair)", where=f"{origin}: {error.reason}")
                    continue
            del text
        yield document
        del document


def usable(rows: pyarrow.RecordBatch, content: tuple[str, ...], tally: Tally | None) -> tuple[pyarrow.RecordBatch, list[bytes]]:
    """The documents that hold something, each with the key of what it is; the others are counted in ``tally``, if there is one."""
    keys = content_keys(rows, content)
    if None not in keys:
        return rows, keys  # type: ignore[return-value]
    held = np.array([key is not None for key in keys], dtype=bool)
    if tally is not None:
        for origin in chosen(rows, ~held).column(ORIGIN).to_pylist():
            tally.count("skipped: empty document", where=origin)
    return chosen(rows, held), [key for key in keys if key is not None]


def without_foreign(rows: pyarrow.RecordBatch, foreign: Collection[str]) -> pyarrow.RecordBatch:
    """``rows`` without those of the fields ``foreign``, which only other sources have, that hold nothing in them."""
    return rows.drop_columns([name for name in rows.schema.names if name in foreign and rows.column(name).null_count == rows.num_rows])


def chosen(rows: pyarrow.RecordBatch, mask: np.ndarray) -> pyarrow.RecordBatch:
    """The rows for which ``mask`` (bool [rows]) holds."""
    import pyarrow

    return rows if mask.all() else rows.filter(pyarrow.array(mask))


def check_split(tally: Tally, entries: dict[tuple[str, str], dict[str, Any]], placing: Placing) -> None:
    """Refuse a source of which a split would be empty, with shares that would do.

    Of a source that is held out, test alone has to hold something: with too few documents for both, validation gives up its own.
    """
    name, settings, lowest = placing.source, placing.settings, placing.lowest
    if placing.held_out and not entries["test", name]["documents"]:
        entries["test", name], entries["validation", name] = entries["validation", name], entries["test", name]
    counts = {split: entries[split, name]["documents"] for split in SPLITS}
    empty = [split for split, count in counts.items() if not count and (split == "test" or not placing.held_out)]
    if not empty:
        return
    read, total = tally.documents("read"), sum(counts.values())
    if not read:
        reason = tally.summary("skipped") or "it has none"
        raise SourceError(f"corpus source {name!r}: no document that holds anything: {reason}", name)
    what = f"corpus source {name!r}: {read:,} {'document was' if read == 1 else 'documents were'} read"
    units = len(lowest) if len(lowest) < 8 else total  # documents, or groups of them where there are that few
    duplicates = tally.documents("removed: exact duplicate")
    if not total:
        raise SourceError(f"{what}, but all of them also occur in sources before it; leave it out, or put it first", name)
    if duplicates:
        what += f", {duplicates:,} of them exact duplicates, which leaves {total:,}"
    if placing.field_name is not None:
        rule = "since" if settings.get("since") else "where"
        seen = f"field {placing.field_name!r} holds {', '.join(map(repr, placing.values)) or 'nothing'}"
        raise SourceError(f"{what}; none fell into {' or '.join(empty)}: {seen}; change split.{rule}, which is {settings[rule]}", name)
    what += f"; none fell into {' or '.join(empty)} (validation {settings['validation']:g}, test {settings['test']:g} of documents)"
    if units < total:
        what += f"; they are {units} {'groups' if units > 1 else 'group'}, and a group is never split"
    advice = shares_that_do(lowest, units, settings)
    if advice is None:
        few = "three or more are needed" if units < 3 else "with so few, no share below one half would do"
        raise SourceError(f"{what}. Add documents: {few}. If it is one long text, cut it into several, e.g. by chapter", name)
    validation, test = advice
    shares = f"split: {{validation: {validation:g}, test: {test:g}}}"
    larger = {"validation": validation, "test": test}
    words = " ".join(f"--set baseline.split.{key}={share:g}" for key, share in larger.items() if share != settings[key])
    cure = f"hold out a larger share: {shares} would do; `windtunnel study` and `check` take {words}"
    raise SourceError(f"{what}. Add documents (a long one can be cut into several), or {cure}", name)
