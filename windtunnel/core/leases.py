"""Leases: which host holds a lock, for folders that several machines share and file systems that do not share locks between them.

A lease is a file that one host makes and no other can make while it is there. Its holder touches it every few seconds; where nobody has
for minutes, its host is gone and another may take it. Processes of one host are told apart by locks of the system, or else by whether the
process that is named still lives: the one that began when it did, as numbers of processes come again.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOST = socket.gethostname()
BEAT = 15.0  # seconds between two signs of life
GONE = 120.0  # seconds without one after which a host is gone


@contextlib.contextmanager
def leased(path: Path, told_apart: bool) -> Iterator[bool]:
    """Hold the lease ``path`` for this host if no other has it; yields whether it is held.

    ``told_apart`` says that processes of this host hold a lock of the system around this, so that a lease of this host is one left over.

    Raises:
        OSError: where it cannot be made.
    """
    mine = {"host": HOST, "process": os.getpid(), "began": _began(os.getpid()), "lease": uuid.uuid4().hex}
    if not _taken(path, mine, told_apart):
        yield False
        return
    try:
        with beating(path):
            yield True
    finally:
        if held_by(path) == mine:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    """Touch the file ``path`` now and then, as a sign that this host lives."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def held_by(path: Path) -> dict[str, Any] | None:
    """Who holds the lease ``path``: host, process and lease; empty where it is being written. None where nobody does."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8") or "{}")
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def silent(path: Path, beside: Path | None = None) -> float:
    """Seconds since the file ``path`` was touched last, by the clock of its file system, which all hosts share.

    The clock is read off a file that is made in the folder ``beside`` (default: that of ``path``). Raises OSError.
    """
    now = (beside or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}"
    now.touch()
    try:
        return now.stat().st_mtime - path.stat().st_mtime
    finally:
        now.unlink(missing_ok=True)


def _taken(path: Path, mine: dict[str, Any], told_apart: bool) -> bool:
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if not _freed(path, told_apart):
                return False
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(mine, file)
        return True
    return False


def _freed(path: Path, told_apart: bool) -> bool:
    """Take away a lease whose holder is gone. False where it lives."""
    held = held_by(path)
    try:
        if held is None:
            return True
        if held.get("host") == HOST:
            if not told_apart and _lives(int(held["process"]), held.get("began")):
                return False
        elif silent(path) < GONE:
            return False
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        os.rename(path, aside)
        if held_by(aside) == held:
            aside.unlink()
            return True
        # Another host was faster, and this is its own: it goes back, but never over the lease of a third.
        try:
            os.link(aside, path)
        except OSError:
            if not path.exists():  # a file system without links
                os.rename(aside, path)
                return False
        aside.unlink()
    except FileNotFoundError:
        return True
    return False


def _lives(process: int, began: str | None) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    now = _began(process)
    return None in (began, now) or began == now


def _began(process: int) -> str | None:
    """When a process began, in ticks of the clock since the system did; None where the system does not tell."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return told.rpartition(")")[2].split()[19]  # its name, in brackets, may hold anything
