"""The section of a report about a larger budget: bands of the forecast, and the decision in plain words."""

from __future__ import annotations

import math
from typing import Any

from windtunnel.laws.decision import ForecastResult, expected
from windtunnel.report.charts import DASHES, LINES, WIDE, apart, configured, light
from windtunnel.report.tables import Table
from windtunnel.study.result import BASELINE

DRAWN = 5  # arms beside the baseline


def styles(found: ForecastResult) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The colour and dash of the baseline and of the arms that are drawn, the most promising first."""
    arms = [name for name in found.order if name != BASELINE][:DRAWN]
    return {BASELINE: ("ink", (1, 0))} | {name: (LINES[place], DASHES[place]) for place, name in enumerate(arms)}


def table(found: ForecastResult) -> Table:
    """A row an arm, the most promising first."""
    rows = []
    for name in found.order:
        arm, at = found.arms[name], expected(found, name)
        band = f"{at.value:.4g} ({at.low:.4g} to {at.high:.4g})" if at else "–"
        gain = f"{-arm.difference.value:+.2%} ({-arm.difference.high:+.2%} to {-arm.difference.low:+.2%})" if arm.difference else "–"
        better = f"{arm.better:.0%}" if arm.better is not None else "–"
        rows.append((name, words(found, name), better, f"{arm.best:.0%}", gain, f"{arm.regret:.2%}", band))
    return Table(
        f"At {found.target:.3g} FLOPs",
        ("arm", "in words", "beats the baseline", "is best", "gain", "regret if chosen", found.metric),
        rows,
        frozenset({0, 1}),
        "Gain: by how much the metric is better than the baseline's, with an interval of 95 percent. Regret: by how much worse it is than "
        "the best arm on average, if it is chosen. The last column has a band of 80 percent.",
    )


def words(found: ForecastResult, name: str) -> str:
    """What to think of an arm, in a few words."""
    arm = found.arms[name]
    if arm.better is None:
        return "the reference"
    if arm.better >= 0.95:
        return "take it: almost surely better than the baseline"
    if arm.better >= 0.8:
        return "probably better than the baseline"
    if arm.better <= 0.05:
        return "leave it: almost surely worse than the baseline"
    if arm.better <= 0.2:
        return "probably worse than the baseline"
    return "open: either may be ahead"


def pilots(found: ForecastResult) -> Table:
    """What more pilots would be worth."""
    rows = [(one.what, f"{one.flops:.2g}", f"{one.changes:.0%}", f"{one.worth:.2%}") for one in found.pilots]
    title = "What more pilots would be worth"
    return Table(title, ("of every arm", "FLOPs together", "changes the choice", "saves on average"), rows)


def sentences(found: ForecastResult) -> list[str]:
    """What the section says before its figure."""
    ranks = ", ".join(found.rank_at_one_scale)
    return [
        found.advice,
        f"At the largest scale that all arms have ({found.largest:.3g} FLOPs) the order is {ranks}: what a forecast has to beat.",
    ]


def chart(found: ForecastResult, width: int = WIDE) -> Any | None:
    """Bands from the smallest scale to the target, measured means, the target marked; both axes logarithmic. None without a band."""
    import altair as alt

    chosen = styles(found)
    bands = {name: [one.plain() for one in found.bands[name].band] for name in chosen}
    if not bands[BASELINE]:
        return None
    points = {name: [one.plain() for one in found.bands[name].measured] for name in chosen}
    rows = [row for several in (*bands.values(), *points.values()) for row in several]
    ends = [row[key] for row in rows for key in ("value", "low", "high") if row.get(key) is not None]
    first, last = min(row["flops"] for row in rows), max(row["flops"] for row in rows)
    wide = width >= 500
    tens = [10.0**power for power in range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)]
    axis = alt.Axis(
        labelExpr="replace(format(datum.value, '.0e'), 'e+', 'e')", grid=False, values=[at for at in tens if first <= at <= last]
    )
    x = alt.X(
        "flops",
        type="quantitative",
        scale=alt.Scale(type="log", domain=[first / 1.1, last * 1.1], nice=False),
        axis=axis,
        title="FLOPs of a run (logarithmic)",
    )
    limits = alt.Scale(type="log", domain=[min(ends) / 1.01, max(ends) * 1.01], nice=False)
    title = f"{found.metric} (logarithmic)"
    y = alt.Y("value", type="quantitative", scale=limits, title=title, axis=alt.Axis(tickCount=6, format=".3g"))

    def layer(data: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=data))

    layers = []
    for name, (colour, dash) in chosen.items():
        area = layer(bands[name]).mark_area(color=light(colour), opacity=0.13, clip=True)
        low = alt.Y("low", type="quantitative", scale=limits, title=title)
        layers.append(area.encode(x=x, y=low, y2=alt.Y2("high")))
        line = layer(bands[name]).mark_line(color=light(colour), strokeDash=list(dash), strokeWidth=2, clip=True)
        layers.append(line.encode(x=x, y=y))
        point = layer(points[name]).mark_point(shape="diamond", size=70, filled=True, fill=light(colour), stroke=light("paper"), opacity=1)
        layers.append(point.encode(x=x, y=y))
    for place in (found.largest, found.target):
        layers.append(layer([{"flops": place}]).mark_rule(color=light("muted"), strokeDash=[3, 3]).encode(x=x))
    if wide:
        reach = math.log(max(ends) / min(ends)) + 2 * math.log(1.01)
        tags = [(math.log(bands[name][-1]["value"]), name) for name in chosen]
        for value, name in apart(tags, 16 * reach / 380):
            tag = layer([{"value": math.exp(value), "name": name}])
            mark = tag.mark_text(align="left", baseline="middle", color=light(chosen[name][0]), fontSize=13, limit=120)
            layers.append(mark.encode(x=alt.value(width - 190), y=y, text=alt.Text("name", type="nominal")))
    return configured(alt.layer(*layers).properties(width=width - 200 if wide else width - 66, height=380 if wide else 300), width)
