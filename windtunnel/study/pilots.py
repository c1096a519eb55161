"""The runs of a study on this machine or on a cluster: what is missing is flown, and the record of each is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core import outside
from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.core.shared import Share
from windtunnel.core.typed import Failure
from windtunnel.recipe import Recipe, data_key, needed
from windtunnel.study.entry import Entry
from windtunnel.study.flying import write_stage
from windtunnel.study.launch import local
from windtunnel.study.launch.watch import Watch
from windtunnel.study.launch.worker import FLY, Job, failed
from windtunnel.study.plan import needed_by, run_of, shorter_of
from windtunnel.study.records import bring, known, shared
from windtunnel.study.result import BASELINE, SETTLED
from windtunnel.train.record import RunRecord, has_weights

if TYPE_CHECKING:
    from rich.console import Console

    from windtunnel.data.stream import Stream


@dataclass(frozen=True)
class Means:
    """What runs are flown with, and who is told. See :func:`windtunnel.study.fly.fly_study`."""

    out: Path
    workers: int | None = None
    threads: int | None = None
    engine: str = "local"
    address: str | None = None
    on_event: Callable[[dict[str, Any]], None] | None = None
    function: str = FLY
    committed: tuple[Path, ...] = ()  # folders of records that count as flown
    console: Console | None = None
    here: bool = False  # in this process, one run after the other
    device: str | None = None  # cpu, or a GPU or several
    loggers: tuple[str, ...] = ()  # kinds of loggers that the numbers of runs go to
    share: Share | None = None  # where streams and records are fetched from and brought to

    def machine(self, need: float = 0.0) -> local.Workers:
        """How this machine is divided among runs that take ``need`` bytes of an accelerator."""
        return local.workers_here(self.workers, self.threads, self.device, need)

    def say(self, message: str) -> None:
        """Something that happens before runs fly."""
        if self.console is not None:
            self.console.print(message, markup=False, highlight=False, soft_wrap=True)
        if self.on_event is not None:
            self.on_event({"event": "preparing", "message": message})

    def tell(self, what: str, job: Job, details: Any) -> None:
        """Pass an event on, without the bulk of a record."""
        if self.on_event is not None:
            if isinstance(details, RunRecord):
                brief: dict[str, Any] = {"error": details.error} if details.failure else {}
            else:
                brief = {key: details[key] for key in ("step", "done", "loss", "flops", "seconds", "worker") if key in details}
            self.on_event({"event": what, **job.labels, "seed": job.seed, "key": job.key, "folder": job.folder, **brief})


@dataclass
class Pilots:
    """What is known of the runs of a study so far. Copies that :func:`dataclasses.replace` makes share all of it."""

    study: str  # its name
    means: Means
    variant: Variant = field(default_factory=Variant)
    streams: dict[str, Stream] = field(default_factory=dict)  # by arm
    others: dict[str, Stream] = field(default_factory=dict)  # of models that are not trained on the stream of their arm, by data key
    records: dict[str, RunRecord] = field(default_factory=dict)  # by folder
    broken: dict[str, Failure] = field(default_factory=dict)  # arms without runs, because their corpus or tuning broke
    asked: dict[tuple[str, str], int] = field(default_factory=dict)  # runs that were to be flown: seeds by folder and label

    def fly(self, title: str, entries: Sequence[Entry], settled: Callable[[], Any] = lambda: None) -> None:
        """Fly what is not flown yet of ``entries``, the models that they need first; ``settled`` is called after each of ``entries``.

        An entry of a broken arm fails as that did, so that it is shown like any other failure.
        """
        for entry in entries:
            if entry.arm in self.broken:
                self.records[entry.folder] = failed(self.job(entry, ""), self.broken[entry.arm])
        self.fly_needed(entries)
        self.stage(title, entries, settled)

    def prepare(self, recipes: Mapping[str, Recipe]) -> None:
        """One stream for all arms that read the same text in the same way, and those of the models that they need."""
        from windtunnel.train.prepare import prepare, prepare_needed

        ready: dict[str, Stream] = {}
        how: Any = (self.means.out / "cache", self.means.say, self.fly_for_corpus, self.means.share)
        for arm, recipe in recipes.items():
            key = data_key(recipe)
            try:
                if key not in ready:
                    ready[key] = prepare(recipe, *how)
                self.streams[arm] = ready[key]
                self.others |= prepare_needed(recipe, *how)
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
        entry, plain = run_of(BASELINE, 1.0, SEED, recipe, stream.fingerprint, PLAIN), replace(self, variant=PLAIN)
        plain.fly_needed([entry])
        plain.stage(f"models that the curators of {self.study} need", [entry], weights=True)
        return self.means.out / entry.folder

    def fly_needed(self, entries: Sequence[Entry]) -> None:
        """Fly the models that runs need which are not flown yet. One that fails is told by each run that needs it."""
        missing = [entry for entry in entries if entry.arm not in self.broken and not self.flown(entry)]
        fingerprints, others = ({key: stream.fingerprint for key, stream in streams.items()} for streams in (self.streams, self.others))
        for stage in needed_by(missing, fingerprints, self.variant, others, self.flown):
            self.stage(f"models that {self.study} needs", stage, weights=True)

    def stage(self, title: str, entries: Sequence[Entry], settled: Callable[[], Any] = lambda: None, weights: bool = False) -> None:
        """Fly what is not flown yet of ``entries``, side by side, and keep all records; ``settled`` is called after each run.

        With ``weights``, what has a record and no model any more is flown too.
        """
        jobs: dict[str, Job] = {}
        labels: dict[str, list[str]] = {}
        below = {self.absolute(entry): entry.folder for entry in entries}
        for entry in entries:
            if entry.arm in self.broken:
                continue
            job = self.job(entry, str(self.stream_of(entry).folder), weights, shorter_of(entry, entries))
            names = labels.setdefault(job.folder, [])
            if entry.label not in names:
                names.append(entry.label)
            if job.folder in jobs or (entry.folder in self.records and not weights):
                continue
            if self.flown(entry, weights):
                self.means.tell("cached", job, {})
            else:
                jobs[job.folder] = job
        settled()
        if not jobs:
            return
        self.asked |= {(Path(folder).name, name): job.seed for folder, job in jobs.items() for name in labels[folder]}
        write_stage(self.means.out / "studies" / self.study, self.asked)
        workers = min(self.means.machine(max(job.memory for job in jobs.values())).count, len(jobs))
        with Watch(title, labels, list(jobs.values()), workers, self.means.console) as watch:

            def heard(what: str, job: Job, details: Any) -> None:
                watch.event(what, job, details)
                if what in (*SETTLED, "interrupted"):
                    self.records[below[job.folder]] = details
                    if self.means.share is not None:
                        bring(below[job.folder], details, self.means.share)
                    settled()
                self.means.tell(what, job, details)
                if what == "failed" and details.failure.kind == "disk":
                    # No other run could be written either: flying on would only cost time.
                    raise UserError(details.failure.message)

            launch(list(jobs.values()), self.means, heard)

    def job(self, entry: Entry, stream: str | None, weights: bool = False, shorter: Sequence[Entry] = ()) -> Job:
        """The job that flies ``entry``, which may hand its beginning to ``shorter`` runs."""
        from windtunnel.train.estimate import estimate, footprint

        labels = {"arm": entry.arm, "multiple": entry.multiple, **({"rate": entry.rate} if entry.rate != 1.0 else {})}
        plain = entry.recipe.model_dump(mode="json")
        cost = float(estimate(entry.recipe)["own_flops"])
        keys = {data_key(recipe) for recipe in needed(entry.recipe, curators=False).values()} - {data_key(entry.recipe)}
        # A model that this one needs may be trained on the stream of another arm, which is not among the others.
        streams = {key: str(found.folder) for key in keys if (found := self.others.get(key)) is not None}
        branches = {self.absolute(one): one.recipe.model_dump(mode="json") for one in shorter}
        place, function = self.absolute(entry), self.means.function
        batch = max(phase.batch for phase in entry.recipe.phases)
        return Job(
            entry.key,
            entry.seed,
            plain,
            stream,
            place,
            cost,
            labels,
            function,
            streams,
            outside.sources_of(entry.recipe),
            outside.modules_of(entry.recipe),
            self.variant,
            weights,
            memory=footprint(entry.recipe).bytes(entry.recipe.micro_batch or batch, 1),
            loggers=self.means.loggers,
            shorter=branches,
        )

    def flown(self, entry: Entry, weights: bool = False) -> bool:
        """Whether a run is finished and, where these are asked for, its weights are there; its record is kept."""
        out = self.means.out
        if entry.folder not in self.records:
            data, share = self.stream_of(entry).fingerprint, self.means.share
            record = known(entry, out, data, self.means.committed)
            if share is not None:
                if record is None:
                    record = shared(entry, out, data, share)
                else:
                    bring(entry.folder, record, share)
            if record is None:
                return False
            self.records[entry.folder] = record
        return self.records[entry.folder].finished and (has_weights(out / entry.folder) or not weights)

    def stream_of(self, entry: Entry) -> Stream:
        """The stream that a run is trained on."""
        return self.others.get(data_key(entry.recipe)) or self.streams[entry.arm]

    def absolute(self, entry: Entry) -> str:
        """The folder of a run from the root of the file system, for processes that work elsewhere."""
        return str((self.means.out / entry.folder).absolute())


def launch(jobs: Sequence[Job], means: Means, heard: Callable[[str, Job, Any], None]) -> None:
    """Fly ``jobs`` in the way that ``means`` says."""
    if means.engine == "ray":
        from windtunnel.study.launch import ray as ray_engine

        threads = means.machine().threads
        ray_engine.fly_jobs_on_ray(jobs, threads=threads, address=means.address, on_event=heard)
    elif means.here:
        local.fly_jobs_here(jobs, threads=means.threads, device=means.device, on_event=heard)
    else:
        local.fly_jobs(jobs, workers=means.workers, threads=means.threads, device=means.device, on_event=heard)
