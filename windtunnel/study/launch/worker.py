"""One run inside a worker process, on this machine or on a Ray node: lock its folder, fly it, and always come back with a record."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import locked
from windtunnel.core.keys import Variant
from windtunnel.core.outside import PartSource, define
from windtunnel.core.typed import Failure
from windtunnel.train.record import RunRecord, finished_record, forget, has_weights, read_record, write_record

FLY = "windtunnel.train.run:fly"
OUTPUT = "output.txt"  # in a run's folder: what its process printed
LAST = 2000  # bytes of it that are told where a run was lost
REPORT_EVERY = 0.25  # seconds between two progress messages of one run

Report = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Job:
    """A run to be flown: what determines it, where its folder is, and what it is expected to cost.

    ``recipe`` is the resolved recipe as plain data, ``stream`` the folder of the prepared stream (None for functions that need none),
    ``cost`` the expected FLOPs, ``labels`` what tables show of it (arm, multiple). ``function`` is "module:name" of what flies it; it is
    called as ``windtunnel.train.run.fly`` is. ``streams`` are the folders of the streams of models it needs that are not trained on its
    own, by :func:`windtunnel.recipe.data_key`. ``sources`` are the texts of the parts that stand in no package, ``modules`` what else has
    to be imported for parts to be known.
    """

    key: str
    seed: int
    recipe: dict[str, Any]
    stream: str | None
    folder: str
    cost: float
    labels: dict[str, Any] = field(default_factory=dict)
    function: str = FLY
    streams: dict[str, str] = field(default_factory=dict)
    sources: tuple[PartSource, ...] = ()
    modules: tuple[str, ...] = ()
    variant: Variant | None = None
    weights: bool = False  # the record alone will not do
    memory: float = 0.0  # bytes that it is expected to take of an accelerator
    loggers: tuple[str, ...] = ()  # kinds of loggers that its numbers go to
    shorter: dict[str, dict[str, Any]] = field(default_factory=dict)  # recipes by folder of runs that it may hand its beginning


def failed(job: Job, failure: Failure, present: RunRecord | None = None) -> RunRecord:
    """The record of a run that failed, after what ``present`` knew of it."""
    if present is None:
        return RunRecord(key=job.key, seed=job.seed, recipe=job.recipe, status="failed", failure=failure)
    return present.model_copy(update={"status": "failed", "failure": failure})


def lost(job: Job, reason: str, story: str) -> RunRecord:
    """The record of a run whose process died for ``reason``: the finished one if it was written, else a failed one, also on disk."""
    finished = finished_record(job.folder)
    if finished is not None:
        return finished
    with contextlib.suppress(UserError):
        return store(job, failed(job, Failure(kind="lost", message=reason, traceback=story), read_record(job.folder)))
    return store(job, failed(job, Failure(kind="lost", message=reason, traceback=story)))


def store(job: Job, record: RunRecord) -> RunRecord:
    """``record``, also written to the run's folder if that is possible: a full or read-only disk is often why a run failed."""
    with contextlib.suppress(OSError, UserError):
        write_record(Path(job.folder), record)
    return record


def perform(job: Job, *, threads: int | None, device: str | None, report: Report | None, stop: Stop | None) -> RunRecord | None:
    """Fly ``job`` unless its folder already holds the finished record. Returns the record; an exception becomes a failed one.

    None when another process is flying the same run; the caller asks again later.
    """
    folder = Path(job.folder)
    compiled = True
    try:
        with locked(folder / ".lock") as mine:
            if not mine:
                return None
            present = read_record(folder)
            if present is not None and present.finished and (has_weights(folder) or not job.weights):
                return present
            if present is not None and present.status != "interrupted":
                forget(folder)
            record = RunRecord.model_validate(_call(job, folder, threads, device, report, stop))
            compiled = record.compiled is not False
            return record
    except Exception as error:
        return store(job, failed(job, Failure.of(error)))
    finally:
        _tidy(compiled)


def _call(job: Job, folder: Path, threads: int | None, device: str | None, report: Report | None, stop: Stop | None) -> Any:
    from windtunnel.recipe import Recipe, needed

    define(job.sources)
    for name in job.modules:
        importlib.import_module(name)
    module, _, name = job.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    recipe = Recipe.model_validate(job.recipe)
    if job.stream is None:
        stream = None
    else:
        from windtunnel.data.stream import Stream

        stream = Stream.open(Path(job.stream))
    others: dict[str, Any] = {"needed_in": folder.parent} if needed(recipe, curators=False) else {}
    if job.streams:
        others["streams"] = job.streams
    if job.variant is not None:
        others["variant"] = job.variant
    if job.loggers:
        others |= {"loggers": job.loggers, "name": f"{job.labels['arm']}, seed {job.seed}, {job.labels['multiple']:g} budgets"}
    if job.shorter:
        others["shorter"] = {Path(path): Recipe.model_validate(one) for path, one in job.shorter.items()}
    return function(recipe, job.seed, stream, folder, threads=threads, device=device, report=report, stop=stop, **others)


def _tidy(compiled: bool) -> None:
    """Leave nothing of a run behind that would change the next one in this process."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if compiled:
        from windtunnel.train.compiled import forget_many

        forget_many()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def thinned(send: Report) -> Report:
    """``send`` called at most every :data:`REPORT_EVERY` seconds."""
    last = 0.0

    def report(progress: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_EVERY:
            last = now
            send(progress)

    return report


@contextlib.contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Everything that this process prints, from C++ too, goes to the end of ``path``: a live table must not be written over."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:  # a read-only folder: the run itself will say so
        target = os.open(os.devnull, os.O_WRONLY)
    before = [os.dup(1), os.dup(2)]
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for number, handle in zip((1, 2), before, strict=True):
            os.dup2(handle, number)
            os.close(handle)


def last_output(folder: Path | str) -> str:
    """The end of what a run printed."""
    try:
        with open(Path(folder) / OUTPUT, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LAST))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def main(connection: Any, cores: list[int] | None, threads: int, device: str | None) -> None:
    """The life of a local worker: receive jobs, send back progress and records, until told to end or the parent is gone.

    Messages in: a :class:`Job`, "stop" (checkpoint what is flying and return) or None (end). Messages out: ("progress", dict) and
    ("record", RunRecord, or None where another process is flying the run).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides and says "stop"
    stopping = False

    def told(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, told)
    if cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)

    def stop() -> bool:
        nonlocal stopping
        try:
            while not stopping and connection.poll(0):
                stopping = connection.recv() in ("stop", None)
        except (EOFError, OSError):  # the parent died: checkpoint, so that whoever comes next goes on from here
            stopping = True
        return stopping

    def send(message: tuple[str, Any]) -> None:
        with contextlib.suppress(OSError):
            connection.send(message)

    report = thinned(lambda progress: send(("progress", progress)))
    while not stopping:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        if not isinstance(job, Job):
            return
        with output_to(Path(job.folder) / OUTPUT):
            record = perform(job, threads=threads, device=device, report=report, stop=stop)
        send(("record", record))
