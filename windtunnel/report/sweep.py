"""Loss against sparsity of models that were pruned at once: the curves, and where each one turns."""

from __future__ import annotations

from typing import Any

import numpy as np

from windtunnel.report.charts import DASHES, LINES, WIDE, configured, light
from windtunnel.report.reading import Reading
from windtunnel.report.turns import turns
from windtunnel.study.result import BASELINE

CAPTION = (
    "Each model as it was trained, pruned at once to a sparsity and measured, mean over seeds; what reaches twice the loss of the unpruned "
    "model leaves the picture. A mark with its interval over seeds stands where two straight pieces of the curve would meet: filled where "
    "two pieces fit better than a line, a quadratic and an exponential (Bayesian information criterion), hollow where the curve is smooth "
    "and has no knee."
)


def chart(reading: Reading, width: int = WIDE) -> Any | None:
    """Loss against sparsity with the knees. None where no sweep was measured."""
    import altair as alt

    curves = turns(reading)
    if not curves:
        return None
    dense = [one["loss"][0] for one in curves.values()]
    low, high = min(min(one["loss"]) for one in curves.values()), 2 * max(dense)
    wide = width >= 500
    title = f"{reading.measure} after pruning"
    removed, scale = "weights removed, %", alt.Scale(domain=[0, 100])
    x = alt.X("x", type="quantitative", title=removed, scale=scale, axis=alt.Axis(tickCount=10, grid=False))
    y = alt.Y("y", type="quantitative", title=title, scale=alt.Scale(domain=[low - 0.03 * (high - low), high], nice=False, zero=False))
    layers: list[Any] = []
    for key, (colour, dash) in drawn(reading).items():
        one = curves[key]
        rows = [{"x": 100 * share, "y": value} for share, value in zip(one["sparsities"], one["loss"], strict=True)]
        line = alt.Chart(alt.Data(values=rows)).mark_line(color=light(colour), strokeDash=list(dash), strokeWidth=2.2, clip=True)
        layers.append(line.encode(x=x, y=y))
    for key, (colour, _) in drawn(reading).items():
        one, knee = curves[key], curves[key]["knee"]
        mark = {"x": 100 * knee["value"], "y": float(np.interp(knee["value"], one["sparsities"], one["loss"]))}
        if knee["low"] is not None:
            span = alt.Chart(alt.Data(values=[mark | {"low": 100 * knee["low"], "high": 100 * knee["high"]}]))
            layers.append(
                span.mark_rule(color=light(colour), strokeWidth=2, clip=True).encode(
                    x=alt.X("low", type="quantitative", title=removed), x2=alt.X2("high"), y=y
                )
            )
        filled = light(colour if one["preferred"] == "two_pieces" else "paper")
        point = alt.Chart(alt.Data(values=[mark])).mark_point(
            shape="circle", size=80, fill=filled, stroke=light(colour), strokeWidth=2, opacity=1, clip=True
        )
        layers.append(point.encode(x=x, y=y))
    return configured(alt.layer(*layers).properties(width=width - 90, height=360 if wide else 300), width)


def drawn(reading: Reading) -> dict[tuple[str, str], tuple[str, tuple[int, ...]]]:
    """The colour and dash of every curve: a colour for an arm, as many as there are, a dash for a sweep."""
    curves = turns(reading)
    arms, sweeps = (list(dict.fromkeys(key[index] for key in curves)) for index in (0, 1))
    others = [arm for arm in arms if arm != BASELINE]
    styles = {BASELINE: "ink"} | dict(zip(others, LINES, strict=False))
    return {(arm, name): (styles[arm], DASHES[sweeps.index(name) % len(DASHES)]) for arm, name in curves if arm in styles}
