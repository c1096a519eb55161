"""What a study shows while it flies: a live table on a terminal, one line for each settled run elsewhere."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import several
from windtunnel.study.launch.worker import Job

if TYPE_CHECKING:  # a machine that flies a pack may lack it
    from rich.console import Console, Group
    from rich.live import Live

SETTLED = ("finished", "failed")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Watch:
    """Follows the events of a launch and shows them. Use as a context manager; ``event`` is what ``launch`` calls."""

    def __init__(self, title: str, labels: Mapping[str, Sequence[str]], jobs: Sequence[Job], workers: int, console: Console | None) -> None:
        """``labels``: the rows that a run counts for, by its folder; runs that are not among ``jobs`` are finished already."""
        self.title, self.labels, self.workers, self.console = title, labels, workers, console
        self.jobs = {job.folder: job for job in jobs}
        self.status = {folder: "waiting" if folder in self.jobs else "finished" for folder in labels}
        self.progress: dict[str, dict[str, Any]] = {}
        self.began: dict[str, float] = {}
        self.share_before: dict[str, float] = {}
        self.warm: set[int] = set()  # workers that have begun a run
        self.cold: set[str] = set()  # runs whose worker is still importing
        self.spent_seconds = self.spent_cost = 0.0
        self.start = time.monotonic()
        self.live: Live | None = None

    def __enter__(self) -> Watch:
        if self.console is not None and self.console.is_terminal:
            from rich.live import Live

            self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=4)
            self.live.start()
        elif self.console is not None and self.jobs:
            cached = len(self.labels) - len(self.jobs)
            self._print(f"{self.title}: {several(len(self.jobs), 'run')} to fly" + (f", {cached} finished before" if cached else ""))
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.refresh()
            self.live.stop()

    def event(self, what: str, job: Job, details: Any) -> None:
        """Something happened to a run."""
        now, folder = time.monotonic(), job.folder
        if what == "started":
            self.status[folder], self.began[folder] = "running", now
            if "worker" in details and details["worker"] not in self.warm:
                self.warm.add(details["worker"])
                self.cold.add(folder)
        elif what == "progress":
            if folder in self.cold:  # imports are paid once for each worker and say nothing of the pace
                self.cold.remove(folder)
                self.began[folder] = now
            self.progress[folder] = dict(details)
            self.share_before.setdefault(folder, self.share(folder))  # a run that goes on from a checkpoint was paid for before
        elif what == "waiting":
            self.status[folder] = "elsewhere"
            self.began.pop(folder, None)
        elif what in (*SETTLED, "interrupted"):
            self.status[folder] = what
            self.spent_seconds += now - self.began.pop(folder, now)
            if what == "finished":
                self.spent_cost += job.cost * (1 - self.share_before.get(folder, 0.0))
            if self.live is None and self.console is not None:
                self._line(what, job, details)

    def share(self, folder: str) -> float:
        """The share of a run that is done."""
        return min(1.0, max(0.0, float(self.progress.get(folder, {}).get("done") or 0.0)))

    def seconds_left(self) -> float | None:
        """Until the last run ends, from the pace so far: what is left is laid, longest first, on the workers."""
        now = time.monotonic()
        running = [folder for folder in self.began if self.status[folder] == "running"]
        seconds = self.spent_seconds + sum(now - self.began[folder] for folder in running)
        cost = self.spent_cost + sum(
            self.jobs[folder].cost * (self.share(folder) - self.share_before.get(folder, self.share(folder))) for folder in running
        )
        if cost <= 0 or seconds <= 0:
            return None
        pace = cost / seconds  # of one worker
        ends = [self.jobs[folder].cost * (1 - self.share(folder)) / pace for folder in running]
        ends += [0.0] * max(0, self.workers - len(running))
        heapq.heapify(ends)
        waiting = (self.jobs[folder].cost for folder, status in self.status.items() if status in ("waiting", "elsewhere"))
        for amount in sorted(waiting, reverse=True):
            heapq.heapreplace(ends, ends[0] + amount / pace)
        return max(ends)

    def table(self) -> Group:
        """The live table, between its title and a line about the whole."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        done = sum(status in SETTLED for status in self.status.values())
        left = self.seconds_left()
        whole = (
            f"{done} of {len(self.status)} runs done · elapsed {duration(time.monotonic() - self.start)} · "
            + ("measuring the pace" if left is None and done < len(self.status) else f"about {duration(left or 0.0)} left")
            + " · Ctrl-C stops; the same command goes on"
        )
        table = Table(box=None, pad_edge=False)
        for heading, justify in (("", "left"), ("done", "right"), ("running", "right"), ("failed", "right"), ("flying now", "left")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for name in dict.fromkeys(name for names in self.labels.values() for name in names):
            mine = [folder for folder, names in self.labels.items() if name in names]
            count = Counter(self.status[folder] for folder in mine)
            flying = [self._flying(folder) for folder in mine if self.status[folder] == "running"]
            flying += ["flown by another process"] * bool(count["elsewhere"])
            table.add_row(
                Text(name),
                f"{count['finished']}/{len(mine)}",
                str(count["running"] or ""),
                Text(str(count["failed"] or ""), style="red"),
                Text("; ".join(flying)),
            )
        return Group(Text(self.title, style="bold"), table, Text(whole, style="dim"))

    def _flying(self, folder: str) -> str:
        known = self.progress.get(folder)
        text = f"seed {self.jobs[folder].seed}"
        if not known:
            return f"{text}: starting"
        loss = known.get("loss")
        text = f"{text}: step {known.get('step', '?')}, {self.share(folder):.0%}"
        return f"{text}, loss {loss:.3f}" if isinstance(loss, float) else text

    def _line(self, what: str, job: Job, record: Any) -> None:
        done = sum(status in SETTLED for status in self.status.values())
        text = f"[{done}/{len(self.status)}] {' = '.join(self.labels[job.folder])} seed {job.seed}: {what}"
        if what == "finished" and record.primary in record.test:
            text += f", {record.primary} {record.test[record.primary]:.4f} in {duration(record.totals and record.totals.seconds)}"
        if what == "failed":
            text += f": {record.error}"
        left = self.seconds_left()
        if done < len(self.status):
            text += f" (about {duration(left)} left)" if left else ""  # 0 where the last one has taken all steps, and is measured
        self._print(text)

    def _print(self, text: str) -> None:
        from rich.text import Text

        assert self.console is not None
        self.console.print(Text(text), soft_wrap=True)
