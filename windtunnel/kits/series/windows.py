"""Windows of series: what a forecast is made from, what it is judged by, and what a naive one would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

FLAT = 1e-9  # a deviation below so much of the size of the values is rounding


class Windows(NamedTuple):
    """What is known of the windows of a stream: ``past`` steps that a forecast is made from, and the ``horizon`` of steps after them."""

    past: int
    horizon: int


class Scaled(NamedTuple):
    """Windows in units of their own past: see :func:`scaled`."""

    past: np.ndarray
    observed: np.ndarray
    future: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def scaled(past: np.ndarray, future: np.ndarray) -> Scaled:
    """Windows with the mean of their past taken off, divided by its deviation: the future has no say in either.

    Args:
        past: float64 [..., steps], NaN where there is no value.
        future: float64 [..., horizon], likewise.

    Returns:
        ``past`` float32 without gaps (each has the last value before it, those in front the first one), ``observed`` bool (where there was
        a value), ``future`` float32 (0 where there is no value), ``mean`` and ``deviation`` float64 [..., 1]; a deviation of 0 says that
        the past does not vary, and ``future`` is 0 then.
    """
    import numpy as np

    observed = np.isfinite(past)
    count = np.maximum(observed.sum(axis=-1, keepdims=True), 1)
    known = np.where(observed, past, 0.0)
    mean = known.sum(axis=-1, keepdims=True) / count
    deviation = np.sqrt((np.where(observed, past - mean, 0.0) ** 2).sum(axis=-1, keepdims=True) / count)
    deviation = np.where(deviation > FLAT * np.abs(known).max(axis=-1, keepdims=True, initial=0), deviation, 0.0)
    by = np.where(deviation > 0, deviation, 1.0)
    ahead = np.where(np.isfinite(future) & (deviation > 0), (future - mean) / by, 0.0)
    values = (np.where(deviation > 0, filled(past), mean) - mean) / by
    return Scaled(values.astype(np.float32), observed, ahead.astype(np.float32), mean, deviation)


def filled(past: np.ndarray) -> np.ndarray:
    """``past`` [..., steps] with the last value in every gap, and the first one before that; 0 where there is none at all."""
    import numpy as np

    steps = np.arange(past.shape[-1])
    observed = np.isfinite(past)
    before = np.maximum.accumulate(np.where(observed, steps, -1), axis=-1)
    first = observed.argmax(axis=-1)[..., None]
    found = np.take_along_axis(past, np.where(before >= 0, before, first), axis=-1)
    return np.where(observed.any(axis=-1, keepdims=True), found, 0.0)


def seasonal_naive(past: np.ndarray, period: np.ndarray, horizon: int) -> np.ndarray:
    """For every step ahead the value of one season before, or of so many as needed: float64 [windows, horizon].

    Args:
        past: float64 [windows, steps], NaN where there is no value.
        period: steps of a season [windows]. Where it is longer than the past, and where no season has a value, it is the last value.
        horizon: steps ahead.
    """
    import numpy as np

    steps = past.shape[1]
    last = filled(past)[:, -1:]
    found = np.repeat(last, horizon, axis=1)
    for season in np.unique(period[(period > 1) & (period <= steps)]).tolist():
        mine = period == season
        whole = past[mine, steps - steps // season * season :].reshape(int(mine.sum()), -1, season)
        known = filled(np.swapaxes(whole, 1, 2))[:, :, -1]  # of every place in the season its last value
        known = np.where(np.isfinite(whole).any(axis=1), known, last[mine])
        found[mine] = known[:, np.arange(horizon) % season]
    return found


def naive_error(past: np.ndarray, period: np.ndarray) -> np.ndarray:
    """The mean distance of values of the past from those of a season before, which MASE divides by: [windows], NaN without a pair."""
    import numpy as np

    found = np.full(len(past), np.nan)
    lag = np.where(period < past.shape[1], np.maximum(period, 1), 1)
    for season in np.unique(lag).tolist():
        mine = lag == season
        apart = np.abs(past[mine, season:] - past[mine, :-season])
        there = np.isfinite(apart)
        total = np.where(there, apart, 0.0).sum(axis=1)
        found[mine] = np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)
    return found


def cut(values: np.ndarray, ends: np.ndarray, past: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows of a series whose past ends before each of ``ends``: float64 [windows, past] and [windows, horizon], NaN outside it."""
    import numpy as np

    wide = np.concatenate([np.full(past, np.nan), values, np.full(horizon, np.nan)])
    begin = ends[:, None]
    return wide[begin + np.arange(past)], wide[begin + past + np.arange(horizon)]
