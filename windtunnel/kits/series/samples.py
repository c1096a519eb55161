"""What models forecast for held-out windows, as plots for a reader to see."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.kits.series.forecasts import forecasts, windows_of
from windtunnel.kits.series.windows import seasonal_naive

if TYPE_CHECKING:
    from windtunnel.slots import HeldOut

WIDTH, HEIGHT, EDGE = 320, 90, 4  # of a plot
TRUE, SAID, NAIVE, BAND = "#64748b", "#dc2626", "#94a3b8", "#fecaca"


def plot(
    lines: list[tuple[str, int, np.ndarray]], band: tuple[int, np.ndarray, np.ndarray] | None = None, steps: int = 0, now: int = 0
) -> str:
    """Lines of values as the address of a picture that a page can hold.

    Args:
        lines: the colour of each, the step at which it begins, and its values [steps], NaN in gaps.
        band: where an area begins, its lower and its upper end.
        steps: of the whole plot.
        now: the step at which a dotted line stands, where a forecast begins; none at 0.
    """
    every = np.concatenate([values for _, _, values in lines] + ([] if band is None else list(band[1:])))
    low, high = (float(np.nanmin(every)), float(np.nanmax(every))) if np.isfinite(every).any() else (0.0, 1.0)
    span = (high - low) or 1.0

    def places(begin: int, values: np.ndarray) -> list[str]:
        x = EDGE + (begin + np.arange(len(values))) * (WIDTH - 2 * EDGE) / max(1, steps - 1)
        y = EDGE + (high - values) / span * (HEIGHT - 2 * EDGE)
        return [f"{one:.1f},{two:.1f}" if np.isfinite(two) else "" for one, two in zip(x, y, strict=True)]

    edge = places(now, np.zeros(1))[0].partition(",")[0]
    drawn = [f'<path d="M{edge} 0V{HEIGHT}" stroke="{NAIVE}" stroke-dasharray="2 3"/>'] if now else []
    if band is not None:
        begin, lower, upper = band
        drawn.append(f'<polygon fill="{BAND}" points="{" ".join([*places(begin, upper), *places(begin, lower)[::-1]])}"/>')
    for colour, begin, values in lines:
        for piece in ";".join(places(begin, values)).split(";;"):  # a gap ends a line
            if points := piece.strip(";").replace(";", " "):
                drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
    return "data:image/svg+xml;base64," + base64.b64encode(f"{head}{''.join(drawn)}</svg>".encode()).decode("ascii")


def samples(model: Any, held_out: HeldOut, count: int) -> list[dict[str, Any]]:
    """For ``count`` held-out windows of each source, evenly spread: past and future with seasonal naive, and what ``model`` forecasts."""
    found = []
    for source in held_out.sources:
        held = windows_of(held_out.stream, held_out.split, source)
        held = held.chosen(np.unique(np.linspace(0, len(held.past) - 1, count).round().astype(np.int64)))
        said, quantiles = forecasts(model, held, held_out)
        naive = seasonal_naive(held.past, held.period, held.future.shape[1])
        for number, (past, future) in enumerate(zip(held.past, held.future, strict=True)):
            begin, whole = len(past), np.concatenate([past, future])
            last = np.append(whole[begin - 1], said[number])
            band = None if quantiles is None else (begin, quantiles[0, number], quantiles[-1, number])
            known = [(TRUE, 0, whole), (NAIVE, begin, naive[number])]
            kind = "later time of a series that was trained on" if held.later[number] else "new series"
            found.append(
                {
                    "source": source,
                    "prompt": f"window {number + 1}",
                    "truth": kind,
                    "pictures": {"the series; seasonal naive in light grey": plot(known, None, len(whole), begin)},
                    "drawn": plot([(TRUE, 0, whole), (SAID, begin - 1, last)], band, len(whole), begin),
                }
            )
    return found
