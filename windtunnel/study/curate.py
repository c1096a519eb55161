"""`windtunnel curate`: documents in, better documents out, with what went and why. It goes on where it was.

A stage is a folder of shards: one for each source that is read, then one for each curator. Its name says what it was made of, by content
and knobs, so a stage that is there is not made again, and after a kill the shards that are there count. Everything appears whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import claim, locked, naming, remove_abandoned, sync, temporary_folder, write_json
from windtunnel.core.outside import without_source
from windtunnel.recipe import Document, Recipe, recipe_from
from windtunnel.recipe.nesting import NestedError
from windtunnel.study.launch.mapped import Mapped, mapping
from windtunnel.study.stages import Stage, judged_stage, read_stage, whole_stage
from windtunnel.train.curation import SPENT

KEYS = ("corpus", "curators", "parts")
RESULT, DOCUMENTS, TABLE = "curated.json", "documents", "victims.parquet"
FORMAT = 1

Say = Callable[[str], None]


def load_curation(file: Document | Path | str, corpus: Mapping[str, Any] | None = None) -> Recipe:
    """The sources and curators in ``file``, as a recipe that is otherwise the usual one; ``corpus`` takes the place of its sources.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling.
    """
    document = file if isinstance(file, Document) else Document(file)
    for key in document.data:
        if key not in KEYS:
            raise document.error((key,), f"unknown key {key!r}; {nearest(str(key), KEYS)}")
    document.define_parts()
    try:
        return curation_from({**document.data, **({"corpus": dict(corpus)} if corpus else {})})
    except NestedError as error:
        raise document.error(error.path, str(error)) from error
    except ValidationError as error:
        raise document.errors(error, fallbacks=((),)) from error


def curation_from(data: Mapping[str, Any]) -> Recipe:
    """As :func:`load_curation`, from what such a file says."""
    recipe = recipe_from({key: value for key, value in data.items() if key != "parts"})
    if not recipe.curators:
        raise UserError("curators: none is named, so every document would stay as it is; see: windtunnel parts --slot Curator")
    return recipe


def refuse_own_text(recipe: Recipe, out: Path) -> None:
    """Raise UserError where ``out`` is the folder of a source of ``recipe``: what is written there would be read as its text next time."""
    for name, source in recipe.corpus.items():
        path = getattr(source, "path", None)
        if isinstance(path, str) and Path(path).expanduser().absolute() == out.expanduser().absolute():
            raise UserError(f"{out}: is the folder of source {name!r}, and what is written there would be read as text; take another")


def curate(
    recipe: Recipe, out: Path, *, workers: int = 1, engine: str = "local", address: str | None = None, progress: Say | None = None
) -> dict[str, Any]:
    """Read the corpus of ``recipe``, let its curators act on all of it, and write what stays to ``out``; the result, as it is stored.

    ``out/documents`` holds parquet files by source, with all fields; ``out/victims.parquet`` what was removed and why;
    ``out/curated.json`` the counts, the examples and the cost. What is there already of the same sources and knobs is used again.

    Args:
        recipe: of which the corpus and the curators count.
        out: a folder; what else lies in it stays.
        workers: processes, or with ``engine="ray"`` tasks, that judge shards side by side.
        engine: ``local`` or ``ray``; the documents are the same.
        address: of a running Ray cluster, whose nodes see ``out`` (default: one that is started here).
        progress: is told what is being done, a line at a time.

    Raises:
        UserError: where a source cannot be read or lies where ``out`` is, another process is at work in ``out``, or the disk refuses.
    """
    out, say = Path(out), progress or (lambda line: None)
    refuse_own_text(recipe, out)
    with naming(out), locked(out / "lock") as mine:
        if not mine:
            raise UserError(f"{out}: another process is curating there; wait for it, or choose another --out")
        remove_abandoned(out, ".new-")
        claim(out)
        stages: list[Stage] = []
        for name, source in recipe.corpus.items():
            stages.append(read_stage(name, source, out / "work", say))
        read = len(stages)
        current = Stage.joined(stages)
        journal = _curation(recipe, out, say)
        if (workers > 1 or engine != "local") and (lacking := without_source(recipe.curators)):
            what = f"the source of {', '.join(lacking)} is not known, so no other process can define it"
            raise UserError(f"{what}; put it into a file and name that under `parts:`, or judge with one worker")
        with mapping(workers, engine, address, out) as mapped:
            for curator in recipe.curators:
                current = _stage_of(curator, current, journal, out / "work", mapped, say)
                if not any(shard["documents"] for shard in current.facts["shards"]):
                    raise UserError(f"curator {curator.name!r} removed every document")
                stages.append(current)
        told = [FORMAT, [stage.folder.name for stage in stages], current.content()]
        key = hashlib.blake2b(json.dumps(told).encode(), digest_size=10).hexdigest()
        known = _known(out, key)
        if known is None:
            known = _written(out, key, recipe, stages, read, journal.runs, say)
        for folder in (out / "work").iterdir():
            if folder.is_dir() and folder.name not in {stage.folder.name for stage in stages}:
                shutil.rmtree(folder, ignore_errors=True)
        return known


def _curation(recipe: Recipe, out: Path, say: Say) -> Any:
    """How curators are handed what they may use; the models they hold are trained first."""
    from windtunnel.train.curation import curation_of
    from windtunnel.train.prepare import held_models

    return curation_of(recipe, held_models(recipe, out / "cache", say), out / "work" / "curating")


def _stage_of(curator: Any, before: Stage, curation: Any, work: Path, mapped: Mapped[Any, Any], say: Say) -> Stage:
    from windtunnel.data.corpus.judging import Judge

    if isinstance(curator, Judge):
        return judged_stage(curator, before, curation, work, mapped, say)
    return whole_stage(curator, before, curation, work, say)


def _known(out: Path, key: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((out / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("key") == key and (out / DOCUMENTS).is_dir() else None


def _written(
    out: Path, key: str, recipe: Recipe, stages: list[Stage], read: int, runs: Mapping[str, Mapping[str, float]], say: Say
) -> dict[str, Any]:
    """Put the documents of the last stage and the victims of all into ``out``; the result. ``runs`` are the costs of the models held."""
    from windtunnel.train.machine import versions

    paid = [*(stage.facts["spent"] for stage in stages), *runs.values()]
    say("writing what stays")
    (out / RESULT).unlink(missing_ok=True)  # until all is there, nothing says that it is
    with temporary_folder(out, ".new-") as new:
        files = [_source_file(new / DOCUMENTS, number, name, stages[-1]) for number, name in enumerate(recipe.corpus)]
        _victims_file(new / TABLE, stages)
        for name in (DOCUMENTS, TABLE):
            _put(new / name, out / name)
        sync(out)
    result = {
        "kind": "curation",
        "format": FORMAT,
        "key": key,
        "sources": [entry for stage in stages[:read] for entry in stage.facts["table"]],
        "funnel": [_step(stage, before) for stage, before in zip(stages[read:], _before(stages, read), strict=True)],
        "files": [entry for entry in files if entry],
        "cost": {unit: sum(one.get(unit, 0.0) for one in paid) for unit in ("cpu_seconds", *SPENT)},
        "recipe": {name: value for name, value in recipe.model_dump(mode="json").items() if name in KEYS},
        "versions": versions(),
    }
    write_json(out / RESULT, result)
    return result


def _before(stages: list[Stage], read: int) -> Iterator[Stage]:
    yield Stage.joined(stages[:read])
    yield from stages[read:-1]


def _step(stage: Stage, before: Stage) -> dict[str, Any]:
    """What one curator did, by source and reason."""
    facts = stage.facts
    return {
        "curator": facts["curator"],
        "before": before.sizes(),
        "after": stage.sizes(),
        "removed": [
            {"source": source, "reason": reason, "documents": count, "bytes": size, "examples": facts["examples"][source][reason]}
            for source, reasons in facts["counts"].items()
            for reason, (count, size) in reasons.items()
        ],
        "told": facts["table"],
        "spent": facts["spent"],
    }


def _source_file(folder: Path, number: int, name: str, stage: Stage) -> dict[str, Any] | None:
    """All documents of a source in one parquet file; None where none stayed."""
    from windtunnel.data.corpus.fields import SOURCE
    from windtunnel.data.corpus.shards import Fields, new_shards

    shards = [shard for shard in stage.facts["shards"] if shard["source"] == name]
    if not shards:
        return None
    fields = Fields()
    file = f"{number:03d}-{quote(name, safe=' ')[:80]}.parquet"
    with new_shards(folder, [name], lambda _: file, lambda _: fields) as (opened, entries):
        for batch in stage.rows(shards):
            opened[name].add(batch.drop_columns([SOURCE]))
    return {"source": name, **{key: entries[name][key] for key in ("file", "documents", "bytes", "hash")}}


def _victims_file(path: Path, stages: list[Stage]) -> None:
    from pyarrow import parquet

    from windtunnel.data.corpus.victims import schema

    with parquet.ParquetWriter(path, schema(), compression="zstd") as writer:
        for stage in stages:
            for batch in stage.victims():
                writer.write_batch(batch)


def _put(new: Path, place: Path) -> None:
    """Put ``new`` in the place of what is there."""
    old = new.with_name(f"{new.name}.old")
    if place.exists():
        os.rename(place, old)
    os.rename(new, place)
