"""An interval for a loss that was not measured: how far a law may be wrong beyond its runs.

A bootstrap over runs says how far noise moves the law, and nothing of a law that is wrong. What the law misses of the largest runs, when
they are left out, says that. Both stand in the interval, with the scatter of single runs: the miss grows with the distance from the runs
in the logarithm of compute, from that at which it was seen. Together they were too wide on other people's runs, and so they are narrowed by
what those runs say, one factor for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from windtunnel.laws.power import Fitter, Form, resamples

FURTHEST = 3.0  # a miss is not stretched more than so many times
WIDTH = 0.64  # of what the terms below add up to: see benchmarks/law_calibration.py, which finds it
LARGEST = 0.25  # share of the runs, those of most compute, that are left out


@dataclass(frozen=True)
class Forecast:
    """The logarithm of a loss: middle and standard deviation [points]."""

    middle: np.ndarray
    spread: np.ndarray

    def interval(self, level: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the interval of ``level`` of the loss itself."""
        from scipy import stats

        reach = float(stats.t.ppf((1 + level) / 2, 4)) * self.spread  # heavy tails: the spread is guessed from little
        return np.exp(self.middle - reach), np.exp(self.middle + reach)


def foretell(
    form: Form,
    variables: Mapping[str, np.ndarray],
    loss: np.ndarray,
    at: Mapping[str, np.ndarray],
    *,
    draws: int = 200,
    width: float = WIDTH,
) -> Forecast:
    """What the law of these runs says of others.

    Args:
        form: of the law.
        variables: by name, of the runs.
        loss: of the runs.
        at: variables of what is to be forecast; compute is their product.
        draws: bootstrap samples.
        width: what the spread is multiplied by.
    """
    fitter = Fitter(form, variables, loss)
    best = fitter.fit()
    laws = fitter.laws(fitter.fit(resamples(len(loss), draws), begin=best, count=2))
    names = form.names
    drawn = np.log([form.predict(dict(zip(names, law, strict=True)), at) for law in laws])
    middle = np.log(form.predict(dict(zip(names, fitter.laws(best)[0], strict=True)), at))
    compute, target = (sum(np.log(values) for values in several.values()) for several in (variables, at))
    out = compute >= np.quantile(compute, 1 - LARGEST)
    scatter = 1.4826 * float(np.median(np.abs(fitter.residuals(best)[0])))
    miss, seen = scatter, 1.0
    if (~out).sum() > len(names):
        kept = Fitter(form, {name: values[~out] for name, values in variables.items()}, loss[~out])
        law = dict(zip(names, kept.laws(kept.fit())[0], strict=True))
        guess = form.predict(law, {name: values[out] for name, values in variables.items()})
        miss = float(np.sqrt((np.log(guess / loss[out]) ** 2).mean()))
        seen = max(float(compute[out].mean() - compute[~out].max()), 0.5)
    further = np.clip((target - compute.max()) / seen, 0.5, FURTHEST)
    return Forecast(middle, width * np.sqrt(drawn.std(axis=0) ** 2 + scatter**2 + (miss * further) ** 2))
