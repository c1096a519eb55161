"""Results of packs join the runs that were flown here, and count as if they had been."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.core.files import decided_once, locked, naming, whole
from windtunnel.recipe import Recipe
from windtunnel.study.pack.manifest import FILE as PACK
from windtunnel.study.pack.manifest import damaged
from windtunnel.study.pack.results import FILE, SEAL, Seal, read_results, read_seal, refuse_another_format
from windtunnel.study.plan import VARIANT
from windtunnel.train.record import RunRecord, finished_record, has_weights, read_record, write_record


@dataclass
class Unpacked:
    """What became of the runs of results."""

    joined: list[str] = field(default_factory=list)  # names of the runs that are here now
    known: list[str] = field(default_factory=list)  # that were here before
    refused: list[str] = field(default_factory=list)  # a sentence each: what is damaged, missing or does not fit, and what to do


def unpack(results: Sequence[Path], into: Path, *, weights: bool = False, say: Callable[[str], None] = lambda line: None) -> Unpacked:
    """Put the finished runs of ``results``, folders that packs were flown in, into ``into``, where a study finds them as flown.

    Every run is checked by itself: what is whole is taken, and what is not is told. What is here already stays. The variant that a study
    was flown with comes along, so that it goes on here with the same; where it was begun here with another one, that is told.

    Args:
        weights: also the models; else records alone.
        say: told of every run that is taken.

    Raises:
        UserError: where a folder holds no results of a pack, or none of this version's format; nothing has been taken from it then.
    """
    found = Unpacked()
    for out in results:
        _refuse_what_is_no_result(out)
        _studies(out, into, found)
        for folder in sorted(path.parent for path in out.glob(f"runs/*/{SEAL}")):
            try:
                joined = _join(folder, into / "runs" / folder.name, weights)
            except UserError as error:
                found.refused.append(str(error))
            else:
                (found.joined if joined else found.known).append(folder.name)
                say(f"{folder.name}: {'joined' if joined else 'was here already'}")
        found.refused += _missing(out)
    return found


def _refuse_what_is_no_result(out: Path) -> None:
    if (out / PACK).exists():
        raise UserError(
            f"{out}: is a pack and not what came of it; fly it first: windtunnel study {out} --minutes 30 --out DIR, then name DIR"
        )
    if not (out / FILE).exists() and not any(out.glob(f"runs/*/{SEAL}")):
        raise UserError(f"{out}: holds no results of a pack; give the folder that was named with --out where the pack was flown")
    try:
        content = json.loads((out / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # damaged or left behind: that is told with what it lists, and every run is still checked by itself
    refuse_another_format(content, out)


def _missing(out: Path) -> Iterator[str]:
    """Finished runs that the list names and that are not there."""
    try:
        listed = read_results(out)
    except UserError as error:
        yield f"{error}; the runs that are there were taken, and whether others are missing cannot be told"
        return
    if listed is None:
        yield f"{out / FILE}: missing, so whether runs are missing cannot be told; those that are there were taken"
        return
    for name, one in listed.runs.items():
        if one.get("status") == "finished" and not (out / name / SEAL).is_file():
            yield f"{out / name}: missing or not whole, though it was finished; copy it again, and unpack once more"


def _studies(out: Path, into: Path, found: Unpacked) -> None:
    """How the steps of each study are computed, and how large its budget is: as where it was flown, unless it was begun here."""
    for path in sorted(out.glob("studies/*/*.json")):
        if path.name != VARIANT and not path.name.startswith("budget-"):
            continue
        target = into / "studies" / path.parent.name / path.name
        try:
            theirs = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            found.refused.append(f"{path}: damaged or cut off ({error}); copy it again, and unpack once more")
            continue
        here = decided_once(target, lambda theirs=theirs: theirs)  # type: ignore[misc]
        if here != theirs and path.name == VARIANT:
            found.refused.append(
                f"study {path.parent.name} was begun in {into} with another variant ({_shown(here)}) than it was flown with elsewhere "
                f"({_shown(theirs)}): those runs are kept and do not count for it; unpack into a folder of its own, and go on there"
            )


def _shown(variant: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in variant.items())


def _join(folder: Path, target: Path, weights: bool) -> bool:
    """Take the run in ``folder``; False where it was here already.

    Raises:
        UserError: where it is damaged, or is not the run that its key says.
    """
    found = read_seal(folder)
    _refuse_damaged(folder, found, weights)
    record = read_record(folder)
    if record is None or not record.finished:
        raise UserError(f"{folder}: holds no record of a finished run; copy it again")
    _refuse_another_run(folder, record, found)
    present = finished_record(target)
    if present is not None and (has_weights(target) or not weights or not has_weights(folder)):
        return False
    with locked(target / ".lock") as mine:
        if not mine:
            raise UserError(f"{target}: another process is flying this run; wait for it, and unpack once more")
        for name in found.files:
            if name != "record.json" and (weights or not name.startswith("model/")) and (folder / name).is_file():
                _copy(folder / name, target / name)
        if present is None:
            places = {
                key: {**one, "folder": str(target.parent / Path(str(one.get("folder", ""))).name)} for key, one in record.needed.items()
            }
            write_record(target, record.model_copy(update={"needed": places}))
            shutil.rmtree(target / "checkpoints", ignore_errors=True)
    return True


def _refuse_damaged(folder: Path, found: Seal, weights: bool) -> None:
    model = {name for name in found.files if name.startswith("model/")}
    travelled = any((folder / name).exists() for name in model)
    files = {name: one for name, one in found.files.items() if name not in model or (weights and travelled)}
    problems = list(damaged(folder, files))
    if problems:
        raise UserError(f"{folder}: {'; '.join(problems[:3])}; copy this run again, and unpack once more")


def _refuse_another_run(folder: Path, record: RunRecord, found: Seal) -> None:
    """Raise UserError unless the recipe, the seed and the variant give here the key that the run has."""
    outside.define(outside.PartSource(*source) for source in found.sources)
    try:
        key = Recipe.model_validate(record.recipe).key(record.seed, found.variant)
    except ValueError as error:
        raise UserError(f"{folder}: its recipe is not understood by this version: {error}") from error
    if key != record.key or not folder.name.startswith(f"{record.key}-"):
        raise UserError(
            f"{folder}: its recipe has the key {key} in this version and was flown as {record.key}; unpack it with {found.version}"
        )


def _copy(source: Path, target: Path) -> None:
    with naming(target), source.open("rb") as read, whole(target, "wb") as file:
        shutil.copyfileobj(read, file)
