"""What lies in an output folder: every run with its size and the studies that need it, prepared text, and what nobody needs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import locked
from windtunnel.recipe import Document
from windtunnel.study.flying import wanted
from windtunnel.train.record import RunRecord, read_record

WEIGHTS, CHECKPOINTS = "model", "checkpoints"


@dataclass
class StoredRun:
    """A run in ``runs/``: what it is, its bytes, and who needs it (``study: arm``; of a model that a run holds, that run's)."""

    folder: Path
    status: str
    bytes: int
    seed: int | None = None
    primary: str = ""
    needed_by: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def studies(self) -> set[str]:
        """The names of the studies that need it."""
        return {who.partition(": ")[0] for who in self.needed_by}


def begun_study(path: Path, out: Path) -> str:
    """The name of the study below ``out`` that ``path`` means: its file, its folder or its name.

    Raises:
        UserError: where none of that name was begun there.
    """
    _refuse_other_folders(out)
    name = str(Document(path).data.get("name", path.stem)) if path.is_file() else path.name
    known = [folder.name for folder in (out / "studies").glob("*") if folder.is_dir()]
    if name not in known:
        raise UserError(f"{path}: no study {name!r} was begun in {out}; {nearest(name, known)}; say with --out where it was flown")
    return name


def stored_runs(out: Path, study: str | None = None) -> list[StoredRun]:
    """Every run below ``out``, or those that ``study`` needs, by name.

    Raises:
        UserError: where ``out`` is no output folder, or the result of a study cannot be read, because then nobody knows what it needs.
    """
    _refuse_other_folders(out)
    records: dict[str, RunRecord | None] = {}
    found: dict[str, StoredRun] = {}
    for folder in sorted(path for path in (out / "runs").glob("*") if path.is_dir()):
        record = records[folder.name] = read_record(folder)
        run = found[folder.name] = StoredRun(folder, record.status if record else "begun", size_of(folder))
        if record is not None:
            run.seed = record.seed
            value = record.test.get(record.primary or "")
            run.primary = f"{record.primary} {value:.4f}" if isinstance(value, float) else ""
    open_ones = set()
    for result in studies(out):
        for name, arm in _runs_of(result, found):
            found[name].needed_by.append(f"{result['study']['name']}: {arm}")
        open_ones |= set() if result.get("finished", True) else {result["study"]["name"]}
    for name, one in wanted(out).items():  # what an interrupted study has begun is in no result yet
        for label in one.labels if name in found else ():
            if label.partition(":")[0] in open_ones and label not in found[name].needed_by:
                found[name].needed_by.append(label)
    for name, record in records.items():  # what a needed run holds is needed too: going on with it would fly it again
        for held in record.needed.values() if record is not None else ():  # all of them, those that these need included
            if (other := found.get(Path(held["folder"]).name)) is not None:
                other.needed_by += [who for who in found[name].needed_by if who not in other.needed_by]
        for key in record.curation if record is not None else ():  # models that chose its text
            for other in (run for held_name, run in found.items() if held_name.startswith(f"{key}-")):
                other.needed_by += [who for who in found[name].needed_by if who not in other.needed_by]
    return [run for run in found.values() if study is None or study in run.studies]


def studies(out: Path) -> list[dict[str, Any]]:
    """The results of the studies below ``out``. Raises UserError for one that cannot be read."""
    found = []
    for file in sorted((out / "studies").glob("*/result.json")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            found.append({**result, "study": {"name": file.parent.name, **result["study"]}})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: cannot be read ({error}), so nobody knows which runs it needs; mend or remove it") from error
    return found


def _runs_of(study: Mapping[str, Any], known: Iterable[str]) -> list[tuple[str, str]]:
    """The runs of a study that are ``known``, each with its arm: those of its result, and the trials of its tuning."""
    names = list(known)
    runs = [(Path(run["folder"]).name, run["arm"]) for run in study.get("runs", ()) if run.get("folder")]
    for arm, tuning in ((study.get("tuning") or {}).get("arms") or {}).items():
        keys = [trial["key"] for trial in tuning.get("trials", ()) if trial.get("key")]
        runs += [(name, f"{arm}, tuning") for name in names for key in keys if name.startswith(f"{key}-")]
    return list(dict.fromkeys((name, arm) for name, arm in runs if name in names))


def usage(out: Path, study: str | None = None) -> dict[str, int]:
    """Bytes below ``out`` by what they are: weights, checkpoints and the rest of runs, prepared text by kind, studies, anything else.

    Of one ``study`` those of its runs and its folder alone: prepared text is everybody's.
    """
    _refuse_other_folders(out)
    if study is not None:
        own = [run.folder for run in stored_runs(out, study)]
        weights, checkpoints = (sum(size_of(run / part) for run in own) for part in (WEIGHTS, CHECKPOINTS))
        return {
            "runs: weights": weights,
            "runs: checkpoints": checkpoints,
            "runs: records and logs": sum(map(size_of, own)) - weights - checkpoints,
            "studies": size_of(out / "studies" / study),
        }
    runs = [path for path in (out / "runs").glob("*") if path.is_dir()]
    weights = sum(size_of(run / WEIGHTS) for run in runs)
    checkpoints = sum(size_of(run / CHECKPOINTS) for run in runs)
    found = {
        "runs: weights": weights,
        "runs: checkpoints": checkpoints,
        "runs: records and logs": size_of(out / "runs") - weights - checkpoints,
        "prepared: documents": size_of(out / "cache" / "corpora"),
        "prepared: encoded": size_of(out / "cache" / "streams"),
        "studies": size_of(out / "studies"),
    }
    return {**found, "other": max(0, size_of(out) - sum(found.values()))}


@dataclass(frozen=True)
class Removal:
    """Something that can be removed, why, and what it takes to have it again."""

    path: Path
    bytes: int
    why: str


def removable(out: Path, study: str | None = None, *, weights: bool = False, cache: bool = False) -> list[Removal]:
    """What can go: runs that no study needs; on demand the weights of finished runs, and all prepared text. With ``study`` only the weights
    of runs that it alone needs.

    A finished run without its weights still counts as flown; a study that holds its model flies it again.
    """
    begun = [path.parent for path in (out / "studies").glob("*/variant.json") if not (path.parent / "result.json").exists()]
    if begun:
        raise UserError(f"{begun[0]}: this study was begun and has no result yet, so nobody knows what it needs; fly it on, or remove it")
    found = []
    for run in stored_runs(out):
        if not run.needed_by and study is None:
            found.append(Removal(run.folder, run.bytes, f"a {run.status} run that no study needs"))
        elif weights and run.status == "finished" and (study is None or run.studies == {study}):
            found += [
                Removal(part, size, "weights of a finished run; its record stays")
                for part in (run.folder / WEIGHTS, run.folder / CHECKPOINTS)
                if (size := size_of(part))
            ]
    for folder in (out / "cache" / "corpora", out / "cache" / "streams") if cache else ():
        if size := size_of(folder):
            found.append(Removal(folder, size, "prepared text; it is prepared again when it is needed"))
    return found


def remove(removals: Iterable[Removal]) -> tuple[int, list[str]]:
    """Remove them; how many bytes that freed, and what was left because a process is working on it.

    Raises:
        OSError: where a file cannot be removed.
    """
    freed, left = 0, []
    for one in removals:
        run = one.path if one.path.parent.name == "runs" else one.path.parent
        if run.parent.name != "runs":
            shutil.rmtree(one.path)
        else:
            with locked(run / ".lock") as mine:
                if not mine:
                    left.append(f"{run}: a process is working on it")
                    continue
                shutil.rmtree(one.path)
        freed += one.bytes
    return freed, left


def size_of(path: Path) -> int:
    """Bytes of all files below ``path``, links not followed; 0 where there is nothing."""
    if path.is_file():
        return path.stat().st_size
    found = 0
    for folder, _, files in os.walk(path):
        for file in files:
            try:
                found += os.lstat(os.path.join(folder, file)).st_size
            except OSError:  # it went meanwhile
                continue
    return found


def _refuse_other_folders(out: Path) -> None:
    if not out.is_dir():
        raise UserError(f"{out}: no such folder; name the --out of your studies")
    if not any((out / name).is_dir() for name in ("runs", "studies", "cache")):
        raise UserError(f"{out}: holds neither runs nor studies, so it is not the --out of studies")
