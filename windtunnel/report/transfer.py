"""The charts of what training on one source after another kept and gained: a heat map of the matrices, and both axes of a trade-off."""

from __future__ import annotations

from typing import Any

from windtunnel.report.charts import WIDE, apart, configured, light, styles
from windtunnel.report.reading import Reading
from windtunnel.report.words import finite, number, signed
from windtunnel.study.result import BASELINE, Sides, Transfer

MOST = 12  # arms whose matrix is drawn: more make a page nobody scrolls through
ROW = 26  # height of a row of the heat map

HEAT = (
    "Each block is an arm: its first row is the level of every source before training went on, the rows below the change after each stage. "
    "Blue is better, orange is worse, both stronger the larger the change; a frame marks the stage that trained on the source first."
)
AXES = (
    "Each point is an arm: to the right, more was kept of the old sources; upwards, more was gained on the others; bars are intervals over "
    "seeds. The line joins the arms that no other arm beats on both axes (the Pareto front)."
)


def heat(reading: Reading, width: int = WIDE) -> Any | None:
    """The matrix stage by source of the baseline and of each arm. None where no arm has one."""
    import altair as alt

    block = reading.result.transfer or Transfer()
    arms = block.arms
    names = [name for name in (BASELINE, *reading.ranked()) if name in arms][:MOST]
    if not names:
        return None
    sign = 1.0 if block.better == "lower" else -1.0
    sources = list(arms[names[0]].belongs)
    cells: list[dict[str, Any]] = []
    titles: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    row = 0
    for name in names:
        arm = arms[name]
        belongs, matrix = arm.belongs, arm.matrix
        titles.append({"row": row, "text": name})
        for stage, values in enumerate(matrix):
            row += 1
            labels.append({"row": row, "text": arm.stages[stage] if not stage else f"+ {arm.stages[stage]}"})
            for column, source in enumerate(sources):
                level, first = finite(values.get(source)), finite(matrix[0].get(source))
                if level is None or first is None:
                    continue
                change = sign * (first - level)
                text = number(level, 3) if not stage else signed(level - first, 3)
                cells.append(
                    {"row": row, "column": column, "change": change, "text": text, "framed": belongs.get(source) == stage and stage > 0}
                )
        row += 1.6 if name != names[-1] else 1  # type: ignore[assignment]
    most = max((abs(cell["change"]) for cell in cells), default=0.0) or 1.0
    wide = width >= 500
    left = 230 if wide else 96
    inner = min(width - left - 30, 130 * len(sources)) if wide else width - left - 8
    step = inner / len(sources)
    height = ROW * (row + 1)
    x = alt.X("x", type="quantitative", scale=alt.Scale(domain=[0, len(sources)], nice=False), axis=None)
    y = alt.Y("y", type="quantitative", scale=alt.Scale(domain=[row, -1], nice=False), axis=None)

    def layer(data: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=data))

    layers: list[Any] = []
    placed = [
        {**cell, "x": cell["column"] + 0.03, "x2": cell["column"] + 0.97, "y": cell["row"] - 0.46, "y2": cell["row"] + 0.46}
        for cell in cells
    ]
    strength = alt.Opacity("size", type="quantitative", scale=alt.Scale(domain=[0, 1], range=[0.04, 0.7]), legend=None)
    for colour, chosen in (("blue", [c for c in placed if c["change"] > 0]), ("orange", [c for c in placed if c["change"] < 0])):
        if chosen:
            sized = [{**cell, "size": (abs(cell["change"]) / most) ** 0.5} for cell in chosen]
            layers.append(layer(sized).mark_rect(color=light(colour)).encode(x=x, x2=alt.X2("x2"), y=y, y2=alt.Y2("y2"), opacity=strength))
    framed = [cell for cell in placed if cell["framed"]]
    if framed:
        marks = layer(framed).mark_rect(fillOpacity=0, stroke=light("ink"), strokeWidth=1.4)
        layers.append(marks.encode(x=x, x2=alt.X2("x2"), y=y, y2=alt.Y2("y2")))

    def words(rows: list[dict[str, Any]], at: Any, align: Any, colour: str, weight: Any = "normal", limit: float = 0) -> Any:
        marks = layer(rows).mark_text(align=align, baseline="middle", color=light(colour), fontSize=12, fontWeight=weight, limit=limit)
        return marks.encode(x=at, y=y, text=alt.Text("text", type="nominal"))

    layers.append(words([{**cell, "x": cell["column"] + 0.5, "y": cell["row"]} for cell in cells], x, "center", "ink"))
    heads = [{"x": column + 0.5, "y": -0.75, "text": source} for column, source in enumerate(sources)]
    layers.append(words(heads, x, "center", "muted", limit=step - 4))
    layers.append(words([{**title, "y": title["row"] + 0.1} for title in titles], alt.value(4 - left), "left", "ink", "bold", left + inner))
    layers.append(words([{**label, "y": label["row"]} for label in labels], alt.value(-10), "right", "muted", limit=left - 14))
    return configured(alt.layer(*layers).properties(width=inner, height=height), width)


def axes(reading: Reading, width: int = WIDE) -> Any | None:
    """What each arm kept against what it gained, with intervals and the Pareto front. None where a study does not say what is kept."""
    import altair as alt

    points = found.axes.arms if (found := reading.result.transfer) and found.axes else {}
    rows: list[dict[str, Any]] = []
    colours = styles(reading)
    for name in (BASELINE, *reading.ranked()):
        point = points.get(name) or Sides()
        if finite(point.kept.mean) is None or finite(point.gained.mean) is None:
            continue
        colour = "ink" if name == BASELINE else colours.get(name, ("muted", ()))[0]
        row: dict[str, Any] = {"name": name, "x": point.kept.mean, "y": point.gained.mean, "colour": colour, "front": point.front}
        for key, side in (("x", point.kept), ("y", point.gained)):
            low, high = finite(side.low), finite(side.high)
            row |= {f"{key}_low": low if high is not None else None, f"{key}_high": high if low is not None else None}
        rows.append(row)
    if not rows:
        return None
    wide = width >= 500
    inner, height = (width - 200, 400) if wide else (width - 66, 320)

    def domain(key: str) -> list[float]:
        known = [value for row in rows for value in (row[key], row[f"{key}_low"], row[f"{key}_high"]) if value is not None]
        if max(known) - min(known) > 0.4 * max(map(abs, known)):  # else zero would press the points into a corner
            known.append(0.0)
        room = 0.06 * ((max(known) - min(known)) or 1.0)
        return [min(known) - room, max(known) + room]

    across, up = domain("x"), domain("y")
    change = f"change of {reading.measure}"
    axis = alt.Axis(tickCount=5, grid=False)

    def at(key: str) -> Any:
        if key.startswith("x"):
            title = f"kept: {change} on the old sources (better →)" if wide else "kept (better →)"
            return alt.X(key, type="quantitative", scale=alt.Scale(domain=across, nice=False), title=title, axis=axis)
        title = f"gained: {change} on the others (better ↑)" if wide else "gained (better ↑)"
        return alt.Y(key, type="quantitative", scale=alt.Scale(domain=up, nice=False), title=title, axis=axis)

    def layer(data: list[dict[str, Any]]) -> Any:
        return alt.Chart(alt.Data(values=data))

    layers: list[Any] = []
    for key, (low, high) in (("x", across), ("y", up)):
        if low < 0 < high:
            rule = layer([{key: 0}]).mark_rule(color=light("muted"), strokeDash=[3, 3])
            layers.append(rule.encode(x=at("x")) if key == "x" else rule.encode(y=at("y")))
    front = sorted((row for row in rows if row["front"]), key=lambda row: row["x"])
    if len(front) > 1:
        layers.append(layer(front).mark_line(color=light("muted"), strokeWidth=1.5, opacity=0.8).encode(x=at("x"), y=at("y")))
    for row in rows:
        colour = light(row["colour"])
        if row["x_low"] is not None:
            span = layer([row]).mark_rule(color=colour, strokeWidth=1.5, opacity=0.55)
            layers.append(span.encode(x=at("x_low"), x2=alt.X2("x_high"), y=at("y")))
        if row["y_low"] is not None:
            span = layer([row]).mark_rule(color=colour, strokeWidth=1.5, opacity=0.55)
            layers.append(span.encode(x=at("x"), y=at("y_low"), y2=alt.Y2("y_high")))
        fill = colour if row["front"] else light("paper")
        mark = layer([row]).mark_point(shape="circle", size=80, filled=True, fill=fill, stroke=colour, strokeWidth=2, opacity=1)
        layers.append(mark.encode(x=at("x"), y=at("y")))
    known = {row["name"]: row for row in rows}
    for value, name in apart([(row["y"], row["name"]) for row in rows], 15 * (up[1] - up[0]) / height):
        row = known[name]
        right = row["x"] < across[0] + 0.7 * (across[1] - across[0])  # beside a point at the right edge there is no room
        mark = layer([{"x": row["x"], "y": value, "name": name}]).mark_text(
            align="left" if right else "right", dx=9 if right else -9, dy=-8, fontSize=12, color=light(row["colour"]), limit=140
        )
        layers.append(mark.encode(x=at("x"), y=at("y"), text=alt.Text("name", type="nominal")))
    return configured(alt.layer(*layers).properties(width=inner, height=height), width)
