"""The contract of mixtures."""

from __future__ import annotations

from collections.abc import Mapping

from windtunnel.core.part import Part, required
from windtunnel.slots.progress import Progress


class Mixture(Part):
    """How often each source is drawn."""

    acts = ("weights",)

    @required
    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """The share of each source (not negative, sum above zero). ``sizes``: training tokens; ``feedback``: latest validation.

        Called once for each step; also without a state, to check names, before there is a run.
        """
        raise NotImplementedError
