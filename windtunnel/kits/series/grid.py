"""Times and values as a series on a regular grid, and what was found in them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

# By name: seconds of a step (None: not of one length) and steps of a season. Times that are plain numbers have no name here.
FREQUENCIES: dict[str, tuple[float | None, int]] = {
    "yearly": (None, 1),
    "quarterly": (None, 4),
    "monthly": (None, 12),
    "weekly": (7 * 86400.0, 52),
    "daily": (86400.0, 7),
    "hourly": (3600.0, 24),
    "minutely": (60.0, 60),
    "secondly": (1.0, 60),
}
UNNAMED = "unnamed"
MONTHS = {12: "yearly", 3: "quarterly", 1: "monthly"}
OFF_GRID = 0.02  # of a step by which a time may lie beside the grid
YEARS = (1000, 3000)  # between which numbers with a fraction are taken for years
ALIKE = 0.001  # of a step by which one that has a name may be longer or shorter: clocks are not exact
LONGEST = 1 << 26  # steps of a grid; more are a mistake in one of its times
COARSER = {  # what so many steps of a frequency make
    ("minutely", 60): "hourly",
    ("hourly", 24): "daily",
    ("daily", 7): "weekly",
    ("monthly", 3): "quarterly",
    ("monthly", 12): "yearly",
    ("quarterly", 4): "yearly",
}


class Regular(NamedTuple):
    """A value for every step, float64 [steps], NaN where there is none; how the steps are called, and how many are a season."""

    values: np.ndarray
    frequency: str
    period: int


class Irregular(Exception):
    """A series that lies on no grid; the text says why."""


def regular(times: Sequence[Any], values: Sequence[Any], count: Callable[[str, int], None]) -> Regular:
    """``values`` at ``times`` on the grid that most steps between neighbouring times have.

    Args:
        times: dates, ISO texts of dates, or numbers, in any order.
        values: numbers; what is none is a gap.
        count: is called with what was found and how many steps have it.

    Raises:
        Irregular: with fewer than two values, times that are neither dates nor numbers, and steps of several lengths.
    """
    import numpy as np

    numbers = np.array([_number(value) for value in values], np.float64)
    if words := sum(isinstance(value, str) and np.isnan(number) for value, number in zip(values, numbers, strict=True)):
        count("values that are no numbers: read as gaps", words)
    places, frequency, period = _places(times)
    order = np.argsort(places, kind="stable")
    places, numbers = places[order], numbers[order]
    last = np.append(places[1:] != places[:-1], True)
    if not last.all():
        count("several values at one time: the last is taken", int((~last).sum()))
    places, numbers = places[last], numbers[last]
    known = np.flatnonzero(np.isfinite(numbers))  # what is before the first value and behind the last is no gap
    if len(known) < 2:
        raise Irregular("fewer than two values")
    places, numbers = places[known] - places[known[0]], numbers[known]
    found = np.full(int(places[-1]) + 1, np.nan)
    found[places] = numbers
    if gaps := int(np.isnan(found).sum()):
        count("gaps: steps without a value", gaps)
    return Regular(found, frequency, period)


def coarse(values: np.ndarray, steps: int, period: int, frequency: int) -> tuple[np.ndarray, int, int]:
    """The means of every ``steps`` values that are there, counted from the end; their period and the number of their frequency."""
    import numpy as np

    blocks = values[len(values) % steps :].reshape(-1, steps)
    there = np.isfinite(blocks)
    total, count = np.where(there, blocks, 0.0).sum(axis=1), there.sum(axis=1)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    name = list(FREQUENCIES)[frequency - 1] if frequency else UNNAMED
    longer = COARSER.get((name, steps), UNNAMED)
    return means, FREQUENCIES[longer][1] if longer in FREQUENCIES else max(1, round(period / steps)), frequency_number(longer)


def frequency_number(name: str) -> int:
    """The place of a frequency among those that have a name, from 1; 0 for any other."""
    return list(FREQUENCIES).index(name) + 1 if name in FREQUENCIES else 0


def _number(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return found if abs(found) < float("inf") else float("nan")


def _written(time: Any) -> str:
    """A date or a text as numpy reads it, which knows no time zones: all are told in the same one."""
    zoned = getattr(time, "tzinfo", None) is not None
    return str(time.astimezone(UTC).replace(tzinfo=None) if zoned else time)


def _places(times: Sequence[Any]) -> tuple[np.ndarray, str, int]:
    """Where each time stands on the grid, int64 from 0, the name of its step and the steps of a season."""
    import numpy as np

    if len(times) < 2:
        raise Irregular("fewer than two values")
    try:
        numeric = np.array(times, np.float64) if not hasattr(times[0], "year") else None
    except (TypeError, ValueError):
        numeric = None
    if numeric is not None:
        places, step = _on_grid(numeric)
        a_year = round(1 / step)  # numbers such as 1949.25 are years
        whole = a_year > 1 and abs(a_year * step - 1) < OFF_GRID and YEARS[0] <= numeric.min() and numeric.max() < YEARS[1]
        named = {4: "quarterly", 12: "monthly"}.get(a_year, UNNAMED) if whole else UNNAMED
        return places, named, a_year if whole else 1
    try:
        dates = np.array([_written(time) for time in times], "datetime64[s]")
    except ValueError as error:
        raise Irregular(f"a time is neither a date, such as 2020-01-31, nor a number: {error}") from error
    months = dates.astype("datetime64[M]").astype(np.int64)
    within = (dates - dates.astype("datetime64[M]")).astype(np.int64) // 86400
    ends = (dates + np.timedelta64(86400, "s")).astype("datetime64[M]").astype(np.int64) != months
    apart = np.diff(np.unique(months))
    once = 0 < len(apart) == len(np.unique(dates)) - 1
    if once and ((within == within[0]).all() or ends.all()):  # one day of each month, or its last
        step = int(np.gcd.reduce(apart))
        return (months - months.min()) // step, MONTHS.get(step, UNNAMED), 1 if 12 % step else 12 // step
    places, step = _on_grid(dates.astype(np.int64).astype(np.float64))
    for frequency, (seconds, period) in FREQUENCIES.items():
        if seconds is not None and abs(seconds - step) < ALIKE * seconds:
            return places, frequency, period
    a_day = 86400 / step
    return places, UNNAMED, round(a_day) if a_day > 1 and abs(a_day - round(a_day)) < OFF_GRID else 1


def _on_grid(times: np.ndarray) -> tuple[np.ndarray, float]:
    """Where each of ``times`` stands, int64 from 0, and the step: the most frequent difference between neighbours.

    Times may be rounded, so the step is the mean of all differences that are nearly that one, and then fitted to all times.
    """
    import numpy as np

    if not np.isfinite(times).all():
        raise Irregular("a time is missing")
    steps = np.diff(np.unique(times))
    if not len(steps):
        raise Irregular("fewer than two values")
    usual, since = np.median(steps), times - times.min()
    lengths, often = np.unique(np.round(steps / usual, 6), return_counts=True)
    near = np.isclose(steps / usual, lengths[often.argmax()], rtol=OFF_GRID, atol=0)
    if not near.any():
        raise Irregular("steps of several lengths: most are less than a millionth of others")
    step = float(steps[near].mean())
    if since.max() > LONGEST * step:
        raise Irregular(f"{since.max() / step:.3g} steps of {step:g} from its first time to its last")
    places = np.round(since / step).astype(np.int64)
    off = np.abs(since / step - places) > OFF_GRID
    if off.any():
        fitted = float(since @ places / (places @ places))
        if (np.abs(since / fitted - places) <= OFF_GRID).all():
            return places, fitted
        raise Irregular(f"steps of several lengths: most are {step:g}, and {int(off.sum()):,} of {len(times):,} times lie between two")
    return places, step
