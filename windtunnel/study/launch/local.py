"""Fill this machine with runs: warm worker processes, longest job first, and none of them able to take the others down."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from windtunnel.core.asked import StopAsked
from windtunnel.core.errors import UserError
from windtunnel.study.launch import allocator, worker
from windtunnel.study.launch.spawned import without_script
from windtunnel.study.launch.worker import Job
from windtunnel.train.estimate import USABLE
from windtunnel.train.record import RunRecord

PILOTS_ON_A_GPU = 4  # small models leave most of an accelerator idle; at most this many share one
DRIVER = 1e9  # bytes of a GPU that each process takes for the context of the driver and its libraries, about
PATIENCE = 7.0  # seconds that runs have to put themselves down after a signal; the command has to end within ten
BUSY_PAUSE = 1.0  # seconds before a run that another process is flying is asked for again

OnEvent = Callable[[str, Job, Any], None]


class Interrupted(KeyboardInterrupt):
    """The user or the system stopped the study; every run that was flying has written a checkpoint. Exit code 130.

    It is made with what became of the runs, in words.
    """

    def __str__(self) -> str:
        return f"interrupted: {self.args[0]}; give the same command to go on"


@dataclass(frozen=True)
class Workers:
    """How the machine is divided: ``count`` processes of ``threads`` threads, each on its device."""

    count: int
    threads: int
    devices: tuple[str | None, ...]

    def device(self, number: int) -> str | None:
        """The device of worker ``number``."""
        return self.devices[number % len(self.devices)]


def workers_here(workers: int | None = None, threads: int | None = None, device: str | None = None, need: float = 0.0) -> Workers:
    """The workers for this machine: one for every ``threads`` cores (default 1), or several pilots on each GPU.

    ``device`` is "cpu", or a GPU or several ("cuda:0,cuda:2"; default: all that there are, else the CPU). A GPU gets as many pilots as its
    free memory holds of ``need`` bytes.

    Raises:
        UserError: when a number is below one.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise UserError(f"{name}: {value} is too few; at least 1")
    import torch

    cores = len(available_cores())
    chosen = [one.strip() for one in device.split(",")] if device else []
    if not chosen and torch.cuda.is_available():
        chosen = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if chosen and chosen != ["cpu"]:
        held = [pilots_on(float(torch.cuda.mem_get_info(torch.device(one))[0]), need) for one in chosen]
        turns = range(max(held))
        shared: tuple[str | None, ...] = tuple(one for turn in turns for one, many in zip(chosen, held, strict=True) if turn < many)
        workers = workers or len(shared)
        return Workers(workers, threads or max(1, cores // workers), shared)
    # One thread each: two runs side by side finish well before the same two runs one after the other on two threads.
    threads = threads or (max(1, cores // workers) if workers and workers < cores else 1)
    return Workers(workers or max(1, cores // threads), threads, ("cpu",))


def pilots_on(free: float, need: float) -> int:
    """How many pilots of ``need`` bytes share a GPU with ``free`` bytes: at least one, at most :data:`PILOTS_ON_A_GPU`."""
    return max(1, min(PILOTS_ON_A_GPU, int(USABLE * free // (need + DRIVER))))


def available_cores() -> list[int]:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass
class Worker:
    """A worker process, and the job that it has."""

    number: int
    process: Any
    connection: Any
    job: Job | None = None
    told_to_stop: bool = False


@dataclass
class _Waiting:
    job: Job
    not_before: float = 0.0


@dataclass
class WorkerPool:
    """The worker processes, and how to start, stop and replace one."""

    plan: Workers
    context: Any = field(default_factory=lambda: multiprocessing.get_context("spawn"))
    workers: list[Worker] = field(default_factory=list)

    def flying(self) -> list[Job]:
        """The jobs that workers have."""
        return [one.job for one in self.workers if one.job is not None]

    def give(self, job: Job) -> int | None:
        """Give ``job`` to a worker that has none, hired if need be; its number, or None where all are busy."""
        while True:
            idle = next((one for one in self.workers if one.job is None and not one.told_to_stop), None)
            if idle is None:
                taken = {one.number for one in self.workers}
                free = [number for number in range(self.plan.count) if number not in taken]
                if not free:
                    return None
                idle = self.hire(free[0])
            try:
                idle.connection.send(job)
            except OSError:  # it died while idle
                self.workers.remove(idle)
                continue
            idle.job = job
            return idle.number

    def stop(self, folder: str | None = None) -> None:
        """Let the run in ``folder`` (None: every run) write a checkpoint and end."""
        for one in self.workers:
            if not one.told_to_stop and (folder is None or (one.job is not None and one.job.folder == folder)):
                one.told_to_stop = True
                with contextlib.suppress(OSError):
                    one.connection.send("stop")

    def hire(self, number: int) -> Worker:
        """Start worker ``number``."""
        ours, theirs = self.context.Pipe()
        cores = available_cores()
        # Cores are reserved only when the workers fill the machine: beside other work the system places processes better than we do.
        filled = self.plan.count * self.plan.threads == len(cores)
        mine = cores[number * self.plan.threads : (number + 1) * self.plan.threads] if filled else None
        arguments = (theirs, mine, self.plan.threads, self.plan.device(number))
        process = self.context.Process(target=worker.main, args=arguments, name=f"windtunnel-worker-{number}")
        with allocator.preloaded(), without_script():
            process.start()
        theirs.close()  # or the death of the worker would not show as the end of the pipe
        found = Worker(number, process, ours)
        self.workers.append(found)
        return found

    def dismiss(self, seconds: float) -> None:
        """End every worker; one that has not ended after ``seconds`` is killed."""
        for one in self.workers:
            with contextlib.suppress(OSError):
                one.connection.send(None)
            one.connection.close()
        deadline = time.monotonic() + seconds
        for one in self.workers:
            one.process.join(max(0.0, deadline - time.monotonic()))
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.process.close()
        self.workers.clear()


def fly_jobs(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, RunRecord]:
    """Fly ``jobs`` in local worker processes and return the record of each by its folder.

    A job is finished, failed (an exception, or the death of its worker) or interrupted; one that fails leaves the others alone.
    ``on_event(what, job, details)`` is told of ``started``, ``progress`` (what the run reports), ``finished``, ``failed``,
    ``interrupted`` (each with its record, a RunRecord) and ``waiting`` (another process is flying this run).

    Raises:
        Interrupted: after SIGINT or SIGTERM, when every worker has put its run down; a second signal does not wait for them.
    """
    tell: OnEvent = on_event or (lambda what, job, details: None)
    plan = workers_here(workers, threads, device, max((job.memory for job in jobs), default=0.0))
    plan = Workers(max(1, min(plan.count, len(jobs))), plan.threads, plan.devices)
    # Longest first, so that no long run is left alone at the end. The sort is stable: equal jobs keep the order they came in.
    pending = deque(_Waiting(job) for job in sorted(jobs, key=lambda job: -job.cost))
    records: dict[str, RunRecord] = {}
    pool = WorkerPool(plan)

    def heard(what: str, job: Job, details: Any) -> None:
        if what == "waiting":
            pending.append(_Waiting(job, time.monotonic() + BUSY_PAUSE))
        elif what != "progress":
            records[job.folder] = details
        tell(what, job, details)

    with counted_signals() as signals:
        try:
            while pending or any(one.job for one in pool.workers):
                if signals.count:
                    pending.clear()
                    pool.stop()
                if signals.count > 1 or signals.late():
                    break
                _hand_out(pool, pending, tell)
                listen(pool, heard)
        finally:
            pool.dismiss(0.0 if signals.count > 1 or signals.late() else 10.0 if not signals.count else 1.0)
    if signals.count:
        raise _interrupted(records, jobs)
    return records


def fly_jobs_here(
    jobs: Sequence[Job], *, threads: int | None = None, device: str | None = None, on_event: OnEvent | None = None
) -> dict[str, RunRecord]:
    """Fly ``jobs`` one after the other in this process, for parts that another process could not define; else as :func:`fly_jobs`."""
    tell: OnEvent = on_event or (lambda what, job, details: None)
    plan = workers_here(1, threads, device)
    records: dict[str, RunRecord] = {}
    with counted_signals() as signals:
        for job in jobs:
            tell("started", job, {"worker": 0})
            report = worker.thinned(functools.partial(tell, "progress", job))
            record = worker.perform(job, threads=plan.threads, device=plan.device(0), report=report, stop=lambda: signals.count > 0)
            if record is None:
                raise UserError(f"{job.folder}: another process is flying this run; wait for it, or choose another folder")
            records[job.folder] = record
            tell(record.status, job, record)
            if signals.count:
                raise _interrupted(records, jobs)
    return records


def _interrupted(records: Mapping[str, RunRecord], jobs: Sequence[Job]) -> Interrupted:
    finished = sum(record.finished for record in records.values())
    return Interrupted(f"{finished} of {len(jobs)} runs finished, the others stopped at a checkpoint")


def _hand_out(pool: WorkerPool, pending: deque[_Waiting], tell: OnEvent) -> None:
    """Give a job to every idle worker; hire workers while there are too few."""
    now = time.monotonic()
    while ready := next((waiting for waiting in pending if waiting.not_before <= now), None):
        number = pool.give(ready.job)
        if number is None:
            return
        pending.remove(ready)
        tell("started", ready.job, {"worker": number})


def listen(pool: WorkerPool, tell: OnEvent) -> None:
    """Wait a moment for messages and deaths of workers, and ``tell`` of them; see :func:`fly_jobs`."""
    by_handle: dict[Any, Worker] = {}
    for one in pool.workers:
        by_handle[one.connection] = by_handle[one.process.sentinel] = one
    if not by_handle:
        time.sleep(0.1)
        return
    for one in {id(by_handle[handle]): by_handle[handle] for handle in wait(list(by_handle), timeout=0.2)}.values():
        # Aliveness is asked before the messages are read: what a worker sent just before it died is then read all the same.
        alive = one.process.is_alive()
        try:
            while one.connection.poll(0):
                what, details = one.connection.recv()
                job = one.job
                if job is None:
                    continue
                if what == "progress":
                    tell("progress", job, details)
                    continue
                one.job = None
                if details is None:
                    tell("waiting", job, {})
                else:
                    tell(details.status, job, details)
        except (EOFError, OSError):
            alive = False
        if not alive:
            _bury(pool, one, tell)


def _bury(pool: WorkerPool, dead: Worker, tell: OnEvent) -> None:
    """A worker died: its run has failed, unless the finished record was already written. Its place is free."""
    dead.process.join()
    code = dead.process.exitcode
    pool.workers.remove(dead)
    dead.connection.close()
    if dead.job is None:
        return
    job = dead.job
    reason = f"the worker process died: {how_it_died(code)}"
    record = worker.lost(job, reason, f"{worker.last_output(job.folder)}\n{reason}".strip())
    tell(record.status, job, record)


def how_it_died(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (often: out of memory)" if name == "SIGKILL" else "")
    return f"killed by signal {-code}"


class Signals(StopAsked):
    """How many times a study was asked to stop."""

    def hear(self, *_: Any) -> bool:
        """Count a signal; the first is answered, because runs need a moment to write their checkpoints."""
        counted = super().hear()
        if counted and self.count == 1:
            print(f"stopping: runs write checkpoints, for {PATIENCE:.0f} seconds at most; once more stops at once", file=sys.stderr)
        return counted

    def late(self) -> bool:
        """Whether what was asked to stop has had its time."""
        return self.count > 0 and time.monotonic() - self.first > PATIENCE


@contextlib.contextmanager
def counted_signals() -> Iterator[Signals]:
    """Count SIGINT and SIGTERM instead of dying of them (in the main thread; elsewhere the caller's handling stays)."""
    heard = Signals()
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError):  # not the main thread
            before[number] = signal.signal(number, heard.hear)
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
