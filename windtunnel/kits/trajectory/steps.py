"""What is known of the steps of episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from windtunnel.core.errors import PartError

if TYPE_CHECKING:
    import numpy as np

FILE = "steps.json"


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


class StepsBeside:
    """What lies beside a model of episodes: how its observations are read."""

    def __init__(self, facts: Steps) -> None:
        self.facts = facts

    def save_pretrained(self, folder: Path | str) -> None:
        """Write steps.json."""
        told = {"steps": self.facts.steps, "codes": self.facts.codes.tolist(), "actions": self.facts.actions}
        (Path(folder) / FILE).write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StepsBeside:
        """What :meth:`save_pretrained` wrote. Raises PartError where it is not there."""
        import numpy as np

        try:
            told = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return cls(Steps(int(told["steps"]), np.array(told["codes"], np.int64), int(told["actions"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PartError(f"{folder / FILE}: does not say what a model of episodes reads: {error}") from error
