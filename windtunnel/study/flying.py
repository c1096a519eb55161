"""What flies in a folder at this moment, read from what runs and studies write down on their way."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_json
from windtunnel.train.record import RunRecord, read_record

STAGE = "stage.json"  # in the folder of a study: the runs that it flies now, written when it begins to
FRESH = 120.0  # seconds after its last line in which an unfinished run counts as flying
POINTS = 120  # of a loss curve
FLYING, WAITING, QUIET = "flying", "waiting", "quiet"


@dataclass
class LiveRun:
    """A run as it stands: ``done`` is the share of it that is made, ``age`` the seconds since its last line, ``left`` those to its end."""

    run: str
    labels: list[str] = field(default_factory=list)  # "study: arm"
    seed: int | None = None
    status: str = WAITING
    step: int = 0
    done: float = 0.0
    loss: float | None = None
    seconds: float = 0.0
    left: float | None = None
    age: float | None = None
    speed: dict[str, float] = field(default_factory=dict)  # see windtunnel.train.speed
    losses: list[tuple[float, float]] = field(default_factory=list)  # by share of the run
    test: str = ""
    error: str = ""


@dataclass
class State:
    """All flights of a folder, and of each study how many are in what state."""

    folder: Path
    flights: list[LiveRun]
    studies: dict[str, Counter[str]]
    reports: dict[str, Path]  # the folder of each study that has a report, or a result so far

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        flights = [{**vars(flight), "losses": [list(point) for point in flight.losses]} for flight in self.flights]
        return {"folder": str(self.folder), "flights": flights, "studies": {name: dict(count) for name, count in self.studies.items()}}


def write_stage(folder: Path, asked: Mapping[tuple[str, str], int]) -> None:
    """Write into the folder of a study which runs it flies: their seeds, by folder and what they are called. Raises DiskError."""
    write_json(folder / STAGE, {"runs": [{"run": run, "label": label, "seed": seed} for (run, label), seed in asked.items()]})


def state(folder: Path, now: float | None = None) -> State:
    """What flies in ``folder``, the ``--out`` of studies or the folder of one run.

    Raises:
        UserError: for a folder that is neither.
    """
    now = time.time() if now is None else now
    if (folder / "plan.json").is_file():
        return State(folder, [flight(folder, LiveRun(folder.name), now)], {}, {})
    if not (folder / "runs").is_dir() and not (folder / "studies").is_dir():
        raise UserError(f"{folder}: neither the --out of studies nor the folder of a run")
    found = wanted(folder)
    for run in sorted((folder / "runs").glob("*")):
        if run.is_dir():
            found.setdefault(run.name, LiveRun(run.name))
    flights = [flight(folder / "runs" / name, known, now) for name, known in found.items()]
    studies: dict[str, Counter[str]] = {}
    for one in flights:
        for name in dict.fromkeys(label.partition(": ")[0] for label in one.labels):
            studies.setdefault(name, Counter())[one.status] += 1
    told = [path for path in (folder / "studies").glob("*") if any((path / file).is_file() for file in ("report.html", "result.json"))]
    order = {FLYING: 0, QUIET: 1, WAITING: 2}
    return State(folder, sorted(flights, key=lambda one: order.get(one.status, 3)), studies, {path.name: path for path in sorted(told)})


def wanted(folder: Path) -> dict[str, LiveRun]:
    """The runs that the studies below ``folder`` want or have, by name."""
    found: dict[str, LiveRun] = {}
    for study in sorted(path for path in (folder / "studies").glob("*") if path.is_dir()):
        for file in ("result.json", STAGE):
            path = study / file
            for run in listed(path, path.stat().st_mtime_ns) if path.is_file() else ():
                one = found.setdefault(run[0], LiveRun(run[0], seed=run[2]))
                if (label := f"{study.name}: {run[1]}") not in one.labels:
                    one.labels.append(label)
    return found


@lru_cache(maxsize=64)
def listed(path: Path, changed: int) -> list[tuple[str, str, int]]:
    """The runs in a result or a stage that was last ``changed`` so: folder, name and seed. One that cannot be read lists none."""
    found = []
    for run in mapping_in(path).get("runs", ()):
        multiple = run.get("multiple", 1.0)
        label = run.get("label") or run.get("arm", "") + ("" if multiple == 1.0 else f" at {multiple:g} budgets")
        name = run.get("run") or Path(run.get("folder") or "").name
        if name:
            found.append((name, str(label), int(run.get("seed", 0))))
    return found


def mapping_in(path: Path) -> Mapping[str, Any]:
    """What a JSON file holds, nothing where it holds no mapping or is being replaced."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def flight(folder: Path, known: LiveRun, now: float) -> LiveRun:
    """``known`` with how the run in ``folder`` stands."""
    log, record = folder / "log.jsonl", folder / "record.json"
    written = log.stat().st_mtime if log.is_file() else 0.0
    told = ended(folder, record.stat().st_mtime_ns) if record.is_file() else None
    if told is not None and (told.finished or record.stat().st_mtime >= written):
        known.status, known.seed, known.error = told.status, told.seed, told.error or ""
        known.done = 1.0 if told.finished else known.done
        known.seconds = told.totals.seconds if told.totals else 0.0
        value = told.test.get(told.primary or "")
        known.test = f"{told.primary} {value:.4f}" if isinstance(value, float) else ""
        return known
    if not written:
        return known
    known.age = max(0.0, now - written)
    known.status = FLYING if known.age < FRESH else QUIET
    lines = readable(log.read_text(encoding="utf-8").splitlines())
    if lines:
        last = lines[-1]
        known.step, known.done, known.loss = int(last["step"]), float(last.get("done") or 0.0), float(last["loss"])
        known.seconds, known.speed = float(last.get("seconds") or 0.0), dict(last.get("speed") or {})
        known.left = seconds_left(lines[0], last)
        known.losses = thinned([(float(line.get("done") or 0.0), float(line["loss"])) for line in lines])
    return known


@lru_cache(maxsize=4096)
def ended(folder: Path, changed: int) -> RunRecord | None:
    """The record of a run that was last ``changed`` so; None where it is damaged."""
    try:
        return read_record(folder)
    except UserError:
        return None


def seconds_left(first: Mapping[str, Any], last: Mapping[str, Any]) -> float | None:
    """Seconds to the end of a run at its pace between two lines of its log; None where they tell none.

    The seconds of a run begin with those of the models that it needs, so they are no measure of its pace.
    """
    done = float(last.get("done") or 0.0)
    made = done - float(first.get("done") or 0.0)
    seconds = float(last.get("seconds") or 0.0) - float(first.get("seconds") or 0.0)
    return seconds * (1 - done) / made if made > 0 else None


def readable(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The lines of a log that are whole: the last one may still be written."""
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("loss"), (int, float)) and "step" in value:
            found.append(value)
    return found


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most :data:`POINTS` of ``points``, the last one among them."""
    every = -(-len(points) // POINTS) or 1
    return points[(len(points) - 1) % every :: every]
