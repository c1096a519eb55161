"""Sizes evened out."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from windtunnel.slots import Mixture, Progress


class Temperature(Mixture, name="temperature"):
    """Draw each source in proportion to its training tokens raised to 1 / temperature, so that small sources are seen more often.

    Arivazhagan et al. 2019, arXiv:1907.05019. At 1 this is ``proportional``; the higher, the closer to equal shares.
    """

    temperature: float = Field(2.0, ge=1, description="1: by size; larger: closer to equal shares")

    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """The flattened shares."""
        largest = max(sizes.values())
        return {source: (size / largest) ** (1 / self.temperature) for source, size in sizes.items()}
