"""Files that are there whole or not at all, locks that die with their process, and folders that appear under their name when complete.

Everything is written beside its place under another name, synced and renamed, so that neither a kill nor a power cut leaves half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from windtunnel.core.errors import DiskError, UserError
from windtunnel.core.leases import HOST, beating, held_by, leased, silent

STALE = 3600.0  # seconds after which a temporary folder without a lock is removed
PAUSE = 1.0  # seconds between two looks at what another host holds
OURS = ".windtunnel"  # in a folder that Windtunnel writes
_LOCK = "lock"  # in a temporary folder: held by the process that fills it


def sync(path: Path) -> None:
    """Flush a file or folder to disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def naming(path: Path, advice: str = "", what: str = "") -> Iterator[None]:
    """What the disk refuses inside (full, read-only, not a folder ...), as a DiskError that names the file and gives ``advice``.

    ``what`` takes the place of the file's name in the message; ``path`` is named where the system names none.
    """
    try:
        yield
    except OSError as error:
        place = what or f"cannot write {error.filename or path}"
        reason = error.strerror or str(error)
        raise DiskError(f"{place}: {reason}{advice}", error.errno) from error


# Files --------------------------------------------------------------------------------------------------------------------------


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/"


def claim(folder: Path) -> None:
    """Make ``folder``, where the disk lets us, and mark it as one that Windtunnel writes: nothing in it is a document of a folder above."""
    with contextlib.suppress(OSError):  # whoever writes there next says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / OURS).exists():
            (folder / OURS).touch()


def refuse_address(path: Path | str) -> None:
    """Raise UserError for an address such as ``s3://bucket/name``, of which a folder would else be made here, as ``s3:/bucket/name``."""
    if found := _ADDRESS.match(str(path)):
        address = f"{found[0]}/{str(path)[found.end() :].lstrip('/')}"  # a Path has made one stroke of two
        cure = "mount the store as a folder, or copy what you need (a team shares encoded text and records with `study --share`)"
        raise UserError(f"{address}: object stores are not read or written here; {cure}")


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what Git leaves in the place of a large one that it has not fetched; False where it cannot be read."""
    try:
        if path.stat().st_size > 1024:  # the most that a pointer may have
            return False
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


@contextlib.contextmanager
def whole(path: Path, mode: str = "w", errors: str | None = None, *, first: bool = False) -> Iterator[IO[Any]]:
    """A file to write, which replaces ``path`` when everything is in it; an exception leaves ``path`` as it was.

    Args:
        path: its folder is made where it is missing.
        mode: "w" for text (UTF-8) or "wb" for bytes.
        errors: what happens to characters that UTF-8 cannot hold, as in :func:`open`.
        first: keep what another process has put there in the meantime.

    Raises:
        DiskError: naming the file and the reason.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with naming(path, what=f"cannot write {path}"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, mode, encoding=None if "b" in mode else "utf-8", errors=errors) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            _put(temporary, path, first)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _put(temporary: Path, path: Path, first: bool) -> None:
    if not first:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)  # fails where another process came first
    except OSError:
        if not path.exists():  # a file system without links
            os.replace(temporary, path)


def write_text(path: Path, text: str, errors: str | None = None) -> None:
    """Replace ``path`` by ``text``, whole or not at all. Raises DiskError."""
    with whole(path, errors=errors) as file:
        file.write(text)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, whole or not at all. Raises DiskError."""
    with whole(path, "wb") as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON, whole or not at all. Raises DiskError."""
    with whole(path) as file:
        json.dump(value, file, indent=1)


def decided_once(path: Path, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``path`` holds; the first process to come writes ``decide()`` there, so that all that ask agree.

    Raises:
        UserError: when the file is damaged.
        DiskError: when it cannot be written.
    """
    if not path.exists():
        decided = json.dumps(decide())
        with whole(path, first=True) as file:
            file.write(decided)
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and it will be made anew") from error
    return found


# Locks --------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path`` if nobody else does; yields whether it is held. The system releases it when the process dies.

    Between hosts that share the folder a lease beside the file decides, see :mod:`windtunnel.core.leases`.

    Raises:
        UserError: for an address that is no path.
        OSError: when the file cannot be made.
    """
    refuse_address(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # "a" and not "w": the process that holds the lock has written its number into the file
    with open(path, "a+", encoding="utf-8") as file:
        works = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            works = False
        with leased(_lease(path), works) as mine:
            if mine:
                file.seek(0)
                file.truncate()
                file.write(str(os.getpid()))
                file.flush()
            yield mine


def holder(path: Path) -> str:
    """The process that holds the lock file ``path``, or held it last: its number, with its host where that is another."""
    held = held_by(_lease(path))
    if held and held.get("host") != HOST:
        return f"{held.get('process')} on {held.get('host')}"
    return path.read_text(encoding="utf-8").strip()


def _lease(path: Path) -> Path:
    return path.with_name(f"{path.name}.host")


@contextlib.contextmanager
def awaited(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file ``path``, after ``waiting()`` where another process holds it, on this host or on another.

    Raises:
        OSError: when the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    told = False
    try:
        works = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            works = False
        while True:
            with leased(_lease(path), works) as mine:
                if mine:
                    yield
                    return
            if not told:
                waiting()
                told = True
            time.sleep(PAUSE)
    finally:
        os.close(handle)


# Folders ------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh folder in ``parent``, marked as ours by a lock that ends with this process, and removed unless it was published.

    Raises:
        OSError: when it cannot be made.
    """
    folder = parent / f"{prefix}{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        with (folder / _LOCK).open("w", encoding="utf-8") as lock, beating(folder / _LOCK):
            with contextlib.suppress(OSError):  # a file system without locks: age tells what is abandoned
                fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(HOST)
            lock.flush()
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the temporary folders whose process was killed. A living one holds its lock, so what it writes is left alone.

    Of those of other hosts, whose locks may not be seen here, age decides, as where nobody has written yet whose it is.
    """
    for folder in parent.glob(f"{prefix}*"):
        try:
            with (folder / _LOCK).open("r+", encoding="utf-8") as lock:
                if lock.read() != HOST and silent(folder / _LOCK, parent) < STALE:
                    continue
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > STALE:
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, target: Path) -> bool:
    """Give a finished folder its final name; False where another process was first, and what is there stays.

    Its files have to be synced already; its folders are synced here.

    Raises:
        OSError: when it cannot be renamed.
    """
    (folder / _LOCK).unlink(missing_ok=True)
    for inner in (*(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), folder):
        sync(inner)
    try:
        os.rename(folder, target)
    except OSError:
        if not target.exists():
            raise
        return False
    sync(target.parent)
    return True
