"""Checkpoints that a kill at any instant cannot harm.

A checkpoint is written to a temporary folder, flushed to disk, given a checksum and renamed. Only a folder with its final name counts; the
newest whole one is used; a damaged one is reported and skipped.

What is whole lies in one file, which is read as data; tensors in shards lie beside it, see :mod:`windtunnel.train.parallel.stored`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.tensor import DTensor

from windtunnel.core.errors import DiskError, UserError
from windtunnel.core.files import sync
from windtunnel.train import ranks
from windtunnel.train.parallel import stored

PIECE = 1 << 20
LARGE = 1 << 24  # bytes from which a tensor of a whole checkpoint stays on the disk until each rank has taken its part of it
SMALL = 1 << 26  # bytes of a whole state up to which it goes into the file at once: that takes no time to speak of
ROOM = 0.4  # of the memory that is free, at most, holds a second whole state for as long as it is written
STATE = "state.pt"


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


def back_to(device: torch.device | str, least: float = float("inf")) -> Callable[[Any, str], Any]:
    """Where torch puts each tensor of a checkpoint: on ``device`` what was on an accelerator, on the processor what was there.

    Those of ``least`` bytes and more stay on the processor, too.
    """
    return lambda storage, location: storage if location == "cpu" or storage.nbytes() >= least else storage.to(device=torch.device(device))


def bytes_of(state: Any) -> float:
    """Of all tensors in ``state``; infinite where one is not in the machine's memory."""
    if isinstance(state, torch.Tensor):
        return float(state.nbytes) if state.device.type == "cpu" else math.inf
    inside = state.values() if isinstance(state, Mapping) else state if isinstance(state, (list, tuple)) else ()
    return sum(map(bytes_of, inside))


def copied(state: Any, known: dict[tuple[Any, ...], torch.Tensor] | None = None) -> Any:
    """``state`` once more, in memory of its own; what was one tensor is one."""
    known = {} if known is None else known
    if isinstance(state, torch.Tensor):
        place = (state.untyped_storage()._cdata, state.storage_offset(), state.shape, state.stride())
        if place not in known:
            known[place] = state.detach().clone()
        return known[place]
    if isinstance(state, Mapping):
        return {key: copied(value, known) for key, value in state.items()}
    return type(state)(copied(value, known) for value in state) if type(state) in (list, tuple) else state


def available() -> float:
    """Bytes of the machine's memory that are free; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))


class Writer:
    """Writes the checkpoints of a run to ``folder`` and keeps the ``keep`` newest; one is :attr:`due` when ``every`` seconds have passed.

    A state is copied in memory, which takes a third of the time of writing it (``benchmarks/blocked.py``): of a whole one rank 0 does all,
    of one in shards each rank its own part. The rest happens in a thread beside the training that goes on; :attr:`busy` says whether that
    is still so. A whole state of which the machine's memory does not hold a second, or that lies on an accelerator, goes into the file at
    once.
    """

    def __init__(self, folder: Path, keep: int = 2, every: float = 60.0) -> None:
        self.folder, self.keep, self.every = folder, keep, every
        self.last = time.monotonic()
        self.thread: threading.Thread | None = None
        self.error: UserError | None = None
        self.group: Any = None  # of the ranks, once one has been needed

    @property
    def busy(self) -> bool:
        """Whether the checkpoint before is still on its way to the disk."""
        return self.thread is not None and self.thread.is_alive()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint and the one before has reached the disk. Of several ranks, rank 0 decides."""
        return time.monotonic() - self.last > self.every and not self.busy

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.wait()  # after an error, what is on its way reaches the disk by itself

    def restart(self) -> None:
        """Count the seconds to the next checkpoint from now."""
        self.last = time.monotonic()

    def begin(self, name: str, state: Mapping[str, Any]) -> None:
        """Copy ``state`` into what will be checkpoint ``name``, which sorts by age; ``state`` may change as soon as this returns.

        Raises:
            UserError: when the disk is full or read-only, now or for the checkpoint before; earlier checkpoints stay as they are.
        """
        rest, shards = stored.taken_apart(state)
        if shards or not ranks.rank():
            self.wait()
            finish = self._begun_together(name, rest, shards) if shards else self._begun_alone(name, rest)
            self.thread = threading.Thread(target=finish, name="checkpoint")
            self.thread.start()
        self.restart()

    def wait(self) -> None:
        """Return when nothing is on its way any more. Raises UserError if the last checkpoint could not be written."""
        if self.thread is not None:
            self.thread.join()
        error, self.thread, self.error = self.error, None, None
        if error is not None:
            raise error

    def _begun_alone(self, name: str, state: dict[str, Any]) -> Callable[[], None]:
        """Copy ``state``, or write it; what is returned does the rest."""
        temporary = self.folder / f".writing-{uuid.uuid4().hex[:8]}"
        second = copied(state) if SMALL < bytes_of(state) < ROOM * available() else None

        def write(state: Mapping[str, Any]) -> dict[str, str]:
            self._clear()
            temporary.mkdir()
            return {STATE: _saved(state, temporary / STATE)}

        try:
            sums = write(state) if second is None else None
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise self._failed(error, name, temporary) from error

        def finish() -> None:
            nonlocal second
            try:
                found = write(second or {}) if sums is None else sums
                second = None
                sync(temporary / STATE)
                self._publish(name, temporary, found)
            except (OSError, RuntimeError) as error:
                self.error = self._failed(error, name, temporary)

        return finish

    def _begun_together(self, name: str, rest: dict[str, Any], shards: Mapping[str, DTensor]) -> Callable[[], None]:
        """Copy ``rest`` and this rank's part of ``shards``; what is returned writes them, with the other ranks."""
        self.group = self.group or stored.own_group()
        temporary = self.folder / f".writing-{ranks.broadcast(uuid.uuid4().hex[:8])}"
        held, parts = io.BytesIO(), stored.copied(shards)
        torch.save(rest, held)  # it is small, and may change

        def finish() -> None:
            try:
                sums = self._agreed(name, temporary, lambda: self._written(temporary, parts, held))
                self._agreed(name, temporary, lambda: {} if ranks.rank() else self._publish(name, temporary, sums))
            except UserError as error:
                self.error = error
            except RuntimeError:  # another rank has gone, and with it the training
                self.error = UserError(f"cannot write checkpoint {self.folder / name}: {ranks.LEFT}")

        return finish

    def _written(self, temporary: Path, parts: Mapping[str, DTensor], held: io.BytesIO) -> dict[str, str]:
        """Write this rank's files of a checkpoint; returns the checksum of each."""
        if not ranks.rank():
            with contextlib.suppress(OSError):  # which the others must not wait for; saving meets it again, with all of them
                self._clear(but=temporary)
        stored.save(parts, temporary, self.group)
        sums = {path.name: checksum(path) for path in temporary.glob(f"__{ranks.rank()}_*")}
        if not ranks.rank():
            with Summed(temporary / STATE) as file:
                file.write(held.getbuffer())
            sync(temporary / STATE)
            sums |= {STATE: file.sum.hexdigest(), ".metadata": checksum(temporary / ".metadata")}
        return sums

    def _agreed(self, name: str, temporary: Path, act: Callable[[], Mapping[str, str]]) -> dict[str, str]:
        """What ``act`` returns on all ranks, together. Raises on all of them what it has raised on any."""
        mine: Mapping[str, str] = {}
        wrong: tuple[str, int | None] | None = None
        try:
            mine = act()
        except CheckpointException as error:  # which every rank gets; the one that is meant knows most
            if ranks.rank() in error.failures:
                wrong = _reason(error.failures[ranks.rank()][0], temporary)
        except (OSError, RuntimeError) as error:
            wrong = _reason(error, temporary)
        every = ranks.of_every((dict(mine), wrong), self.group)
        for rank, (_, told) in enumerate(every):
            if told is not None:
                if not ranks.rank():
                    shutil.rmtree(temporary, ignore_errors=True)
                raise DiskError(f"cannot write checkpoint {self.folder / name}: rank {rank}: {told[0]}", told[1])
        return {file: summed for sums, _ in every for file, summed in sums.items()}

    def _clear(self, but: Path | None = None) -> None:
        """Make the folder, and remove what a kill has left in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".writing-*"):
            if leftover != but:
                shutil.rmtree(leftover, ignore_errors=True)

    def _publish(self, name: str, temporary: Path, sums: Mapping[str, str]) -> Mapping[str, str]:
        """Give the files in ``temporary``, which have reached the disk, their list and the name ``name``; remove the oldest checkpoints."""
        final = self.folder / name
        (temporary / "manifest.json").write_text(json.dumps(sums))
        sync(temporary / "manifest.json")
        sync(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        sync(self.folder)
        for old in sorted(self.folder.glob("[!.]*"))[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return sums

    def _failed(self, error: Exception, name: str, temporary: Path) -> UserError:
        reason, number = _reason(error, temporary)
        shutil.rmtree(temporary, ignore_errors=True)
        return DiskError(f"cannot write checkpoint {self.folder / name}: {reason}", number)


def _saved(state: Mapping[str, Any], path: Path) -> str:
    """The checksum of the new file ``path``, which holds ``state``."""
    summed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)  # the whole file gets a checksum of its own
    try:
        with Summed(path) as file:
            torch.save(state, file)
    finally:
        torch.serialization.set_crc32_options(summed)
    return file.sum.hexdigest()


def _reason(error: BaseException, folder: Path) -> tuple[str, int | None]:
    """Why ``folder`` could not be written, in words and as the system's errno."""
    found = error if isinstance(error, OSError) else _why(folder)
    return getattr(found, "strerror", None) or str(error).splitlines()[0], found.errno if found else None


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


def newest(
    folder: Path, warn: Callable[[str], None], device: torch.device | str = "cpu", *, in_shards: bool = False
) -> dict[str, Any] | None:
    """The newest whole checkpoint under ``folder``, or None. Damaged ones are named through ``warn``. Every rank has to come here.

    For a run ``in_shards`` large tensors stay on the disk until each rank has taken its part (:func:`stored.fill`): those that are in
    shards there, as :class:`stored.Waiting`, and those that are whole, as a map of the file.
    """
    for name in ranks.broadcast(sorted((path.name for path in folder.glob("[!.]*")), reverse=True)):
        state, wrong = _read(folder / name, device, in_shards)
        damage = next((said for said in ranks.of_every(wrong) if said), "")
        if not damage:
            return state
        warn(f"checkpoint {folder / name} is damaged and skipped: {damage}")
    return None


def _read(folder: Path, device: torch.device | str, in_shards: bool) -> tuple[dict[str, Any] | None, str]:
    """The state in ``folder``, and what is wrong there. Ranks share the work of adding up the files."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in sorted(manifest)[ranks.rank() :: ranks.count()]:
            if checksum(folder / name) != manifest[name]:
                raise ValueError(f"{folder / name} does not match its checksum")
        where = back_to(device, LARGE) if in_shards else back_to(device)
        state = torch.load(folder / STATE, map_location=where, weights_only=True, mmap=in_shards)
        state = stored.waiting(state, folder)
        return (state if in_shards else stored.put_together(state)), ""
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError, CheckpointException) as error:
        return None, str(error) or type(error).__name__
