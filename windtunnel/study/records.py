"""Records of finished runs, which count as flown: those in the folders of runs, and those that were committed without their weights.

A committed record is a file ``KEY-DATA.json`` of a few kB: what came of the run, and what determined it. It says what a verdict or a law
asks of a run. Only who needs the weights has to fly it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_text
from windtunnel.core.settings import plain
from windtunnel.core.shared import Share
from windtunnel.study.entry import Entry
from windtunnel.train.record import FORMAT, RunRecord, finished_record, write_record

FOLDER = "records"  # beside a study file, where records are looked for without being asked


def folders_of(file: str | None, named: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Where the records for the study in ``file`` are looked for: the folders that were ``named``, then ``records`` beside the file.

    Raises:
        UserError: where a named folder is none.
    """
    for folder in named:
        if not folder.is_dir():
            raise UserError(f"--records {folder}: no such folder")
    beside = [Path(file).parent / FOLDER] if file else []
    return (*named, *(folder for folder in beside if folder.is_dir()))


def known(entry: Entry, out: Path, data: str, folders: Iterable[Path]) -> RunRecord | None:
    """The finished record of ``entry`` on the stream of fingerprint ``data``, or None.

    One that was committed to one of ``folders`` is put into the run's folder below ``out``, where all that need the run find it.
    """
    present = finished_record(out / entry.folder)
    if present is not None:
        return present if agrees(present, entry, data) else None
    for folder in folders:
        record = committed(folder / f"{Path(entry.folder).name}.json")
        if record is not None and agrees(record, entry, data):
            write_record(out / entry.folder, record)
            return record
    return None


def agrees(record: RunRecord, entry: Entry, data: str) -> bool:
    """Whether ``record`` is of this run: key, seed, text, variant, format, and every setting that it was flown with."""
    same = (record.key, record.seed, record.format) == (entry.key, entry.seed, FORMAT) and record.stream in (data, None)
    variant = record.variant is None or entry.variant is None or record.variant == entry.recipe.variant(entry.variant)
    return same and variant and _same_settings(record.recipe, plain(entry.recipe))


def machine_of(hardware: Mapping[str, Any]) -> str:
    """What computes on the machine that ``hardware`` of a record is of."""
    return str(hardware.get("accelerator") or f"{hardware.get('processor', 'a machine that is not known')}, {hardware.get('cores')} cores")


def of_several_machines(records: Iterable[RunRecord]) -> list[str]:
    """What a reader must know where ``records`` that are finished come from more than one kind of machine."""
    machines = Counter(machine_of(record.hardware) for record in records if record.finished)
    if len(machines) < 2:
        return []
    each = "; ".join(f"{count} on {name}" for name, count in machines.most_common())
    return [f"The runs were flown on several machines ({each}): their times cannot be compared, and losses differ in the last digits."]


def _same_settings(then: Any, now: Any) -> bool:
    """Whether what both say is the same. A setting that came later had its default then; one whose default has changed differs."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return all(_same_settings(then[key], now[key]) for key in then.keys() & now.keys())
    if isinstance(then, (list, tuple)) and isinstance(now, (list, tuple)):
        return len(then) == len(now) and all(map(_same_settings, then, now))
    return bool(then == now)


def committed(file: Path) -> RunRecord | None:
    """The finished record in ``file``, or None where there is no such file or it has another format.

    Raises:
        UserError: where it is damaged.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            return None
        record = RunRecord.model_validate(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not the record of a run: {error}") from error
    return record if record.finished else None


def shared(entry: Entry, out: Path, data: str, share: Share) -> RunRecord | None:
    """The finished record of ``entry`` that somebody has brought to ``share``, put into the run's folder; None where nobody has."""
    text = share.text(f"{FOLDER}/{Path(entry.folder).name}.json")
    try:
        record = RunRecord.model_validate(json.loads(text)) if text else None
    except ValueError as error:
        share.tell(f"--share {share.address}: not the record of a run: {entry.folder}: {error}")
        return None
    if record is None or not record.finished or not agrees(record, entry, data):
        return None
    write_record(out / entry.folder, record)
    return record


def bring(run: str, record: RunRecord, share: Share) -> None:
    """Put a finished ``record`` of the folder ``run`` into ``share``, unless it is there."""
    name = f"{FOLDER}/{Path(run).name}.json"
    if record.finished and share.text(name) is None:
        share.put_text(name, _portable(record))


def _portable(record: RunRecord) -> str:
    """A record as text, without the places on this machine."""
    needed = {key: {**one, "folder": Path(str(one.get("folder", ""))).name} for key, one in record.needed.items()}
    kept = record.model_copy(update={"needed": needed, "warnings": []})
    return json.dumps(kept.plain(), ensure_ascii=False) + "\n"


def save(records: Mapping[str, RunRecord], folder: Path) -> list[Path]:
    """Write the finished ones of ``records``, which are by the folder of their run, to ``folder``; returns the files.

    Places on this machine are left out.

    Raises:
        DiskError: when one cannot be written.
    """
    written = []
    for run, record in records.items():
        if record.finished:
            path = folder / f"{Path(run).name}.json"
            write_text(path, _portable(record))
            written.append(path)
    return written
