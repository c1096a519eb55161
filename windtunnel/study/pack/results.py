"""What comes of a pack: a seal in the folder of every run that has ended, and a list of them all.

A seal is written when everything else in the folder is. So each run travels by itself, and one that was damaged or cut off on the way
takes no other with it. The list says what there should be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_json
from windtunnel.core.keys import Variant
from windtunnel.core.typed import JsonBlock
from windtunnel.data.stream import manifest_hash
from windtunnel.study.pack.manifest import FORMATS, files_below, version
from windtunnel.train.record import RunRecord, has_weights

SEAL, FILE = "sealed.json", "flown.json"
PASSING = (SEAL, "checkpoints", ".lock", ".record", "output.txt")  # what no other machine needs


class Seal(JsonBlock):
    """What a run's folder holds, and of which run."""

    formats: dict[str, int]
    version: str
    key: str
    seed: int
    stream: str | None
    variant: Variant = Field(description="that of the study, which is in the key")
    sources: list[tuple[str, str]] = Field([], description="name and text of files that define parts of one's own")
    files: dict[str, dict[str, Any]]
    hash: str = ""


class Results(JsonBlock):
    """What has come of a pack so far."""

    pack: str = Field(description="the hash of the pack's manifest")
    formats: dict[str, int]
    version: str
    runs: dict[str, dict[str, Any]] = Field({}, description="by folder: status, study, run, seed, seconds, error")
    waiting: int = Field(0, description="runs that have not been flown yet")
    side_by_side: dict[int, float] = Field({}, description="FLOPs per second of all runs together, by their number")
    hash: str = ""


def seal(folder: Path, record: RunRecord, variant: Variant, sources: list[tuple[str, str]]) -> None:
    """Seal the folder of a finished run. Raises DiskError."""
    files = files_below(folder, *PASSING)
    found = Seal(
        formats=FORMATS,
        version=version(),
        key=record.key,
        seed=record.seed,
        stream=record.stream,
        variant=variant,
        sources=sources,
        files=files,
    )
    write_json(folder / SEAL, _whole(found))


def sealed(folder: Path) -> bool:
    """Whether a run's folder has a seal, and the model that it was sealed with."""
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return has_weights(folder) or not any(name.startswith("model/") for name in files)


def read_seal(folder: Path) -> Seal:
    """The seal of a run's folder. Raises UserError where it is damaged or of another format."""
    content = _read(folder / SEAL)
    refuse_another_format(content, folder)
    try:
        return Seal.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{folder / SEAL}: not a seal that this version reads: {error}") from error


def read_results(out: Path) -> Results | None:
    """The list in ``out``; None where there is none. Raises UserError where it is damaged."""
    if not (out / FILE).exists():
        return None
    try:
        return Results.model_validate(_read(out / FILE))
    except ValidationError as error:
        raise UserError(f"{out / FILE}: not a list of results that this version reads: {error}") from error


def write_results(results: Results, out: Path) -> None:
    """Write the list to ``out``. Raises DiskError."""
    write_json(out / FILE, _whole(results))


def refuse_another_format(content: dict[str, Any], where: Path) -> None:
    """Raise UserError where runs were stored in formats that this version does not read."""
    theirs = content.get("formats") or {}
    differ = [f"{key} {theirs.get(key)} instead of {number}" for key, number in FORMATS.items() if theirs.get(key) != number]
    if differ:
        made = content.get("version")
        raise UserError(
            f"{where}: was flown by windtunnel {made}, whose formats are others ({', '.join(differ)}) than those of {version()}; unpack it "
            f"with that version: pip install windtunnel=={made}"
        )


def _whole(block: JsonBlock) -> dict[str, Any]:
    content = block.plain()
    return {**content, "hash": manifest_hash(json.loads(json.dumps(content)))}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing, damaged or cut off ({error}); copy it again") from error
    if not isinstance(content, dict) or content.get("hash") != manifest_hash(content):
        raise UserError(f"{path}: damaged: its content does not agree with its hash; copy it again")
    return content
