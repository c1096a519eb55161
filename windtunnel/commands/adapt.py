"""The command ``windtunnel adapt``: adapt a trained model to documents of one's own, and keep what it knew."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from windtunnel.commands.console import answers, console, plain_table, print_json, stop_with
from windtunnel.commands.options import DeviceOption, RanksOption, check_device, sources
from windtunnel.commands.train import at_work
from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    from windtunnel.study.adapt_request import AdaptRequest


class Precision(enum.StrEnum):
    """Arithmetic of forward and backward passes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def adapt(
    called: typer.Context,
    checkpoint: Annotated[str, typer.Argument(metavar="MODEL", help="a folder, a file of weights or a hub name")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where all goes; the model in DIR/model")],
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", metavar="NAME=PATH", help="what to adapt to; repeat it for several"),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="NAME=PATH", help="text like what must be kept (default: the model writes its own)"),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="30m, 2h, 500 steps, 2e6 tokens, 1e15 flops")] = "30m",
    max_forgetting: Annotated[
        str, typer.Option("--max-forgetting", help="how far bits per byte of what is kept may rise (none: as far as it likes)")
    ] = "1%",
    replay: Annotated[float, typer.Option("--replay", help="share of training documents that come from what is kept (0: none)")] = 0.25,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.0, help="peak learning rate (default: a fifth of that of training from scratch)"),
    ] = None,
    context: Annotated[int, typer.Option("--context", min=8, help="tokens of a sequence")] = 256,
    batch: Annotated[int, typer.Option("--batch", min=1, help="sequences of a step")] = 4,
    own_tokens: Annotated[int, typer.Option("--own-tokens", min=1, help="tokens the model writes itself without --keep")] = 16_384,
    seed: Annotated[int, typer.Option("--seed", min=0, help="what differs between repetitions")] = 0,
    cache: Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="where prepared text is kept (default: DIR/cache)")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="threads (default: all cores)")] = None,
    device: DeviceOption = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="arithmetic of forward and backward passes (auto: the faster one here)")
    ] = Precision.auto,
    structure: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="WAY[,WAY...]",
            help="lora, adalora, svd-core ... (default: all weights train); several, full among them, are compared by a study",
        ),
    ] = None,
    hours: Annotated[float | None, typer.Option("--hours", metavar="H", help="of several ways: what all runs together may take")] = None,
    processes: RanksOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON and nothing else on standard output")] = False,
) -> None:
    """Go on training a model on your documents, and keep what it knew. Given again, it goes on where it was.

    Training stops before the budget where what is kept gets worse than allowed, and then as much of the change is kept as stays within it.

    Example: windtunnel adapt ./model --corpus notes=~/notes --keep general=~/general --budget "2000 steps" --out adapted
    """
    from windtunnel.study.adapt import adapt as fly
    from windtunnel.study.adapt_request import AdaptRequest, budget_of, share_of
    from windtunnel.study.ways import FULL, ways_of

    if rate == 0:
        raise UserError("--rate: above 0")
    ways = ways_of(structure or "")
    if hours is not None and len(ways) < 2:
        raise UserError(
            f"--hours {hours:g}: is for comparing several ways (--with lora,full); a single adaptation takes --budget {hours:g}h"
        )
    request = AdaptRequest(
        checkpoint,
        sources(corpus),
        sources(keep, "--keep"),
        budget_of(budget),
        share_of(max_forgetting),
        replay,
        context,
        batch,
        rate,
        own_tokens,
        precision.value,
        ways[0] if len(ways) == 1 and ways[0] != FULL else None,
    )
    if len(ways) > 1:
        for option, given in (("--cache", cache is not None), ("--ranks", processes != 1), ("--seed", bool(seed))):
            if given:
                raise UserError(f"{option}: is for a single adaptation; several ways are runs of a study, each with seeds of its own")
        check_device(device)
        compare(request, ways, out, hours, seed, threads, device, as_json)
        return
    with at_work(out, processes, device, called.obj) as callbacks:
        told = watching(callbacks.follow, callbacks.say) if callbacks.follow else None
        result = fly(
            request, out, seed=seed, cache=cache, threads=threads, device=device, report=told, stop=callbacks.stop, warn=callbacks.say
        )
    if as_json:
        print_json(result)
    if result["status"] == "interrupted":
        raise KeyboardInterrupt
    if result["status"] != "finished":
        stop_with(result["failure"])
    show_adaptation(result, out, as_json)
    if not as_json:
        print(f"model: {out / 'model'}")


def compare(
    request: AdaptRequest,
    ways: list[str],
    out: Path,
    hours: float | None,
    seed: int,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Fly the study of ``ways``, and show its table and what is exported."""
    from windtunnel.report import ways as table_of_ways
    from windtunnel.report import write_report
    from windtunnel.report.reading import Reading
    from windtunnel.study.ways import compare_ways

    result, way = compare_ways(
        request, ways, out, hours=hours, seed=seed, threads=threads, device=device, warn=lambda line: console().print(line, soft_wrap=True)
    )
    folder = out / "studies" / str(result.study.name)
    write_report(result, folder)
    if as_json:
        print_json({**result.plain(), "exported": way})
    else:
        table = table_of_ways.table(Reading(result))
        answers().print(plain_table(table.columns, table.rows))
        print(f"report: {folder / 'report.html'}")
        if way is not None:
            print(f"model: {out / 'model'} ({way})")
    if result.failure:
        stop_with(result.failure)


def show_adaptation(result: Mapping[str, Any], folder: Path, as_json: bool) -> None:
    """Write the page of an adaptation to ``folder``; unless JSON is wanted, print its table and where the page is."""
    from windtunnel.report.adaptation import page, rows

    path = page(result, folder)
    if not as_json:
        answers().print(plain_table(*rows(result)))
        print(f"report: {path}")


def watching(follow: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> Callable[[dict[str, Any]], None]:
    """``follow``, and besides a line with every source's number, and its change since the first, whenever there is a new one."""
    first: dict[str, float] = {}
    shown = -1

    def told(message: dict[str, Any]) -> None:
        nonlocal shown
        for entry in message.get("validation", ()):
            if entry["step"] > shown:
                shown = entry["step"]
                first.update({name: value for name, value in entry["numbers"].items() if name not in first})
                say(f"step {shown}: {changes(entry['numbers'], first)}")
        follow(message)

    return told


def changes(numbers: Mapping[str, float], first: Mapping[str, float]) -> str:
    """Each source's number and its change since ``first``, on one line."""
    shown = [f"{name.partition('/')[2]} {value:.4f} ({value / first[name] - 1:+.2%})" for name, value in numbers.items() if "/" in name]
    return "on validation " + ", ".join(shown)
