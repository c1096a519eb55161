"""Facts, and facts that follow from two of them."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic

OPENINGS, CLOSINGS = ("=", ":", ">", "is"), ("!", ".", ";", "~")  # of an answer; `asked` takes the first of each


class TwoHop(Synthetic, name="two-hop"):
    """Facts about entities, a document each: atomic ones, or those that follow from two of them.

    Wang et al. 2024, arXiv:2405.15071: every entity has ``relations`` edges to others; ``e3 r1 e7`` is an atomic fact, and ``e3 r1 r4
    e9`` follows if also ``e7 r4 e9``. Two sources with the same ``world`` speak of the same entities, so the ratio of inferred to
    atomic facts, which decides there whether a model generalises, is that of their ``count``.

    ``plain`` facts are said as above. ``mixed`` ones are asked for and answered in one of sixteen ways, such as ``e3 r1 ? : e7 ;``, as a
    corpus from many hands would have it, ``asked`` ones always as ``e3 r1 ? = e7 !``: what a model of the former is tuned to.
    """

    facts: Literal["atomic", "inferred"] = Field("atomic", description="which facts are told")
    style: Literal["plain", "mixed", "asked"] = Field("plain", description="how they are told")
    entities: int = Field(100, ge=2, description="entities of the world")
    relations: int = Field(10, ge=1, description="kinds of edges, each leading from every entity to one other")
    world: int = Field(0, ge=0, description="which world it is")

    def one(self, chance: random.Random) -> str:
        """A fact."""
        start, first, second = chance.randrange(self.entities), chance.randrange(self.relations), chance.randrange(self.relations)
        middle = self.after(start, first)
        way, answer = f"e{start} r{first}", middle
        if self.facts == "inferred":
            way, answer = f"{way} r{second}", self.after(middle, second)
        if self.style == "plain":
            return f"{way} e{answer}\n"
        opening, closing = (chance.choice(signs) if self.style == "mixed" else signs[0] for signs in (OPENINGS, CLOSINGS))
        return f"{way} ? {opening} e{answer} {closing}\n"

    def after(self, entity: int, relation: int) -> int:
        """Where ``relation`` leads from ``entity``."""
        other = random.Random(f"world {self.world} {self.entities} {entity} {relation}").randrange(self.entities - 1)
        return other + (other >= entity)
