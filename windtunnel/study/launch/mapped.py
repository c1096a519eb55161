"""A function over jobs, in order: in this process, in several of this machine, or as Ray tasks. What comes out is the same."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from windtunnel.core.errors import UserError, needing

Job = TypeVar("Job")
Answer = TypeVar("Answer")
Mapped = Callable[[Callable[[Job], Answer], Sequence[Job]], Iterator[Answer]]


@contextlib.contextmanager
def mapping(workers: int, engine: str, address: str | None, folder: Path) -> Iterator[Mapped[Any, Any]]:
    """What maps a function over jobs; functions and jobs have to be pickled, and both read and write ``folder``.

    Processes begin with the first jobs and end with the context, so that what they import is imported once for all that is mapped.

    Args:
        workers: processes of this machine; on Ray most tasks at a time.
        engine: ``local`` or ``ray``.
        address: of a running Ray cluster (default: one that is started here).
        folder: has to be on storage that every node of a cluster mounts.

    Raises:
        UserError: when Ray is missing, a cluster cannot be reached, a node does not see ``folder``, or a worker died.
    """
    made = _on_ray(workers, address, folder) if engine == "ray" else _in_processes(workers)
    with made as mapped:
        yield mapped


@contextlib.contextmanager
def _in_processes(workers: int) -> Iterator[Mapped[Any, Any]]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from windtunnel.study.launch.spawned import without_script

    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:

        def mapped(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
            if len(jobs) < 2:
                return map(function, jobs)
            with without_script():  # processes begin as jobs are handed in
                return pool.map(function, jobs)

        try:
            yield mapped
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def _on_ray(workers: int, address: str | None, folder: Path) -> Iterator[Mapped[Any, Any]]:
    with needing("--engine ray", "Ray, which is not installed", "ray"):
        import ray
    from windtunnel.train.joining import start

    ours = not ray.is_initialized()
    if ours:
        start(ray, address)
    task = ray.remote(num_cpus=1)(call_on_node)
    path = [entry for entry in sys.path if entry]

    def mapped(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        begun = [task.remote(function, job, folder.resolve(), path) for job in jobs[:workers]]
        for number in range(len(jobs)):
            try:
                answer = ray.get(begun[number])
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise UserError(f"a Ray worker died: {' '.join(str(error).split())[:300]}; the same command goes on") from error
            if len(begun) < len(jobs):
                begun.append(task.remote(function, jobs[len(begun)], folder.resolve(), path))
            yield answer

    try:
        yield mapped
    finally:
        if ours:
            ray.shutdown()


def call_on_node(function: Callable[[Any], Any], job: Any, folder: Path, path: Sequence[str]) -> Any:
    """The task: ``function`` of ``job``, on whichever node it landed on."""
    sys.path.extend(entry for entry in path if entry not in sys.path and Path(entry).is_dir())
    if not folder.is_dir():
        raise UserError(f"node {os.uname().nodename} does not see {folder}: the output folder has to be on storage that every node mounts")
    return function(job)
