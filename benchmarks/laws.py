"""Fit and bootstrap of the law in N and D, against a loop of scipy.optimize.minimize over the same beginnings.

``python benchmarks/laws.py`` prints JSON. 240 runs are drawn from a planted law with noise of 1 percent. Both sides fit the table and 50
bootstrap samples of it, from the same six beginnings of the table and three of each sample, with the same analytic gradient and bounds.
``ratio`` is scipy's CPU time over ours. ``worse`` is the largest relative amount by which our optimum lies above scipy's, ``better``
the largest by which it lies below. ``thousand`` is what a fit with 1,000 samples takes, in CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from scipy import optimize

from windtunnel.laws.power import BEGINNINGS, CHINCHILLA, Fitter, resamples

LAW = {"E": 1.82, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
RUNS, SAMPLES = 240, 50


def table() -> Fitter:
    random = np.random.default_rng(0)
    size = np.exp(random.uniform(np.log(5e7), np.log(1e10), RUNS))
    tokens = size * np.exp(random.uniform(np.log(2), np.log(200), RUNS))
    loss = CHINCHILLA.predict(LAW, {"N": size, "D": tokens}) * np.exp(0.01 * random.standard_normal(RUNS))
    return Fitter(CHINCHILLA, {"N": size, "D": tokens}, loss)


def by_scipy(fitter: Fitter, begins: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The lowest of one minimisation from each beginning, and where it lies."""
    design, target, delta = fitter.design, fitter.target, fitter.delta
    # A function of one problem, as somebody would write it who fits one.

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        parts = np.exp(design @ x)
        whole = parts.sum(axis=0)
        error = np.log(whole) - target
        slope = weights * np.clip(error, -delta, delta)
        size = np.abs(error)
        inner = np.minimum(size, delta)
        # Divided by its own scale, because the solver stops by absolute sizes.
        value = float(weights @ (inner * (size - inner / 2))) / delta**2
        return value, np.einsum("p,tp,tpk->k", slope / whole, parts, design, optimize=True) / delta**2

    bounds = list(zip(fitter.low, fitter.high, strict=True))
    options = {"maxiter": 2000, "maxfun": 10000, "ftol": 1e-12, "gtol": 1e-8}
    found = [optimize.minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for begin in begins]
    best = min(found, key=lambda one: float(one.fun))
    return float(best.fun) * delta**2, best.x


def main() -> dict[str, Any]:
    fitter = table()
    weights = resamples(RUNS, SAMPLES)
    one = np.ones((1, RUNS))
    before = time.process_time()
    ours = fitter.fit()
    drawn = fitter.fit(weights, begin=ours, count=2)
    mine = time.process_time() - before
    before = time.process_time()
    value, best = by_scipy(fitter, fitter.begin(one, BEGINNINGS)[0], one[0])
    theirs = [value]
    for row in weights:
        theirs.append(by_scipy(fitter, np.concatenate([best[None], fitter.begin(row[None], 2)[0]]), row)[0])
    loop = time.process_time() - before
    values = np.concatenate([fitter.objective(ours, one), fitter.objective(drawn, weights)])
    apart = values / np.array(theirs) - 1
    before = time.process_time()
    fitter.fit(resamples(RUNS, 1000), begin=fitter.fit(), count=2)
    thousand = time.process_time() - before
    return {
        "ratio": loop / mine,
        "worse": float(apart.max()),
        "better": float(-apart.min()),
        "same optimum": float((np.abs(apart) < 1e-6).mean()),
        "thousand": thousand,
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
