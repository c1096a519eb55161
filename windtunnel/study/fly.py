"""A study: a baseline, arms that each differ from it, seeds, a budget. Fly it, and end with verdicts.

Everything a study needs lies under one output folder, which studies may share::

    cache/                  prepared corpora and streams
    runs/KEY/               a run; KEY is the hash of recipe, seed, variant and data, so every study that needs the run finds it
    studies/NAME/           result.json; variant.json: how the steps of all its runs are computed; budget-KEY.json: its budget in FLOPs

What a file says is read in ``file.py``; what has to be flown, and what it takes, is estimated in ``plan.py``; which records count as
flown is decided in ``records.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core import outside
from windtunnel.core.errors import ADVICE, DiskError, UserError
from windtunnel.core.files import decided_once, holder, locked, write_json
from windtunnel.core.keys import Variant
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe, data_key, needed
from windtunnel.study.assemble import assemble
from windtunnel.study.file import StudyFile, load_study, study_from
from windtunnel.study.launch import local
from windtunnel.study.launch.watch import Watch
from windtunnel.study.launch.worker import FLY, Job, failed
from windtunnel.study.plan import (
    BUDGET,
    VARIANT,
    at_one_budget,
    check_study,
    needed_by,
    plan,
    refuse_what_cannot_fly,
    run_of,
    shorter_of,
    summary,
)
from windtunnel.study.records import folders_of, known, save
from windtunnel.study.result import BASELINE, SETTLED, Entry, StudyResult
from windtunnel.study.seeds import begun_otherwise
from windtunnel.study.tune import Tune, best, with_knobs
from windtunnel.train.record import RunRecord, has_weights

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

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
) -> StudyResult:
    """Fly what is missing of ``study`` under ``out``, compare, and write ``out/studies/NAME/result.json``.

    Runs that are finished are never flown again; one that failed in an earlier call is tried once more. A run that fails is recorded
    and leaves the others alone. If all runs of the baseline failed, ``result.failure`` says why (else it is None).

    Args:
        workers: processes that fly at once (default: one for each ``threads`` cores, or four on each GPU).
        threads: of each worker (default 1, so that pilots side by side fill the machine).
        engine: "local", or "ray" for a Ray cluster at ``address`` (default: the one there is, else one started here).
        quiet: show nothing; otherwise a live table or, where stderr is no terminal, a line for each run.
        on_event: told of everything that happens, as a dictionary with ``event`` and, for runs, ``arm``, ``multiple``, ``seed``.
        function: "module:name" of what flies a run.
        records: folders of committed records, which count as flown; also a folder ``records`` beside the study file.
        save_records: a folder that the records of all finished runs are written to, without weights, to be committed.

    Raises:
        UserError: for what the user can mend, also when another process is flying the same study in the same folder.
        Interrupted: after Ctrl-C or SIGTERM; what was flying has written checkpoints.
    """
    if engine not in ("local", "ray"):
        raise UserError(f"engine: no engine is called {engine!r}; known: local, ray")
    _ = study.resolved  # opens checkpoints; what is wrong with them is told before anything is written
    out = Path(out)
    folder = out / "studies" / study.name
    committed = folders_of(study.file, records)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (out / "runs").mkdir(exist_ok=True)
        with locked(folder / ".lock") as mine:
            if not mine:
                number = holder(folder / ".lock")
                raise UserError(f"study {study.name} is being flown in {out} by process {number}; wait for it, or choose another --out")
            return StudyFlight(
                study, out, folder, workers, threads, engine, address, quiet, on_event, function, committed, save_records
            ).fly()
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        raise DiskError(f"cannot write {error.filename or out}: {error.strerror}; what is finished is kept", error.errno) from error


@dataclass
class StudyFlight:
    """One call of :func:`fly_study`: what it was asked for and what is known so far."""

    study: StudyFile
    out: Path
    folder: Path
    workers: int | None
    threads: int | None
    engine: str
    address: str | None
    quiet: bool
    on_event: Callable[[dict[str, Any]], None] | None
    function: str
    committed: tuple[Path, ...]  # folders of records that count as flown
    save_records: Path | None
    streams: dict[str, Stream] = field(default_factory=dict)  # by arm
    others: dict[str, Stream] = field(default_factory=dict)  # of models that are not trained on the stream of their arm, by data key
    records: dict[str, RunRecord] = field(default_factory=dict)
    tuning: dict[str, Any] | None = None
    broken: dict[str, Failure] = field(default_factory=dict)
    console: Any = None
    notes: list[str] = field(default_factory=list)  # besides those of the study
    here: bool = False  # in this process, one run after the other
    variant: Variant = field(default_factory=Variant)

    def fly(self) -> StudyResult:
        from rich.console import Console

        self.console = None if self.quiet else Console(stderr=True)
        recipes = self.study.resolved
        self.here = self.only_here(recipes)
        self.prepare(recipes)
        self.variant = self.begun_with()
        recipes = at_one_budget(recipes, self.counted)
        if self.study.tune:
            recipes = self.tune(self.study.tune, recipes)
        # An arm whose corpus or tuning broke has no run; its failed records say why, so that it is shown like any other failure.
        data = {arm: "" if arm in self.broken else self.streams[arm].fingerprint for arm in recipes}
        race = self.study.race
        if race:
            self.notes += begun_otherwise(race, self.folder)
        planned = dict.fromkeys(self.study.arms, race.least if race else len(self.study.seed_list))
        result, wanted = self.group(recipes, data, planned)
        while wanted != planned:
            planned = wanted
            result, wanted = self.group(recipes, data, planned)
        if self.save_records is not None:
            save(self.records, self.save_records)
        return result

    def group(
        self, recipes: Mapping[str, Recipe], data: Mapping[str, str], planned: Mapping[str, int]
    ) -> tuple[StudyResult, dict[str, int]]:
        """Fly what is missing of as many seeds of each arm as are ``planned``; the result so far, and how many are planned now."""
        entries = plan(self.study, recipes, data, self.variant, planned)
        refuse_what_cannot_fly([entry for entry in entries if entry.arm not in self.broken])
        for entry in entries:
            if entry.arm in self.broken:
                self.records[entry.folder] = failed(self.job(entry, ""), self.broken[entry.arm])
        self.needed(entries)
        seeds = f", {max(planned.values())} of at most {self.study.race.most} seeds" if self.study.race else ""
        self.stage(f"study {self.study.name}{seeds}", entries, lambda: self.write(entries, recipes))
        result = self.write(entries, recipes)
        return result, {name: result.arms[name].planned or planned[name] for name in planned}

    def begun_with(self) -> Variant:
        """How the steps of all runs are computed: as the study was begun, or what suits its baseline on this machine.

        Raises:
            UserError: where this machine cannot compute it.
        """
        import torch

        from windtunnel.train.estimate import estimate
        from windtunnel.train.machine import threads_of
        from windtunnel.train.variant import choose, refuse_unable

        here = local.workers_here(self.workers, self.threads)
        device = torch.device(here.device(0) or "cpu")

        # Compiled code is kept with the study: the system's folder for temporary files, where it would go, is emptied now and then.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((self.out / "cache" / "compiled").absolute()))

        def decide() -> dict[str, Any]:
            entries = plan(self.study, self.study.resolved, dict.fromkeys(self.streams, ""), Variant())
            flops = sum(estimate(entry.recipe)["own_flops"] for entry in entries)
            self.say("timing the step of the baseline in what ways this machine can compute it")
            with threads_of(here.threads):
                base = self.study.resolved[BASELINE]
                return choose(base, self.streams[BASELINE], device, flops=flops, runs=len(entries)).model_dump()

        decided = decided_once(self.folder / VARIANT, decide)
        variant = Variant.model_validate(decided)
        refuse_unable(variant, device, f"study {self.study.name} in {self.out}")
        return variant

    def counted(self, base: Recipe) -> float:
        """The FLOPs that the baseline's budget of tokens per parameter takes, counted on its real step, once for the study."""
        import torch

        from windtunnel.train.sizing import counted_budget

        device = torch.device(local.workers_here(self.workers, self.threads).device(0) or "cpu")
        path = self.folder / BUDGET.format(base.key(0, self.variant))
        decided = decided_once(path, lambda: counted_budget(base, self.streams[BASELINE], device, self.variant).model_dump())
        return float(decided["flops"])

    def only_here(self, recipes: Mapping[str, Recipe]) -> bool:
        """Whether runs can only fly in this process, because a part of theirs has no source that another one could define it from.

        Raises:
            UserError: where Ray is to fly them.
        """
        lacking = outside.without_source(recipes)
        if not lacking:
            return False
        what = f"the source of {', '.join(lacking)} is not known, so no other process can define it"
        cure = "put it into a file and name that under `parts:`"
        if self.engine == "ray":
            raise UserError(f"{what}; {cure}")
        self.say(f"{what}: all runs fly in this one, one after the other ({cure} to fly them side by side)")
        return True

    def prepare(self, recipes: Mapping[str, Recipe]) -> None:
        """One stream for all arms that read the same text in the same way, and those of the models that they need."""
        from windtunnel.train.run import prepare, prepare_needed

        ready: dict[str, Stream] = {}
        for arm, recipe in recipes.items():
            key = data_key(recipe)
            try:
                if key not in ready:
                    ready[key] = prepare(recipe, self.out / "cache", self.say, self.fly_for_corpus)
                self.streams[arm] = ready[key]
                self.others |= prepare_needed(recipe, self.out / "cache", self.say, self.fly_for_corpus)
            except UserError as error:
                raise error if arm == BASELINE else UserError(f"arm {arm}: {error}") from error
            except Exception as error:
                if arm == BASELINE:
                    raise
                self.broken[arm] = Failure.of(error)

    def fly_for_corpus(self, recipe: Recipe, stream: Stream, streams: Mapping[str, Stream]) -> Path:
        """Fly the model that a curator holds, as any that arms need, but before their corpus is prepared; the folder of its run."""
        from windtunnel.train.curation import PLAIN, SEED

        self.others |= {data_key(recipe): stream, **streams}
        entry, flight = run_of(BASELINE, 1.0, SEED, recipe, stream.fingerprint, PLAIN), replace(self, variant=PLAIN)
        flight.needed([entry])
        flight.stage(f"models that the curators of {self.study.name} need", [entry], lambda: None, weights=True)
        return self.out / entry.folder

    def say(self, message: str) -> None:
        """Something that happens before runs fly."""
        if self.console is not None:
            self.console.print(message, markup=False, highlight=False, soft_wrap=True)
        if self.on_event is not None:
            self.on_event({"event": "preparing", "message": message})

    def job(self, entry: Entry, stream: str | None, weights: bool = False, shorter: Sequence[Entry] = ()) -> Job:
        """The job that flies ``entry``, which may hand its beginning to ``shorter`` runs."""
        from windtunnel.train.estimate import estimate

        labels = {"arm": entry.arm, "multiple": entry.multiple}
        plain = entry.recipe.model_dump(mode="json")
        cost = float(estimate(entry.recipe)["own_flops"])
        keys = {data_key(recipe) for recipe in needed(entry.recipe, curators=False).values()} - {data_key(entry.recipe)}
        # A model that this one needs may be trained on the stream of another arm, which is not among the others.
        streams = {key: str(found.folder) for key in keys if (found := self.others.get(key)) is not None}
        branches = {str((self.out / one.folder).absolute()): one.recipe.model_dump(mode="json") for one in shorter}
        folder, sources = str((self.out / entry.folder).absolute()), outside.sources_of(entry.recipe)
        return Job(
            entry.key, entry.seed, plain, stream, folder, cost, labels, self.function, streams, sources, self.variant, weights, branches
        )

    def stage(self, title: str, entries: Sequence[Entry], settled: Callable[[], Any], weights: bool = False) -> None:
        """Fly what is not flown yet of ``entries`` and keep all records in ``self.records``; ``settled`` is called after each run.

        With ``weights``, what has a record and no model any more is flown too.
        """
        jobs: dict[str, Job] = {}
        labels: dict[str, list[str]] = {}
        below = {str((self.out / entry.folder).absolute()): entry.folder for entry in entries}
        for entry in entries:
            if entry.arm in self.broken:
                continue
            job = self.job(entry, str(self.stream_of(entry).folder), weights, shorter_of(entry, entries))
            names = labels.setdefault(job.folder, [])
            label = entry.arm if entry.multiple == 1.0 else f"{entry.arm} at {entry.multiple:g} budgets"
            if label not in names:
                names.append(label)
            if job.folder in jobs or (entry.folder in self.records and not weights):
                continue
            if self.flown(entry, weights):
                self.tell("cached", job, {})
            else:
                jobs[job.folder] = job
        settled()
        if not jobs:
            return
        here = local.workers_here(self.workers, self.threads)
        with Watch(title, labels, list(jobs.values()), min(here.count, len(jobs)), self.console) as watch:

            def heard(what: str, job: Job, details: Any) -> None:
                watch.event(what, job, details)
                if what in (*SETTLED, "interrupted"):
                    self.records[below[job.folder]] = details
                    settled()
                self.tell(what, job, details)
                if what == "failed" and details.failure.kind == "disk":
                    # No other run could be written either: flying on would only cost time.
                    raise UserError(details.failure.message)

            if self.engine == "ray":
                from windtunnel.study.launch import ray as ray_engine

                ray_engine.fly_jobs_on_ray(list(jobs.values()), threads=here.threads, address=self.address, on_event=heard)
            elif self.here:
                local.fly_jobs_here(list(jobs.values()), threads=self.threads, on_event=heard)
            else:
                local.fly_jobs(list(jobs.values()), workers=self.workers, threads=self.threads, on_event=heard)

    def needed(self, entries: Sequence[Entry]) -> None:
        """Fly the models that runs need which are not flown yet. One that fails is told by each run that needs it."""
        missing = [entry for entry in entries if entry.arm not in self.broken and not self.flown(entry)]
        fingerprints, others = ({key: stream.fingerprint for key, stream in streams.items()} for streams in (self.streams, self.others))
        for stage in needed_by(missing, fingerprints, self.variant, others, self.flown):
            self.stage(f"models that {self.study.name} needs", stage, lambda: None, weights=True)

    def flown(self, entry: Entry, weights: bool = False) -> bool:
        """Whether a run is finished and, where these are asked for, its weights are there; its record is kept."""
        if entry.folder not in self.records:
            record = known(entry, self.out, self.stream_of(entry).fingerprint, self.committed)
            if record is None:
                return False
            self.records[entry.folder] = record
        return self.records[entry.folder].finished and (has_weights(self.out / entry.folder) or not weights)

    def stream_of(self, entry: Entry) -> Stream:
        """The stream that a run is trained on."""
        return self.others.get(data_key(entry.recipe)) or self.streams[entry.arm]

    def tell(self, what: str, job: Job, details: Any) -> None:
        """Pass an event on, without the bulk of a record."""
        if self.on_event is not None:
            if isinstance(details, RunRecord):
                brief: dict[str, Any] = {"error": details.error} if details.failure else {}
            else:
                brief = {key: details[key] for key in ("step", "done", "loss", "flops", "seconds", "worker") if key in details}
            self.on_event({"event": what, **job.labels, "seed": job.seed, "key": job.key, "folder": job.folder, **brief})

    def tune(self, tune: Tune, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
        """Fly the trials of every arm and return the recipes with the best values, by validation."""
        seed = tune.seed(self.study.seed_list)
        trials: dict[str, list[tuple[dict[str, Any], Entry]]] = {}
        for arm, stream in self.streams.items():
            changed = [(values, with_knobs(recipes[arm], values, tune.share)) for values in tune.combinations()]
            trials[arm] = [(values, run_of(arm, 1.0, seed, recipe, stream.fingerprint, self.variant)) for values, recipe in changed]
        tried_runs = [entry for arm in trials.values() for _, entry in arm]
        self.needed(tried_runs)
        self.stage(f"tuning {self.study.name}", tried_runs, lambda: None)
        chosen = dict(recipes)
        self.tuning = {"knobs": {knob: list(values) for knob, values in tune.knobs.items()}, "share": tune.share, "seed": seed, "arms": {}}
        for arm, tried in trials.items():
            rows = [self.trial(values, entry) for values, entry in tried]
            better = next((record.better for record in self.records.values() if record.better), "lower")
            found = best(rows, better)
            if found is None:
                first = self.records[tried[0][1].folder].failure or Failure(kind="fault", message="unknown reason")
                why = f"every trial of tuning failed; the first: {first.message}"
                self.broken[arm] = first.model_copy(update={"message": why, "traceback": first.traceback and f"{why}\n{first.traceback}"})
            else:
                chosen[arm] = with_knobs(recipes[arm], found["values"])
            self.tuning["arms"][arm] = {
                "chosen": found["values"] if found else None,
                "trials": rows,
                "flops": sum(row["flops"] or 0.0 for row in rows),
                "seconds": sum(row["seconds"] or 0.0 for row in rows),
            }
        return chosen

    def trial(self, values: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
        """One row of the tuning table: what was tried and what came of it on validation."""
        record = self.records[entry.folder]
        seen = record.validation
        value = seen[-1].numbers.get(record.primary or "") if record.finished and seen else None
        return {
            "values": dict(values),
            "validation": value if isinstance(value, float) and value == value else None,
            "status": record.status,
            "error": record.error,
            "key": entry.key,
            "flops": record.totals and record.totals.flops,
            "seconds": record.totals and record.totals.seconds,
        }

    def write(self, entries: Sequence[Entry], recipes: Mapping[str, Recipe]) -> StudyResult:
        """The result so far, also on disk, so that nothing is lost whatever comes next."""
        study, stream = self.study, self.streams[BASELINE]
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
            "variant": self.variant.model_dump(),
        }
        extra = {
            "corpus": stream.table,
            "stream": {
                "fingerprint": stream.fingerprint,
                "unit": stream.encoding.unit,
                **stream.encoding.about(stream.facts),
                "sizes": {split: dict(stream.sizes(split)) for split in ("train", "validation", "test")},
            },
            "notes": [*study.notes, *self.notes],
            "tuning": self.tuning,
        }
        of_units = {arm: stream.bytes_per_unit("train") for arm, stream in self.streams.items()}
        result = assemble(about, entries, self.records, recipes, extra, of_units)
        write_json(self.folder / "result.json", result.plain())
        return result
