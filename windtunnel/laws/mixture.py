"""The critical mixture ratio: the largest share of domain text that continued pre-training may have before general loss is not won back.

Gu et al. 2024 (arXiv:2407.17467). A share R is feasible if at the end the general loss has risen by no more than a tolerance, and if before
the end a further nat of domain loss was worth what it cost in general loss: at some time weight times the slope of the general loss and the
slope of the domain loss add up to zero or less. Along training the domain loss follows a power law and the general loss, which first rises
and then falls, the sum of two. How far that foretells anything is asked of the curves themselves: their beginnings are fitted alone, and
what they say of the end is compared with what was measured there, beside the last loss and a straight line.
``windtunnel law mixture`` prints what :func:`mixture` finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.fitting import LawForm, Search, Variables
from windtunnel.laws.forecast import DRAWS, LawResult, intervals
from windtunnel.laws.table import check_count, check_loss, read_table

FEWEST_SHARES, FEWEST_TIMES = 4, 10
BEGINNING = 0.25  # of the tokens, from which the end is foretold
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


class Foretold(JsonBlock):
    """The loss at the end, from the beginnings of the curves."""

    error: float = Field(description="mean over shares of the absolute error, as a share of the loss")
    against_last: float = Field(description="over that of the last loss that was fitted; below one where the law foretells better")
    against_line: float = Field(description="over that of a straight line through the later half of what was fitted")


class MixtureAhead(JsonBlock):
    """What the beginnings of the curves foretell."""

    tokens: float = Field(description="curves were fitted up to here")
    general: Foretold
    domain: Foretold
    critical_ratio: Number | None = Field(None, description="after all tokens, from the beginnings; None: no share would be feasible")
    steps: Number | None = Field(None, description="between it and that of the whole curves, in steps between the shares trained at")


class MixtureResult(LawResult):
    """The critical mixture ratio, and what was found at each share."""

    shares: list[AtShare] = Field([], description="ascending")
    ahead: MixtureAhead | None = Field(None, description="None where a curve has too few evaluations in its first quarter")


@dataclass(frozen=True)
class _Curves:
    """The curves of one share, times as shares of the last one; losses are changes from ``zero``, by its names, nats."""

    share: float
    t: np.ndarray
    general: np.ndarray
    domain: np.ndarray
    who: np.ndarray  # the place of each point's group
    zero: Mapping[str, float]

    def until(self, time: float) -> _Curves:
        """The beginning of the curves."""
        kept = self.t <= time * (1 + 1e-9)
        return replace(self, t=self.t[kept], general=self.general[kept], domain=self.domain[kept], who=self.who[kept])


def mixture(
    path: str | Path,
    *,
    share: str,
    tokens: str,
    general: str,
    domain: str,
    tolerance: float = 0.05,
    weight: float = 1.0,
    group: str | None = None,
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
        group: column of what is drawn together in the bootstrap, such as the seed. Losses are then changes from those of the group's own
            rows at zero tokens, and every group has to be there at every share.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples, of groups, or where there are none of the points of each curve in blocks.

    Raises:
        UserError: for a table that cannot be read, fewer than four shares or ten evaluations of one, no row at zero tokens, or a group
            that lacks a share.
    """
    roles = {"share": share, "tokens": tokens, "loss": general, "domain": domain}
    table = check_loss(check_loss(read_table(Path(path), roles, {"group": group}, where=where)), "domain")
    found = table.numbers
    groups, who = np.unique(table.words["group"] if group else ["" for _ in found["tokens"]], return_inverse=True)
    start = found["tokens"] == 0
    zero = {name: np.array([found[name][start & (who == each)].mean() for each in set(who[start])]) for name in ("loss", "domain")}
    if lacking := set(range(len(groups))) - set(who[start]):
        of = f" of {group} {groups[min(lacking)]}" if group else ""
        raise UserError(
            f"{path}: no row{of} at zero tokens, so nobody knows the losses before; evaluate the model that training goes on from"
        )
    check_count(table.kept(~start), "tokens", 1, "tokens")
    inner = ~start & (found["share"] > 0) & (found["share"] < 1)
    values = np.unique(found["share"][inner])
    if len(values) < FEWEST_SHARES:
        raise UserError(f"{path}: {len(values)} shares between 0 and 1, and {FEWEST_SHARES} are needed; train at 1/8, 1/4, 1/2 and 3/4")
    last = float(found["tokens"].max())
    curves = []
    for value in values:
        rows = inner & (found["share"] == value)
        rows = np.flatnonzero(rows)[np.argsort(found["tokens"][rows], kind="stable")]
        if (times := len(np.unique(found["tokens"][rows]))) < FEWEST_TIMES:
            raise UserError(f"{path}: share {value:g} was evaluated {times} times, and {FEWEST_TIMES} are needed; evaluate more often")
        if lacking := set(range(len(groups))) - set(who[rows]):
            raise UserError(f"{path}: share {value:g} lacks {group} {groups[min(lacking)]}; fly it, or leave that one out with `where`")
        change = {name: found[name][rows] - zero[name][who[rows]] for name in ("loss", "domain")}
        before = {"general": float(zero["loss"].mean()), "domain": float(zero["domain"].mean())}
        curves.append(_Curves(float(value), found["tokens"][rows] / last, change["loss"], change["domain"], who[rows], before))
    return _answer(curves, last, tolerance, weight, table.warnings, draws)


def _answer(curves: list[_Curves], last: float, tolerance: float, weight: float, told: list[str], draws: int) -> MixtureResult:
    """The critical ratio of the curves, with percentile intervals over what was drawn again."""
    weights = [_weights(curve, draws) for curve in curves]
    domain, general = ([_bands(*pair, form) for pair in zip(curves, weights, strict=True)] for form in (DOMAIN, GENERAL))
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
        ahead=_ahead(curves, last, tolerance, weight, float(ratio[0])),
    )


def _weights(curve: _Curves, draws: int) -> np.ndarray:
    """How often each point is drawn, [draws, points]: with its group, the same for every curve; else in blocks of neighbours."""
    kind = curve.who if curve.who.any() else np.arange(len(curve.t)) // max(1, len(curve.t) // 8)
    kinds = kind.max() + 1
    drawn = np.random.default_rng(0).multinomial(kinds, np.full(kinds, 1 / kinds), size=draws)
    return drawn[:, kind].astype(float)


def _bands(curve: _Curves, weights: np.ndarray, form: LawForm) -> tuple[np.ndarray, np.ndarray]:
    """The law of one curve and of resamples [1 + draws, numbers], and residuals."""
    search = _search(curve, form)
    best = search.fit()
    drawn = search.fit(weights, best)
    return search.laws(np.concatenate([best, drawn])), search.residuals(best)[0]


def _search(curve: _Curves, form: LawForm) -> Search:
    return Search(form, {"t": curve.t}, curve.domain if form is DOMAIN else curve.general)


def _ahead(curves: list[_Curves], last: float, tolerance: float, weight: float, ratio: float) -> MixtureAhead | None:
    """What the beginnings of ``curves`` foretell, beside what was measured and the critical ``ratio`` of all; None from too few points."""
    early = [curve.until(BEGINNING) for curve in curves]
    if min(len(np.unique(curve.t)) for curve in early) < FEWEST_TIMES:
        return None
    forms = {"domain": DOMAIN, "general": GENERAL}
    laws = {name: [(search := _search(curve, form)).laws(search.fit()) for curve in early] for name, form in forms.items()}
    errors = {}
    for name, form in forms.items():
        off = []  # of the law, the last loss and the line, by share
        for curve, first, law in zip(curves, early, laws[name], strict=True):
            change, known = getattr(curve, name), getattr(first, name)
            end, late = change[curve.t == curve.t.max()].mean(), first.t >= first.t.max() / 2
            line = np.polyval(np.polyfit(first.t[late], known[late], 1), 1.0)
            guesses = form.predict(law, {"t": np.ones(1)})[0, 0], known[first.t == first.t.max()].mean(), line
            off.append(np.abs(np.array(guesses) - end) / (curve.zero[name] + end))
        mean = np.mean(off, axis=0)
        errors[name] = Foretold(error=float(mean[0]), against_last=float(mean[0] / mean[1]), against_line=float(mean[0] / mean[2]))
    turns = np.array([_turn(_slopes(d, g, weight))[0] for d, g in zip(laws["domain"], laws["general"], strict=True)])
    ends = np.array([GENERAL.predict(law, {"t": np.ones(1)})[0, 0] for law in laws["general"]])
    x = np.array([curve.share for curve in curves])
    guess = _critical(x, turns, ends, tolerance)
    at = np.interp([guess, ratio], x, np.arange(len(x)))
    both = bool(np.isfinite([guess, ratio]).all())
    return MixtureAhead(
        tokens=BEGINNING * last,
        **errors,
        critical_ratio=guess if np.isfinite(guess) else None,
        steps=float(abs(at[0] - at[1])) if both else None,
    )


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
