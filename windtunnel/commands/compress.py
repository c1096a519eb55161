"""The command ``windtunnel compress``: a trained model made smaller in several ways, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.evaluate import size_of
from windtunnel.commands.options import (
    CorpusOption,
    DeviceOption,
    JsonOption,
    SampleOption,
    ThreadsOption,
    WindowsOption,
    check_device,
    sources,
)


def compress(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a folder, a run, a file of weights, or a hub name")],
    to: Annotated[
        list[str],
        typer.Option("--to", metavar="WAYS", help="4bit (or 4bit-64: groups of 64), 2:4, svd-50%; several with commas, or repeat it"),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="gets a folder for each way")] = Path("compressed"),
    corpus: CorpusOption = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="TASK", help="questions to ask all, as `windtunnel evaluate` takes them"),
    ] = None,
    sample: SampleOption = None,
    context: Annotated[
        int | None,
        typer.Option("--context", min=2, help="tokens of a window (default: what it has room for, at most 1024)"),
    ] = None,
    batch: WindowsOption = 4,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model smaller without training, in several ways, and measure what each one costs.

    Sizes are those of a file that packs the weights; what is written holds them as ordinary numbers, which transformers loads.

    Example: windtunnel compress windtunnel-out/export --to 4bit,2:4,svd-50% --corpus notes=~/notes
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.compress import compress as made_smaller
    from windtunnel.study.compress import ways_of

    check_device(device)
    how: dict[str, Any] = {"tasks": tasks or (), "context": context, "batch": batch, "threads": threads, "device": device}
    how["most_bytes"] = None if sample is None else size_of(sample)
    given = sources_from(sources(corpus)) if corpus else {}
    found = made_smaller(model, ways_of(",".join(to)), out, given, say=lambda line: console().print(escape(line), soft_wrap=True), **how)
    if as_json:
        print_json(found)
        return
    answers().print(plain_table(*table(found)))


def table(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows: sizes of each way, and the first number that was measured, with its difference from the model and its interval."""
    head: tuple[str, ...] = ("way", "MB", "of the model", "weights changed", "seconds")
    rows: list[tuple[str, ...]] = [
        (row["way"], f"{row['megabytes']:,.2f}", f"{row['share']:.0%}", f"{row['changed']:.2%}", f"{row['seconds']:.1f}")
        for row in found["rows"]
    ]
    measured = found["evaluation"]
    if measured is None:
        return head, rows
    names = {row["folder"]: row["way"] for row in found["rows"]}
    told: dict[str, tuple[str, ...]] = {way: () for way in names.values()}
    for row in measured["numbers"]:
        told[names[row["model"]]] += (f"{row['bits_per_byte']:.4f}", _difference(row))
    for row in measured["tasks"]:
        told[names[row["model"]]] += (f"{row['value']:.4f}", _difference(row))
    texts = list(dict.fromkeys(row["source"] for row in measured["numbers"]))
    asked = list(dict.fromkeys(f"{row['task']}: {row['metric']}" for row in measured["tasks"]))
    columns = [*(f"bits per byte, {source}" if len(texts) > 1 else "bits per byte" for source in texts), *asked]
    own = tuple(cell for column in columns for cell in (column, f"from the model, {measured['confidence']:.0%} interval"))
    return (*head, *own), [(*row, *told[row[0]]) for row in rows]


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    return f"{row['difference']:+.4f}" + ("" if row["low"] is None else f" ({row['low']:+.4f} to {row['high']:+.4f})")
