"""What `windtunnel check` found, in sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windtunnel.core.errors import several
from windtunnel.study.launch.watch import duration
from windtunnel.study.visible import told

LEAST = 1.0  # tokens per parameter below which `check` warns
LITTLE = 0.1  # epochs below which `check` says how to prepare less


def summary(check: Mapping[str, Any]) -> Iterable[str]:
    """What :func:`windtunnel.study.check.check_study` found, in sentences for the terminal."""
    least = check["least"]
    seeds = f"{least['seeds']} to {check['seeds']}" if least else check["seeds"]
    yield f"study {check['name']}: {several(len(check['arms']) - 1, 'arm')}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    for name, source in (check["sources"] or {}).items():
        yield from _source_lines(name, source)
    trials = f", {check['trials']} of them trials of tuning" if check["trials"] else ""
    runs = f"{least['runs']} to {several(check['runs'], 'run')}" if least else several(check["runs"], "run")
    done = f"; {check['cached']} {'is' if check['cached'] == 1 else 'are'} finished already" if check["cached"] else ""
    yield f"{runs} to fly{trials}{done}"
    if check["changed"]:
        done = f"{several(check['changed'], 'run')} of them finished before the sources changed"
        yield f"{done}, and {'flies' if check['changed'] == 1 else 'fly'} again unless the documents are the same"
    if least:
        yield f"at least {_amount(least, check)}, if the first look decides every arm; at most:"
    yield _amount(check, check)
    if check["learned"]:
        factor, count = check["learned"]["factor"], check["learned"]["runs"]
        done = several(count, "finished run")
        yield f"(the {done} took {factor:.2g} times the CPU seconds that two timed steps say; that is reckoned with)"
    yield from _sampling(check)
    yield "one run of each:"
    yield from _arm_lines(check)
    yield told(check)
    seen = {arm: each["tokens_per_parameter"] for arm, each in check["arms"].items()}
    if min(seen.values()) < LEAST:
        few = [arm for arm, amount in seen.items() if amount < LEAST]
        yield (
            f"{', '.join(few)}: less than {LEAST:g} token for every parameter; hardly anything of pre-training can be seen there "
            "(20 are usual: leave out `budget:`, or raise it, or take a smaller model)"
        )
    alike: dict[tuple[str, str], list[str]] = {}
    for arm, epochs in (check["epochs"] or {}).items():
        for source, often in epochs.items():
            if often > 1:
                alike.setdefault((source, figures(often, 2)), []).append(arm)
    for (source, times), repeat in alike.items():
        verb = "reads" if len(repeat) == 1 else "read"
        yield f"{', '.join(repeat)} {verb} {source} {times} times: runs that repeat data are not comparable with runs that do not"
    yield from check["notes"]


def recipe_summary(check: Mapping[str, Any]) -> Iterable[str]:
    """What :func:`windtunnel.study.check.check_recipe` found, in sentences for the terminal."""
    for name, source in check["sources"].items():
        yield from _source_lines(name, source)
    yield (
        f"{check['flops']:.3g} FLOPs, {check['steps']:,.0f} steps, {_short(check['tokens'])} tokens "
        f"({figures(check['tokens_per_parameter'], 3)} for every parameter), {_short(check['parameters'])} parameters, "
        f"{_bytes(check['memory_bytes']) if check['memory_bytes'] else 'unknown bytes'} of memory"
    )
    yield f"about {duration(check['cpu_seconds'])} of one core; {_how([check])}"
    yield from check["notes"]


def _source_lines(name: str, source: Mapping[str, Any]) -> Iterable[str]:
    about = f"{source['estimated']} " if source["estimated"] else ""
    yield f"  {name}: {about}{source['documents']:,} documents, {_bytes(source['bytes'])}; begins: {source['example']}"
    if source["why"]:
        so_far = " (as far as was looked)" if source["estimated"] else ""
        yield f"    {source['why']}{so_far}"


def _arm_lines(check: Mapping[str, Any]) -> Iterable[str]:
    rows = [("", "steps", "tokens", "per parameter", "parameters", "epochs", "memory")]
    for arm, each in check["arms"].items():
        often = max((check["epochs"] or {}).get(arm, {}).values(), default=None)
        rows.append(
            (
                arm,
                f"{each['steps']:,.0f}",
                _short(each["tokens"]),
                figures(each["tokens_per_parameter"], 3),
                _short(each["parameters"]),
                "?" if often is None else figures(often, 2),
                _bytes(each["memory_bytes"]) if each["memory_bytes"] else "?",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *row in rows:
        yield f"  {name:<{widths[0]}}  " + "  ".join(f"{entry:>{width}}" for entry, width in zip(row, widths[1:], strict=True))


def _sampling(check: Mapping[str, Any]) -> Iterable[str]:
    """Where it takes most of the time to prepare text of which runs read next to nothing, how to prepare less."""
    often = max((each for epochs in (check["epochs"] or {}).values() for each in epochs.values()), default=1.0)
    if check["reading"] and check["reading"] > check["cpu_seconds"] / 2 and often < LITTLE:
        yield (
            f"{duration(check['reading'])} of that prepare text of which no run reads more than {often:.1%}: "
            "`--corpus 'NAME={files: {path: ..., sample: 20MB}}'` reads a part of one, drawn at random"
        )


def _amount(taken: Mapping[str, Any], check: Mapping[str, Any]) -> str:
    if taken["seconds"] is None:
        return f"{taken['flops']:.3g} FLOPs"
    return (
        f"{taken['flops']:.3g} FLOPs, about {duration(taken['seconds'])} with {check['workers']} worker{'s' * (check['workers'] != 1)} "
        f"({duration(taken['cpu_seconds'])} of one core; {_how(check['arms'].values())})"
    )


def _how(each: Iterable[Mapping[str, Any]]) -> str:
    """Where seconds come from. A step that was timed has told its memory."""
    if any(one["memory_bytes"] for one in each):
        return "steps were timed now"
    return "reckoned from FLOPs alone, as one step would take ten seconds and more"


def figures(number: float, many: int) -> str:
    """In so many figures, and all that stand before the point."""
    return f"{number:,.0f}" if 10**many <= number < 1e6 else f"{number:.{many}g}"


def _short(number: float) -> str:
    """A count as people say it: ``950``, ``12.3k``, ``1.6M``."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _bytes(number: float) -> str:
    for size, letter in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f} bytes"
