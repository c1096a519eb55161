"""Episodes of a bot that solves grid worlds."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import Field

from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally


class Minigrid(StreamedSource, name="minigrid"):
    """Episodes of the bot that BabyAI bundles, in one of its levels: small rooms with things of six colours, and a mission to go to one.

    Chevalier-Boisvert et al. 2018, arXiv:1810.08272 (BabyAI). Documents have ``observation`` [steps][150]
    (codes of object, colour and state of the 7 x 7 places before the agent, its direction, colour and kind of what it seeks),
    ``action`` [steps] from 0 to 6, and ``mission``. With ``goal: false`` nobody says what is sought. ``noise`` is the chance
    that a move is drawn in the place of the bot's, which is then what is written down. ``labelled: false`` leaves the actions out. It needs
    minigrid.
    """

    level: str = Field("BabyAI-GoToLocal-v0", description="one of BabyAI's that its bot solves")
    count: int = Field(200, ge=1, description="how many episodes")
    goal: bool = Field(True, description="whether what is sought stands in the observation")
    labelled: bool = Field(True, description="whether the actions are told")
    noise: float = Field(0.0, ge=0, lt=1, description="chance that a move is drawn in the place of the bot's")
    seed: int = Field(0, ge=0, description="the first world; those of evaluations begin at 1,000,000")

    def content_fields(self) -> tuple[str, ...]:
        """Observations and actions."""
        return ("observation", "action")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The episodes, one after the other. Raises UserError where minigrid is missing or has no such level."""
        from windtunnel.kits.trajectory.babyai import demonstrations

        for number in range(self.seed, self.seed + self.count):
            found = demonstrations(self.level, number, goal=self.goal, noise=self.noise)
            if not found.pop("ended"):
                tally.count("episode without an end: kept", where=f"world {number}")
            if not self.labelled:
                found["action"] = [-1] * len(found["action"])
            yield {**found, "origin": f"world {number}", "group": f"{self.level} {number}"}

    def signature(self) -> str:
        """The knobs, and which minigrid there is."""
        import importlib.metadata

        try:
            version = importlib.metadata.version("minigrid")
        except importlib.metadata.PackageNotFoundError:
            version = ""
        return json.dumps([version, self.level, self.count, self.goal, self.labelled, self.noise, self.seed])
