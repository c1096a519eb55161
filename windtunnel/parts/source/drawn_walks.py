"""Episodes of somebody who walks along a line to a place that is told."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class DrawnWalks(StreamedSource, name="drawn-walks"):
    """Walks along a line of ``places`` to a goal: one sees where one stands and where the goal is, and an action steps left or right.

    Everything about it is known, so that an objective can be checked where no grid world is installed.
    """

    count: int = Field(100, ge=1, description="how many episodes")
    places: int = Field(8, ge=3, description="of the line")
    seed: int = Field(0, ge=0, description="another seed draws others")

    def content_fields(self) -> tuple[str, ...]:
        """Observations and actions, and which episode it is: many walks are alike."""
        return ("observation", "action", "origin")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The episodes, one after the other."""
        import numpy as np

        random = np.random.default_rng(self.seed)
        for number in range(self.count):
            here, goal = random.choice(self.places, 2, replace=False).tolist()
            walk = list(range(here, goal, 1 if goal > here else -1))
            yield {
                "observation": [[place, goal] for place in walk],
                "action": [int(goal > here)] * len(walk),
                "origin": f"walk {number}",
                "group": f"walk {self.seed} {number}",
            }

    def signature(self) -> str:
        """The knobs."""
        return json.dumps([self.count, self.places, self.seed])
