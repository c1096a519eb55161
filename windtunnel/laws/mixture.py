"""The critical mixture ratio: the largest share of domain text that continued pre-training may have before general loss is not won back.

Gu et al. 2024 (arXiv:2407.17467). A share R is feasible if at the end the general loss has risen by no more than a tolerance, and if before
the end a further nat of domain loss was worth what it cost in general loss: at some time weight times the slope of the general loss and the
slope of the domain loss add up to zero or less. Along training the domain loss follows a power law and the general loss, which first rises
and then falls, the sum of two. ``windtunnel law mixture`` prints what :func:`mixture` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.fitting import LawForm, Search, Variables
from windtunnel.laws.forecast import DRAWS, LawResult, intervals
from windtunnel.laws.table import check_count, check_loss, read_table

FEWEST_SHARES, FEWEST_TIMES = 4, 10
TIMES = np.linspace(0.02, 1.0, 99)  # of the last time, at which slopes are looked at
BEYOND = 4.0  # how many times the last time the turn may lie, for the interpolation between shares


def _domain(laws: np.ndarray, variables: Variables) -> np.ndarray:
    return -laws[:, [0]] * variables["t"] ** laws[:, [1]] - laws[:, [2]]


def _general(laws: np.ndarray, variables: Variables) -> np.ndarray:
    return laws[:, [0]] * variables["t"] ** laws[:, [1]] - laws[:, [2]] * variables["t"] ** laws[:, [3]] + laws[:, [4]]


def _share(laws: np.ndarray, variables: Variables) -> np.ndarray:
    return laws[:, [0]] * variables["share"] ** laws[:, [1]] + laws[:, [2]]


DOMAIN = LawForm(
    formula="change of domain loss = -a t^s - b",
    bounds={"a": (1e-6, 10), "s": (0.02, 3), "b": (-5, 5)},
    predict=_domain,
    begin=lambda variables, change: [[max(-float(change.min()), 1e-3), s, 0.0] for s in (0.2, 0.6)],
    relative=False,
    delta=0.1,
)
GENERAL = LawForm(
    formula="change of general loss = a t^s - c t^u + b",
    bounds={"a": (1e-6, 10), "s": (0.02, 3), "c": (1e-6, 10), "u": (0.02, 3), "b": (-5, 5)},
    predict=_general,
    begin=lambda variables, change: [
        [a, s, c, u, 0.0] for a, c in ((0.3, 0.1), (0.1, 0.3)) for s, u in ((0.2, 1.0), (0.3, 0.6), (1.0, 0.3))
    ],
    relative=False,
    delta=0.1,
)
AT_END = LawForm(
    formula="change of general loss at the end = a R^s + b",
    bounds={"a": (1e-6, 20), "s": (0.05, 8), "b": (-5, 5)},
    predict=_share,
    begin=lambda variables, change: [[max(float(np.ptp(change)), 1e-3), s, float(change.min())] for s in (0.5, 1.5, 4.0)],
    relative=False,
    delta=0.1,
)


class AtShare(JsonBlock):
    """One share of domain text."""

    share: float
    general: float = Field(description="change of the general loss at the end, nats")
    domain: float = Field(description="change of the domain loss at the end, nats")
    turn: Number | None = Field(None, description="units of training after which a nat of domain loss is worth its cost; None: never seen")
    feasible: bool = Field(description="whether the general loss stays within the tolerance and the turn lies before the end")


class MixtureResult(LawResult):
    """The critical mixture ratio, and what was found at each share."""

    shares: list[AtShare] = Field([], description="ascending")


@dataclass(frozen=True)
class _Curves:
    """The curves of one share, times as shares of the last one."""

    share: float
    t: np.ndarray
    general: np.ndarray
    domain: np.ndarray


def mixture(
    path: str | Path,
    *,
    share: str,
    tokens: str,
    general: str,
    domain: str,
    tolerance: float = 0.05,
    weight: float = 1.0,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> MixtureResult:
    """The critical mixture ratio of one model, from curves of continued pre-training in a table.

    Args:
        path: of the table, a row an evaluation; rows at zero tokens say the losses before.
        share: column of the share of domain tokens, above 0 and below 1.
        tokens: column of tokens of continued pre-training.
        general: column of the general loss, nats.
        domain: column of the domain loss, nats.
        tolerance: by how much the general loss may rise, nats; above two standard errors of it.
        weight: how many nats of domain loss one nat of general loss is worth.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples, of the residuals of each curve in blocks.

    Raises:
        UserError: for a table that cannot be read, fewer than four shares or ten evaluations of one, or no row at zero tokens.
    """
    roles = {"share": share, "tokens": tokens, "loss": general, "domain": domain}
    table = check_loss(check_loss(read_table(Path(path), roles, where=where)), "domain")
    found = table.numbers
    start = found["tokens"] == 0
    if not start.any():
        raise UserError(f"{path}: no row at zero tokens, so nobody knows the losses before; evaluate the model that training goes on from")
    zero = {name: float(found[name][start].mean()) for name in ("loss", "domain")}
    check_count(table.kept(~start), "tokens", 1, "tokens")
    inner = ~start & (found["share"] > 0) & (found["share"] < 1)
    values = np.unique(found["share"][inner])
    if len(values) < FEWEST_SHARES:
        raise UserError(f"{path}: {len(values)} shares between 0 and 1, and {FEWEST_SHARES} are needed; train at 1/8, 1/4, 1/2 and 3/4")
    last = float(found["tokens"].max())
    curves = []
    for value in values:
        rows = inner & (found["share"] == value)
        order = np.argsort(found["tokens"][rows])
        if rows.sum() < FEWEST_TIMES:
            raise UserError(f"{path}: share {value:g} was evaluated {rows.sum()} times, and {FEWEST_TIMES} are needed; evaluate more often")
        change = {name: found[name][rows][order] - zero[name] for name in ("loss", "domain")}
        curves.append(_Curves(float(value), found["tokens"][rows][order] / last, change["loss"], change["domain"]))
    return _answer(curves, last, tolerance, weight, table.warnings, draws)


def _answer(curves: list[_Curves], last: float, tolerance: float, weight: float, told: list[str], draws: int) -> MixtureResult:
    """The critical ratio of the curves, with percentile intervals over resampled residuals."""
    domain, general = ([_bands(curve, kind, draws) for curve in curves] for kind in (DOMAIN, GENERAL))
    slopes = [_slopes(d[0], g[0], weight) for d, g in zip(domain, general, strict=True)]
    turns = np.array([_turn(one) for one in slopes])  # [shares, 1 + draws]
    ends = np.array([GENERAL.predict(g[0], {"t": np.ones(1)})[:, 0] for g in general])
    domain_ends = [float(DOMAIN.predict(d[0][:1], {"t": np.ones(1)})[0, 0]) for d in domain]
    x = np.array([curve.share for curve in curves])
    ratio = np.array([_critical(x, turns[:, draw], ends[:, draw], tolerance) for draw in range(draws + 1)])
    told = list(told)
    shares = []
    for place, curve in enumerate(curves):
        turn = float(turns[place, 0])
        end = float(ends[place, 0])
        feasible = turn < 1 and end <= tolerance
        seen = turn * last if np.isfinite(turn) else None
        shares.append(AtShare(share=curve.share, general=end, domain=domain_ends[place], turn=seen, feasible=feasible))
    if not np.isfinite(ratio[0]):
        told.append("no share is feasible: fly smaller shares, or train for longer")
    elif ratio[0] >= x[-1]:
        told.append(f"every share up to {x[-1]:g} is feasible, so the critical one lies above; fly larger shares")
    if (lost := float(np.mean(~np.isfinite(ratio[1:])))) > 0.05:
        told.append(f"in {lost:.0%} of the resamples no share is feasible; fly more seeds")
    error = np.concatenate([g[1] for g in general] + [d[1] for d in domain])
    kept = ratio[1:][np.isfinite(ratio[1:])]
    found = intervals(["critical_ratio"], ratio[:1], kept[:, None] if len(kept) else np.full((1, 1), np.nan))
    return MixtureResult(
        law=f"{DOMAIN.formula}; {GENERAL.formula}; {AT_END.formula}",
        parameters=found,
        covariance={"critical_ratio": {"critical_ratio": float(np.var(kept)) if len(kept) > 1 else float("nan")}},
        points=len(error) // 2,
        residual=float(np.sqrt((error**2).mean())),
        objective=float((error**2).sum()),
        warnings=told,
        shares=shares,
    )


def _bands(curve: _Curves, form: LawForm, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The law of one curve and of resamples [1 + draws, numbers], and residuals. Neighbouring points are drawn in blocks."""
    target = curve.domain if form is DOMAIN else curve.general
    search = Search(form, {"t": curve.t}, target)
    best = search.fit()
    blocks = np.arange(len(target)) // max(1, len(target) // 8)
    weights = np.random.default_rng(0).multinomial(blocks[-1] + 1, np.full(blocks[-1] + 1, 1 / (blocks[-1] + 1)), size=draws)
    drawn = search.fit(weights[:, blocks].astype(float), best)
    return search.laws(np.concatenate([best, drawn])), search.residuals(best)[0]


def _slopes(domain: np.ndarray, general: np.ndarray, weight: float) -> np.ndarray:
    """Slope of domain loss plus ``weight`` times that of general loss, [problems, times], to a few times the end."""
    t = np.concatenate([TIMES, np.linspace(1.02, BEYOND, 60)])
    d = -domain[:, [0]] * domain[:, [1]] * t ** (domain[:, [1]] - 1)
    g = general[:, [0]] * general[:, [1]] * t ** (general[:, [1]] - 1) - general[:, [2]] * general[:, [3]] * t ** (general[:, [3]] - 1)
    return np.asarray(d + weight * g)


def _turn(slopes: np.ndarray) -> np.ndarray:
    """The first time, as a share of the end, at which the slope is zero or less; infinite where there is none."""
    t = np.concatenate([TIMES, np.linspace(1.02, BEYOND, 60)])
    down = slopes <= 0
    return np.where(down.any(axis=1), t[down.argmax(axis=1)], np.inf)


def _critical(share: np.ndarray, turn: np.ndarray, end: np.ndarray, tolerance: float) -> float:
    """The largest share whose turn comes before the end and whose general loss stays within the tolerance; nan where there is none."""
    search = Search(AT_END, {"share": share}, end)
    fine = np.linspace(share[0], share[-1], 400)
    within = AT_END.predict(search.laws(search.fit()), {"share": fine})[0] <= tolerance
    late = np.interp(fine, share, np.log(np.minimum(turn, BEYOND)))
    feasible = within & (late <= 0)
    return float(fine[feasible].max()) if feasible.any() else float("nan")
