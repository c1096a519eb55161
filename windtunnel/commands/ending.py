"""Ctrl-C and SIGTERM end every command within ten seconds, whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PATIENCE = 9.0  # seconds that a command has to put down what it holds; schedulers of clusters give ten or more
WRITING = 60.0  # seconds for one that promised a checkpoint: the step it is in, and the writing

_writing = 0  # how many commands have promised one


@contextlib.contextmanager
def ending_in_time(patience: float = PATIENCE) -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, and end the process if it still runs ``patience`` seconds after either.

    A command may handle both itself, to write a checkpoint first. What computes for long outside Python (a model that is measured, a
    tokenizer that learns) sees no signal before it is done; so a thread is woken by the signal itself and waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.signal(signal.SIGTERM, _interrupt)
    woken = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, patience), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        writer.close()


@contextlib.contextmanager
def writing_checkpoints() -> Iterator[None]:
    """While the command answers a signal with a checkpoint, it has :data:`WRITING` seconds."""
    global _writing
    _writing += 1
    try:
        yield
    finally:
        _writing -= 1


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _watch(reader: socket.socket, patience: float) -> None:
    """Wait for a signal that ends a command, and then for the end."""
    with reader:
        while heard := reader.recv(1):
            if heard[0] in (signal.SIGINT, signal.SIGTERM):
                patience = max(patience, WRITING) if _writing else patience
                time.sleep(patience)
                if reader.fileno() >= 0 and not _closed(reader):
                    print(f"windtunnel: interrupted, and ended after {patience:.0f} seconds; what was written stays", file=sys.stderr)
                    sys.stderr.flush()
                    os._exit(130)
                return


def _closed(reader: socket.socket) -> bool:
    """Whether the command has ended meanwhile: the other end is closed."""
    reader.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while reader.recv(64):
            pass
        return True
    return False
