"""What models wrote: prompts, how the text really goes on, and continuations, of models that have learned enough to be read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from windtunnel.report import thumbnails
from windtunnel.report.elements import folded, safe, section, shortened
from windtunnel.report.reading import Reading
from windtunnel.report.words import finite, listing, number
from windtunnel.study.result import BASELINE

PROMPTS = 12  # that are shown
READABLE = 3.0  # bits per byte above which a model's text shows nothing
LINES, BLANKS = 3, 24  # line breaks and blanks in a row from which on a run is told as one


def collapsed(text: Any) -> str:
    """``text`` with long runs of blank lines and of blanks told as one: ``↵×29`` on a line of its own, ``␣×40``."""
    lines = rf"(?:[^\S\n]*\n){{{LINES},}}"
    found = re.sub(lines, lambda run: f"\n↵×{run[0].count(chr(10))}\n", str(text))
    return re.sub(rf"[ \t]{{{BLANKS},}}", lambda run: f"␣×{len(run[0])}", found)


def block(source: str, prompt: str, texts: Iterable[tuple[str, Any]], opened: bool) -> str:
    """A prompt to unfold, with each of ``texts`` under who wrote it."""
    shown = "".join(
        f'<div><p class="who">{safe(who)}</p><pre>{safe(shortened(collapsed(text)))}</pre></div>\n' for who, text in texts if text
    )
    first = " ".join(prompt.split())[:60]
    return folded(f"{source}: {first}{'…' if len(first) >= 60 else ''}", None, f'<div class="sample">{shown}</div>', opened=opened)


def readable(bits_per_byte: Any) -> bool:
    """Whether something can be seen in what a model of so many bits per byte writes; what is not known counts as readable."""
    known = finite(bits_per_byte)
    return known is None or known <= READABLE


def left_out(models: dict[str, Any]) -> str:
    """Why what some of ``models`` wrote is not shown, by name their bits per byte; empty where all can be read."""
    names = [f"{name} ({number(value, 1)})" for name, value in models.items() if not readable(value)]
    if not names:
        return ""
    text = (
        f"Not shown: what {listing(names)} wrote. Above {READABLE:g} bits per byte a model writes little more than dots, blanks and single "
        "letters, and nothing can be told from them."
    )
    return f'<p class="note">{safe(text)}</p>'


def of_arms(reading: Reading) -> str:
    """For each prompt how the text really goes on and what every arm wrote, where that can be read; of images, graphs and rows a table."""
    written = reading.result.samples
    if any(entry.pictures or entry.cells for entries in written.values() for entry in entries):
        return thumbnails.of_arms(reading)
    shown = [name for name in written if readable(reading.bits_per_byte(name))]
    prompts: dict[tuple[str, str], dict[str, Any]] = {}
    for name in shown:
        for entry in written[name]:
            shared = prompts.setdefault((entry.source, entry.prompt), {"truth": entry.truth, "arms": {}})
            shared["arms"].setdefault(name, entry.continuation)
    order = [name for name in (BASELINE, *reading.ranked(), *shown) if name in shown]
    blocks: list[str] = []
    for (source, prompt), shared in list(prompts.items())[:PROMPTS]:
        texts = [("prompt", prompt), ("how the document goes on", shared["truth"])]
        texts += [(name, shared["arms"][name]) for name in dict.fromkeys(order) if name in shared["arms"]]
        blocks.append(block(source, prompt, texts, opened=not blocks))
    left = len(prompts) - len(blocks)
    more = f'<p class="note">{left} more prompts are in result.json.</p>' if left > 0 else ""
    note = "Continuations by models of the first seed. They show what a model of this size can do; they decide nothing."
    return section(
        "Samples",
        f'<p class="note">{note}</p>' if blocks else "",
        left_out({name: reading.bits_per_byte(name) for name in written}),
        *blocks,
        more,
    )
