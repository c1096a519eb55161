"""What a model forecasts for the windows of a split, beside what came and what seasonal naive says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from windtunnel.slots import HeldOut

BATCH = 256  # windows in a forward pass
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of quantiles


class HeldWindows(NamedTuple):
    """The windows of a source in one split, in stored order: ``past`` and ``future`` float64 [windows, steps], NaN where there is no value.

    ``series`` says which document each is of, ``period`` and ``frequency`` are those of it, and ``later`` whether it is the end of a series
    that was trained on: int64 [windows].
    """

    past: np.ndarray
    future: np.ndarray
    series: np.ndarray
    period: np.ndarray
    frequency: np.ndarray
    later: np.ndarray

    def chosen(self, places: np.ndarray) -> HeldWindows:
        """Those at ``places``."""
        return HeldWindows(*(one[places] for one in self))


def windows_of(stream: Any, split: str, source: str) -> HeldWindows:
    """The windows of ``source`` in ``split``."""
    import numpy as np

    lengths = stream.lengths(split, source)
    every, zero = np.arange(len(lengths)), np.zeros(len(lengths), np.int64)
    series = np.repeat(every, lengths)
    past, future = (stream.gather(split, source, every, zero, lengths, name) for name in ("past", "future"))
    about = (stream.gather(split, source, every, zero, zero + 1, name)[series] for name in ("period", "frequency", "later"))
    return HeldWindows(past, future, series, *about)


def forecasts(model: Any, held: HeldWindows, held_out: HeldOut) -> tuple[np.ndarray, np.ndarray | None]:
    """What ``model`` forecasts, in the units of the series: float64 [windows, horizon], and its quantiles [levels, windows, horizon].

    Of a distribution the forecast is the middle; None where the model says no distribution. A past that does not vary goes on as it is.
    """
    import numpy as np
    import torch

    from windtunnel.data.held_out import entered
    from windtunnel.kits.series.heads import distribution, quantiles
    from windtunnel.kits.series.windows import scaled
    from windtunnel.models.forward import forward

    said: list[np.ndarray] = []
    spread: list[np.ndarray] = []
    for begin in range(0, len(held.past), BATCH):
        part = held.chosen(np.arange(begin, min(begin + BATCH, len(held.past))))
        found = scaled(part.past, part.future)
        arrays: dict[str, np.ndarray] = {"past": found.past, "observed": found.observed, "frequency": part.frequency}
        given: dict[str, Any] = {name: torch.from_numpy(one).to(held_out.device) for name, one in arrays.items()}
        with torch.no_grad(), entered(held_out.precision):
            outputs = forward(model, **given)
        said.append(found.mean + found.deviation * outputs.logits.double().cpu().numpy())
        if (law := distribution(outputs)) is not None:
            spread.append(found.mean + found.deviation * quantiles(law, LEVELS))
    return np.concatenate(said), np.concatenate(spread, axis=1) if spread else None
