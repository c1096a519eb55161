"""The command ``windtunnel evaluate``: trained models side by side on text of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.options import (
    OUT,
    CorpusOption,
    DeviceOption,
    JsonOption,
    SampleOption,
    ThreadsOption,
    WindowsOption,
    check_device,
    sources,
)
from windtunnel.core.errors import UserError

UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}


def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="folders of models or runs, files of weights, or hub names")],
    corpus: CorpusOption = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            metavar="TASK",
            help="a JSONL of multiple-choice questions, a task file of lm_eval (.yaml) or the name of a task; repeat it for several",
        ),
    ] = None,
    weights: Annotated[bool, typer.Option("--weights", help="look for dead, collapsed and untrained layers")] = False,
    sample: SampleOption = None,
    context: Annotated[
        int | None,
        typer.Option("--context", min=2, help="tokens of a window (default: what all have room for, at most 1024)"),
    ] = None,
    batch: WindowsOption = 4,
    precision: Annotated[str, typer.Option("--precision", help="float32 or bfloat16")] = "float32",
    cache: Annotated[Path, typer.Option("--cache", metavar="DIR", help="where prepared text is kept")] = OUT / "cache",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure trained models on your text and on tasks, side by side, with intervals paired by document and question. Nothing is trained.

    Example: windtunnel evaluate windtunnel-out/export HuggingFaceTB/SmolLM2-135M --corpus notes=~/notes --tasks questions.jsonl
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.evaluate import evaluate as measure

    if precision not in ("float32", "bfloat16"):
        raise UserError(f"--precision {precision}: float32 or bfloat16")
    check_device(device)
    found = measure(
        models,
        sources_from(sources(corpus)),
        cache,
        tasks=tasks or (),
        weights=weights,
        context=context,
        most_bytes=None if sample is None else size_of(sample),
        batch=batch,
        precision=precision,
        threads=threads,
        device=device,
        say=lambda line: console().print(escape(line), soft_wrap=True),
    )
    if as_json:
        print_json(found.data)
        return
    screen, several = answers(), len(models) > 1
    compared = (f"from {models[0]}", f"{found.data['confidence']:.0%} interval") if several else ("", "")
    if found.data["numbers"]:
        rows = [
            (row["source"], row["model"], f"{row['bits_per_byte']:.4f}", *_difference(row), f"{row['documents']:,}")
            for row in found.data["numbers"]
        ]
        screen.print(plain_table(("source", "model", "bits per byte", *compared, "documents"), rows))
    if found.data["tasks"]:
        asked = [
            (f"{row['task']}: {row['metric']}", row["model"], _value(row), *_difference(row), f"{row['questions']:,}")
            for row in found.data["tasks"]
        ]
        screen.print(plain_table(("task", "model", "value ± standard error", *compared, "questions"), asked))
    if weights:
        _print_weights(screen, found.data["weights"], several)


def _print_weights(screen: Console, rows: list[dict[str, Any]], several: bool) -> None:
    """The table by layer, and for each model how many layers there is something to say of."""
    table = []
    for row in rows:
        dead = " ".join(f"{share:.0%}" for share in (row["dead_rows"], row["dead_columns"]) if share is not None)
        numbers = (f"{row['entropy']:.3f}", f"{row['standing_out']:,}", f"{row['orthogonality']:.3f}")
        shape = " x ".join(map(str, row["shape"]))
        table.append((*([row["model"]] if several else []), row["name"], shape, dead, *numbers, row["verdict"]))
    head = ("layer", "shape", "dead rows, columns", "entropy", "standing out", "orthogonality", "")
    screen.print(plain_table(("model", *head) if several else head, table))
    for model in dict.fromkeys(row["model"] for row in rows):
        verdicts = [row["verdict"] for row in rows if row["model"] == model]
        told = ", ".join(f"{verdicts.count(word)} {word}" for word in ("dead", "collapsed", "untrained"))
        screen.print(escape(f"{model}: {len(verdicts) - verdicts.count('small')} layers judged: {told}"), soft_wrap=True)


def _value(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.4f}" + ("" if row["standard_error"] is None else f" ± {row['standard_error']:.4f}")


def _difference(row: Mapping[str, Any]) -> tuple[str, str]:
    """The difference from the first model and its interval; empty where there is none."""
    interval = "" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
    return "" if row["difference"] is None else f"{row['difference']:+.4f}", interval


def size_of(text: str) -> int:
    """``200KB``, ``1.5MB`` or ``300000`` as bytes. Raises UserError for anything else."""
    amount, unit = text.strip().upper(), 1.0
    for name, factor in UNITS.items():
        if amount.endswith(name):
            amount, unit = amount.removesuffix(name), factor
    try:
        found = int(float(amount) * unit)
    except (ValueError, OverflowError):
        found = 0
    if found < 1:
        raise UserError(f"--sample {text}: write a size, for example 200KB, 5MB or 1GB")
    return found
