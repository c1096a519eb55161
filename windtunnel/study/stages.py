"""Stages of a curation: folders of shards of documents, found again by what they were made of."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import publish, remove_abandoned, temporary_folder, write_json
from windtunnel.core.keys import differing
from windtunnel.core.outside import received, sent
from windtunnel.data.corpus.curation import refuse_without_fields
from windtunnel.train.curation import SPENT

if TYPE_CHECKING:
    import pyarrow

    from windtunnel.core.outside import Sent
    from windtunnel.core.part import Part
    from windtunnel.data.corpus.curation import Curation
    from windtunnel.data.corpus.judging import Judge
    from windtunnel.data.corpus.victims import Victims
    from windtunnel.slots import Curator, Source
    from windtunnel.study.launch.mapped import Mapped

FORMAT = 1  # raised when any rule changes that decides what is in a stage
SHARD = 48 << 20  # bytes of documents in a shard, the piece that is judged, kept and found again by itself
FACTS = "stage.json"
TEMPORARY = ".stage-"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """Documents in shards, and what became of the others.

    ``facts`` hold ``shards`` (``file``, ``source``, ``documents``, ``bytes``, ``hash``), the files of ``victims``, their ``counts`` and
    ``examples`` by source and reason, the rows of a ``table`` and what was ``spent``.
    """

    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Stage | None:
        """The finished stage in ``folder``, if there is one."""
        try:
            return cls(folder, json.loads((folder / FACTS).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    @classmethod
    def joined(cls, stages: Sequence[Stage]) -> Stage:
        """The documents of several stages, one after the other."""
        shards = [{**shard, "file": f"../{one.folder.name}/{shard['file']}"} for one in stages for shard in one.facts["shards"]]
        return cls(stages[0].folder, {"shards": shards})

    def sizes(self) -> dict[str, list[int]]:
        """Documents and bytes by source."""
        found: dict[str, list[int]] = {}
        for shard in self.facts["shards"]:
            entry = found.setdefault(shard["source"], [0, 0])
            entry[0] += shard["documents"]
            entry[1] += shard["bytes"]
        return found

    def fields(self) -> dict[str, set[str]]:
        """The fields of the documents of every source."""
        found: dict[str, set[str]] = {}
        for shard in self.facts["shards"]:
            for batch in itertools.islice(self.rows([shard]), 1):  # a shard has one schema
                found.setdefault(shard["source"], set()).update(batch.schema.names)
        return found

    def content(self) -> str:
        """A hash of every document in order."""
        told = [[shard["source"], shard["documents"], shard["hash"]] for shard in self.facts["shards"]]
        return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()

    def rows(self, shards: Sequence[Mapping[str, Any]] | None = None) -> Iterator[pyarrow.RecordBatch]:
        """The documents of ``shards`` (None: all), with the column ``source``, each under the fields of its own shard."""
        from windtunnel.data.corpus.judging import of_source
        from windtunnel.data.corpus.shards import read_rows

        for shard in self.facts["shards"] if shards is None else shards:
            yield from of_source(read_rows(self.folder / shard["file"]), shard["source"])

    def victims(self) -> Iterator[pyarrow.RecordBatch]:
        """What was removed, as :func:`windtunnel.data.corpus.judging.victims` has it."""
        from pyarrow import parquet

        for name in self.facts.get("victims", ()):
            with parquet.ParquetFile(self.folder / name) as file:
                yield from file.iter_batches()


def _named(kind: str, *facts: Any) -> str:
    from windtunnel.data.corpus.reading import reading_versions

    return f"{kind}-{hashlib.blake2b(json.dumps([FORMAT, reading_versions(), *facts]).encode(), digest_size=10).hexdigest()}"


def _spent(cpu: float, seconds: float, more: Mapping[str, float] | None = None) -> dict[str, float]:
    return {**dict.fromkeys(SPENT, 0.0), **(more or {}), "seconds": seconds, "cpu_seconds": cpu}


# Reading ----------------------------------------------------------------------------------------------------------------------------


def read_stage(name: str, source: Source, work: Path, say: Say) -> Stage:
    """The documents of a source that hold something, in shards; found there where the source looks as it did."""
    from windtunnel.data.corpus.digest import sizes
    from windtunnel.data.corpus.fields import ORIGIN
    from windtunnel.data.corpus.frame import batches, documents_of
    from windtunnel.data.corpus.reading import encodable, usable
    from windtunnel.data.corpus.tally import Tally

    try:
        signature = source.signature() if hasattr(source, "signature") else None
        folder = work / _named("read", name, differing(source), signature)
        if signature is None:
            shutil.rmtree(folder, ignore_errors=True)
        if (known := Stage.open(folder)) is not None:
            return known
        began, cpu, since = time.monotonic(), time.process_time(), time.monotonic()
        tally = Tally(name)
        work.mkdir(parents=True, exist_ok=True)
        remove_abandoned(work, TEMPORARY)
        with temporary_folder(work, TEMPORARY) as new:
            with _Rolling(new) as rolling:
                for batch in batches(encodable(documents_of(source, tally), tally)):
                    rows, _ = usable(batch, source.content_fields(), tally)
                    if rows.num_rows:
                        tally.count("read", rows.num_rows, int(sizes(rows).sum()))
                        rolling.add(name, rows)
                    if time.monotonic() - since > 2:
                        since = time.monotonic()
                        say(f"reading {name}: {tally.documents('read'):,} documents")
            if not tally.documents("read"):
                raise UserError(f"no document that holds anything: {tally.summary('skipped') or 'it has none'}")
            for column in ORIGIN, *source.content_fields():
                rolling.require(column)
            say(f"read {name}: {tally.documents('read'):,} documents")
            spent = _spent(time.process_time() - cpu, time.monotonic() - began)
            return _finished(new, folder, {"shards": rolling.entries, "table": tally.rows(), "spent": spent})
    except UserError as error:
        raise UserError(f"corpus source {name!r}: {error}") from error


class _Rolling:
    """Shards that are written one after the other, each of one source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[dict[str, Any]] = []
        self.columns: set[str] = set()
        self._open: Any = None
        self._source = ""

    def add(self, source: str, rows: pyarrow.RecordBatch) -> None:
        from windtunnel.data.corpus.shards import Fields, Shard

        if self._open is not None and (source != self._source or self._open.bytes >= SHARD):
            self.close()
        if self._open is None:
            self._open, self._source = Shard(self.folder / f"{len(self.entries):05d}.parquet", Fields()), source
        self._open.add(rows)
        self.columns.update(rows.schema.names)

    def close(self) -> None:
        if self._open is not None:
            entry = self._open.close()
            self.entries.append({**entry, "file": Path(entry["file"]).name, "source": self._source})
            self._open = None

    def require(self, column: str) -> None:
        """Raise UserError where no document has ``column``."""
        if column not in self.columns:
            raise UserError(f"its documents have no field {column!r}")

    def __enter__(self) -> _Rolling:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        elif self._open is not None:
            self._open.abandon()


def _finished(new: Path, folder: Path, facts: dict[str, Any]) -> Stage:
    write_json(new / FACTS, facts)
    if folder.exists() and Stage.open(folder) is None:
        shutil.rmtree(folder)
    publish(new, folder)
    found = Stage.open(folder)
    assert found is not None
    return found


# Curators ---------------------------------------------------------------------------------------------------------------------------


def _place(curator: Curator, before: Stage, work: Path) -> Path:
    """The folder of what ``curator`` makes of ``before``, emptied where the sources that it reads cannot tell whether they changed."""
    from windtunnel.data.corpus.reading import look_of

    look = look_of(curator)
    folder = work / _named("curated", curator.name, differing(curator), look, before.content())
    if look is None:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _since(paid: Mapping[str, float], curation: Curation) -> dict[str, float]:
    """What models have cost since ``paid`` was what they had cost."""
    return {unit: curation.spent.get(unit, 0.0) - paid.get(unit, 0.0) for unit in SPENT}


def whole_stage(curator: Curator, before: Stage, curation: Curation, work: Path, say: Say) -> Stage:
    """What a curator makes that is handed the whole table: in one go, in this process."""
    import pyarrow
    from pyarrow import compute

    from windtunnel.data.corpus.fields import SOURCE, conform
    from windtunnel.data.corpus.judging import ROW, curated, numbered
    from windtunnel.data.corpus.reading import usable, without_foreign
    from windtunnel.data.corpus.shards import Fields
    from windtunnel.data.corpus.tally import Tally
    from windtunnel.data.corpus.victims import Victims

    folder = _place(curator, before, work)
    if (known := Stage.open(folder)) is not None:
        return known
    say(f"curating: {curator.name}")
    began, cpu, paid = time.monotonic(), time.process_time(), dict(curation.spent)
    tally, together = Tally("all sources"), Fields()
    own: dict[str, set[str]] = {}
    for shard in before.facts["shards"]:
        for batch in before.rows([shard]):
            together.meet(batch.schema)
            own.setdefault(shard["source"], set()).update(batch.schema.names)
    assert together.schema is not None
    there: set[str] = set().union(*own.values())
    schema = pyarrow.schema([*together.schema, pyarrow.field(ROW, pyarrow.int64())])

    def documents() -> Iterator[pyarrow.RecordBatch]:
        yield from numbered(conform(batch, together.schema) for batch in before.rows())

    with temporary_folder(work, TEMPORARY) as new, temporary_folder(work, TEMPORARY) as scratch:
        with _Rolling(new) as rolling, Victims(new / "victims.parquet") as victims:
            for kept, gone in curated(curator, curation.context(curator, tally), documents, schema, scratch):
                victims.add(gone)
                for name in dict.fromkeys(kept.column(SOURCE).to_pylist()):
                    of = kept.filter(compute.equal(kept.column(SOURCE), name))
                    rolling.add(name, usable(without_foreign(of.drop_columns([SOURCE]), there - own.get(name, there)), (), None)[0])
        spent = _spent(time.process_time() - cpu, time.monotonic() - began, _since(paid, curation))
        facts = {"curator": curator.name, "shards": rolling.entries, "table": tally.rows(), "spent": spent}
        return _finished(new, folder, facts | _removed([victims], ["victims.parquet"] if victims.counts else []))


def judged_stage(curator: Judge, before: Stage, curation: Curation, work: Path, mapped: Mapped[Any, Any], say: Say) -> Stage:
    """What a curator makes that judges documents one at a time: shard by shard, as ``mapped`` maps; what is there counts."""
    from windtunnel.data.corpus.judging import decided, scanned
    from windtunnel.data.corpus.tally import Tally

    folder = _place(curator, before, work)
    if (known := Stage.open(folder)) is not None:
        return known
    refuse_without_fields(curator, before.fields())
    scratch = folder / "scans"
    scratch.mkdir(parents=True, exist_ok=True)
    jobs, start = [], 0
    for number, shard in enumerate(before.facts["shards"]):
        jobs.append((sent(curator), before, shard, start, folder, number))
        start += shard["documents"]
    began, tally = time.monotonic(), Tally("all sources")
    spent = 0.0
    if curator.scans and not (scratch / "decided.npz").exists():
        for done, seconds in enumerate(mapped(_scan, jobs), 1):
            spent += seconds
            say(f"{curator.name}: looked at {done} of {len(jobs)} shards")
        cpu, paid = time.process_time(), dict(curation.spent)
        names = sorted(path.name.removesuffix(".names") for path in scratch.glob("*.names"))
        decided(curator, curation.context(curator, tally), (scanned(curator, None, scratch / name) for name in names), scratch)
        look = {"cpu_seconds": spent + time.process_time() - cpu, "table": tally.rows(), "spent": _since(paid, curation)}
        write_json(folder / "scanned.json", look)
    entries = []
    for done, entry in enumerate(mapped(_judge, jobs), 1):
        entries.append(entry)
        say(f"{curator.name}: judged {done} of {len(jobs)} shards")
    return _gathered(curator, folder, entries, time.monotonic() - began)


def _gathered(curator: Judge, folder: Path, entries: list[dict[str, Any]], seconds: float) -> Stage:
    """Say that a stage is finished, and let go of what was only needed on the way."""
    look: dict[str, Any] = {"cpu_seconds": 0.0, "table": [], "spent": {}}
    if (folder / "scanned.json").exists():
        look = json.loads((folder / "scanned.json").read_text(encoding="utf-8"))
    counts: dict[str, Any] = {}
    examples: dict[str, Any] = {}
    for entry in entries:
        for source, reasons in entry["counts"].items():
            for reason, (number, size) in reasons.items():
                total = counts.setdefault(source, {}).setdefault(reason, [0, 0])
                total[0] += number
                total[1] += size
                kept = examples.setdefault(source, {}).setdefault(reason, [])
                kept += entry["examples"][source][reason][: 3 - len(kept)]
    spent = _spent(look["cpu_seconds"] + sum(entry["cpu_seconds"] for entry in entries), seconds, look["spent"])
    facts = {
        "curator": curator.name,
        "shards": [entry["shard"] for entry in entries if entry["shard"]["documents"]],
        "victims": [entry["victims"] for entry in entries if entry["victims"]],
        "counts": counts,
        "examples": examples,
        "table": look["table"],
        "spent": spent,
    }
    write_json(folder / FACTS, facts)
    shutil.rmtree(folder / "scans", ignore_errors=True)
    return Stage(folder, facts)


Job = tuple["Part | Sent", Stage, Mapping[str, Any], int, Path, int]


def _batches(job: Job) -> Iterator[pyarrow.RecordBatch]:
    from windtunnel.data.corpus.judging import numbered

    _, before, shard, start, *_ = job
    return numbered(before.rows([shard]), start)


def _scan(job: Job) -> float:
    """Scan a shard; CPU seconds."""
    from windtunnel.data.corpus.judging import scanned

    cpu, (told, _, _, _, folder, number) = time.process_time(), job
    curator = received(told)
    for place, batch in enumerate(_batches(job)):
        scanned(curator, batch, folder / "scans" / f"{number:05d}-{place:05d}")
    return time.process_time() - cpu


def _judge(job: Job) -> dict[str, Any]:
    """Judge a shard: its documents that stay and its victims, and what a stage says of it; found there where it is done."""
    import numpy as np

    from windtunnel.data.corpus.fields import SOURCE
    from windtunnel.data.corpus.judging import verdicts_on
    from windtunnel.data.corpus.reading import usable
    from windtunnel.data.corpus.shards import Fields, Shard
    from windtunnel.data.corpus.victims import Victims

    told, _, shard, _, folder, number = job
    done = folder / f"{number:05d}.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return found
    cpu, curator = time.process_time(), received(told)
    decision: dict[str, Any] = {}
    if curator.scans:
        with np.load(folder / "scans" / "decided.npz", allow_pickle=False) as stored:
            decision = dict(stored)
    kept = Shard(folder / f"{number:05d}.parquet", Fields())
    try:
        with Victims(folder / f"{number:05d}.victims.parquet") as victims:
            for batch in _batches(job):
                documents, gone = verdicts_on(curator, batch, decision)
                victims.add(gone)
                kept.add(usable(documents.drop_columns([SOURCE]), (), None)[0])
        entry = kept.close()
    finally:
        kept.abandon()
    entry = {**entry, "file": Path(entry["file"]).name, "source": shard["source"]}
    file = victims.path.name if victims.counts else None
    found = {"shard": entry, "victims": file, "cpu_seconds": time.process_time() - cpu, **_told(victims)}
    write_json(done, found)
    return found


def _removed(victims: Sequence[Victims], files: list[str]) -> dict[str, Any]:
    (one,) = victims
    return {"victims": files, **_told(one)}


def _told(victims: Victims) -> dict[str, Any]:
    """Counts and examples by source and reason."""
    examples = {source: {reason: victims.examples[source, reason] for reason in reasons} for source, reasons in victims.counts.items()}
    return {"counts": victims.counts, "examples": examples}
