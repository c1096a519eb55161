"""What the commands of laws of tables share: options, and how a law is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.commands.console import answers, console, plain_table, print_json
from windtunnel.core.errors import UserError
from windtunnel.laws.forecast import LawResult

TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="comma-, semicolon- or tab-separated, with a heading")]
SizeOption = Annotated[str, typer.Option("--size", metavar="COLUMN", help="parameters (7e9, not 7)")]
TokensOption = Annotated[str, typer.Option("--tokens", metavar="COLUMN", help="training tokens (3e11, not 300)")]
LossOption = Annotated[str, typer.Option("--loss", metavar="COLUMN", help="the loss, nats a token")]
FlopsOption = Annotated[str, typer.Option("--flops", metavar="COLUMN", help="training FLOPs")]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="only rows that say so; may be given several times")
]
DrawsOption = Annotated[int, typer.Option("--draws", min=200, help="bootstrap samples")]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", metavar="COLUMN", help="what is drawn together in the bootstrap, such as the run of a checkpoint"),
]
HoldOption = Annotated[
    list[str] | None, typer.Option("--hold", metavar="NAME=VALUE", help="a number that is known; may be given several times")
]


def choices(where: list[str] | None) -> dict[str, str]:
    """``--where`` as a mapping. Raises UserError for one without an equals sign."""
    if odd := [one for one in where or () if "=" not in one]:
        raise UserError(f"--where {odd[0]}: expected COLUMN=VALUE")
    return dict(one.split("=", 1) for one in where or ())


def choice(where: list[str] | None, hold: list[str] | None) -> dict[str, Any]:
    """``--where`` and ``--hold`` as mappings. Raises UserError for one that is not NAME=VALUE."""
    held = {}
    for one in hold or ():
        name, _, value = one.partition("=")
        try:
            held[name] = float(value)
        except ValueError:
            raise UserError(f"--hold {one}: expected NAME=NUMBER, such as E=1.8") from None
    return {"where": choices(where), "hold": held}


def show(result: LawResult, as_json: bool) -> None:
    """Print a law, its warnings on standard error."""

    if as_json:
        print_json(result.plain())
        return
    rows = [(name, f"{one.value:.5g}", f"{one.low:.5g}", f"{one.high:.5g}") for name, one in result.parameters.items()]
    amount = (lambda value, sign="": f"{value:{sign}.2%}") if result.relative else (lambda value, sign="": f"{value:{sign}.4g}")
    print(f"{result.law}, {result.points} points, residual {amount(result.residual)}")
    answers().print(plain_table(("", "value", "low", "high"), rows))
    if result.largest_left_out:
        left = result.largest_left_out
        print(f"{left.what}, predicted from the others: off by {amount(left.error)} (bias {amount(left.bias, '+')}, {left.points} points)")
    warn(result.warnings)


def warn(warnings: list[str]) -> None:
    """Print warnings on standard error."""
    for warning in warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)
