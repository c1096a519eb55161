"""From sources to a prepared corpus: read, deduplicate, split, keep held-out text out of training, curate, write.

Texts stream through in batches of some megabytes. What stays in memory is 16 bytes for each document and the MinHash signatures of the
held-out ones, so a corpus may be many times larger than memory. Parquet is written here and not by Daft, whose writer neither keeps the
order of documents nor limits how many it holds.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.files import naming, publish, remove_abandoned, temporary_folder, write_text
from windtunnel.data.corpus.corpus import FORMAT, MANIFEST, Corpus
from windtunnel.data.corpus.curation import OWN, Curation, decisive, refuse_without_fields
from windtunnel.data.corpus.digest import sizes
from windtunnel.data.corpus.fields import ORIGIN, SOURCE, TEXT, conform, described, plain_schema, text_of
from windtunnel.data.corpus.judging import curated, numbered, of_source
from windtunnel.data.corpus.known import asked, known_corpus, naming_source, pointer_of
from windtunnel.data.corpus.near_duplicates import HASHES, HeldOutSignatures, signatures
from windtunnel.data.corpus.pictures import as_shown
from windtunnel.data.corpus.placing import Placing
from windtunnel.data.corpus.reading import Say, check_split, chosen, read_one, usable, without_foreign
from windtunnel.data.corpus.shards import Fields, new_shards, read_rows
from windtunnel.data.corpus.split import SPLITS, Seen, content_keys, content_of
from windtunnel.data.corpus.tally import REMOVED_BY_CURATOR, Tally
from windtunnel.data.corpus.victims import VICTIMS, Victims, shown
from windtunnel.slots import Curator, Source
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import pyarrow

TEMPORARY = ".preparing-"


def prepare_corpus(
    sources: Mapping[str, Source],
    *,
    validation: float,
    test: float,
    near_duplicates: float,
    by: Mapping[str, Any] | None = None,
    held_out: Mapping[str, Source] | None = None,
    held_out_validation: float = 0.0,
    curators: Sequence[Curator] = (),
    curation: Curation | None = None,
    cache: Path,
    progress: Say | None = None,
) -> Corpus:
    """The corpus of ``sources`` under ``cache/<fingerprint>/``, prepared now or found there.

    Exact duplicates are removed over the whole corpus (the first source in order keeps the document): see :meth:`Source.content_fields`.
    ``validation`` and ``test`` are shares of documents; which ones is decided by a hash of the group of a document, where it has one, and
    else of what it is, so that a group is never split. Training documents whose estimated Jaccard similarity to a
    held-out document is at least ``near_duplicates`` are removed. ``by`` lets a field decide instead of the hash; see
    :class:`windtunnel.data.corpus.placing.Placing`. ``held_out`` are further sources of which nothing is trained on; they are read
    first, so that they keep what others hold too, and a share ``held_out_validation`` of them is validation. ``curators`` see training
    documents only; what else they are handed says ``curation``, and what that costs is stored with the corpus.

    ``progress`` is called with one line of text now and then.

    Raises:
        UserError: where a source cannot be read or is too small to be split, and where ``cache`` cannot be written.
    """
    say = progress or (lambda line: None)
    curation = curation or Curation()
    cache = Path(cache)
    shares = {"validation": validation, "test": test, "near_duplicates": near_duplicates}
    sources, settings = asked(sources, shares, by, held_out, held_out_validation)
    pointer = pointer_of(cache, sources, settings, curators, curation)
    known = known_corpus(cache, pointer)
    if known is not None:
        return known
    with naming(cache, what=f"{cache}: the corpus cannot be written"):
        cache.mkdir(parents=True, exist_ok=True)
        remove_abandoned(cache, TEMPORARY)
        with temporary_folder(cache, TEMPORARY) as folder:
            fingerprint = _build(folder, sources, settings, curators, curation, say)
            corpus = _publish(folder, cache / fingerprint)
        # A source that changed while it was read is not remembered under the look it had before.
        if pointer is not None and pointer == pointer_of(cache, sources, settings, curators, curation):
            write_text(pointer, json.dumps({"fingerprint": fingerprint}))
    return corpus


# Preparing ----------------------------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    """A corpus while it is prepared.

    Attributes:
        folder: where its files are.
        names: of the sources, in the order of the recipe.
        tallies, fields: of each source.
        entries: what the manifest says of each (split, source).
        victims: what each curator removed.
    """

    folder: Path
    names: list[str]
    tallies: dict[str, Tally]
    fields: dict[str, Fields]
    entries: dict[tuple[str, str], dict[str, Any]]
    victims: list[Victims]

    def file(self, split: str, name: str) -> str:
        """The file of a source whatever its name is made of, relative to the folder; the number keeps two of them apart."""
        return f"{split}/{self.names.index(name):03d}-{quote(name, safe=' ')[:80]}.parquet"

    def new_shards(self, names: Iterable[str]) -> Any:
        """Open shards, by source, that :meth:`replace` puts in the place of the training shards."""
        return new_shards(self.folder, names, lambda name: f"{self.file('train', name)}.new", self.fields.__getitem__)

    def replace(self, name: str, written: dict[str, Any]) -> None:
        """Put a new training shard of a source in the place of the one before."""
        os.replace(self.folder / written["file"], self.folder / self.file("train", name))
        self.entries["train", name] = {**written, "file": self.file("train", name)}

    def has_text(self, name: str) -> bool:
        """Whether documents of a source have text."""
        schema = self.fields[name].schema
        return schema is None or TEXT in schema.names


def _build(
    folder: Path, sources: Mapping[str, Source], settings: dict[str, Any], curators: Sequence[Curator], curation: Curation, say: Say
) -> str:
    """Write everything into ``folder``; the fingerprint."""
    names = list(sources)
    work = _Work(folder, names, {name: Tally(name) for name in names}, {name: Fields() for name in names}, {}, [])
    seen, held_out = Seen(), settings.get("held_out", [])
    trained = [name for name in names if name not in held_out]
    for name in (*held_out, *trained):
        placing = Placing(name, settings)
        with (
            naming_source(name),
            new_shards(folder, SPLITS, lambda split, name=name: work.file(split, name), lambda _, name=name: work.fields[name]) as (  # type: ignore[misc]
                shards,
                written,
            ),
        ):
            read_one(sources[name], work.tallies[name], shards, seen, placing, say)
        work.entries.update({(split, name): entry for split, entry in written.items()})
        check_split(work.tallies[name], work.entries, placing)
    _remove_copies(work, trained, {name: sources[name].content_fields() for name in names}, settings["near_duplicates"], say)
    curated: list[dict[str, Any]] = []
    for curator in curators:
        curated += _curate(work, curator, curation, {name: sources[name].content_fields() for name in trained}, say)
    for name in names:
        for split in SPLITS:
            entry = work.entries[split, name]
            work.tallies[name].count(split, entry["documents"], entry["bytes"])
    table = [row for tally in work.tallies.values() for row in tally.rows()] + curated
    files = {split: {name: work.entries[split, name] for name in names} for split in SPLITS}
    schemas = {name: work.fields[name].schema or plain_schema() for name in names}
    types = {name: described(schema) for name, schema in schemas.items()}
    # The result itself is hashed, so the same documents read from elsewhere, or touched, are still the same corpus.
    told = [{key: value for key, value in row.items() if key != "examples"} for row in table]
    decided = [FORMAT, settings, names, told, types, [[entry["hash"] for entry in by_source.values()] for by_source in files.values()]]
    costs = curation.costs()
    if amounts := decisive(costs):  # two ways to one choice of documents may cost differently
        decided.append(amounts)
    fingerprint = hashlib.blake2b(json.dumps(decided).encode(), digest_size=10).hexdigest()
    manifest = {"format": FORMAT, "fingerprint": fingerprint, "sources": names, "settings": settings, "table": table, "files": files}
    manifest["fields"] = types
    manifest["schemas"] = {name: base64.b64encode(schema.serialize()).decode("ascii") for name, schema in schemas.items()}
    manifest["examples"] = {
        name: {what: places for what, places in tally.examples.items() if places} for name, tally in work.tallies.items()
    }
    if costs:  # a run may have to pay for several corpora
        manifest["curation"] = {f"curators of {fingerprint}" if name == OWN else name: cost for name, cost in costs.items()}
    if found := [one.entry(folder) for one in work.victims if one.counts]:
        manifest["victims"] = found
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
    return fingerprint


def _remove_copies(work: _Work, trained: Sequence[str], content: Mapping[str, tuple[str, ...]], threshold: float, say: Say) -> None:
    """Rewrite the training shards of ``trained`` without near-duplicates of any held-out document.

    Texts are compared. Where the ``content`` of a document holds more than words, an image beside its caption, that has to be the same
    too: short captions recur, and with other images they are no copies.
    """
    names = [name for name in work.names if work.has_text(name)]
    if not names:
        return
    say("comparing training documents with held-out ones")
    held_out, beside = [np.zeros((0, HASHES), dtype=np.uint32)], set()
    for split, name in itertools.product(("validation", "test"), names):
        for batch in read_rows(work.folder / work.entries[split, name]["file"]):
            held_out.append(signatures([text for text in text_of(batch) if text]))
            beside.update(_beside_text(batch, content[name]))
    index = HeldOutSignatures(np.concatenate(held_out), threshold)
    del held_out
    for name in (name for name in names if name in trained):
        with work.new_shards([name]) as (shards, written):
            for batch in read_rows(work.folder / work.entries["train", name]["file"]):
                texts = text_of(batch)
                there = np.array([bool(text) for text in texts], dtype=bool)
                copies = np.zeros(len(texts), dtype=bool)
                copies[there] = index.copies(signatures([text for text in texts if text]))
                alike = np.flatnonzero(copies)
                keys = _beside_text(chosen(batch, copies), content[name])
                copies[alike] = [key is None or key in beside for key in keys]
                removed = chosen(batch, copies)
                for size, origin in zip(sizes(removed).tolist(), removed.column(ORIGIN).to_pylist(), strict=True):
                    work.tallies[name].count("removed: near-duplicate of held-out", size=size, where=origin)
                shards[name].add(chosen(batch, ~copies))
        work.replace(name, written[name])
        if not written[name]["documents"]:
            raise UserError(
                f"corpus source {name!r}: every training document is nearly a copy of a held-out one (similarity {threshold:g} or more); "
                "add documents that differ, or raise split.near_duplicates"
            )


def _beside_text(rows: pyarrow.RecordBatch, content: Sequence[str]) -> list[bytes | None]:
    """The key of what a document is made of beside words, such as what its image shows; None where that is nothing."""
    from pyarrow.types import is_large_binary, is_nested

    kinds = is_large_binary, is_nested
    other = [name for name in content_of(rows.schema, content) if any(kind(rows.schema.field(name).type) for kind in kinds)]
    for name in other:
        rows = rows.set_column(rows.schema.get_field_index(name), name, as_shown(rows.column(name)))
    return content_keys(rows, other) if other else [None] * rows.num_rows


def _curate(work: _Work, curator: Curator, curation: Curation, content: Mapping[str, tuple[str, ...]], say: Say) -> list[dict[str, Any]]:
    """Rewrite the training shards as ``curator`` wants them; what it counted itself, as table rows.

    It sees all sources of ``content`` at once, with the column ``source`` and every field that a source has, null where another has not.
    What it removed of each is counted here, and written beside the corpus with the reason. What does not judge documents one at a time
    may hold much of the training text in memory.
    """
    say(f"curating: {curator.name}")
    tally, began, paid = Tally("all sources"), time.monotonic(), curation.spent.get("seconds", 0.0)
    own = {name: {*(work.fields[name].schema or plain_schema()).names} for name in content}
    refuse_without_fields(curator, own)
    documents, schema = _together(work, content, tally)
    there = {name for names in own.values() for name in names}
    with (
        temporary_folder(work.folder, "scans-") as scratch,
        Victims(work.folder / VICTIMS / f"{len(work.victims):03d}-{curator.name}.parquet") as victims,
        work.new_shards(content) as (shards, written),
    ):
        try:
            for batch, gone in curated(curator, curation.context(curator, tally), documents, schema, scratch):
                victims.add(gone)
                names = batch.column(SOURCE).to_pylist()
                for name in dict.fromkeys(names):
                    rows = chosen(batch, np.array([one == name for one in names], dtype=bool)).drop_columns([SOURCE])
                    shards[name].add(usable(without_foreign(rows, there - own[name]), content[name], None)[0])
        except (ValueError, KeyError) as error:
            raise PartError(f"curator {curator.name!r} gave a table that is no longer one of documents: {error}") from error
    work.victims.append(victims)
    if not any(written[name]["documents"] for name in content):
        raise UserError(f"curator {curator.name!r} removed all training documents of {', '.join(map(repr, content))}")
    for name in content:
        before, after = work.entries["train", name], written[name]
        removed = before["documents"] - after["documents"]
        reasons = victims.counts.get(name, {})
        alone = {*reasons} <= {curator.name}
        if alone:
            what = "removed" if removed >= 0 else "added"
            work.tallies[name].count(f"{what}: curator {curator.name}", abs(removed), abs(before["bytes"] - after["bytes"]))
        for reason, (number, size) in reasons.items():
            what = f"{REMOVED_BY_CURATOR}{curator.name}" + (f": {reason}" if reason != curator.name else "")
            work.tallies[name].count(what, 0 if alone else number, 0 if alone else size)
            work.tallies[name].examples[what] = [shown(example) for example in victims.examples[name, reason]]
        work.replace(name, after)
    elapsed = time.monotonic() - began - (curation.spent.get("seconds", 0.0) - paid)  # model passes are entered already
    curation.spent["seconds"] = curation.spent.get("seconds", 0.0) + max(0.0, elapsed)
    return [{**row, "what": f"curator {curator.name}: {row['what']}"} for row in tally.rows()]


def _together(work: _Work, names: Iterable[str], tally: Tally) -> tuple[Callable[[], Iterator[pyarrow.RecordBatch]], pyarrow.Schema]:
    """The training documents of the sources ``names`` in one table, as curators see them: what makes its batches anew, and its schema."""
    import pyarrow

    together = Fields()
    for name in names:
        together.meet(work.fields[name].schema or plain_schema())
    for what in together.widened:
        tally.count(f"widened to text: {what}", sum(work.entries["train", name]["documents"] for name in names))
    schema = together.schema
    assert schema is not None

    def rows() -> Iterator[pyarrow.RecordBatch]:
        for name in names:
            shard = read_rows(work.folder / work.entries["train", name]["file"])
            yield from of_source((conform(batch, schema) for batch in shard), name)

    also = [pyarrow.field(SOURCE, pyarrow.large_string()), pyarrow.field(ROW, pyarrow.int64())]
    return lambda: numbered(rows()), pyarrow.schema([*schema, *also])


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
