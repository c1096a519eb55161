"""Where a model stops bearing to lose weights: is there a knee in loss against sparsity, and where?

The claim of Jaiswal et al. 2023, "The Emergence of Essential Sparsity", arXiv:2306.03805, is a sharp turning point. They fit nothing,
so what counts as one is said here. Loss against sparsity, averaged over seeds, is fitted by least squares with one line, two straight
pieces that meet at a knee, a quadratic and an exponential; the lowest Bayesian information criterion (Schwarz 1978) is preferred. A
knee where two pieces are not preferred is where two pieces would meet and not a property of the model: a smooth curve has none. The
points of a curve are the same model on the same text, so the criterion compares shapes and is no test. The interval of the knee is a
percentile bootstrap over seeds; with few seeds it is coarse, so the knee of every seed is given too.

``windtunnel law knee RESULT`` prints what :func:`knees` finds in a study's result.json or a paper's result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.study.lenient import as_result
from windtunnel.study.result import StudyResult

FEWEST = 7  # points of a curve: two pieces have four numbers to fit, and a shape must be able to be wrong
CANDIDATES = 400  # knees and rates that are tried
ROUNDING = 1e-7  # of the loss: shapes that fit better than this fit equally well


def shapes(sparsity: np.ndarray, loss: np.ndarray) -> dict[str, dict[str, Any]]:
    """Each shape fitted to one curve: ``bic``, ``residual`` (root mean square, in the unit of the loss) and what it found.

    ``two_pieces`` has its ``knee`` and the slopes ``before`` and ``after`` it, loss per unit of sparsity; at least two points lie on
    either side. ``exponential`` is constant + factor * exp(``rate`` * sparsity).

    Raises:
        UserError: for fewer than seven points.
    """
    if len(sparsity) < FEWEST:
        raise UserError(f"a knee needs the loss at {FEWEST} sparsities or more, not {len(sparsity)}")
    count = len(loss)

    def best(designs: np.ndarray, parameters: int) -> tuple[int, np.ndarray, dict[str, float]]:
        index = int(_errors(designs, loss[None])[0].argmin())
        found = np.linalg.lstsq(designs[index], loss, rcond=None)[0]
        error = max(float(((designs[index] @ found - loss) ** 2).mean()), (ROUNDING * float(np.abs(loss).mean())) ** 2)
        return index, found, {"bic": count * math.log(error) + parameters * math.log(count), "residual": math.sqrt(error)}

    places, pieces = _two_pieces(sparsity)
    # Scaled so that no rate overflows: at the last point the exponential is 1.
    rates = np.geomspace(0.1, 200, CANDIDATES) / np.ptp(sparsity)
    curves = np.stack([np.stack([np.ones(count), np.exp(rate * (sparsity - sparsity[-1]))], axis=1) for rate in rates])
    _, line, line_fit = best(np.vander(sparsity, 2)[None], 2)
    bend, piece, piece_fit = best(pieces, 4)
    _, square, square_fit = best(np.vander(sparsity, 3)[None], 3)
    steep, _, curve_fit = best(curves, 3)
    return {
        "line": {**line_fit, "slope": float(line[0])},
        "two_pieces": {**piece_fit, "knee": float(places[bend]), "before": float(piece[1]), "after": float(piece[1] + piece[2])},
        "quadratic": {**square_fit, "curvature": float(2 * square[0])},
        "exponential": {**curve_fit, "rate": float(rates[steep])},
    }


def _two_pieces(sparsity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The knees that are tried and, for each, the matrix [points, 3] of constant, slope and bend."""
    places = np.linspace(sparsity[1], sparsity[-2], CANDIDATES)
    return places, np.stack([np.stack([np.ones_like(sparsity), sparsity, np.maximum(0, sparsity - place)], axis=1) for place in places])


def _errors(designs: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The squared error [curves, designs] that each design [designs, points, parameters] leaves of each curve [curves, points]."""
    basis = np.linalg.qr(designs)[0]
    centred = losses - losses.mean(axis=1, keepdims=True)  # every design holds a constant, and small numbers are exact
    fits = np.einsum("dpk,cp->cdk", basis, centred)
    return (centred**2).sum(axis=1)[:, None] - (fits**2).sum(axis=2)


def knee(curves: Mapping[int, Mapping[float, float]], *, draws: int = 300, confidence: float = 0.95, up_to: float = 1.0) -> dict[str, Any]:
    """The shapes of the mean curve over seeds, which is preferred, and the knee with its interval.

    Args:
        curves: the loss by sparsity (a share), by seed; only sparsities that every seed has are used.
        draws: bootstrap samples of the seeds.
        confidence: of the percentile interval; None for both ends where there is one seed.
        up_to: sparsities above it are left out, because a loss that has reached that of guessing bends a second time.

    Returns:
        ``seeds``, ``sparsities``, ``loss`` (mean), ``shapes`` as :func:`shapes`, ``preferred``, ``beats_line`` (by BIC) and
        ``knee`` with ``value``, ``low``, ``high`` and ``by_seed``.

    Raises:
        UserError: for no curve, or one of fewer than seven points.
    """
    if not curves:
        raise UserError("no curve to look for a knee in")
    seeds = sorted(curves)
    common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
    sparsity = np.array([share for share in common if share <= up_to])
    values = np.array([[curves[seed][share] for share in sparsity] for seed in seeds])
    found = shapes(sparsity, values.mean(axis=0))
    random = np.random.default_rng(0)
    low = high = None
    places, designs = _two_pieces(sparsity)
    if len(seeds) > 1:
        samples = np.stack([values[random.integers(len(seeds), size=len(seeds))].mean(axis=0) for _ in range(draws)])
        drawn = places[_errors(designs, samples).argmin(axis=1)]
        low, high = (float(end) for end in np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return {
        "seeds": len(seeds),
        "sparsities": sparsity.tolist(),
        "loss": values.mean(axis=0).tolist(),
        "shapes": found,
        "preferred": min(found, key=lambda name: found[name]["bic"]),
        "beats_line": found["two_pieces"]["bic"] < found["line"]["bic"],
        "knee": {
            "value": found["two_pieces"]["knee"],
            "low": low,
            "high": high,
            "by_seed": dict(zip(seeds, places[_errors(designs, values).argmin(axis=1)].tolist(), strict=True)),
        },
    }


def knees(result: StudyResult | Mapping[str, Any], *, up_to: float = 1.0, draws: int = 300) -> dict[str, Any]:
    """What :func:`knee` says of every sweep in a study's result: by arm, ``ARM x MULTIPLE`` where not 1, then by sweep.

    A sweep is the test numbers of a run that are named ``SWEEP/50%``, such as those of the evaluation ``pruned``. A run at another
    budget that is also an arm (the same ``key``) is named by the arm alone.

    Raises:
        UserError: where no finished run holds a sweep.
    """
    sweeps: dict[str, dict[str, dict[int, dict[float, float]]]] = {}
    finished = [run for run in as_result(result).runs if run.finished]
    arms = {run.key for run in finished if run.multiple == 1 and run.key}
    for run in finished:
        if run.multiple != 1 and run.key in arms:
            continue
        arm = run.arm if run.multiple == 1 else f"{run.arm} x {run.multiple:g}"
        for name, value in run.test.items():
            if value is not None and (found := re.fullmatch(r"(.+)/([\d.]+)%", name)):
                sweeps.setdefault(arm, {}).setdefault(found[1], {}).setdefault(run.seed, {})[float(found[2]) / 100] = value
    long = {arm: {name: curves for name, curves in mine.items() if _longest(curves) >= FEWEST} for arm, mine in sweeps.items()}
    if not any(long.values()):
        raise UserError(f"no run measured a sweep of {FEWEST} sparsities or more; fly the study with the evaluation pruned")
    return {arm: {name: knee(curves, up_to=up_to, draws=draws) for name, curves in mine.items()} for arm, mine in long.items() if mine}


def _longest(curves: Mapping[int, Mapping[float, float]]) -> int:
    return max(map(len, curves.values()))
