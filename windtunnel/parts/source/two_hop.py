"""Facts, and facts that follow from two of them."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic


class TwoHop(Synthetic, name="two-hop"):
    """Facts about entities, a document each: atomic ones, or those that follow from two of them.

    Wang et al. 2024, arXiv:2405.15071: every entity has ``relations`` edges to others; ``e3 r1 e7`` is an atomic fact, and ``e3 r1 r4
    e9`` follows if also ``e7 r4 e9``. Two sources with the same ``world`` speak of the same entities, so the ratio of inferred to
    atomic facts, which decides there whether a model generalises, is that of their ``count``.
    """

    facts: Literal["atomic", "inferred"] = Field("atomic", description="which facts are told")
    entities: int = Field(100, ge=2, description="entities of the world")
    relations: int = Field(10, ge=1, description="kinds of edges, each leading from every entity to one other")
    world: int = Field(0, ge=0, description="which world it is")

    def one(self, chance: random.Random) -> str:
        """A fact."""
        start, first, second = chance.randrange(self.entities), chance.randrange(self.relations), chance.randrange(self.relations)
        middle = self.after(start, first)
        if self.facts == "atomic":
            return f"e{start} r{first} e{middle}\n"
        return f"e{start} r{first} r{second} e{self.after(middle, second)}\n"

    def after(self, entity: int, relation: int) -> int:
        """Where ``relation`` leads from ``entity``."""
        other = random.Random(f"world {self.world} {self.entities} {entity} {relation}").randrange(self.entities - 1)
        return other + (other >= entity)
