"""The contract of experiments: what is measured without training a model."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.core.part import Part, required


class Experiment(Part):
    """Numbers that need no training: of a sampler, an estimator, heads on fixed features, a tool. ``unit`` and ``better`` are of the first.

    A scale of a paper holds one in the place of a study; its arms are other settings of the same knobs. What is random is drawn from the
    seed alone, so that arms of one seed meet the same data and their differences are paired.
    """

    unit: ClassVar[str] = ""
    better: ClassVar[str] = "lower"

    @required
    def measure(self, seed: int) -> dict[str, float]:
        """Numbers by name; the first is the primary one. The same seed gives the same numbers."""
        raise NotImplementedError
