"""Every source as often as the user says."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError, nearest
from windtunnel.core.trial import Trial
from windtunnel.slots import Mixture, Progress


class Fixed(Mixture, name="fixed"):
    """Draw each source by a share that never changes. Shares need not add up to one; a source without one, or with 0, is not drawn."""

    trial = Trial({"shares": {"code": 0.5, "prose": 0.5}})

    shares: dict[str, float] = Field(description="share of each source; 0, or none: it is not drawn")

    @field_validator("shares")
    @classmethod
    def _some_drawn(cls, shares: dict[str, float]) -> dict[str, float]:
        for source, share in shares.items():
            if not (share >= 0 and math.isfinite(share)):
                raise ValueError(f"the share of source {source!r} is {share:g}; a share is 0 or more")
        if not any(shares.values()):
            raise ValueError("no source has a share above 0")
        return shares

    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """The shares. Raises PartError for the name of no source."""
        for source in self.shares:
            if source not in sizes:
                raise PartError(f"mixture.fixed.shares: no source is called {source!r}; {nearest(source, sizes)}")
        return dict(self.shares)
