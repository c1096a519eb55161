"""The commands ``windtunnel ladder``, ``forecast`` and ``plan``: pilots at several sizes, what they foretell, and the large run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.commands.options import CorpusOption, JsonOption, sources
from windtunnel.core.errors import UserError, nearest
from windtunnel.study.result import StudyResult

if TYPE_CHECKING:
    from windtunnel.laws.decision import ForecastResult

ResultPaths = Annotated[list[Path], typer.Argument(metavar="RESULT", help="results of the same arms at several scales: files or folders")]


def forecast(
    results: ResultPaths,
    flops: Annotated[float, typer.Option("--flops", metavar="F", help="of the run that is to be decided")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="write report.html and forecast.json there")] = None,
    as_json: JsonOption = False,
) -> None:
    """Which arm will be ahead at a larger budget, how likely, and whether more pilots would change the choice."""
    from windtunnel.core.files import write_text
    from windtunnel.laws.decision import forecast as foretell

    if not 0 < flops < math.inf:
        raise UserError(f"--flops {flops:g}: expected a number above 0, such as 1e15")
    read = read_all(results)
    found = foretell(read, flops)
    if out is not None:
        from windtunnel.report.document import page

        largest = max(read, key=lambda result: max((run.totals.flops or 0.0 for run in result.runs), default=0.0))
        write_text(out / "forecast.json", json.dumps(found.plain(), indent=1) + "\n")
        page(largest, out, found)
    if as_json:
        print_json(found.plain())
        return
    show(found)
    if out is not None:
        print(f"report: {out / 'report.html'}\nnumbers: {out / 'forecast.json'}")


def ladder(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="the study (YAML), or a shipped one")],
    sizes: Annotated[str, typer.Option("--sizes", metavar="N,N,...", help="parameters, such as 1e4,4e4")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="a study for each size is written there")],
    corpus: CorpusOption = None,
) -> None:
    """Write a study at several sizes, batch and rates carried over by rule; `windtunnel forecast` reads the results of all."""
    import yaml

    from windtunnel.core.files import write_text
    from windtunnel.core.shipped import shipped
    from windtunnel.laws.ladder import rung
    from windtunnel.study.file import load_study

    read = load_study(shipped(study), sources(corpus))
    try:
        wanted = [float(size) for size in sizes.split(",")]
    except ValueError:
        raise UserError(f"--sizes {sizes}: give numbers of parameters with commas between them, such as 1e4,4e4") from None
    for size in wanted:
        settings = rung(read, size)
        file = out / f"{settings['name']}.yaml"
        write_text(file, yaml.safe_dump(settings, sort_keys=False, width=130))
        model = settings["baseline"]["model"]
        print(f"{file}: width {model['width']}, batch {settings['baseline']['batch']}, rates times {settings['baseline']['rate_multiple']}")


def read_all(paths: Sequence[Path]) -> list[StudyResult]:
    """The results at ``paths``, files or folders. Raises UserError where there is none."""
    from windtunnel.study.lenient import as_result
    from windtunnel.study.results import read_result, result_files

    return [as_result(read_result(file)) for path in paths for file in result_files(path)]


def show(found: ForecastResult) -> None:
    """Print a forecast, its warnings on standard error."""
    from windtunnel.report import outlook

    print("\n".join(outlook.sentences(found)))
    for table in (outlook.table(found), outlook.pilots(found)):
        if table.rows:
            screen = Console(highlight=False)
            screen.print(table.title, markup=False)
            screen.print(plain_table(table.columns, table.rows))
    for warning in found.warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)


def plan(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="the study (YAML) that was flown, or a shipped one")],
    arm: Annotated[str, typer.Option("--arm", metavar="NAME", help="whose recipe it is")] = "baseline",
    flops: Annotated[float | None, typer.Option("--flops", metavar="F", help="of training")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, help="devices that share the run")] = None,
    days: Annotated[float | None, typer.Option("--days", help="that they have")] = None,
    mfu: Annotated[float, typer.Option("--mfu", help="share of the peak that is reached")] = 0.4,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="what they are, such as a100, h100 or l40s")] = "h100",
    price: Annotated[float | None, typer.Option("--price", help="of a device and hour")] = None,
    corpus_tokens: Annotated[float | None, typer.Option("--corpus-tokens", help="different tokens there are")] = None,
    inference_tokens: Annotated[float, typer.Option("--inference-tokens", help="that the model will read and write in use")] = 0.0,
    max_size: Annotated[float | None, typer.Option("--max-size", help="parameters it may have")] = None,
    results: Annotated[list[Path] | None, typer.Option("--result", metavar="RESULT", help="of the study; repeat it for several")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="write the recipe there")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="say from which runs or rule each number comes")] = False,
    as_json: JsonOption = False,
) -> None:
    """Plan a large run of an arm: shape, tokens, batch, rate, memory, time and cost, and the recipe ready for `windtunnel train`."""
    import yaml

    from windtunnel.core.files import write_text
    from windtunnel.core.shipped import shipped
    from windtunnel.laws.plan import Needs, spend
    from windtunnel.laws.plan import plan as make
    from windtunnel.study.file import load_study
    from windtunnel.train.accelerators import device_of

    recipes = load_study(shipped(study)).resolved
    if arm not in recipes:
        raise UserError(f"{study}: no arm {arm!r}; {nearest(arm, recipes)}")
    chosen = device_of(device)
    budget = spend(flops, gpus if flops is None else None, days, mfu, chosen.peak)
    needs = Needs(corpus_tokens, inference_tokens, max_size)
    how: dict[str, Any] = {"gpus": gpus or 1, "mfu": mfu, "device": chosen, "price": price, "needs": needs}
    found = make(recipes[arm], arm=arm, flops=budget, results=read_all(results or []), **how)
    if out is not None:
        write_text(out, yaml.safe_dump(found.recipe, sort_keys=False))
    if as_json:
        print_json(found.plain())
        return
    rows = []
    for name, one in found.numbers.items():
        if one.value == one.value:  # what does not apply is nan
            span = f"{one.low:.3g} to {one.high:.3g}" if one.low is not None else ""
            rows.append((*_shown(name, one.value), span, *([one.why] if explain else [])))
    heading = ("", arm, "range", *(["from"] if explain else []))
    answers().print(plain_table(heading, rows))
    print(f"schedule: {found.schedule}, as in the pilot" + (f"\nrecipe: {out}; fly it: windtunnel train {out} --out DIR" if out else ""))
    for warning in found.warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)


def _shown(name: str, value: float) -> tuple[str, str]:
    """A number of a plan by a name that goes with its unit."""
    from windtunnel.report.words import duration, storage

    if name in ("checkpoint bytes", "memory a device"):
        return name.removesuffix(" bytes"), storage(value)
    if name == "days":
        return ("days", f"{value:.4g}") if value > 2 else ("time", duration(value * 86400))
    return name, f"{value:.4g}"
