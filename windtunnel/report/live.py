"""The live page: what flies now, as HTML that runs nothing. The server that shows it asks the browser to load it again."""

from __future__ import annotations

import time
from collections import Counter
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from windtunnel.report import charts
from windtunnel.report.elements import framed, html_table, safe, section
from windtunnel.report.tables import Table
from windtunnel.report.words import DASH, count, duration, plural, storage
from windtunnel.study.flying import FLYING, QUIET, WAITING, LiveRun, State
from windtunnel.study.results import read_result

WIDTH, HEIGHT = 96, 28  # of a loss curve


def document(found: State, every: float, now: float | None = None) -> str:
    """The page of ``found``, which is loaded again after ``every`` seconds."""
    flying, waiting, ended = of_state(found, (FLYING, QUIET)), of_state(found, (WAITING,)), of_state(found, None)
    failed = [flight for flight in ended if flight.status == "failed"]
    counts = (("flying", flying), ("waiting", waiting), ("ended", ended))
    subtitle = ", ".join(f"{len(flights)} {what}" for what, flights in counts if flights) or "nothing yet"
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    told = f"<p>{safe(found.folder)} at {clock}. This page loads again every {every:g} seconds.</p>\n"
    body = (
        section("Studies", studies(found)),
        section("Flying now", runs(flying) if flying else "<p>Nothing flies here at the moment.</p>"),
        section("The others", failures(failed), '<p><a href="runs">All runs that wait or have ended</a></p>' if waiting or ended else ""),
    )
    return whole("What flies now", subtitle, told, "".join(body))


def others(found: State) -> str:
    """The page of the runs that wait or have ended, which stays as it is."""
    waiting, ended = of_state(found, (WAITING,)), of_state(found, None)
    body = section("Waiting", html_table(named(waiting))) + section("Ended", html_table(named(ended)))
    back = f'<p>{safe(found.folder)}. <a href=".">What flies now</a></p>\n'
    return whole("Runs that wait or have ended", f"{len(waiting)} waiting, {len(ended)} ended", back, body)


def report_of(study: Path) -> str:
    """The report in the folder of a study as it was written; where the result is newer, because runs still fly, drawn of that.

    Raises:
        UserError: where the result is none.
        OSError: where neither can be read.
    """
    written, result = study / "report.html", study / "result.json"
    if written.is_file() and not (result.is_file() and result.stat().st_mtime_ns > written.stat().st_mtime_ns):
        return written.read_text(encoding="utf-8")
    return _drawn(result, result.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _drawn(result: Path, changed: int) -> str:
    """The report of a result that was last ``changed`` so."""
    from windtunnel.report.document import document as drawn

    return drawn(read_result(result))


def of_state(found: State, states: tuple[str, ...] | None) -> list[LiveRun]:
    """The flights in one of ``states``; None: those that have ended."""
    return [one for one in found.flights if (one.status in states if states else one.status not in (FLYING, QUIET, WAITING))]


def whole(heading: str, subtitle: str, told: str, body: str) -> str:
    """A page of this server."""
    numbers = 'also <a href="state.json">JSON</a>'
    return framed(f"Windtunnel: {heading}", "Windtunnel live", heading, subtitle, told, body, version("windtunnel"), numbers)


def studies(found: State) -> str:
    """A row for each study, with a link to its report where it has one."""
    rows = []
    for name in sorted({*found.studies, *found.reports}):
        counted = found.studies.get(name) or Counter[str]()
        link = f'<a href="report/{quote(name)}">report</a>' if name in found.reports else DASH
        numbers = (counted["finished"], counted[FLYING] + counted[QUIET], counted[WAITING], counted["failed"])
        counts = "".join(f"<td>{number or DASH}</td>" for number in numbers)
        rows.append(f'<tr><th scope="row" class="word">{safe(name)}</th>{counts}<td class="word">{link}</td></tr>\n')
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{column}</th>' for column in ("finished", "flying", "waiting", "failed"))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Studies"><table>\n'
        f'<thead><tr><th scope="col" class="word">study</th>{head}<th scope="col" class="word"></th></tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def runs(flying: list[LiveRun]) -> str:
    """A row for each run under way: how far it is, its loss, how fast its steps are and what they wait for."""
    columns = ("run", "seed", "done", "left", "loss", "", "last line", "tokens / s", "step", "95 %", "for data", "memory", "of peak")
    head = "".join(f'<th scope="col"{" class=word" if not index else ""}>{column}</th>' for index, column in enumerate(columns))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Runs that fly"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(map(row, flying))}</tbody></table></div>\n"
        '<p class="note">“Step” is the median time of the last steps; 95 % of them take at most what stands beside it. “For data” is the '
        "share of that time in which the batch was made, “of peak” the share of the accelerator’s dense bfloat16 peak, where that is "
        "known. Evaluation and checkpoints are left out.</p>"
    )


def row(flight: LiveRun) -> str:
    """One run."""
    speed = flight.speed
    age = duration(flight.age)
    last = f"{age} ago" if flight.status == FLYING else f'<span class="chip failed">quiet for {age}</span>'
    cells = (
        seed_of(flight),
        f"{flight.done:.0%}",
        duration(flight.left),
        DASH if flight.loss is None else f"{flight.loss:.3f}",
        curve(flight),
        last,
        count(speed["tokens_per_second"]) if speed else DASH,
        milliseconds(speed.get("step_seconds")),
        milliseconds(speed.get("step_seconds_95")),
        f"{speed['data_share']:.0%}" if speed else DASH,
        storage(speed.get("memory_bytes")),
        f"{speed['mfu']:.0%}" if "mfu" in speed else DASH,
    )
    name = called(flight)
    return f'<tr><th scope="row" class="word" title="{safe(name)}">{safe(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>\n'


def milliseconds(seconds: float | None) -> str:
    """Seconds of a step as people say them."""
    if seconds is None:
        return DASH
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def curve(flight: LiveRun) -> str:
    """The loss over the whole run, as far as it is made."""
    if len(flight.losses) < 2:
        return ""
    losses = [loss for _, loss in flight.losses]
    low, high = min(losses), max(losses)
    points = " ".join(
        f"{1 + share * (WIDTH - 2):.1f},{1 + (HEIGHT - 2) * (high - loss) / ((high - low) or 1.0):.1f}" for share, loss in flight.losses
    )
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="loss from {high:.3f} to {low:.3f}">'
        f'<path d="M0 {HEIGHT - 0.5}H{WIDTH}" stroke="{charts.light("muted")}" stroke-width="0.5"></path>'
        f'<polyline points="{points}" fill="none" stroke="{charts.light("ink")}" stroke-width="1.5"></polyline></svg>'
    )


def named(flights: list[LiveRun]) -> Table:
    """What runs are called, how they ended, and with what number."""
    rows = [(called(one), seed_of(one), one.status, one.test or DASH, duration(one.seconds or None)) for one in flights]
    return Table("Runs", ("run", "seed", "status", "on test", "time"), rows, frozenset({0, 2, 3}))


def called(flight: LiveRun) -> str:
    """What a run is for, or its folder where nobody says."""
    return " = ".join(flight.labels) or flight.run


def seed_of(flight: LiveRun) -> str:
    """The seed, as far as it is known."""
    return DASH if flight.seed is None else str(flight.seed)


def failures(failed: list[LiveRun]) -> str:
    """What went wrong, first of all."""
    lines = [f"<p>{safe(called(one))}, seed {one.seed}: {safe(one.error[:400])}</p>\n" for one in failed[:5]]
    more = f"<p>and {plural(len(failed) - 5, 'more failure')}</p>" if len(failed) > 5 else ""
    return f'<div class="warning">{"".join(lines)}{more}</div>' if lines else ""
