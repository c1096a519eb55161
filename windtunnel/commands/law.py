"""The commands ``windtunnel law``: what the results of studies, and tables of runs, say beyond their own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from windtunnel.commands import law_tables
from windtunnel.commands.console import print_json
from windtunnel.core.errors import UserError
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult
from windtunnel.study.results import read_result, result_files

app = typer.Typer(
    no_args_is_help=True, help="Ask results of studies for a knee, a crossover or the cost of a family, and tables of runs for a law."
)
Result = Annotated[Path, typer.Argument(metavar="RESULT", help="result.json of a study, its folder, or a paper's result")]
Results = Annotated[list[Path], typer.Argument(metavar="RESULT", help="results as for the other laws")]
Ways = Annotated[list[str] | None, typer.Argument(metavar="WAY=ARM,ARM", help="arms that belong together (default: WAY-DEPTH by name)")]


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
    one: Annotated[str, typer.Argument(metavar="WAY", help="of arms named WAY-SHARE, the share in percent")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="the way it is compared with")],
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


@app.command()
def corpora(results: Results) -> None:
    """Every arm of one study on several corpora: its mean effect, and where it will lie on a corpus that was not flown."""
    from windtunnel.laws.corpora import over_corpora

    print_json({arm: one.plain() for arm, one in over_corpora([read(result) for result in results]).items()})


@app.command()
def interaction(
    result: Result,
    one: Annotated[str, typer.Argument(metavar="ARM", help="with the first technique alone")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="with the second alone")],
    both: Annotated[str, typer.Argument(metavar="BOTH", help="with both")],
) -> None:
    """Whether two techniques add up: what both do together, less what each does alone."""
    from windtunnel.laws.corpora import interaction

    print_json(interaction(read(result), one, other, both).plain())


for command in law_tables.COMMANDS:
    app.command()(command)
