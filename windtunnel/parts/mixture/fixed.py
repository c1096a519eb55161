"""Every source as often as the user says."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError, nearest
from windtunnel.core.trial import Trial
from windtunnel.slots import Mixture, Progress


class Fixed(Mixture, name="fixed"):
    """Draw each source by a share that never changes. Shares need not add up to one; every source of the phase needs one."""

    trial = Trial({"shares": {"code": 0.5, "prose": 0.5}})

    shares: dict[str, float] = Field(description="share of each source, above zero")

    @field_validator("shares")
    @classmethod
    def _above_zero(cls, shares: dict[str, float]) -> dict[str, float]:
        for source, share in shares.items():
            if not (share > 0 and math.isfinite(share)):
                raise ValueError(
                    f"the share of source {source!r} is {share:g}; a share is above zero "
                    "(to leave a source out, list the others under sources)"
                )
        if not shares:
            raise ValueError("no source has a share")
        return shares

    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """The shares. Raises PartError where their names are not those of the sources."""
        for source in self.shares:
            if source not in sizes:
                raise PartError(f"mixture.fixed.shares: no source is called {source!r}; {nearest(source, sizes)}")
        for source in sizes:
            if source not in self.shares:
                raise PartError(
                    f"mixture.fixed.shares: source {source!r} has no share; give it one, or leave it out by listing the others under "
                    f"sources; {nearest(source, self.shares)}"
                )
        return dict(self.shares)
