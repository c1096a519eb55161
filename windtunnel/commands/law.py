"""The commands ``windtunnel law``: what the results of studies, and tables of runs, say beyond their own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from windtunnel.commands.console import console, plain_table, print_json
from windtunnel.commands.options import JsonOption
from windtunnel.core.errors import UserError
from windtunnel.laws.forecast import DRAWS, LawResult
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult
from windtunnel.study.results import read_result, result_files

app = typer.Typer(
    no_args_is_help=True, help="Ask results of studies for a knee, a crossover or the cost of a family, and tables of runs for a law."
)
Result = Annotated[
    Path, typer.Argument(metavar="RESULT", help="result.json of a study, its folder, or a paper's result", show_default=False)
]
Results = Annotated[list[Path], typer.Argument(metavar="RESULT", help="results as for the other laws", show_default=False)]
Ways = Annotated[
    list[str] | None,
    typer.Argument(metavar="WAY=ARM,ARM", help="arms that belong together (default: WAY-DEPTH by name)", show_default=False),
]
TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="comma-, semicolon- or tab-separated, with a heading", show_default=False)]
SizeOption = Annotated[str, typer.Option("--size", metavar="COLUMN", help="parameters (7e9, not 7)", show_default=False)]
TokensOption = Annotated[str, typer.Option("--tokens", metavar="COLUMN", help="training tokens (3e11, not 300)", show_default=False)]
LossOption = Annotated[str, typer.Option("--loss", metavar="COLUMN", help="the loss, nats a token", show_default=False)]
FlopsOption = Annotated[str, typer.Option("--flops", metavar="COLUMN", help="training FLOPs", show_default=False)]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="only rows that say so; may be given several times")
]
DrawsOption = Annotated[int, typer.Option("--draws", min=200, help="bootstrap samples")]


def read(path: Path) -> StudyResult:
    """The one result at ``path``. Raises UserError where there is none, or several."""
    found = result_files(path)
    if len(found) > 1:
        raise UserError(f"{path}: holds {len(found)} results; give one of them, for example {found[0]}")
    return as_result(read_result(found[0]))


@app.command()
def knee(
    result: Result,
    up_to: Annotated[float, typer.Option("--up-to", min=0.0, max=1.0, help="the largest sparsity that counts")] = 1.0,
) -> None:
    """Is there a sharp turn in loss against sparsity, and where? For studies with the evaluation `pruned`."""
    from windtunnel.laws.knee import knees

    print_json(knees(read(result), up_to=up_to))


@app.command()
def family_cost(result: Result, ways: Ways = None) -> None:
    """What models of several depths cost when what they begin from is paid once."""
    from windtunnel.laws.family_cost import family_cost

    if odd := [way for way in ways or () if "=" not in way]:
        raise UserError(f"{odd[0]}: expected WAY=ARM,ARM")
    named = {way: arms.split(",") for way, _, arms in (way.partition("=") for way in ways or ())}
    print_json(family_cost(read(result), named or None))


@app.command()
def crossover(
    result: Result,
    one: Annotated[str, typer.Argument(metavar="WAY", help="of arms named WAY-SHARE, the share in percent", show_default=False)],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="the way it is compared with", show_default=False)],
    number: Annotated[str | None, typer.Argument(metavar="NUMBER", help="of the test (default: the study's own)")] = None,
) -> None:
    """At how much text does one way of training begin to win over another?"""
    from windtunnel.laws.crossover import crossover, curves

    found = read(result)
    print_json(crossover(*(curves(found, way, number) for way in (one, other)), better=found.study.better))


@app.command()
def average_parameters(results: Results) -> None:
    """One law for dense and sparse training, in tokens and the average number of active parameters."""
    from windtunnel.laws.average_parameters import average_law

    print_json(average_law([read(result) for result in results]))


# Laws of tables -----------------------------------------------------------------------------------------------------------------


@app.command()
def chinchilla(
    table: TableFile,
    size: SizeOption,
    tokens: TokensOption,
    loss: LossOption,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="COLUMN", help="what is drawn together in the bootstrap, such as the run of a checkpoint"),
    ] = None,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Loss from parameters and tokens: E + A / N^alpha + B / D^beta, with intervals."""
    from windtunnel.laws.chinchilla import chinchilla

    show(chinchilla(table, size=size, tokens=tokens, loss=loss, group=group, where=choices(where), draws=draws), as_json)


@app.command()
def schedule(
    table: TableFile,
    run: Annotated[str, typer.Option("--run", metavar="COLUMN", help="the name of the schedule", show_default=False)],
    step: Annotated[str, typer.Option("--step", metavar="COLUMN", help="the training step", show_default=False)],
    rate: Annotated[str, typer.Option("--rate", metavar="COLUMN", help="the learning rate at that step", show_default=False)],
    loss: LossOption,
    predict: Annotated[
        list[str], typer.Option("--predict", metavar="NAME", help="a schedule to predict; may be given several times", show_default=False)
    ],
    fit: Annotated[list[str] | None, typer.Option("--fit", metavar="NAME", help="a schedule to fit (default: all others)")] = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """The loss curve of a schedule that was not flown, from those of others of the same model (multi-power law)."""
    from windtunnel.laws.schedule import schedule

    found = schedule(table, run=run, step=step, rate=rate, loss=loss, predict_runs=predict, fit_runs=fit or (), where=choices(where))
    show(found, as_json)
    if not as_json:
        for name, one in found.predictions.items():
            measured = "" if one.error is None else f"; measured {one.measured:.4f}, off by {one.error:.2%} along the curve"
            print(f"{name}: ends at {one.final.value:.4f} ({one.final.low:.4f} to {one.final.high:.4f}){measured}")


@app.command()
def isoflop(
    table: TableFile,
    flops: FlopsOption,
    size: SizeOption,
    tokens: TokensOption,
    loss: LossOption,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """The best size at each compute budget, and how it grows."""
    from windtunnel.laws.isoflop import isoflop

    found = isoflop(table, flops=flops, size=size, tokens=tokens, loss=loss, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        for one in found.budgets:
            print(f"{one.flops:.3g} FLOPs: best size {one.size.value:.3g} ({one.size.low:.3g} to {one.size.high:.3g}), loss {one.loss:.4f}")


@app.command()
def order(
    table: TableFile,
    arm: Annotated[str, typer.Option("--arm", metavar="COLUMN", help="the name of the arm", show_default=False)],
    flops: FlopsOption,
    loss: LossOption,
    target: Annotated[float, typer.Option("--target", metavar="FLOPS", help="of the run to be decided", show_default=False)],
    baseline: Annotated[str | None, typer.Option("--baseline", metavar="NAME", help="(default: the first arm of the table)")] = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which arm will be ahead at a larger budget, with what probability, against its rank at one scale."""
    from windtunnel.laws.order import order

    found = order(table, arm=arm, flops=flops, loss=loss, target=target, baseline=baseline, where=choices(where))
    if as_json:
        print_json(found.plain())
        return
    for name, one in found.arms.items():
        against = f"better than {found.baseline}: {one.better:.2f}" if one.better is not None else "the baseline"
        print(f"{name}: best with probability {one.best:.2f}, {against}, expected regret {one.regret:.2%}")
    print(f"order at the largest scale ({found.largest:.3g} FLOPs): {', '.join(found.rank_at_one_scale)}")
    warn(found.warnings)


def choices(where: list[str] | None) -> dict[str, str]:
    """``--where`` as a mapping. Raises UserError for one without an equals sign."""
    if odd := [one for one in where or () if "=" not in one]:
        raise UserError(f"--where {odd[0]}: expected COLUMN=VALUE")
    return dict(one.split("=", 1) for one in where or ())


def show(result: LawResult, as_json: bool) -> None:
    """Print a law, its warnings on standard error."""
    from rich.console import Console

    if as_json:
        print_json(result.plain())
        return
    rows = [(name, f"{one.value:.5g}", f"{one.low:.5g}", f"{one.high:.5g}") for name, one in result.parameters.items()]
    print(f"{result.law}, {result.points} points, residual {result.residual:.3%}")
    Console(highlight=False).print(plain_table(("", "value", "low", "high"), rows))
    if result.largest_left_out:
        left = result.largest_left_out
        print(f"{left.what}, predicted from the others: off by {left.error:.2%} (bias {left.bias:+.2%}, {left.points} points)")
    warn(result.warnings)


def warn(warnings: list[str]) -> None:
    """Print warnings on standard error."""
    for warning in warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)
