"""How far forecasts are off, as a ratio to what a season ago says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import PATCHTST, SERIES
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective

BOUND = 1e3  # by which a series' ratio goes into the mean at most, or one over it: a few exact values must not decide alone


class RelativeError(Evaluation, name="relative-error"):
    """The mean absolute error of forecasts over that of seasonal naive, which says the value of one season before; 1 is as good as that.

    The ratio is taken for each held-out series, over all its windows and steps, and ``relative`` is its geometric mean over series, so that
    neither units nor long series decide. ``on: new`` judges new series, ``on: later`` later times of those that were trained on; both
    numbers are given where there are such windows. Series for which seasonal naive is exact, such as constant ones, have no ratio and
    are counted as ``exact``.

    Beside it stand ``mase``, the mean over series of the error over that of seasonal naive within the past (Hyndman and Koehler 2006), and
    for a model that says distributions ``relative_quantile``, twice the mean pinball loss of nine quantiles in the place of the error (for
    a forecast of one number they are the same), and ``coverage_80``, the share of values between the quantiles 0.1 and 0.9.
    """

    trial = Trial(model=PATCHTST, beside={**SERIES, "evaluations": []})

    unit: ClassVar[str] = "times the error of seasonal naive"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "relative"
    by_objective: ClassVar[bool] = False

    on: Literal["new", "later"] = Field("new", description="what the primary number is of: new series, or later times of those trained on")

    def measures(self, objective: Objective) -> bool:
        """One that forecasts."""
        return "future" in objective.fields

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers over all series, then the ratio by source.

        Raises:
            PartError: where the model does not forecast, and where there is no held-out series of the kind that is asked for.
        """
        import numpy as np

        from windtunnel.models.init import family_of

        if family_of(model.config).kind != "forecaster":
            raise PartError("relative-error: needs a model that forecasts, such as patchtst")
        columns: dict[str, list[np.ndarray]] = {}
        sources: list[np.ndarray] = []
        for number, source in enumerate(held_out.sources):
            found = _of_series(model, held_out, source)
            sources.append(np.full(len(found["later"]), number))
            for name, values in found.items():
                columns.setdefault(name, []).append(values)
        of = {name: np.concatenate(values) for name, values in columns.items()}
        mine = of["later"] == (self.on == "later")
        if not (mine & (of["naive"] > 0)).any():
            raise PartError(
                f"relative-error: on: {self.on}, and the {held_out.split} split holds no such series long enough for a window whose naive "
                "forecast is off; hold out more, let the encoding's past or horizon be shorter, or judge the other kind"
            )
        numbers = {"relative": _ratio(of["error"], of["naive"], mine), "mase": float(np.nanmean(of["mase"][mine]))}
        if "quantile" in of:
            numbers["relative_quantile"] = _ratio(of["quantile"], of["naive"], mine)
            numbers["coverage_80"] = float(of["covered"][mine].sum() / of["values"][mine].sum())
        numbers |= {"series": float(mine.sum()), "exact": float((mine & (of["naive"] == 0)).sum())}
        for name, kind in (("new", 0), ("later", 1)):
            if (there := of["later"] == kind).any() and (of["naive"][there] > 0).any():
                numbers[f"relative_{name}"] = _ratio(of["error"], of["naive"], there)
        place = np.concatenate(sources)
        for number, source in enumerate(held_out.sources):
            if (of["naive"][there := mine & (place == number)] > 0).any():
                numbers[f"relative/{source}"] = _ratio(of["error"], of["naive"], there)
        return numbers


def _ratio(error: np.ndarray, naive: np.ndarray, chosen: np.ndarray) -> float:
    import numpy as np

    there = chosen & (naive > 0)
    return float(np.exp(np.log(np.clip(error[there] / naive[there], 1 / BOUND, BOUND)).mean()))


def _of_series(model: Any, held_out: HeldOut, source: str) -> dict[str, np.ndarray]:
    """For every series of ``source`` with a held-out window: the sums of errors over its windows, and whether these are later times."""
    import numpy as np

    from windtunnel.kits.series.forecasts import LEVELS, forecasts, windows_of
    from windtunnel.kits.series.windows import naive_error, seasonal_naive

    held = windows_of(held_out.stream, held_out.split, source)
    said, quantiles = forecasts(model, held, held_out)
    there = np.isfinite(held.future)
    naive = seasonal_naive(held.past, held.period, held.future.shape[1])
    numbers, series = np.unique(held.series, return_inverse=True)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(series, np.where(there, values, 0.0).sum(axis=1), len(numbers))

    error = np.abs(held.future - said)
    own = np.where(there, error, 0.0).sum(axis=1) / there.sum(axis=1)
    scale = naive_error(held.past, held.period)
    judged = scale > 0
    mase = np.where(judged, own / np.where(judged, scale, 1.0), 0.0)
    windows = np.bincount(series, judged, len(numbers))
    found = {
        "error": total(error),
        "naive": total(np.abs(held.future - naive)),
        "mase": np.where(windows > 0, np.bincount(series, mase, len(numbers)) / np.maximum(windows, 1), np.nan),
        "later": held.later[np.searchsorted(held.series, numbers)],
    }
    if quantiles is not None:
        levels = np.array(LEVELS)[:, None, None]
        apart = held.future - quantiles
        found["quantile"] = total(2 * np.maximum(levels * apart, (levels - 1) * apart).mean(axis=0))
        found["covered"] = total((held.future >= quantiles[0]) & (held.future <= quantiles[-1]))
        found["values"] = total(there)
    return found
