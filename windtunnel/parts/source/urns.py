"""Draws from urns, of which there are few or as many as sequences."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.kits.text.gapped import SYMBOLS, spelt
from windtunnel.kits.text.synthetic import Synthetic


class Urns(Synthetic, name="urns"):
    """Sequences of coloured balls, each drawn with replacement from one urn: a model has to tell in context which urn it is.

    With few ``urns`` it can learn them by heart; with many, counting the colours seen so far does as well for any urn. Which of the
    two a model does, the evaluation `icl-strategy` tells. Balls and urns are one of the tasks of Wurgaft et al. 2025, arXiv:2506.17859, and
    the discrete case of in-context learning from a pool of tasks (Raventós et al. 2023, arXiv:2306.15063). Urns are drawn from the flat
    Dirichlet distribution. Each colour is a letter with a space before it, one token of a tokenizer that is trained on it.
    """

    urns: int = Field(0, ge=0, description="how many urns there are, each as likely (0: every sequence has one of its own)")
    colours: int = Field(8, ge=2, le=len(SYMBOLS), description="kinds of balls")
    draws: int = Field(31, ge=2, description="balls of a sequence")
    pool: int = Field(0, ge=0, description="the seed of the urns")

    def one(self, chance: random.Random) -> str:
        """A sequence of draws."""
        from windtunnel.kits.text.urns import urn

        drawn = random.Random(f"urn {self.pool} {chance.randrange(self.urns)}") if self.urns else chance
        shares = urn(drawn, self.colours)
        return spelt(chance.choices(SYMBOLS[: self.colours], shares, k=self.draws))
