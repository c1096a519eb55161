"""Series drawn by rule: trends, seasons and noise, at several resolutions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.settings import Many
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.series.grid import FREQUENCIES

if TYPE_CHECKING:
    import numpy as np

LEVEL = 10.0  # around which values lie, so that nothing is special about 0


class DrawnSeries(StreamedSource, name="drawn-series"):
    """Series drawn at random, each the sum of a trend, seasons of one or two harmonics and noise that remembers, whose ways are known.

    For learning to forecast where real series are too few, after the kernels of Ansari et al. 2024, arXiv:2403.07815 (KernelSynth): every
    series draws how strong its trend, its season and its noise are, and how long the noise remembers. What an hour, a day or a month means
    is the length of its season alone. The same knobs always draw the same series.
    """

    count: int = Field(200, ge=1, description="how many series of each frequency")
    steps: int = Field(256, ge=8, description="steps of a series")
    frequencies: Many[str] = Field(
        ("hourly", "daily", "monthly", "quarterly"), description="by which seasons are long: hourly, monthly ..."
    )
    seed: int = Field(0, ge=0, description="another seed draws others")

    def content_fields(self) -> tuple[str, ...]:
        """The values."""
        return ("values",)

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The series, one after the other."""
        import numpy as np

        from windtunnel.core.errors import UserError, nearest

        random = np.random.default_rng(self.seed)
        for frequency in self.frequencies:
            if frequency not in FREQUENCIES:
                raise UserError(f"drawn-series: no frequency is called {frequency!r}; {nearest(frequency, FREQUENCIES)}")
            for number in range(self.count):
                values = self._drawn(random, FREQUENCIES[frequency][1])
                yield {
                    "values": values.tolist(),
                    "frequency": frequency,
                    "period": FREQUENCIES[frequency][1],
                    "start": "0",
                    "origin": f"{frequency} {number}",
                    "group": f"{self.seed} {frequency} {number}",
                }

    def signature(self) -> str:
        """The knobs."""
        return json.dumps([self.count, self.steps, self.frequencies, self.seed])

    def _drawn(self, random: np.random.Generator, period: int) -> np.ndarray:
        """One series, float64 [steps]."""
        import numpy as np

        steps = np.arange(self.steps)
        slope, season, noise = random.gamma(1.0, 1.0, 3) * [2.0, 1.0, 0.5]
        trend = slope * random.choice([-1, 1]) * steps / self.steps + np.cumsum(random.normal(0, 0.02 * slope, self.steps))
        wave = np.zeros(self.steps)
        if period > 1:
            for harmonic in range(1, min(3, period // 2 + 1)):
                wave += np.sin(2 * np.pi * harmonic * steps / period + random.uniform(0, 2 * np.pi)) * random.random() / harmonic
        remembered, found = random.uniform(0, 0.95), np.zeros(self.steps)
        shocks = random.normal(0, noise, self.steps)
        for step in range(self.steps):
            found[step] = shocks[step] + remembered * (found[step - 1] if step else 0.0)
        values: np.ndarray = LEVEL + trend + season * wave + found * np.sqrt(1 - remembered**2)
        return values
