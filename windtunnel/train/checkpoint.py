"""Checkpoints that a kill at any instant cannot harm.

A checkpoint is written to a temporary folder, hashed, flushed to disk and renamed. Only a folder with its final name counts; the
newest whole one is used; a damaged one is reported and skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from windtunnel.part import UserError


def digest(path: Path) -> str:
    """The BLAKE2b hash of a file, read in blocks."""
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON, whole or not at all.

    Raises:
        UserError: when the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


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


def save(folder: Path, name: str, state: dict[str, Any], keep: int = 2) -> Path:
    """Write ``state`` as checkpoint ``folder/name`` and delete all but the ``keep`` newest. ``name`` sorts by age.

    Raises:
        UserError: when the disk is full or read-only; earlier checkpoints stay as they are.
    """
    temporary = folder / f".writing-{uuid.uuid4().hex[:8]}"
    final = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir()
        torch.save(state, temporary / "state.pt")
        sync(temporary / "state.pt")
        (temporary / "manifest.json").write_text(json.dumps({"state.pt": digest(temporary / "state.pt")}))
        sync(temporary / "manifest.json")
        sync(temporary)
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
        sync(folder)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        reason = getattr(error, "strerror", None) or _why(temporary) or str(error).splitlines()[0]
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"cannot write checkpoint {final}: {reason}") from error
    for old in sorted(folder.glob("[!.]*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _why(folder: Path) -> str | None:
    """What the disk says to a few more bytes in ``folder``; torch only says that a write failed. None if it takes them."""
    try:
        with open(folder / "probe", "wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror
    return None


def newest(folder: Path, warn: Callable[[str], None], device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """The newest whole checkpoint under ``folder``, or None. Damaged ones are named through ``warn``."""
    for candidate in sorted(folder.glob("[!.]*"), reverse=True):
        try:
            manifest = json.loads((candidate / "manifest.json").read_text())
            for name, expected in manifest.items():
                if digest(candidate / name) != expected:
                    raise ValueError(f"{candidate / name} does not match its hash")
            return torch.load(candidate / "state.pt", map_location=back_to(device), weights_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError) as error:
            warn(f"checkpoint {candidate} is damaged and skipped: {error}")
    return None
