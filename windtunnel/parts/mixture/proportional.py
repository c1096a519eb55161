"""Every source as often as its size says."""

from __future__ import annotations

from collections.abc import Mapping

from windtunnel.slots import Mixture, Progress


class Proportional(Mixture, name="proportional"):
    """Draw each source in proportion to its training tokens, so that all are repeated equally often."""

    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """Tokens of each source."""
        return {source: float(size) for source, size in sizes.items()}
