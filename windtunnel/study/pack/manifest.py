"""What a pack says of itself: its studies, the order of its runs, and a hash of every file in it.

A pack is a folder::

    pack.json               the manifest
    fly.py                  flies it with the package that it brings along
    code/windtunnel/        this package
    streams/FINGERPRINT/    encoded text, compressed; of the training documents those that the budgets read
    models/FINGERPRINT/     checkpoints that recipes begin from

The variant belongs to the key of a run, and the machine that flies a pack chooses its own. So a pack holds resolved recipes, and keys are
completed where it is flown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_json
from windtunnel.core.typed import JsonBlock
from windtunnel.data.stream import FORMAT as STREAM_FORMAT
from windtunnel.data.stream import manifest_hash
from windtunnel.recipe import FORMAT as RECIPE_FORMAT
from windtunnel.train.machine import versions
from windtunnel.train.record import FORMAT as RECORD_FORMAT

FORMAT = 1
FILE, CODE, STREAMS, MODELS = "pack.json", "code", "streams", "models"
FORMATS = {"pack": FORMAT, "recipe": RECIPE_FORMAT, "record": RECORD_FORMAT, "stream": STREAM_FORMAT}
BLOCK = 1 << 20


class Packed(JsonBlock):
    """One study of a pack."""

    name: str = Field(description="of its folder")
    recipes: dict[str, dict[str, Any]] = Field(description="the resolved recipe of the baseline and of each arm")
    seeds: list[int] = Field(description="every seed that may be flown")
    least: int = Field(description="how many of them come before those that only a race may need")
    curve: list[float] = Field([1.0], description="multiples of the budget that the baseline flies at")
    curve_seeds: int | None = Field(None, description="with how many of the seeds it flies at multiples other than 1 (None: all)")
    rates: list[float] = Field([], description="multiples of the learning rates that the baseline and every arm fly at, too")
    rate_seeds: list[int] = Field([], description="with which seeds they do")
    tune: dict[str, Any] | None = Field(None, description="knobs that are tuned first, for all arms alike")
    primary: str | None = Field(None, description="the number by which trials are judged (default: the first of the first evaluation)")
    streams: dict[str, str] = Field(description="fingerprint of the stream of each arm")
    others: dict[str, str] = Field({}, description="of the streams of models that runs need, by data key")
    sources: list[tuple[str, str]] = Field([], description="name and text of files that define parts of one's own")
    decided: bool = Field(False, description="whether it has a verdict already")
    flops: dict[str, float] = Field({}, description="of one run of each arm, estimated, models that it needs included")

    def fingerprints(self) -> set[str]:
        """Of every stream that its runs read."""
        return {*self.streams.values(), *self.others.values()}


class Slot(JsonBlock):
    """A place in the queue: one run of a study."""

    study: str
    arm: str
    multiple: float = 1.0
    rate: float = 1.0
    seed: int
    trial: int | None = Field(None, description="the number of the combination of knobs that it tries, of a trial of tuning")
    flops: float = Field(0.0, description="estimated")


class Model(JsonBlock):
    """A checkpoint that recipes begin from."""

    folder: str = Field(description="in the pack")
    fingerprint: str


class Manifest(JsonBlock):
    """What a pack holds."""

    formats: dict[str, int] = Field(description="of the pack and of what is in it")
    version: str = Field(description="of Windtunnel")
    versions: dict[str, str] = Field({}, description="of the packages that it was made with")
    studies: list[Packed] = Field(description="in order of value")
    queue: list[Slot] = Field(description="every run, in the order in which they are flown")
    models: dict[str, Model] = Field({}, description="checkpoints by the name that recipes call them")
    left_out: list[str] = Field([], description="what did not fit, a sentence each")
    files: dict[str, dict[str, Any]] = Field(description="bytes and SHA-256 of every file, by its path")
    hash: str = Field("", description="of everything else in the manifest")

    def study(self, name: str) -> Packed:
        """The study called ``name``."""
        return next(study for study in self.studies if study.name == name)


def version() -> str:
    """Of this package."""
    return versions().get("windtunnel", "unknown")


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def files_below(folder: Path, *left_out: str) -> dict[str, dict[str, Any]]:
    """Bytes and SHA-256 of every file below ``folder`` by its path, but of those whose path begins with one of ``left_out``."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: {"bytes": path.stat().st_size, "sha256": digest(path)} for name, path in paths.items() if not name.startswith(left_out)}


def write(manifest: Manifest, folder: Path) -> Manifest:
    """Write ``manifest`` with its hash to ``folder``; returns it. Raises DiskError."""
    whole = manifest.model_copy(update={"hash": manifest_hash(manifest.plain())})
    write_json(folder / FILE, whole.plain())
    return whole


def read(folder: Path) -> Manifest:
    """The manifest of the pack in ``folder``, of which every file has been checked.

    Raises:
        UserError: where there is no pack, where it is of another version, and where it is damaged or not whole.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}: holds no {FILE}, so it is not a pack; make one with: windtunnel pack STUDY --out DIR") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); copy the pack again") from error
    if not isinstance(content, dict) or content.get("hash") != manifest_hash(content):
        raise UserError(f"{path}: damaged: its content does not agree with its hash; copy the pack again")
    refuse_another_version(str(content.get("version")), content.get("formats") or {}, folder)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: not a manifest that this version reads: {error}; pack the studies again") from error
    problems = list(damaged(folder, manifest.files))
    if problems:
        raise UserError(f"{folder}: the pack is not whole: {'; '.join(problems[:5])} ({len(problems)} in all); copy the pack again")
    return manifest


def refuse_another_version(made: str, formats: dict[str, int], folder: Path) -> None:
    """Raise UserError unless a pack that was ``made`` by a version with these ``formats`` means here what it meant there."""
    if made == version() and formats == FORMATS:
        return
    differ = ", ".join(f"{key} {formats.get(key)} instead of {FORMATS[key]}" for key in FORMATS if formats.get(key) != FORMATS[key])
    what = f"made by windtunnel {made}, and this is {version()}" + (f" (formats: {differ})" if differ else "")
    raise UserError(f"{folder}: {what}; fly it with the package that it brings along: python {folder / 'fly.py'}")


def damaged(folder: Path, files: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Which of ``files`` in ``folder`` are not as they were written."""
    for name, known in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != known["bytes"]:
                yield f"{name} has {size} bytes of {known['bytes']}"
            elif digest(path) != known["sha256"]:
                yield f"{name} has another content"
        except OSError as error:
            yield f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} cannot be read: {error.strerror}"
