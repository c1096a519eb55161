"""The same jobs as Ray tasks, on this machine or on a cluster.

A task runs :func:`windtunnel.study.launch.worker.perform`, which is what a local worker runs, so records and folders are the same.
Workers on other machines read the prepared stream and write the run's folder under the same path as here: the output folder has to
be on storage that every node mounts (NFS, Lustre, a cloud file system), and windtunnel has to be installed there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from windtunnel.core.errors import needing
from windtunnel.core.typed import Failure
from windtunnel.study.launch import worker
from windtunnel.study.launch.local import PILOTS_ON_A_GPU, Interrupted, OnEvent, counted_signals
from windtunnel.study.launch.worker import Job
from windtunnel.train.joining import start
from windtunnel.train.record import RunRecord

UNSTARTED = "unstarted"  # what a task answers that was told to stop before it began
ASK_EVERY = 2.0  # seconds between two questions of a task whether it should stop


def fly_jobs_on_ray(
    jobs: Sequence[Job],
    *,
    threads: int = 1,
    address: str | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, RunRecord]:
    """Fly ``jobs`` as Ray tasks and return the record of each by its folder, as :func:`windtunnel.study.launch.local.fly_jobs` does.

    ``address`` is that of a cluster, "auto" for the one this machine belongs to; without it Ray is started here and stopped at the end.
    A process that has called ``ray.init`` itself keeps its cluster. A task takes ``threads`` CPUs and, where the cluster has GPUs, a
    quarter of one.

    Raises:
        UserError: when Ray is missing or the cluster cannot be reached.
        Interrupted: after SIGINT or SIGTERM, when the runs have been put down.
    """
    with needing("--engine ray", "Ray, which is not installed", "ray"):
        # Asked for before Ray starts: tasks without a GPU would otherwise lose sight of GPUs (and Ray warns about that on each start).
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
    tell: OnEvent = on_event or (lambda what, job, details: None)
    ours = not ray.is_initialized()
    if ours:
        start(ray, address)
    try:
        with counted_signals() as signals:
            records = _fly(ray, jobs, threads, tell, lambda: signals.count)
    finally:
        if ours:
            ray.shutdown()
    if signals.count:
        finished = sum(record.finished for record in records.values())
        raise Interrupted(f"{finished} of {len(jobs)} runs finished, the others stopped at a checkpoint")
    return records


def _fly(ray: Any, jobs: Sequence[Job], threads: int, tell: OnEvent, stopped: Callable[[], int]) -> dict[str, RunRecord]:
    board = ray.remote(num_cpus=0)(Board).remote()
    gpu = 1 / PILOTS_ON_A_GPU if ray.cluster_resources().get("GPU") else 0
    # No retries by Ray: a run that killed its worker would kill the next one. What was interrupted goes on in the next call.
    task = ray.remote(num_cpus=threads, num_gpus=gpu, max_retries=0)(fly_on_node)
    path = [entry for entry in sys.path if entry]
    waiting = sorted(jobs, key=lambda job: -job.cost)
    flying: dict[Any, Job] = {task.remote(asdict(job), board, threads, bool(gpu), path): job for job in waiting}
    records: dict[str, RunRecord] = {}
    said = False
    while flying:
        if stopped() and not said:
            said = True
            ray.get(board.stop.remote())
        if stopped() > 1:
            for reference in flying:
                ray.cancel(reference, force=True)
            break
        done, _ = ray.wait(list(flying), num_returns=1, timeout=0.5)
        by_folder = {job.folder: job for job in flying.values()}
        for folder, what, details in ray.get(board.news.remote()):
            if folder in by_folder:
                tell(what, by_folder[folder], details)
        for reference in done:
            job = flying.pop(reference)
            try:
                record = ray.get(reference)
            except Exception as error:  # Ray's own errors: the worker or its node died
                record = _died(job, error)
            if record is None:
                tell("waiting", job, {})
                if not stopped():
                    time.sleep(0.5)
                    flying[task.remote(asdict(job), board, threads, bool(gpu), path)] = job
                continue
            if record == UNSTARTED:
                continue
            records[job.folder] = record
            tell(record.status, job, record)
    return records


def _died(job: Job, error: BaseException) -> RunRecord:
    return worker.lost(job, f"the Ray worker died: {' '.join(str(error).split())[:300]}", str(error))


class Board:
    """An actor between the tasks and the study: progress one way, the wish to stop the other."""

    def __init__(self) -> None:
        self.stopping = False
        self.latest: dict[str, tuple[str, dict[str, Any]]] = {}
        self.begun: list[str] = []

    def tell(self, folder: str, what: str, details: dict[str, Any]) -> None:
        """A task says something; of progress only the latest is kept."""
        if what == "started":
            self.begun.append(folder)
        else:
            self.latest[folder] = (what, details)

    def news(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What was said since the last question, as (folder, what, details)."""
        found: list[tuple[str, str, dict[str, Any]]] = [(folder, "started", {}) for folder in self.begun]
        found += [(folder, *entry) for folder, entry in self.latest.items()]
        self.begun, self.latest = [], {}
        return found

    def stop(self) -> None:
        """Every task should put its run down."""
        self.stopping = True

    def stopped(self) -> bool:
        """Whether that was said."""
        return self.stopping


def fly_on_node(job: dict[str, Any], board: Any, threads: int, gpu: bool, path: Sequence[str]) -> RunRecord | str | None:
    """The task: fly one job on whichever node it landed on, and return its record."""
    import ray

    sys.path.extend(entry for entry in path if entry not in sys.path and Path(entry).is_dir())
    import torch

    torch.set_num_threads(threads)
    asked, answer = 0.0, ray.get(board.stopped.remote())
    if answer:
        return UNSTARTED

    def stop() -> bool:
        nonlocal asked, answer
        if not answer and time.monotonic() - asked > ASK_EVERY:
            asked, answer = time.monotonic(), ray.get(board.stopped.remote())
        return bool(answer)

    folder = job["folder"]
    board.tell.remote(folder, "started", {})
    report = worker.thinned(lambda progress: board.tell.remote(folder, "progress", progress))
    for stream in (job["stream"], *job["streams"].values()):
        if stream is not None and not Path(stream).is_dir():
            reason = f"node {os.uname().nodename} does not see {stream}: the output folder has to be on storage that every node mounts"
            return worker.failed(Job(**job), Failure(kind="user", message=reason))
    return worker.perform(Job(**job), threads=threads, device="cuda" if gpu else "cpu", report=report, stop=stop)
