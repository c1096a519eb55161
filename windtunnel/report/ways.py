"""What ways of adapting a model gain and keep, and what they take: one table, and the gain drawn against what trains."""

from __future__ import annotations

from typing import Any

from windtunnel.report.charts import WIDE, apart, configured, light, styles
from windtunnel.report.reading import Reading
from windtunnel.report.tables import Table, interval
from windtunnel.report.words import DASH, count, duration, finite, number, signed, storage
from windtunnel.study.result import BASELINE, Arm, Baseline, Sides

CAPTION = (
    "Each point is an arm: upwards, more was gained on the sources that were learned; to the right, more parameters train, on a "
    "logarithmic axis. Bars are intervals over seeds. The line joins the arms that no other arm with as few parameters beats (the "
    "Pareto front)."
)


def sides(reading: Reading) -> dict[str, tuple[Baseline | Arm, Sides]]:
    """What the baseline and each arm cost, and what they kept and gained; empty where a study does not say what is kept."""
    block = reading.result.transfer
    points = block.axes.arms if block and block.axes else {}
    every: dict[str, Baseline | Arm] = {BASELINE: reading.result.baseline, **{name: reading.arms[name] for name in reading.ranked()}}
    return {name: (cost, points[name]) for name, cost in every.items() if name in points}


def table(reading: Reading) -> Table:
    """A row for each way: gained, kept, what trains, memory, time, and tokens a second of it."""
    rows = []
    for name, (cost, side) in sides(reading).items():
        told = [f"{signed(one.mean, 3)} ({interval(one, 3)})" for one in (side.gained, side.kept)]
        seconds = cost.cpu_seconds if reading.cpu_known else cost.seconds
        speed = cost.tokens / seconds if cost.tokens and seconds else None
        whole = (count(cost.trained_parameters), storage(cost.peak_memory_bytes), duration(seconds), number(speed, 0))
        rows.append((name, *told, *whole, "yes" if side.front else "no"))
    time = "CPU time" if reading.cpu_known else "time"
    columns = ("arm", "gained", "kept", "trained parameters", "memory", time, "tokens a second", "on the front")
    chose = "Validation also chose the rates. " if reading.result.tuning else ""
    note = (
        f"Gained and kept: change of {reading.measure} on validation, above zero is better; {reading.confidence} intervals over seeds. "
        f"{chose}Memory: the peak of training above what the process held before. Tokens a second: of training"
        f"{', by CPU time' if reading.cpu_known else ''}. On the front: no other arm kept and gained more."
    )
    known = [row for row in rows if row[3] != DASH]
    return Table("What each way takes", columns, known, frozenset({0}), note if known else "")


def chart(reading: Reading, width: int = WIDE) -> Any | None:
    """What was gained against how many parameters train, with the front. None with fewer than two arms of which both are known."""
    import altair as alt

    colours = styles(reading)
    rows: list[dict[str, Any]] = []
    for name, (cost, side) in sides(reading).items():
        if (trained := finite(cost.trained_parameters)) and (gained := finite(side.gained.mean)) is not None:
            colour = "ink" if name == BASELINE else colours.get(name, ("muted", ()))[0]
            rows.append({"name": name, "x": trained, "y": gained, "low": side.gained.low, "high": side.gained.high, "colour": colour})
    if len(rows) < 2 or len({row["x"] for row in rows}) < 2:
        return None
    ends = [value for row in rows for value in (row["y"], row["low"], row["high"]) if value is not None]
    low, high = min(ends), max(ends)
    room, height = 0.08 * ((high - low) or 1.0), 360 if width >= 500 else 300
    span = max(row["x"] for row in rows) / min(row["x"] for row in rows)
    across = [min(row["x"] for row in rows) / span**0.06, max(row["x"] for row in rows) * span**0.2]
    grid = alt.Axis(grid=False, format="~s")
    x = alt.X("x", type="quantitative", title="trained parameters", scale=alt.Scale(type="log", domain=across, nice=False), axis=grid)
    scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
    title = f"gained: change of {reading.measure} (better ↑)" if width >= 500 else "gained (better ↑)"

    def up(key: str = "y") -> Any:
        return alt.Y(key, type="quantitative", title=title, scale=scale, axis=alt.Axis(tickCount=5, grid=False))

    front = [row for row in rows if not any(o["x"] <= row["x"] and o["y"] >= row["y"] and o is not row for o in rows)]
    line = alt.Chart(alt.Data(values=sorted(front, key=lambda row: row["x"]))).mark_line(color=light("muted"), strokeWidth=1.5)
    layers: list[Any] = [line.encode(x=x, y=up())] if len(front) > 1 else []
    labels = dict((name, value) for value, name in apart([(row["y"], row["name"]) for row in rows], 15 * (high - low + 2 * room) / height))
    for row in rows:
        colour, data = light(row["colour"]), alt.Chart(alt.Data(values=[row]))
        if row["low"] is not None and row["high"] is not None:
            layers.append(data.mark_rule(color=colour, strokeWidth=1.5, opacity=0.55).encode(x=x, y=up("low"), y2=alt.Y2("high")))
        fill = colour if row in front else light("paper")
        layers.append(data.mark_point(shape="circle", size=80, filled=True, fill=fill, stroke=colour, opacity=1).encode(x=x, y=up()))
        said = alt.Chart(alt.Data(values=[{"x": row["x"], "y": labels[row["name"]], "name": row["name"]}]))
        text = said.mark_text(align="left", dx=9, dy=-8, fontSize=12, color=colour, limit=140)
        layers.append(text.encode(x=x, y=up(), text=alt.Text("name", type="nominal")))
    return configured(alt.layer(*layers).properties(width=width - 90, height=height), width)
