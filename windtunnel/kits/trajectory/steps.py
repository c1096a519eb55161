"""What is known of the steps of episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Steps(NamedTuple):
    """What is known of the episodes of a stream.

    ``steps`` of a window; ``codes`` int64 [places]: how many codes each place of an observation has in training; ``actions``: how many
    there are.
    """

    steps: int
    codes: np.ndarray
    actions: int

    @property
    def width(self) -> int:
        """Numbers of an observation, one for each code of each place."""
        return int(self.codes.sum())

    def states(self, observation: np.ndarray) -> np.ndarray:
        """Observations [..., places] with a 1 for the code of each place: float32 [..., width]. Codes are no amounts, so none is larger.

        A code that no training observation has at its place gives no 1 there.
        """
        import numpy as np

        begins = np.cumsum(self.codes) - self.codes
        known = (observation >= 0) & (observation < self.codes)
        found = np.zeros((*observation.shape[:-1], self.width), np.float32)
        np.put_along_axis(found, np.where(known, begins + observation, begins), known.astype(np.float32), axis=-1)
        return found
