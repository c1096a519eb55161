"""A study: a baseline, arms that each differ from it, seeds, a budget. Fly it, and end with verdicts.

Everything a study needs lies under one output folder, which studies may share::

    cache/                  prepared corpora and streams
    runs/KEY/               a run; KEY is the hash of recipe, seed, variant and data, so every study that needs the run finds it
    studies/NAME/           result.json; variant.json: how the steps of all its runs are computed; budget-KEY.json: its budget in FLOPs;
                            result-before.json: the last finished result, where the study flew again on other sources, recipes or seeds

What a file says is read in ``file.py``; what has to be flown, and what it takes, is estimated in ``plan.py``; what is decided once for
all runs in ``decisions.py``; runs are flown in ``pilots.py``, those of tuning in ``trials.py``; which records count as flown is decided
in ``records.py``; ``assemble.py`` compares.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core import outside
from windtunnel.core.errors import ADVICE, DiskError, UserError
from windtunnel.core.files import claim, holder, locked, refuse_address, write_json, write_text
from windtunnel.core.keys import Variant
from windtunnel.core.shared import Share
from windtunnel.recipe import Recipe
from windtunnel.recipe.section import KEY as SECTION
from windtunnel.slots import ByDocument
from windtunnel.study.assemble import assemble
from windtunnel.study.check import check_study
from windtunnel.study.check_sentences import summary
from windtunnel.study.decisions import flops_of_budget, variant_of, work_of
from windtunnel.study.entry import Entry
from windtunnel.study.file import StudyFile, load_study, study_from
from windtunnel.study.launch.worker import FLY
from windtunnel.study.pilots import Means, Pilots
from windtunnel.study.plan import at_one_budget, plan, refuse_what_cannot_fly, roughly
from windtunnel.study.prior import noise_of_section
from windtunnel.study.records import folders_of, of_several_machines, save
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.study.seeds import as_begun
from windtunnel.study.trials import tuned
from windtunnel.train import documents
from windtunnel.train.loggers import check_loggers

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

BEFORE = "result-before.json"

__all__ = ["StudyFile", "check_study", "fly_study", "load_study", "plan", "study_from", "summary"]


def fly_study(
    study: StudyFile,
    out: Path,
    *,
    workers: int | None = None,
    threads: int | None = None,
    engine: str = "local",
    address: str | None = None,
    quiet: bool = False,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    function: str = FLY,
    records: Sequence[Path] = (),
    save_records: Path | None = None,
    device: str | None = None,
    loggers: Sequence[str] = (),
    share: str | None = None,
) -> StudyResult:
    """Fly what is missing of ``study`` under ``out``, compare, and write ``out/studies/NAME/result.json``.

    Runs that are finished are never flown again; one that failed in an earlier call is tried once more. A run that fails is recorded
    and leaves the others alone. If all runs of the baseline failed, ``result.failure`` says why (else it is None).

    Args:
        workers: processes that fly at once (default: one for each ``threads`` cores, or up to four on each GPU, as its memory allows).
        threads: of each worker (default 1, so that pilots side by side fill the machine).
        engine: "local", or "ray" for a Ray cluster at ``address`` (default: the one there is, else one started here).
        quiet: show nothing; otherwise a live table or, where stderr is no terminal, a line for each run.
        on_event: told of everything that happens, as a dictionary with ``event`` and, for runs, ``arm``, ``multiple``, ``seed``.
        function: "module:name" of what flies a run.
        records: folders of committed records, which count as flown; also a folder ``records`` beside the study file.
        save_records: a folder that the records of all finished runs are written to, without weights, to be committed.
        device: "cpu", or a GPU or several such as "cuda:0,cuda:2" (default: all GPUs that there are, else the CPU).
        loggers: kinds of loggers that the numbers of every run are also sent to; see :mod:`windtunnel.train.loggers`.
        share: the address of a store (``s3://bucket/team``) or a folder, which encoded text and records of finished runs are fetched from
            and brought to; see :class:`windtunnel.core.shared.Share`.

    Raises:
        UserError: for what the user can mend, also when another process is flying the same study in the same folder.
        Interrupted: after Ctrl-C or SIGTERM; what was flying has written checkpoints.
    """
    from rich.console import Console

    if engine not in ("local", "ray"):
        raise UserError(f"engine: no engine is called {engine!r}; known: local, ray")
    if device is not None and engine != "local":
        raise UserError(f"--device {device}: is for runs on this machine; a Ray cluster gives each its own")
    check_loggers(loggers)
    refuse_address(out)
    _ = study.resolved  # opens checkpoints; what is wrong with them is told before anything is written
    out = Path(out)
    folder = out / "studies" / study.name
    committed = folders_of(study.file, records)
    try:
        claim(out)  # before the corpus is read, for it may lie in the folder of the text
        folder.mkdir(parents=True, exist_ok=True)
        (out / "runs").mkdir(exist_ok=True)
        with locked(folder / ".lock") as mine:
            if not mine:
                number = holder(folder / ".lock")
                raise UserError(f"study {study.name} is being flown in {out} by process {number}; wait for it, or choose another --out")
            console = None if quiet else Console(stderr=True)
            how: dict[str, Any] = {"device": device, "loggers": tuple(loggers)}
            means = Means(out, workers, threads, engine, address, on_event, function, committed, console, **how)
            if share is not None:
                means = replace(means, share=Share(share, means.say))
            return flown(study, folder, replace(means, here=only_here(study.resolved, means)), save_records)
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        raise DiskError(f"cannot write {error.filename or out}: {error.strerror}; what is finished is kept", error.errno) from error


def flown(study: StudyFile, folder: Path, means: Means, save_records: Path | None) -> StudyResult:
    """The result of ``study``, in ``folder``: prepare the data, decide what holds for all runs, tune, and fly seeds while any is wanted."""
    recipes = study.resolved
    roughly(study, Variant())  # a budget below one step is told before an hour of reading
    pilots = Pilots(study.name, means)
    pilots.prepare(recipes)
    base, stream = recipes[BASELINE], pilots.streams[BASELINE]
    variant = pilots.variant = variant_of(study.name, folder, base, stream, lambda: work_of(study), means)
    recipes = at_one_budget(recipes, lambda base: flops_of_budget(base, folder, stream, variant, means))
    tuning = None
    if study.tune:
        recipes, tuning = tuned(study, recipes, pilots)
    notes = list(study.notes)
    if study.race:
        name = study.baseline.get(SECTION)
        race, told = as_begun(study.race, folder, lambda: noise_of_section(name, study.resolved[BASELINE]))
        study, notes = study.racing(race), notes + told
    # An arm whose corpus or tuning broke has no run; its failed records say why, so that it is shown like any other failure.
    data = {arm: "" if arm in pilots.broken else pilots.streams[arm].fingerprint for arm in recipes}
    planned = dict.fromkeys(study.arms, study.race.least if study.race else len(study.seed_list))
    while True:
        entries = plan(study, recipes, data, variant, planned)
        refuse_what_cannot_fly([entry for entry in entries if entry.arm not in pilots.broken])

        def write(entries: Sequence[Entry] = entries) -> StudyResult:
            result = result_so_far(study, entries, recipes, pilots, {"notes": notes, "tuning": tuning})
            if not result.finished:
                keep_finished(folder, means.say)
            write_json(folder / "result.json", result.plain())
            return result

        seeds = f", {max(planned.values(), default=study.race.most)} of at most {study.race.most} seeds" if study.race else ""
        pilots.fly(f"study {study.name}{seeds}", entries, write)
        result = write()
        wanted = {name: result.arms[name].planned or planned[name] for name in planned}
        if wanted == planned:
            break
        planned = wanted
    if save_records is not None:
        save(pilots.records, save_records)
    return result


def keep_finished(folder: Path, say: Callable[[str], None]) -> None:
    """Where the result in ``folder`` is finished, keep it as ``result-before.json``: one of runs that still fly takes its place."""
    before = folder / BEFORE
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):  # none yet, or one that nothing can be read of
        text = (folder / "result.json").read_text(encoding="utf-8")
        if json.loads(text).get("finished") is True:
            write_text(before, text)
            say(f"this study was finished before: what it came to then is kept (windtunnel report {before})")


def only_here(recipes: Mapping[str, Recipe], means: Means) -> bool:
    """Whether runs can only fly in this process, because a part of theirs has no source that another one could define it from.

    Raises:
        UserError: where Ray is to fly them.
    """
    lacking = outside.without_source(recipes)
    if not lacking:
        return False
    what = f"the source of {', '.join(lacking)} is not known, so no other process can define it"
    cure = "put it into a file and name that under `parts:`"
    if means.engine == "ray":
        raise UserError(f"{what}; {cure}")
    means.say(f"{what}: all runs fly in this one, one after the other ({cure} to fly them side by side)")
    return True


def result_so_far(
    study: StudyFile, entries: Sequence[Entry], recipes: Mapping[str, Recipe], pilots: Pilots, more: Mapping[str, Any]
) -> StudyResult:
    """What the records that there are come to, with the blocks of the result that are in ``more``."""
    stream = pilots.streams[BASELINE]
    about = {
        "name": study.name,
        "file": study.file,
        "description": study.description,
        "budget": {one.unit: one.amount for one in (study.budget, recipes[BASELINE].budget)},
        "seeds": len(study.seed_list),
        "seed_list": list(study.seed_list),
        "race": study.race.model_dump() if study.race else None,
        "confidence": study.confidence,
        "margin_share": study.margin,
        "curve": list(study.curve),
        "kept": list(study.kept),
        "primary": study.primary,
        "variant": pilots.variant.model_dump(),
    }
    extra = {
        "corpus": [*stream.table, *curated_for(pilots.streams, stream)],
        "stream": {
            "fingerprint": stream.fingerprint,
            "unit": stream.encoding.unit,
            **stream.encoding.about(stream.facts),
            "sizes": {split: dict(stream.sizes(split)) for split in ("train", "validation", "test")},
        },
        **more,
        "notes": [*more["notes"], *of_several_machines(pilots.records.values())],
    }
    of_units = {arm: stream.bytes_per_unit("train") for arm, stream in pilots.streams.items()}

    def by_document(run: str) -> ByDocument | None:
        found, first = documents.read(pilots.means.out / run), pilots.records[run].primary
        return None if found is None else documents.of_primary(found, study.primary or first, first, stream.sources)

    return assemble(about, entries, pilots.records, recipes, extra, of_units, by_document)


def curated_for(streams: Mapping[str, Stream], shared: Stream) -> list[dict[str, Any]]:
    """What curators did for arms whose documents are others than the ``shared`` ones, as rows of the corpus table."""
    return [
        {**row, "what": f"arm {arm}: {row['what']}"}
        for arm, stream in streams.items()
        if stream.fingerprint != shared.fingerprint
        for row in stream.table
        if "curator " in row["what"]
    ]
