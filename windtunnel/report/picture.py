"""A result as one picture, for a README or a slide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.report import adaptation, sweep, transfer
from windtunnel.report.charts import curves, forest, light
from windtunnel.report.reading import Reading
from windtunnel.study.result import StudyResult

WIDTH, LEAST = 660, 380  # of each chart, and the least height of a forest plot that stands beside another


def drawing(result: StudyResult | Mapping[str, Any]) -> Any:
    """What the result of a study, a paper or an adaptation says, in one or two charts side by side, on the light paper.

    A study is drawn as its forest plot and beside it what every arm kept and gained, where it says what is kept, or loss against
    sparsity, where that was measured, or else loss against compute; an adaptation as the curves of its sources.

    Raises:
        UserError: where the result has nothing to draw yet.
    """
    import altair as alt

    if isinstance(result, Mapping) and result.get("kind") == "adaptation":
        made = [adaptation.curves(result, WIDTH)]
    else:
        reading = Reading(result)
        made = [forest(reading, WIDTH, LEAST), transfer.axes(reading, WIDTH) or sweep.chart(reading, WIDTH) or curves(reading, WIDTH)]
    charts = [chart for chart in made if chart is not None]
    if not charts:
        raise UserError("the result has no finished run to draw")
    config = charts[0].config
    for chart in charts:
        chart.config = alt.Undefined
    whole = alt.hconcat(*charts, spacing=48)
    whole.config = config
    whole.config["background"] = light("paper")
    whole.config["padding"] = 20
    return whole


def picture(result: StudyResult | Mapping[str, Any], path: Path) -> Path:
    """Write :func:`drawing` to ``path`` as a PNG. Raises UserError where the result has nothing to draw yet."""
    try:
        whole = drawing(result)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(str(path), format="png", scale_factor=2)
    return path
