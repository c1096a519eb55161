"""Fit and bootstrap of the law in N and D, against a loop of scipy.optimize.minimize over the same beginnings.

``python benchmarks/laws.py`` prints JSON. 240 runs are drawn from a planted law with noise of 1 percent. Both sides fit the table and 50
bootstrap samples of it, from the same six beginnings of the table and three of each sample, with the same analytic gradient and bounds.
``ratio`` is scipy's CPU time over ours. ``worse`` is the largest relative amount by which our optimum lies above scipy's, ``better``
the largest by which it lies below. ``thousand`` is what a fit with 1,000 samples takes, in CPU seconds. ``study`` is a study of a thousand
runs: the law of size and tokens of all of them with 1,000 samples, the forecast of its nine arms, and the page, in CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from scipy import optimize

from windtunnel.laws.chinchilla import fit_chinchilla
from windtunnel.laws.decision import forecast
from windtunnel.laws.power import BEGINNINGS, CHINCHILLA, Fitter, resamples
from windtunnel.report.document import document

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


def study() -> list[dict[str, Any]]:
    """A thousand runs: ten arms at five scales, twenty seeds of each."""
    random = np.random.default_rng(1)
    found = []
    for place in range(5):
        flops, size = 1e15 * 8.0**place, 1e6 * 8.0 ** (place / 2)
        runs = []
        for number in range(10):
            for seed in range(20):
                times = 10.0 * (1 + seed % 4)
                at = {"N": np.array([size]), "D": np.array([size * times])}
                loss = float(CHINCHILLA.predict(LAW, at)[0] * np.exp(-0.002 * number + 0.003 * random.standard_normal()))
                run = {"arm": f"arm-{number}" if number else "baseline", "seed": seed, "status": "finished", "multiple": 1.0}
                runs.append({**run, "test": {"bits_per_byte": loss}, "totals": {"flops": flops, "tokens": size * times}})
        about = {"name": f"scale-{place}", "metric": "bits_per_byte", "unit": "bits per byte"}
        arms = {f"arm-{number}": {} for number in range(1, 10)}
        whole = {"format": 2, "study": about, "stream": {"fingerprint": "x"}, "arms": arms, "runs": runs}
        found.append({**whole, "baseline": {"parameters": size}})
    return found


def a_thousand_runs() -> float:
    """CPU seconds from results to page."""
    results = study()
    before = time.process_time()
    rows = [(r["baseline"]["parameters"], run["totals"]["tokens"], run["test"]["bits_per_byte"]) for r in results for run in r["runs"]]
    size, tokens, loss = np.array(rows).T
    fit_chinchilla(size, tokens, loss, draws=1000)
    document(results[-1], forecast(results, 1e20))
    return time.process_time() - before


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
        "study": a_thousand_runs(),
    }


if __name__ == "__main__":
    json.dump(main(), sys.stdout, indent=1)
    print()
