"""Flying a pack: as many of its runs as end in the time there is, several side by side, in the order of their value.

Nothing of it needs a network, the libraries that read a corpus, or those that draw a report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.core.errors import UserError, several
from windtunnel.core.files import holder, locked
from windtunnel.models.locate import STANDING_IN
from windtunnel.study.entry import Entry
from windtunnel.study.launch import local
from windtunnel.study.launch.watch import duration
from windtunnel.study.launch.worker import FLY, Job
from windtunnel.study.pack.fill import Flown, Throughput, Width
from windtunnel.study.pack.known import KnownStudy, models_here
from windtunnel.study.pack.manifest import FORMATS, Manifest, Slot, read, version
from windtunnel.study.pack.results import Results, read_results, seal, sealed, write_results
from windtunnel.study.pilots import Means
from windtunnel.train.record import RunRecord, finished_record

GRACE = 20.0  # seconds before the end, or a twentieth of the time if that is less, at which what still flies writes a checkpoint
WINDOW = 15.0  # seconds over which the rate of so many runs side by side is measured
MOST = 16  # runs side by side on one accelerator
NO_MEMORY = ("out of memory", "can't allocate memory", "killed by sigkill")
Clock = Callable[[], float]


def fly_pack(
    pack: Path,
    out: Path,
    *,
    minutes: float,
    workers: int | None = None,
    threads: int | None = None,
    function: str = FLY,
    say: Callable[[str], None] | None = None,
) -> Results:
    """Fly what ends within ``minutes`` of the pack in ``pack``, under ``out``. Called again, it goes on where it was.

    The number of runs side by side begins with one on each accelerator and grows while all together get faster. A run is begun only if it
    will end in time, by what was measured; one that runs out of memory is tried once more alone, and the others go on.

    Args:
        workers: most runs side by side.
        threads: of one run.
        function: "module:name" of what flies a run.
        say: told what happens, a line at a time (default: it is printed).

    Raises:
        UserError: where the pack is damaged or of another version, or ``out`` holds results of another pack.
        Interrupted: after Ctrl-C or SIGTERM; what was flying has written checkpoints.
    """
    began = time.monotonic()
    if minutes <= 0:
        raise UserError(f"--minutes {minutes:g}: give the minutes that may be used, for example 30")
    tell = say or (lambda line: print(line, flush=True))
    manifest = read(pack)
    before = read_results(out)
    if before is not None and before.pack != manifest.hash:
        raise UserError(f"{out}: holds the results of another pack; choose another --out, so that both stay whole")
    out.mkdir(parents=True, exist_ok=True)
    os.environ[STANDING_IN] = models_here(pack, manifest.models)
    plan = workers_for(workers, threads)
    with locked(out / ".pack.lock") as mine:
        if not mine:
            raise UserError(f"{out}: a pack is being flown there by process {holder(out / '.pack.lock')}; wait for it")
        grace = min(GRACE, 60 * minutes / 20)
        means = Means(out, plan.count, plan.threads, on_event=lambda told: tell(str(told["message"])), function=function)
        return PackFlight(manifest, pack, means, tell, plan, began + 60 * minutes - grace, grace, before).fly()


def workers_for(workers: int | None, threads: int | None) -> local.Workers:
    """How many runs may fly side by side, and on which devices: by default one on each core, but at most :data:`MOST` on an accelerator."""
    here, cores = local.workers_here(workers, threads), len(local.available_cores())
    if here.devices == ("cpu",) or workers:
        return here
    most = max(1, min(MOST * len(here.devices), cores))
    return local.Workers(most, threads or max(1, cores // most), here.devices)


class Choice(NamedTuple):
    """What may be begun next: a job, the run that it flies, and the place in the queue that it is for."""

    job: Job
    entry: Entry
    slot: Slot


@dataclass
class Begun:
    """A run that flies."""

    choice: Choice
    at: float
    first: float | None = None  # when it first told of its progress
    done: float = 0.0
    done_first: float = 0.0
    put_down: bool = False


@dataclass
class PackFlight:
    """One call of :func:`fly_pack`."""

    manifest: Manifest
    pack: Path
    means: Means
    say: Callable[[str], None]
    plan: local.Workers
    until: float  # when what still flies is told to write a checkpoint
    grace: float  # seconds that it has for that
    before: Results | None
    clock: Clock = time.monotonic
    window: float = WINDOW
    studies: dict[str, KnownStudy] = field(default_factory=dict)
    flying: dict[str, Begun] = field(default_factory=dict)  # by folder
    done: set[int] = field(default_factory=set)  # places of the queue whose run is finished
    over: set[str] = field(default_factory=set)  # folders of runs that this call is done with
    alone: list[Choice] = field(default_factory=list)  # that had no memory and are tried once more
    retried: set[str] = field(default_factory=set)
    paused: dict[str, float] = field(default_factory=dict)  # folders of runs that another process flies, and when to ask again
    pace: Throughput = field(default_factory=Throughput)
    measured_from: tuple[float, float] | None = None  # when the present width was reached, and the work that had been done by then
    work: float = 0.0  # FLOPs of this call

    def __post_init__(self) -> None:
        """Everything that the queue names is known; nothing of it is opened yet."""
        counts = {study.name: sum(slot.study == study.name for slot in self.manifest.queue) for study in self.manifest.studies}
        self.studies = {study.name: KnownStudy(study, self.pack, self.means, counts[study.name]) for study in self.manifest.studies}
        self.width = Width(self.plan.count, now=min(self.plan.count, len(self.plan.devices)))
        self.results = self.before or Results(pack=self.manifest.hash, formats=FORMATS, version=version())
        self.free_at_first = free_memory(self.plan.device(0))

    def fly(self) -> Results:
        """Fly until nothing is left, or nothing that ends in time."""
        pool = local.WorkerPool(self.plan)
        self.say(f"{len(self.manifest.queue)} runs in the queue, {duration(self.until - self.clock())} for them")
        with local.counted_signals() as signals:
            try:
                while signals.count < 2:
                    stopping = bool(signals.count) or self.clock() >= self.until
                    if stopping:
                        pool.stop()
                    else:
                        self.begin(pool)
                    if not self.flying or self.clock() > self.until + self.grace:
                        break
                    local.listen(pool, self.heard)
                    self.measure()
                    self.put_down(pool)
            finally:
                pool.dismiss(0.0 if signals.count > 1 or self.flying else 10.0)
                self.write()
        left = self.results.waiting
        finished = sum(one["status"] == "finished" for one in self.results.runs.values())
        self.say(f"{several(finished, 'run')} finished, {left} left")
        if signals.count:
            raise local.Interrupted("what was flying has written a checkpoint")
        return self.results

    # What comes next --------------------------------------------------------------------------------------------------------------

    def begin(self, pool: local.WorkerPool) -> None:
        """Begin as many runs as there is room for."""
        while len(self.flying) < self.width.now and self.has_memory():
            choice = self.next()
            if choice is None:
                self.measured_from = None  # fewer fly than should
            if choice is None or pool.give(choice.job) is None:
                return
            self.flying[choice.job.folder] = Begun(choice, self.clock())

    def has_memory(self) -> bool:
        """Whether one more run finds memory, as far as can be told from those that fly."""
        free, settled = free_memory(self.plan.device(0)), [one for one in self.flying.values() if one.first is not None]
        if free is None or self.free_at_first is None or not settled:
            return True
        return self.width.room(free, (self.free_at_first - free) / len(self.flying))

    def next(self) -> Choice | None:
        """The first of the queue that can be begun now and will end in time; what had no memory comes last, and alone."""
        if any(one.choice.job.folder in self.retried for one in self.flying.values()):
            return None
        for number, slot in enumerate(self.manifest.queue):
            if number in self.done or not self.in_time(slot.study, slot.arm, slot.flops):
                continue
            choice = self.ready(number, slot)
            if choice is not None and self.fits(choice.job):
                return choice
        if self.flying or not self.alone:
            return None
        choice = next((one for one in self.alone if self.fits(one.job)), None)
        if choice is not None:
            self.alone.remove(choice)
            self.retried.add(choice.job.folder)
        return choice

    def ready(self, number: int, slot: Slot) -> Choice | None:
        """What has to be flown next for a place in the queue; None where it is done, flies, or waits for another run."""
        study = self.studies[slot.study]
        entry = study.entry(slot)
        if entry is None or self.busy(study, entry):
            return None
        if study.flown(entry):
            self.was_flown(number, study, entry)
            return None
        first = study.first(entry)
        if not first:
            return Choice(study.job(entry, self.manifest.queue), entry, slot)
        if any(study.place(one) in self.over for one in first):
            return Choice(study.job(entry, []), entry, slot)  # its record will say which model it lacks
        able = next((one for one in first if not self.busy(study, one)), None)
        return Choice(study.job(able, [], entry), able, slot) if able is not None else None

    def busy(self, study: KnownStudy, entry: Entry) -> bool:
        """Whether a run flies, is done with, is set aside, or will be handed its beginning by one that flies."""
        folder = study.place(entry)
        aside = any(one.job.folder == folder for one in self.alone) or self.paused.get(folder, 0.0) > self.clock()
        handed = any(folder in one.choice.job.shorter for one in self.flying.values())
        return folder in self.flying or folder in self.over or aside or handed

    def was_flown(self, number: int, study: KnownStudy, entry: Entry) -> None:
        """A run is there already: it is noted, and sealed where a kill came between or another command has flown it."""
        folder = Path(study.place(entry))
        self.done.add(number)
        self.over.add(str(folder))
        record = finished_record(folder)
        if record is not None and not sealed(folder):
            seal(folder, record, study.pilots.variant, study.packed.sources)
            self.note("finished", self.manifest.queue[number].study, entry.label, record, folder, None)

    def fits(self, job: Job) -> bool:
        """Whether a run will end in time."""
        return self.in_time(job.labels["study"], job.labels["arm"], job.cost)

    def in_time(self, study: str, arm: str, flops: float) -> bool:
        """Whether a run of ``flops`` will end in time; of the very first nothing is known."""
        seconds = self.pace.seconds(study, arm, flops)
        return seconds is None or self.clock() + seconds <= self.until

    # What is heard ------------------------------------------------------------------------------------------------------------------

    def heard(self, what: str, job: Job, details: Any) -> None:
        """Something happened to a run; see :func:`windtunnel.study.launch.local.fly_jobs`."""
        now = self.clock()
        if what == "progress":
            self.progress(self.flying[job.folder], float(details.get("done") or 0.0), now)
            return
        begun = self.flying.pop(job.folder)
        if what == "waiting":
            self.paused[job.folder] = now + local.BUSY_PAUSE
            return
        if what == "finished" and begun.first is None:  # it was over before it told of anything
            self.pace.learn(job.labels["study"], job.labels["arm"], Flown(job.cost, now - begun.at, 0.0))
        elif what == "finished":
            self.progress(begun, 1.0, now)
        self.settle(what, begun, details, now)

    def progress(self, begun: Begun, done: float, now: float) -> None:
        """A run has come as far as ``done``, a share of it."""
        job = begun.choice.job
        if begun.first is None:
            begun.first, begun.done, begun.done_first = now, done, done
            return
        self.work += max(0.0, done - begun.done) * job.cost
        begun.done = max(begun.done, done)
        flown = Flown((begun.done - begun.done_first) * job.cost, now - begun.first, begun.first - begun.at)
        self.pace.learn(job.labels["study"], job.labels["arm"], flown)

    def settle(self, what: str, begun: Begun, record: RunRecord, now: float) -> None:
        """A run has ended, one way or another."""
        job, slot = begun.choice.job, begun.choice.slot
        again = what == "failed" and ran_out(record) and job.folder not in self.retried
        if again:
            self.width.out_of_memory(len(self.flying) + 1)
            self.alone.append(begun.choice)
        else:
            self.over.add(job.folder)
        if what == "finished":
            study = self.studies[slot.study]
            seal(Path(job.folder), record, study.pilots.variant, study.packed.sources)
            if not job.weights:  # it is no model that another run needs
                self.done.add(self.manifest.queue.index(slot))
        self.note(what, slot.study, job.labels["arm"], record, Path(job.folder), now - begun.at)
        self.write()
        self.line(what, job, record, again, now - begun.at)
        if what == "failed" and record.failure is not None and record.failure.kind == "disk":
            raise UserError(record.failure.message)  # no other run could be written either

    def note(self, what: str, study: str, arm: str, record: RunRecord, folder: Path, seconds: float | None) -> None:
        """Put a run on the list of results."""
        self.results.runs[f"runs/{folder.name}"] = {
            "status": what,
            "study": study,
            "run": arm,
            "seed": record.seed,
            "seconds": seconds,
            "error": record.error,
        }

    def line(self, what: str, job: Job, record: RunRecord, again: bool, seconds: float) -> None:
        """Say that a run has ended, and how the whole stands."""
        text = f"{job.labels['study']}: {job.labels['arm']}, seed {job.seed}: {what} in {duration(seconds)}"
        if what == "finished" and record.primary in record.test:
            text += f", {record.primary} {record.test[record.primary]:.4f}"
        if what == "failed":
            text += f": {record.error}" + ("; it will be tried once more, alone" if again else "")
        left = max(0.0, self.until - self.clock())
        self.say(f"{text} ({self.results.waiting} left, {self.width.now} side by side, {duration(left)} of the time left)")

    def write(self) -> None:
        """The list of results, as it stands."""
        self.results.waiting = len(self.manifest.queue) - len(self.done)
        self.results.side_by_side = dict(self.width.rates)
        write_results(self.results, self.means.out)

    # What is measured ---------------------------------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Measure the rate of all runs together once as many fly as should, and let there be more or fewer."""
        now = self.clock()
        if self.measured_from is None:
            if len(self.flying) == self.width.now and all(one.first is not None for one in self.flying.values()):
                self.measured_from = (now, self.work)
            return
        since, before = self.measured_from
        if now - since >= self.window and self.work > before and not self.width.settled:
            self.width.measured((self.work - before) / (now - since))
            self.measured_from = None

    def put_down(self, pool: local.WorkerPool) -> None:
        """Stop a run that will not end in time, with a checkpoint, if another would in its place."""
        for folder, begun in self.flying.items():
            job = begun.choice.job
            if begun.put_down or begun.first is None or begun.done <= begun.done_first:
                continue
            rate = (begun.done - begun.done_first) / max(1e-9, self.clock() - begun.first)
            if self.clock() + (1 - begun.done) / rate > self.until and self.next() is not None:
                begun.put_down = True
                self.say(f"{job.labels['study']}: {job.labels['arm']}, seed {job.seed}: will not end in time; it makes room for another")
                pool.stop(folder)


def ran_out(record: RunRecord) -> bool:
    """Whether a run failed because there was no memory."""
    return record.failure is not None and any(words in record.failure.story.lower() + record.failure.message.lower() for words in NO_MEMORY)


def free_memory(device: str | None) -> float | None:
    """Bytes that are free where runs are computed; None where that cannot be told."""
    import torch

    if device is not None and device.startswith("cuda"):
        return float(torch.cuda.mem_get_info(torch.device(device))[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * float(line.split()[1])
    except OSError:
        return None
    return None
