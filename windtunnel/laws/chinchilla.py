"""Loss from parameters and tokens: L(N, D) = E + A / N^alpha + B / D^beta, with its uncertainty.

Hoffmann et al. 2022 (arXiv:2203.15556), fitted as Besiroglu et al. 2024 (arXiv:2404.10102) did it again: Huber loss (1e-3) on the
logarithm's residuals, summed, many beginnings, and a percentile bootstrap over runs. ``windtunnel law chinchilla`` prints what
:func:`chinchilla` finds in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.laws.forecast import DRAWS, LawResult, LeftOut, intervals
from windtunnel.laws.power import CHINCHILLA, HIGHEST, Fitter, resamples
from windtunnel.laws.table import RunTable, check_count, check_loss, check_ratio, read_table

FEWEST_POINTS, FEWEST_VALUES = 7, 3
ALIKE = 1.03  # sizes and token counts that differ by less are one


def chinchilla(
    path: str | Path,
    *,
    size: str,
    tokens: str,
    loss: str,
    group: str | None = None,
    where: Mapping[str, str] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """The law of the runs in a table.

    Args:
        path: of the table, see :mod:`windtunnel.laws.table`.
        size: column of parameters, raw numbers.
        tokens: column of training tokens, raw numbers.
        loss: column of the final loss, nats a token.
        group: column of what is drawn together in the bootstrap, such as the run of several checkpoints.
        where: only rows whose cell in a column says this.
        draws: bootstrap samples.

    Returns:
        ``parameters`` E, A, B, alpha and beta, and ``compute_exponent``, the power of compute with which the best size grows.

    Raises:
        UserError: for a table that cannot be read, units that cannot be right, and runs from which no law of this form can be told.
    """
    table = read_table(Path(path), {"size": size, "tokens": tokens, "loss": loss}, {"group": group}, where=where)
    check_count(table, "size", 1e3, "parameters")
    check_count(table, "tokens", 1e4, "training tokens")
    check_ratio(table)
    diverged = _diverged_sizes(table)
    table = check_loss(table)
    table.warnings.extend(diverged)
    runs = table.numbers
    return fit_chinchilla(runs["size"], runs["tokens"], runs["loss"], table.groups, warnings=table.warnings, draws=draws)


def fit_chinchilla(
    size: np.ndarray,
    tokens: np.ndarray,
    loss: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    warnings: list[str] | None = None,
    draws: int = DRAWS,
) -> LawResult:
    """:func:`chinchilla` of arrays whose units are right; ``warnings`` of reading them come first in the result's."""
    told = list(warnings or ())
    told += _refuse(size, tokens, loss)
    fitter = Fitter(CHINCHILLA, {"N": size, "D": tokens}, loss)
    best = fitter.fit()
    weights = resamples(len(loss), draws, groups)
    drawn = fitter.fit(weights, begin=best, count=2)
    names = CHINCHILLA.names
    value, samples = fitter.laws(best)[0], fitter.laws(drawn)
    found = intervals(names, value, samples)
    residual = fitter.residuals(best)[0]
    left = _largest_left_out(size, tokens, loss)
    told += _unidentified(value, samples, loss)
    told += _odd_points(size, tokens, residual)
    if groups is not None and (count := len(set(groups))) < 10:
        told.append(f"{count} groups: an interval from so few is too narrow; fly more of them")
    shares = np.stack([value, *samples])
    exponent = shares[:, 4] / np.maximum(shares[:, 3] + shares[:, 4], 1e-12)
    spread = np.cov(np.concatenate([np.log(samples[:, :3]), samples[:, 3:]], axis=1).T)
    labels = [f"log {name}" if name in CHINCHILLA.terms else name for name in names]
    return LawResult(
        law="L = E + A / N^alpha + B / D^beta",
        parameters={name: found[name] for name in ("A", "B", "E", "alpha", "beta")}
        | intervals(["compute_exponent"], exponent[:1], exponent[1:, None]),
        covariance={a: dict(zip(labels, map(float, row), strict=True)) for a, row in zip(labels, spread, strict=True)},
        points=len(loss),
        residual=float(np.sqrt((residual**2).mean())),
        objective=float(fitter.objective(best, np.ones((1, len(loss))))[0]),
        largest_left_out=left,
        warnings=told,
    )


# What cannot be told ------------------------------------------------------------------------------------------------------------


def distinct(values: np.ndarray) -> np.ndarray:
    """The lowest of each cluster of values that are nearly the same, ascending."""
    ordered = np.sort(np.unique(values))
    return ordered[np.concatenate([[True], ordered[1:] > ordered[:-1] * ALIKE])]


def _diverged_sizes(table: RunTable) -> list[str]:
    """A warning for each size of which no run has a finite loss."""
    size, finite = table.numbers["size"], np.isfinite(table.numbers["loss"])
    lost = [value for value in distinct(size) if not finite[(size >= value) & (size <= value * ALIKE)].any()]
    return [f"every run of size {value:.4g} diverged, so nothing is known of it; fly it again with a lower learning rate" for value in lost]


def _refuse(size: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> list[str]:
    """Warnings about a design that can hardly tell the law. Raises UserError for one that cannot."""
    sizes, counts = distinct(size), distinct(tokens)
    if len(sizes) < FEWEST_VALUES:
        at = " and ".join(f"{value:.4g}" for value in sizes)
        raise UserError(
            f"the runs have {len(sizes)} size{'s' * (len(sizes) > 1)} ({at}); E, A and alpha need {FEWEST_VALUES} or more. Fly a size "
            f"at {sizes[-1] * 3:.3g} or {sizes[0] / 3:.3g} parameters"
        )
    if len(counts) < FEWEST_VALUES:
        raise UserError(
            f"the runs have {len(counts)} token count{'s' * (len(counts) > 1)}; E, B and beta need {FEWEST_VALUES} or more. Fly some "
            f"size at {counts[-1] * 3:.3g} or {counts[0] / 3:.3g} tokens"
        )
    if len(loss) < FEWEST_POINTS:
        raise UserError(f"{len(loss)} runs are too few for five numbers; fly {FEWEST_POINTS - len(loss)} more, at other sizes and tokens")
    n, d = np.log(size), np.log(tokens)
    together = float(np.corrcoef(n, d)[0, 1])
    ratio = float(np.exp((d - n).max() - (d - n).min()))
    if abs(together) > 0.999 or ratio < 1.2:
        raise UserError(
            f"tokens grow in step with size (tokens per parameter differ by a factor of {ratio:.3g}), so what size gains and what tokens "
            "gain cannot be told apart. Fly two sizes at a quarter and at four times their tokens"
        )
    told = []
    if abs(together) > 0.98:
        told.append(
            f"tokens nearly grow in step with size (correlation {together:.3f} of their logarithms), so the two terms are told apart by "
            "little; fly some sizes at other tokens per parameter"
        )
    if len(sizes) == FEWEST_VALUES:
        told.append(f"three sizes alone determine E, A and alpha; fly one at {sizes[-1] * 3:.3g} parameters")
    if len(counts) == FEWEST_VALUES:
        told.append(f"three token counts alone determine E, B and beta; fly one at {counts[-1] * 3:.3g} tokens")
    return told + _monotone(size, tokens, loss)


def _monotone(size: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> list[str]:
    """Does loss fall where nothing but size, or nothing but tokens, grows? Raises UserError where it mostly rises."""
    told: list[str] = []
    for name, one, other in (("size", size, tokens), ("tokens", tokens, size)):
        grows = one[:, None] > one[None, :] * ALIKE
        same = np.abs(np.log(other[:, None] / other[None, :])) < 0.1
        pairs = grows & same
        worse = np.log(loss[:, None] / loss[None, :])
        rising = pairs & (worse > 0.005)
        if pairs.sum() >= 3 and rising.sum() > pairs.sum() / 2:
            raise UserError(
                f"at equal {'tokens' if name == 'size' else 'size'} the loss rises with {name} in {rising.sum()} of {pairs.sum()} pairs of "
                "runs, so no law of this form holds; check the columns, and whether the learning rate was tuned at each size"
            )
        if rising.any():
            at = np.unravel_index(np.where(rising, worse, -np.inf).argmax(), rising.shape)
            told.append(
                f"the ladder is not monotone: {rising.sum()} of {pairs.sum()} pairs of runs lose from more {name}, worst from "
                f"{one[at[1]]:.4g} ({loss[at[1]]:.4g}) to {one[at[0]]:.4g} ({loss[at[0]]:.4g}); fly that run again, or leave it out"
            )
    if not told and float(np.corrcoef(np.log(size * tokens), np.log(loss))[0, 1]) > 0:
        raise UserError("the loss does not fall as compute grows, so there is no law to fit; check which column is the loss")
    return told


def _unidentified(value: np.ndarray, samples: np.ndarray, loss: np.ndarray) -> list[str]:
    """A warning for each number that the runs do not determine."""
    told = []
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    cures = {
        "E": "larger sizes and more tokens",
        "A": "more sizes",
        "B": "more token counts",
        "alpha": "more sizes",
        "beta": "more token counts",
    }
    for place, name in enumerate(CHINCHILLA.names):
        if name in ("alpha", "beta"):
            loose = low[place] < 0.02 or high[place] > HIGHEST - 0.01 or high[place] > 4 * low[place]
        elif name == "E":
            loose = low[place] < 0.05 * loss.min() or high[place] - low[place] > 0.5 * loss.min()
        else:
            loose = high[place] > 50 * low[place]
        if loose:
            told.append(
                f"{name} is not identified: {value[place]:.4g}, and anything from {low[place]:.4g} to {high[place]:.4g} fits as well; "
                f"fly {cures[name]} before you rely on it"
            )
    return told


def _odd_points(size: np.ndarray, tokens: np.ndarray, residual: np.ndarray) -> list[str]:
    """A warning where some runs are far off a law that fits the others."""
    usual = 1.4826 * float(np.median(np.abs(residual)))
    odd = np.abs(residual) > max(8 * usual, 0.02)
    told = []
    if odd.any():
        worst = int(np.abs(residual).argmax())
        told.append(
            f"{odd.sum()} run{'s are' if odd.sum() > 1 else ' is'} far off the law, worst at size {size[worst]:.4g} and "
            f"{tokens[worst]:.4g} tokens ({-np.expm1(residual[worst]):+.1%}); they count little. Did they diverge, or have another recipe?"
        )
    if np.sqrt((residual**2).mean()) > 0.05:
        told.append("the law misses its own runs by more than 5 percent; do not forecast with it")
    return told


def _largest_left_out(size: np.ndarray, tokens: np.ndarray, loss: np.ndarray) -> LeftOut | None:
    """The largest size, or else the runs of most compute, predicted from the others."""
    sizes = distinct(size)
    if len(sizes) > FEWEST_VALUES:
        out = size >= sizes[-1]
        what = f"size {sizes[-1]:.4g}"
    else:
        compute = size * tokens
        out = compute >= np.quantile(compute, 0.85)
        what = "the runs of most compute"
    if (~out).sum() < FEWEST_POINTS or len(distinct(tokens[~out])) < FEWEST_VALUES:
        return None
    fitter = Fitter(CHINCHILLA, {"N": size[~out], "D": tokens[~out]}, loss[~out])
    law = dict(zip(CHINCHILLA.names, fitter.laws(fitter.fit())[0], strict=True))
    error = CHINCHILLA.predict(law, {"N": size[out], "D": tokens[out]}) / loss[out] - 1
    return LeftOut(what=what, points=int(out.sum()), error=float(np.sqrt((error**2).mean())), bias=float(error.mean()))
