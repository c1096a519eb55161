"""The commands ``windtunnel law`` of tables: fitted laws of anybody's runs, printed with intervals and warnings."""

from __future__ import annotations

from typing import Annotated

import typer

from windtunnel.commands.console import print_json
from windtunnel.commands.law_knowledge import capacity, frequency, retention, strategies
from windtunnel.commands.law_options import (
    DrawsOption,
    FlopsOption,
    GroupOption,
    HoldOption,
    LossOption,
    SizeOption,
    TableFile,
    TokensOption,
    WhereOption,
    choice,
    choices,
    show,
    warn,
)
from windtunnel.commands.options import JsonOption
from windtunnel.laws.forecast import DRAWS


def chinchilla(
    table: TableFile,
    size: SizeOption,
    tokens: TokensOption,
    loss: LossOption,
    group: GroupOption = None,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Loss from parameters and tokens: E + A / N^alpha + B / D^beta, with intervals."""
    from windtunnel.laws.chinchilla import chinchilla

    show(chinchilla(table, size=size, tokens=tokens, loss=loss, group=group, where=choices(where), draws=draws), as_json)


def schedule(
    table: TableFile,
    run: Annotated[str, typer.Option("--run", metavar="COLUMN", help="the name of the schedule")],
    step: Annotated[str, typer.Option("--step", metavar="COLUMN", help="the training step")],
    rate: Annotated[str, typer.Option("--rate", metavar="COLUMN", help="the learning rate at that step")],
    loss: LossOption,
    predict: Annotated[list[str], typer.Option("--predict", metavar="NAME", help="a schedule to predict; may be given several times")],
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


def best_rate(
    table: TableFile,
    size: SizeOption,
    tokens: TokensOption,
    rate: Annotated[str, typer.Option("--rate", metavar="COLUMN", help="the peak learning rate")],
    loss: LossOption,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """The learning rate to train at, from sweeps at several sizes and tokens: c N^a D^b."""
    from windtunnel.laws.best_rate import best_rate

    found = best_rate(table, size=size, tokens=tokens, rate=rate, loss=loss, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json and (one := found.transfer):
        print(
            f"{one.size:.3g} parameters at {one.tokens:.3g} tokens, from the others: rate {one.predicted:.3g} where {one.lowest:.3g} is "
            f"best, {one.excess:.2%} more loss; the smallest model's rate costs {one.excess_of_smallest:.2%}"
        )


def order(
    table: TableFile,
    arm: Annotated[str, typer.Option("--arm", metavar="COLUMN", help="the name of the arm")],
    flops: FlopsOption,
    loss: LossOption,
    target: Annotated[float, typer.Option("--target", metavar="FLOPS", help="of the run to be decided")],
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


def repeated(
    table: TableFile,
    size: SizeOption,
    tokens: TokensOption,
    unique: Annotated[str, typer.Option("--unique", metavar="COLUMN", help="different tokens there were to read")],
    loss: LossOption,
    group: GroupOption = None,
    where: WhereOption = None,
    hold: HoldOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Loss when data is read again: what the fourth epoch is worth, and parameters beyond those that the data can fill."""
    from windtunnel.laws.repeated import repeated

    found = repeated(table, size=size, tokens=tokens, unique=unique, loss=loss, group=group, **choice(where, hold), draws=draws)
    show(found, as_json)


def trajectory(
    table: TableFile,
    size: SizeOption,
    step: Annotated[str, typer.Option("--step", metavar="COLUMN", help="the training step")],
    batch: Annotated[str, typer.Option("--batch", metavar="COLUMN", help="tokens of a step")],
    loss: LossOption,
    group: GroupOption = None,
    where: WhereOption = None,
    hold: HoldOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """Loss along training at a constant rate, for any size, step and batch."""
    from windtunnel.laws.trajectory import trajectory

    found = trajectory(table, size=size, step=step, batch=batch, loss=loss, group=group, **choice(where, hold), draws=draws)
    show(found, as_json)


def critical_batch(
    table: TableFile,
    batch: Annotated[str, typer.Option("--batch", metavar="COLUMN", help="the batch size, tokens or sequences")],
    steps: Annotated[str, typer.Option("--steps", metavar="COLUMN", help="steps to the level")],
    level: Annotated[str, typer.Option("--level", metavar="COLUMN", help="the level of loss, or the model")],
    loss: Annotated[str | None, typer.Option("--loss", metavar="COLUMN", help="the loss of the level")] = None,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """The batch size beyond which more of it saves few steps, at each level of loss."""
    from windtunnel.laws.critical_batch import critical_batch

    found = critical_batch(table, batch=batch, steps=steps, level=level, loss=loss, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        for one in found.levels:
            print(f"{one.level}: critical batch {one.batch.value:.4g} ({one.batch.low:.4g} to {one.batch.high:.4g})")


def mixture(
    table: TableFile,
    share: Annotated[str, typer.Option("--share", metavar="COLUMN", help="share of domain tokens")],
    tokens: TokensOption,
    general: Annotated[str, typer.Option("--general", metavar="COLUMN", help="the general loss, nats")],
    domain: Annotated[str, typer.Option("--domain", metavar="COLUMN", help="the domain loss, nats")],
    tolerance: Annotated[float, typer.Option("--tolerance", help="nats by which the general loss may rise")] = 0.05,
    weight: Annotated[float, typer.Option("--weight", help="nats of domain loss that one nat of general loss is worth")] = 1.0,
    group: GroupOption = None,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """The largest share of domain text in continued pre-training that keeps the general loss (critical mixture ratio)."""
    from windtunnel.laws.mixture import mixture

    columns = {"share": share, "tokens": tokens, "general": general, "domain": domain}
    found = mixture(table, **columns, tolerance=tolerance, weight=weight, group=group, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        for one in found.shares:
            said = "feasible" if one.feasible else "not feasible"
            print(f"share {one.share:g}: general {one.general:+.4f}, domain {one.domain:+.4f}, {said}")
        if ahead := found.ahead:
            said = "no share would be feasible" if ahead.critical_ratio is None else f"the critical ratio is {ahead.critical_ratio:.3g}"
            print(f"from the first {ahead.tokens:.3g} tokens: {said}; losses at the end are off by", end=" ")
            print(f"{ahead.general.error:.2%} (general) and {ahead.domain.error:.2%} (domain), those of then by", end=" ")
            print(f"{ahead.general.error / ahead.general.against_last:.2%} and {ahead.domain.error / ahead.domain.against_last:.2%}")


def downstream(
    table: TableFile,
    loss: LossOption,
    score: Annotated[str, typer.Option("--score", metavar="COLUMN", help="the score, between 0 and 1")],
    group: GroupOption = None,
    where: WhereOption = None,
    hold: HoldOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """A downstream score from the loss: a step between chance and the most that can be had."""
    from windtunnel.laws.downstream import downstream

    show(downstream(table, loss=loss, score=score, group=group, **choice(where, hold), draws=draws), as_json)


def learning_curve(
    table: TableFile,
    units: Annotated[str, typer.Option("--units", metavar="COLUMN", help="the amount of data")],
    score: Annotated[str, typer.Option("--score", metavar="COLUMN", help="the score")],
    tolerance: Annotated[float, typer.Option("--tolerance", help="stop where no more is left to gain")],
    better: Annotated[str, typer.Option("--better", help="higher or lower")] = "higher",
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """When to stop adding data: the trace of a learning curve, with a bound on what is left to gain."""
    from windtunnel.laws.learning_curve import learning_curve

    found = learning_curve(table, units=units, score=score, tolerance=tolerance, better=better, where=choices(where), draws=draws)
    show(found, as_json)
    if not as_json:
        for one in found.additions:
            left = "not known yet" if one.left is None else f"at most {one.left:.4g}"
            print(f"{one.units:g} units: {one.score:.4g}, ceiling {one.ceiling:.4g}, left to gain {left}")
        print("go on" if found.stop_at is None else f"stop at {found.stop_at:g} units")


def advantage(
    table: TableFile,
    unlabelled: Annotated[str, typer.Option("--unlabelled", metavar="COLUMN", help="unlabelled examples; 0: none")],
    labelled: Annotated[str, typer.Option("--labelled", metavar="COLUMN", help="labelled examples")],
    risk: Annotated[str, typer.Option("--risk", metavar="COLUMN", help="excess risk")],
    powers: Annotated[bool, typer.Option("--powers", help="fit the powers of both amounts too, which the bound says are 1")] = False,
    where: WhereOption = None,
    draws: DrawsOption = DRAWS,
    as_json: JsonOption = False,
) -> None:
    """What pre-training on unlabelled data is worth, by the terms of a bound on its risk."""
    from windtunnel.laws.advantage import advantage

    columns = {"unlabelled": unlabelled, "labelled": labelled, "risk": risk}
    show(advantage(table, **columns, powers=powers, where=choices(where), draws=draws), as_json)


def dynamics(
    table: TableFile,
    run: Annotated[str, typer.Option("--run", metavar="COLUMN", help="the run or model")],
    tokens: TokensOption,
    score: Annotated[list[str], typer.Option("--score", metavar="COLUMN", help="a task; give three or more")],
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether runs learn tasks in the same order, from scores of their checkpoints."""
    from windtunnel.laws.dynamics import dynamics

    found = dynamics(table, run=run, tokens=tokens, scores=score, where=choices(where))
    show(found, as_json)
    if not as_json:
        print(f"by chance {found.expected:.2f}, and as much in {found.chance:.1%} of shuffles; order: {', '.join(found.order)}")


def under_cost(
    table: TableFile,
    name: Annotated[str, typer.Option("--name", metavar="COLUMN", help="the name of the shape")],
    score: Annotated[str, typer.Option("--score", metavar="COLUMN", help="of which more is better")],
    cost: Annotated[str, typer.Option("--cost", metavar="COLUMN", help="as measured")],
    target: Annotated[float, typer.Option("--target", metavar="COST", help="that is wanted")],
    exponent: Annotated[float, typer.Option("--exponent", help="of cost over target")] = -0.07,
    proxy: Annotated[str | None, typer.Option("--proxy", metavar="COLUMN", help="what stands for the cost, such as FLOPs")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="COLUMN", help="with --proxy: which runs belong together")] = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """The best of several shapes under a cost that was measured."""
    from windtunnel.laws.under_cost import under_cost

    columns = {"name": name, "score": score, "cost": cost}
    found = under_cost(table, **columns, target=target, exponent=exponent, proxy=proxy, group=group, where=choices(where))
    if as_json:
        print_json(found.plain())
        return
    for each, one in found.shapes.items():
        print(f"{each}: score {one.score:.4g}, cost {one.cost:.4g}, reward {one.reward.value:.4g}, best with probability {one.best:.2f}")
    if found.choosing:
        by, gain = found.choosing, found.choosing.gain
        worth = f"{gain.value:.4g} times the reward ({gain.low:.4g} to {gain.high:.4g})"
        print(f"{cost} chooses {by.by_cost} and {proxy} {by.by_proxy}: {worth} in runs that nobody chose by")
    warn(found.warnings)


COMMANDS = (
    chinchilla,
    repeated,
    isoflop,
    schedule,
    trajectory,
    critical_batch,
    mixture,
    downstream,
    capacity,
    frequency,
    learning_curve,
    retention,
    strategies,
    advantage,
    best_rate,
    dynamics,
    order,
    under_cost,
)
