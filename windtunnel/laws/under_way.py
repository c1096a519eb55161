"""Whether a run that is under way leaves its forecast.

A band is of finished runs, and a run that has not decayed its rate yet lies above it. So the pilots tell how far above: at each share of
its budget, the loss on validation over what the same run had on test in the end. The highest and the lowest of these ratios over the pilots
of an arm, times the ends of the band at the target, are what a run of that arm is expected to lie between on its way. Pilots of all scales
count, so the band along the way is wider than its 80 percent at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from windtunnel.core.typed import JsonBlock, Number
from windtunnel.laws.forecast import Bounds
from windtunnel.study.result import Run, StudyResult

SHARES = np.linspace(0.05, 1.0, 20)
PATIENCE = 2  # evaluations in a row above the band, from which a run has left it


class OnTheWay(JsonBlock):
    """Where the pilots of an arm stood at a share of their budgets."""

    share: float = Field(description="of the budget, in FLOPs")
    low: Number = Field(description="the metric on validation over that of the same run on test in the end: the lowest of all pilots")
    high: Number = Field(description="the highest")


def on_the_way(results: Sequence[StudyResult], arm: str, metric: str) -> list[OnTheWay]:
    """Where the finished runs of ``arm`` in ``results`` stood on their way; empty where results hold no evaluations of them."""
    runs = [run for result in results for run in result.runs if run.arm == arm and run.finished]
    curves = [curve for run in runs if (curve := _curve(run, metric)) is not None]
    if not curves:
        return []
    logs = np.stack(curves)
    known = np.isfinite(logs).all(axis=0)
    ends = np.exp([logs[:, known].min(axis=0), logs[:, known].max(axis=0)]).T
    return [OnTheWay(share=float(share), low=float(a), high=float(b)) for share, (a, b) in zip(SHARES[known], ends, strict=True)]


def _curve(run: Run, metric: str) -> np.ndarray | None:
    """The logarithm of the metric at each share over its end [shares], nan before the first evaluation; None where it is not known."""
    final, spent = run.test.get(metric), run.validation[-1].flops if run.validation else None
    points = [(one.flops, one.numbers.get(metric)) for one in run.validation]
    good = [(flops, value) for flops, value in points if flops and value is not None and np.isfinite(value) and value > 0]
    if not spent or not final or not np.isfinite(final) or final <= 0 or len(good) < 2:
        return None
    flops, values = np.array(good).T
    return np.interp(SHARES, flops / spent, np.log(values / final), left=np.nan)


@dataclass
class UnderWay:
    """A run that is compared with its forecast at each evaluation; it ``say``s when it leaves the band, and when it comes back."""

    metric: str
    final: Bounds
    way: Sequence[OnTheWay]
    say: Callable[[str], None]
    stops: bool = False
    step: int = field(default=-1, init=False)
    above: int = field(default=0, init=False)

    @property
    def left(self) -> bool:
        """Whether the run is to end because it has left its band."""
        return self.stops and self.above >= PATIENCE

    def band(self, share: float) -> tuple[float, float] | None:
        """What the metric on validation is expected between at a share of the budget; None before the pilots' first evaluation."""
        shares = np.array([one.share for one in self.way])
        if not len(shares) or share < shares[0]:
            return None
        low, high = (np.interp(share, shares, np.log([getattr(one, end) for one in self.way])) for end in ("low", "high"))
        return float(self.final.low * np.exp(low)), float(self.final.high * np.exp(high))

    def see(self, told: dict[str, Any]) -> None:
        """Compare the latest evaluation of a run's progress, as :class:`windtunnel.train.run.Options` reports it, with the band."""
        point = next(iter(told.get("validation") or ()), None)
        if point is None or point["step"] == self.step or not told["flops"]:
            return
        self.step = point["step"]
        value, share = point["numbers"].get(self.metric), min(told["done"] * point["flops"] / told["flops"], 1.0)
        band = self.band(share)
        if value is None or band is None:
            return
        was, self.above = self.above, self.above + 1 if value > band[1] else 0
        place = f"step {self.step}, {share:.0%}: {self.metric} {value:.4f} on validation"
        if self.above == PATIENCE:
            ending = "; stopping, as asked" if self.stops else ""
            self.say(f"{place} lies above its forecast, {band[0]:.4f} to {band[1]:.4f} at this point, for the second time{ending}")
        elif was >= PATIENCE and not self.above:
            self.say(f"{place} lies within its forecast again, {band[0]:.4f} to {band[1]:.4f}")
        elif value < band[0]:
            self.say(
                f"{place} lies below its forecast, {band[0]:.4f} to {band[1]:.4f}: better than foretold, or held-out text is trained on"
            )
