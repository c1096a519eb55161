"""The two charts of a report: a forest plot of differences, and loss against compute. Drawn with altair, written as SVG without scripts.

Each chart is drawn twice, for a wide page and for a phone, because a scaled-down chart has text nobody can read. Colours are written
as light-mode values into the SVG and replaced by the style sheet in dark mode (``theme_rules``), so one drawing serves both.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from windtunnel.report.reading import Reading
from windtunnel.report.words import finite, signed
from windtunnel.study.result import BASELINE

# Light and dark values of every colour a chart uses. The colours of arms follow Okabe and Ito (2008), which readers with any common
# colour vision tell apart, darkened and lightened until each has a contrast of at least 3 to its background.
COLOURS = {
    "ink": ("#1d2329", "#e4e8ec"),
    "muted": ("#5a6570", "#9aa6b2"),
    "grid": ("#e1e5e9", "#333b44"),
    "shade": ("#e6ebf1", "#2c3641"),
    "paper": ("#fcfcfb", "#15191e"),
    "blue": ("#0069a8", "#5cb3f0"),
    "orange": ("#c45100", "#ff9a52"),
    "green": ("#00815f", "#3cc79d"),
    "purple": ("#a8508b", "#e295c8"),
    "gold": ("#8f6a00", "#e0b73a"),
    "cyan": ("#2b7f9e", "#7fd0ea"),
}
LINES = ("blue", "orange", "green", "purple", "gold", "cyan")
DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 2), (12, 3))
SHAPES = {"helps": "circle", "hurts": "diamond", "no difference": "square", "undecided": "circle"}  # the last one hollow
WIDE, NARROW = 900, 318
LABEL = 120  # the greatest width of a label at the end of a line
Shown = TypeVar("Shown")
POINTS = 80  # of one curve: more cannot be seen and only makes the page heavy


def light(name: str) -> str:
    """The light-mode value of a colour."""
    return COLOURS[name][0]


def theme_rules() -> str:
    """Style rules that turn the colours in a drawing into their dark-mode values."""
    rules = [f'svg [{kind}="{day}"] {{ {kind}: {night}; }}' for day, night in COLOURS.values() for kind in ("fill", "stroke")]
    return "\n".join(rules)


def styles(reading: Reading) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The colour and dash of each arm that is drawn in colour: the best and, so that bad news is seen too, the worst."""
    drawn = [name for name in reading.ranked() if reading.runs_of(name) and reading.arms[name].verdict != "failed"]
    if len(drawn) > len(LINES):
        drawn = [*drawn[: len(LINES) - 1], drawn[-1]]
    return {name: (LINES[index], DASHES[index]) for index, name in enumerate(drawn)}


# Forest plot --------------------------------------------------------------------------------------------------------------------


def forest(reading: Reading, width: int = WIDE, least: int = 0) -> Any | None:
    """Every arm's difference with its interval, the margin shaded, zero marked; at least ``least`` high.

    None where no arm has a difference.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    known: list[float] = []
    for name in reading.ranked():
        test = reading.arms[name].test
        difference, low, high = finite(test.difference), finite(test.low), finite(test.high)
        if difference is None:
            continue
        verdict = reading.arms[name].verdict or "not yet"
        text = f"{signed(difference, reading.figures(name))}  {verdict}"
        rows.append({"row": len(rows), "name": name, "value": difference, "low": low, "high": high, "verdict": verdict, "text": text})
        known += [value for value in (difference, low, high) if value is not None]
    if not rows:
        return None
    margin = reading.margin or 0.0
    reach = [*known, 0.0, *((-1.3 * margin, 1.3 * margin) if margin else ())]
    room = 0.06 * ((max(reach) - min(reach)) or 1.0)
    domain = [min(reach) - room, max(reach) + room]
    wide = width >= 500
    step = max(36 if wide else 46, min(72, least // len(rows)))
    height, inner = step * len(rows), width - 330 if wide else width - 10
    x = alt.X(
        "value",
        type="quantitative",
        scale=alt.Scale(domain=domain, nice=False),
        title=axis_title(reading),
        axis=alt.Axis(tickCount=5, grid=wide),
    )
    y = alt.Y("row", type="quantitative", scale=alt.Scale(domain=[len(rows) - 0.5, -0.5 if wide else -0.7], nice=False), axis=None)

    def layer(data: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=data))

    layers: list[Any] = []
    if margin:
        band = layer([{"value": -margin, "end": margin}])
        layers.append(band.mark_rect(color=light("shade"), opacity=1).encode(x=x, x2=alt.X2("end"), y=alt.value(0), y2=alt.value(height)))
    layers.append(layer([{"value": 0}]).mark_rule(color=light("muted"), strokeDash=[3, 3]).encode(x=x))
    chosen = styles(reading)
    for row in rows:
        colour = light(chosen.get(row["name"], ("muted", ()))[0])
        if row["low"] is not None and row["high"] is not None:
            span = layer([{**row, "value": row["low"], "end": row["high"]}])
            layers.append(span.mark_rule(color=colour, strokeWidth=2.5, strokeCap="round").encode(x=x, x2=alt.X2("end"), y=y))
        fill = light("paper") if row["verdict"] == "undecided" else colour
        point = layer([row]).mark_point(
            shape=SHAPES.get(row["verdict"], "circle"), size=80, filled=True, fill=fill, stroke=colour, strokeWidth=2, opacity=1
        )
        layers.append(point.encode(x=x, y=y))

    def words(rows: list[dict[str, Any]], key: str, at: float, align: Any, colour: str, limit: float) -> Any:
        text = layer(rows).mark_text(align=align, baseline="middle", color=light(colour), fontSize=13, limit=limit)
        return text.encode(x=alt.value(at), y=y, text=alt.Text(key, type="nominal"))

    if wide:
        layers += [words(rows, "name", -14, "right", "ink", 170), words(rows, "text", inner + 12, "left", "muted", 170)]
    else:  # on a phone there is no room beside the chart: name and verdict stand above the interval
        above = [{**row, "row": row["row"] - 0.4} for row in rows]
        layers += [words(above, "name", 0, "left", "ink", inner - 150), words(above, "text", inner, "right", "muted", 150)]
    return configured(alt.layer(*layers).properties(width=inner, height=height), width)


def axis_title(reading: Reading) -> str:
    """The title of the axis of differences, which says which side is good."""
    return f"{reading.measure}, arm minus baseline ({'← better' if reading.lower_is_better else 'better →'})"


# Loss against compute -----------------------------------------------------------------------------------------------------------


def bands(reading: Reading, name: str, multiple: float = 1) -> list[dict[str, float]]:
    """The validation curve of an arm: mean, lowest and highest over its seeds, at the FLOPs that all of them reached.

    Seeds that were validated at other points are interpolated on a logarithmic axis of FLOPs.
    """
    import numpy as np

    curves = []
    for run in reading.runs_of(name, multiple):
        points: dict[float, float] = {}
        for row in run.validation:
            flops, value = finite(row.flops), finite(row.numbers.get(reading.metric))
            if flops is not None and flops > 0 and value is not None:
                points[flops] = value
        if len(points) > 1:
            curves.append(sorted(points.items()))
    if not curves:
        return []
    start, stop = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    grid = sorted({flops for curve in curves for flops, _ in curve if start <= flops <= stop})
    if len(grid) > POINTS:
        grid = list(np.geomspace(start, stop, POINTS))
    if len(grid) < 2:
        return []
    values = np.array([np.interp(np.log(grid), np.log([flops for flops, _ in curve]), [value for _, value in curve]) for curve in curves])
    lowest, middle, highest = values.min(0), values.mean(0), values.max(0)
    return [
        {"flops": float(f), "value": float(m), "low": float(a), "high": float(b)}
        for f, m, a, b in zip(grid, middle, lowest, highest, strict=True)
    ]


def budget_points(reading: Reading) -> list[dict[str, Any]]:
    """The baseline's test scores at half, one and two budgets."""
    rows = []
    for point in reading.baseline.curve:
        flops, value = finite(point.flops), finite(point.mean)
        if flops is not None and flops > 0 and value is not None:
            rows.append({"flops": flops, "value": value, "low": finite(point.low), "high": finite(point.high)})
    return sorted(rows, key=lambda row: row["flops"])


def diamonds(reading: Reading) -> dict[str, dict[str, Any]]:
    """Where the runs of each coloured arm ended: mean FLOPs and test score."""
    found = {}
    for name in styles(reading):
        mean, flops = finite(reading.arms[name].test.mean), finite(reading.costs(name).flops)
        if mean is not None and flops:
            found[name] = {"flops": flops, "value": mean}
    return found


def curves(reading: Reading, width: int = WIDE) -> Any | None:
    """Validation curves with bands over seeds, and the baseline's test scores at several budgets. None where all is at one budget."""
    import altair as alt

    chosen = styles(reading)
    drawn = {name: rows for name in (*reading.ranked(), BASELINE) if (rows := bands(reading, name))}
    points = budget_points(reading)
    everything = [row for rows in drawn.values() for row in rows] + points
    if len({round(math.log(row["flops"]), 2) for row in everything}) < 2:  # one budget and nothing on the way: the forest plot says it
        return None
    marks = diamonds(reading)
    alone = {name: row for name, row in marks.items() if name not in drawn}  # which validation could judge once at most
    everything += alone.values()
    last = max(row["flops"] for row in everything)
    first = max(min(row["flops"] for row in everything), last / 60)  # the first moments are all alike and would press the rest flat
    seen = [row for row in everything if row["flops"] >= first * 0.999]
    ends = [row[key] for row in seen for key in ("value", "low", "high") if row.get(key) is not None]
    ends += [row["value"] for row in marks.values()]
    room = 0.04 * ((max(ends) - min(ends)) or 1.0)
    wide = width >= 500
    exponents = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    ticks = [float(f"{figure}e{exponent}") for exponent in exponents for figure in (1, 2, 5)]
    ticks = [tick for tick in ticks if first <= tick <= last * 1.12]
    ticks = (
        ticks
        if len(ticks) <= (9 if wide else 4)
        else [tick for tick in ticks if f"{tick:e}".startswith("1")] or ticks[:: max(1, len(ticks) // 4)]
    )
    labels = alt.Axis(values=ticks, labelExpr="replace(format(datum.value, '.0e'), 'e+', 'e')", grid=False)
    x = alt.X(
        "flops",
        type="quantitative",
        scale=alt.Scale(type="log", domain=[first, last * 1.12], nice=False),
        axis=labels,
        title="FLOPs spent (logarithmic)",
    )
    scales = "; lines and diamonds are two scales" if reading.two_scales() else ""
    title = f"{reading.measure} ({'lower' if reading.lower_is_better else 'higher'} is better{scales})"
    y = alt.Y(
        "value",
        type="quantitative",
        scale=alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False, zero=False),
        title=title,
        axis=alt.Axis(tickCount=6),
    )

    def layer(data: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=data))

    layers: list[Any] = []
    for name, rows in drawn.items():
        colour = "ink" if name == BASELINE else chosen.get(name, ("muted", ()))[0]
        if name in chosen or name == BASELINE:
            layers.append(
                layer(rows)
                .mark_area(color=light(colour), opacity=0.16, clip=True)
                .encode(x=x, y=alt.Y("low", type="quantitative", scale=y["scale"], title=title), y2=alt.Y2("high"))
            )
    for name, rows in drawn.items():
        colour, dash = ("ink", (1, 0)) if name == BASELINE else chosen.get(name, ("muted", (1, 0)))
        plain = name not in chosen and name != BASELINE
        line = layer(rows).mark_line(
            color=light(colour), strokeDash=list(dash), strokeWidth=1 if plain else 2.2, opacity=0.45 if plain else 1, clip=True
        )
        layers.append(line.encode(x=x, y=y))
    if points:
        layers.append(layer(points).mark_line(color=light("ink"), strokeDash=[1, 4], strokeWidth=1.5).encode(x=x, y=y))
        spans = [row for row in points if row["low"] is not None and row["high"] is not None]
        if spans:
            low = alt.Y("low", type="quantitative", scale=y["scale"], title=title)
            layers.append(layer(spans).mark_rule(color=light("ink"), strokeWidth=2).encode(x=x, y=low, y2=alt.Y2("high")))
        layers.append(
            layer(points)
            .mark_point(shape="diamond", size=90, fill=light("paper"), stroke=light("ink"), strokeWidth=2, opacity=1)
            .encode(x=x, y=y)
        )
    for name, row in marks.items():
        colour, paper = light(chosen[name][0]), light("paper")
        end = layer([row]).mark_point(shape="diamond", size=90, filled=True, fill=colour, stroke=paper, opacity=1, clip=True)
        layers.append(end.encode(x=x, y=y))
    height = 380 if wide else 300
    if wide:
        ended = {name: rows[-1] for name, rows in drawn.items() if name in chosen} | alone
        ended |= {BASELINE: (points or drawn[BASELINE])[-1]} if points or BASELINE in drawn else {}
        tags = [(row["value"], name) for name, row in ended.items()]
        for value, name in apart(tags, 16 * (max(ends) - min(ends) + 2 * room) / height):
            colour = light("ink" if name == BASELINE else chosen[name][0])
            tag = layer([{"flops": ended[name]["flops"], "value": value, "name": name}])
            mark = tag.mark_text(align="left", baseline="middle", dx=11, color=colour, fontSize=13, limit=LABEL)
            layers.append(mark.encode(x=x, y=y, text=alt.Text("name", type="nominal")))
    return configured(alt.layer(*layers).properties(width=width - LABEL - 60 if wide else width - 66, height=height), width)


def apart(tags: list[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """The tags moved up and down by as little as keeps each ``gap`` from the next."""
    placed: list[list[Any]] = []  # clusters: positions summed, as if each tag were at the bottom of its cluster, and names
    for value, name in sorted(tags):
        placed.append([value, [name]])
        while len(placed) > 1 and placed[-1][0] < placed[-2][0] + gap * len(placed[-2][1]):
            bottom, names = placed.pop()
            below = placed[-1]
            below[0] = (below[0] * len(below[1]) + (bottom - gap * len(below[1])) * len(names)) / (len(below[1]) + len(names))
            below[1] = below[1] + names
    return [(bottom + gap * index, name) for bottom, names in placed for index, name in enumerate(names)]


# Drawing ------------------------------------------------------------------------------------------------------------------------


def configured(chart: Any, width: int) -> Any:
    """The chart in the house's style."""
    text = {
        "labelColor": light("muted"),
        "titleColor": light("muted"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    axis = {**text, "gridColor": light("grid"), "domainColor": light("grid"), "tickColor": light("grid"), "titlePadding": 10}
    axis["titleLimit"] = width
    return chart.configure(
        font="system-ui, sans-serif",
        background="transparent",
        padding={"left": 4, "right": 24 if width >= 500 else 4, "top": 4, "bottom": 4},
        axis=axis,
    ).configure_view(stroke=None, clip=False)


def svg(chart: Any, name: str, alternative: str, kind: str) -> str:
    """The chart as an SVG element to stand inside a page: ids made unique by ``name``, one text alternative, class ``kind``."""
    from html import escape

    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    drawing = buffer.getvalue()
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{name}-", drawing)
    # A screen reader gets one sentence and the table below, not every tick mark.
    drawing = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", drawing)
    drawing = drawing.replace(' class="marks"', "", 1)
    return re.sub(r"<svg\b", f'<svg role="img" aria-label="{escape(alternative, quote=True)}" class="{kind}"', drawing, count=1)


def both(make: Callable[[Shown, int], Any | None], shown: Shown, name: str, alternative: str, wide: int = WIDE) -> str:
    """A chart of ``shown`` drawn ``wide`` and narrow, of which the style sheet shows one; empty where there is nothing to draw."""
    drawings = []
    for kind, width in (("wide", wide), ("narrow", NARROW)):
        chart = make(shown, width)
        if chart is None:
            return ""
        drawings.append(svg(chart, f"{name}-{kind}", alternative, kind))
    return "\n".join(drawings)
