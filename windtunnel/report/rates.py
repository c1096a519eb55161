"""Loss against learning rate: whether what helps is the technique or the rate."""

from __future__ import annotations

from typing import Any

from windtunnel.report.charts import WIDE, configured, light, styles
from windtunnel.report.reading import Reading
from windtunnel.report.words import finite, listing, plural, times
from windtunnel.study.result import BASELINE, OverRates

CAPTION = (
    "The primary metric at the end of training against the multiple of every learning rate, mean over the seeds that were flown at all of "
    "them. A rate at which a run failed is left out."
)
MUCH = 0.5  # the share of a gain from which it is said to be one of rate


def sentences(reading: Reading) -> list[str]:
    """What the check says of each arm, and what it cannot say."""
    arms, closed = reading.over_rates(), reading.result.rates.closed if reading.result.rates else {}
    base = arms.get(BASELINE)
    if base is None or base.best is None:
        return []
    seeds, lines = f"mean of {plural(len(reading.result.rates.seeds), 'seed') if reading.result.rates else ''}", []
    for name in reading.ranked():
        share, helps = closed.get(name), reading.arms[name].verdict == "helps"
        if helps and share is not None and share >= MUCH:
            how = "all" if share >= 1 else f"{share:.0%}"
            lines.append(
                f"{name}: with {times(base.best)} times its learning rate the baseline gains {how} of what this arm gains ({seeds}). "
                "Much of this win may be the rate: tune both (`tune:`) before believing it."
            )
        elif helps and share is not None:
            gains = f"at most {share:.0%} of what this arm gains" if share > 0 else "nothing"
            lines.append(f"{name}: with another learning rate the baseline gains {gains} ({seeds}), so the win is not one of rate.")
        elif name in arms and (better := _better_elsewhere(arms[name], base, reading.lower_is_better)) is not None:
            lines.append(
                f"{name}: with {times(better)} times its learning rate it is better than the baseline at any rate that was tried "
                f"({seeds}); its own rate may not suit it."
            )
    ends = {min(point.multiple for point in base.rates), max(point.multiple for point in base.rates)}
    edge = [name for name, over in arms.items() if over.best in ends]
    if edge:
        lines.append(f"The best rate of {listing(edge)} is the lowest or highest that was tried: a better one may lie beyond.")
    return lines


def _better_elsewhere(arm: OverRates, base: OverRates, lower_is_better: bool) -> float | None:
    """The multiple, other than 1, at which an arm is better than the baseline at its best."""
    if arm.best in (None, 1.0):
        return None
    own, other = (next((finite(point.mean) for point in side.rates if point.multiple == side.best), None) for side in (arm, base))
    if own is None or other is None:
        return None
    return arm.best if (own < other) == lower_is_better and own != other else None


def chart(reading: Reading, width: int = WIDE) -> Any | None:
    """The metric against the multiple of the rates. None where no rates were checked."""
    import altair as alt

    chosen = {BASELINE: ("ink", (1, 0)), **styles(reading)}
    layers: list[Any] = []
    for name, over in reading.over_rates().items():
        points = [{"x": point.multiple, "y": value} for point in over.rates if (value := finite(point.mean)) is not None]
        if not points or name not in chosen:
            continue
        colour, dash = chosen[name]
        data = alt.Chart(alt.Data(values=points))
        x = alt.X("x", type="quantitative", title="times the learning rate", scale=alt.Scale(type="log", base=2), axis=alt.Axis(grid=False))
        y = alt.Y("y", type="quantitative", title=reading.measure, scale=alt.Scale(zero=False))
        layers.append(data.mark_line(color=light(colour), strokeDash=list(dash), strokeWidth=2.2).encode(x=x, y=y))
        layers.append(data.mark_point(filled=True, size=60, color=light(colour), opacity=1).encode(x=x, y=y))
    return configured(alt.layer(*layers).properties(width=width - 90, height=300), width) if layers else None
