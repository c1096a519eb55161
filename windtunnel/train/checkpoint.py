"""Checkpoints that a kill at any instant cannot harm.

A checkpoint is written to a temporary folder, flushed to disk, given a checksum and renamed. Only a folder with its final name counts; the
newest whole one is used; a damaged one is reported and skipped.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xxhash

from windtunnel.core.errors import DiskError, UserError
from windtunnel.core.files import sync
from windtunnel.train import ranks

PIECE = 1 << 20


class Summed(io.BufferedWriter):
    """A file with the checksum of what is written to it, which takes large tensors a piece at a time.

    Handed hundreds of megabytes at once, Linux takes up to three times as long, and a piece is still in the cache when it is added up.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.sum = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        with memoryview(data) as view:
            for begin in range(0, len(view), PIECE):
                piece = view[begin : begin + PIECE]
                super().write(piece)
                self.sum.update(piece)
            return len(view)


def checksum(path: Path) -> str:
    """The 64-bit XXH3 of a file. It finds damage, which is what it is for, and takes a fifth of the time of a CRC-32."""
    found = xxhash.xxh3_64()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def state_dict(state: Any) -> dict[str, Any]:
    """What a checkpoint holds of the state of a part, which is a dictionary or an object with ``state_dict``."""
    found: dict[str, Any] = state if isinstance(state, dict) else state.state_dict()
    return found


def load_state_dict(state: Any, saved: dict[str, Any]) -> None:
    """Let ``state`` hold what :func:`state_dict` gave of it, in place."""
    if isinstance(state, dict):
        state.clear()
        state.update(saved)
    else:
        state.load_state_dict(saved)


def unstorable(value: Any, path: str = "") -> str | None:
    """Where in ``value`` something stands that a checkpoint cannot hold, and what it is; None if all of it can be held.

    A checkpoint is read without running code from it, so it holds tensors, numbers, text, and lists, tuples and dictionaries of them.
    """
    inside: Any = ()
    if isinstance(value, dict):
        inside = ((str(key), entry) for key, entry in value.items())
        found = next((repr(key) for key in value if type(key) not in (str, int, float, bool)), None)
        if found is not None:
            return f"{path or 'it'} has the key {found}"
    elif type(value) in (list, tuple):
        inside = ((str(place), entry) for place, entry in enumerate(value))
    elif not (value is None or isinstance(value, torch.Tensor) or type(value) in (str, bytes, int, float, bool)):
        return f"{path or 'it'} is a {type(value).__module__}.{type(value).__qualname__}"
    return next((odd for key, entry in inside if (odd := unstorable(entry, f"{path}.{key}" if path else key))), None)


def back_to(device: torch.device | str) -> Callable[[Any, str], Any]:
    """Where torch puts each tensor of a checkpoint: on ``device`` what was on an accelerator, on the processor what was there."""
    return lambda storage, location: storage if location == "cpu" else storage.to(device=torch.device(device))


class Writer:
    """Writes the checkpoints of a run to ``folder`` and keeps the ``keep`` newest; one is :attr:`due` when ``every`` seconds have passed.

    The state is copied into the file and added up at once, which takes about twice as long as copying it in memory. Waiting for the disk
    happens in a thread beside the training that goes on; :attr:`busy` says whether that is still so. Of several ranks, rank 0 writes.
    """

    def __init__(self, folder: Path, keep: int = 2, every: float = 60.0) -> None:
        self.folder, self.keep, self.every = folder, keep, every
        self.last = time.monotonic()
        self.thread: threading.Thread | None = None
        self.error: UserError | None = None

    @property
    def busy(self) -> bool:
        """Whether the checkpoint before is still on its way to the disk."""
        return self.thread is not None and self.thread.is_alive()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint and the one before has reached the disk."""
        return time.monotonic() - self.last > self.every and not self.busy

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.wait()  # after an error, what is on its way reaches the disk by itself

    def restart(self) -> None:
        """Count the seconds to the next checkpoint from now."""
        self.last = time.monotonic()

    def begin(self, name: str, state: dict[str, Any]) -> None:
        """Copy ``state`` into what will be checkpoint ``name``, which sorts by age; ``state`` may change as soon as this returns.

        Raises:
            UserError: when the disk is full or read-only, now or for the checkpoint before; earlier checkpoints stay as they are.
        """
        if ranks.rank():
            self.restart()
            return
        self.wait()
        temporary = self.folder / f".writing-{uuid.uuid4().hex[:8]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".writing-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir()
            summed = torch.serialization.get_crc32_options()
            torch.serialization.set_crc32_options(False)  # the whole file gets a checksum of its own
            try:
                with Summed(temporary / "state.pt") as file:
                    torch.save(state, file)
            finally:
                torch.serialization.set_crc32_options(summed)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise self._failed(error, name, temporary) from error
        self.thread = threading.Thread(target=self._finish, args=(name, temporary, file.sum.hexdigest()), name="checkpoint")
        self.thread.start()
        self.restart()

    def wait(self) -> None:
        """Return when nothing is on its way any more. Raises UserError if the last checkpoint could not be written."""
        if self.thread is not None:
            self.thread.join()
        error, self.thread, self.error = self.error, None, None
        if error is not None:
            raise error

    def _finish(self, name: str, temporary: Path, summed: str) -> None:
        final = self.folder / name
        try:
            sync(temporary / "state.pt")
            (temporary / "manifest.json").write_text(json.dumps({"state.pt": summed}))
            sync(temporary / "manifest.json")
            sync(temporary)
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            sync(self.folder)
        except OSError as error:
            self.error = self._failed(error, name, temporary)
            return
        for old in sorted(self.folder.glob("[!.]*"))[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _failed(self, error: Exception, name: str, temporary: Path) -> UserError:
        found = error if isinstance(error, OSError) else _why(temporary)
        reason = getattr(found, "strerror", None) or str(error).splitlines()[0]
        shutil.rmtree(temporary, ignore_errors=True)
        return DiskError(f"cannot write checkpoint {self.folder / name}: {reason}", found.errno if found else None)


def _why(folder: Path) -> OSError | None:
    """What the disk says to a few more bytes in ``folder``; torch only says that a write failed. None if it takes them."""
    try:
        with open(folder / "probe", "wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def newest(folder: Path, warn: Callable[[str], None], device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest whole checkpoint under ``folder``, or None. Damaged ones are named through ``warn``."""
    for candidate in sorted(folder.glob("[!.]*"), reverse=True):
        try:
            manifest = json.loads((candidate / "manifest.json").read_text())
            for name, expected in manifest.items():
                if checksum(candidate / name) != expected:
                    raise ValueError(f"{candidate / name} does not match its checksum")
            return torch.load(candidate / "state.pt", map_location=back_to(device), weights_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError) as error:
            warn(f"checkpoint {candidate} is damaged and skipped: {error}")
    return None
