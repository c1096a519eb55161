"""Brackets that match."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic

PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"))


class Dyck(Synthetic, name="dyck"):
    """Strings of brackets of several kinds that all match, nested up to some depth.

    The Dyck languages (Chomsky and Schuetzenberger 1963), a test of hierarchy for sequence models; Hewitt et al. 2020,
    arXiv:2010.07515, on bounded depth. Where a string may close or open, both are equally likely.
    """

    kinds: int = Field(3, ge=1, le=len(PAIRS), description="kinds of brackets")
    depth: int = Field(6, ge=1, description="most brackets that are open at once")
    length: int = Field(40, ge=2, description="brackets of a string, opening and closing; an odd one is rounded down")

    def one(self, chance: random.Random) -> str:
        """A string of matching brackets."""
        found: list[str] = []
        waiting: list[str] = []
        left = self.length // 2 * 2
        while left:
            must_close = len(waiting) == self.depth or len(waiting) == left
            if waiting and (must_close or chance.random() < 0.5):
                found.append(waiting.pop())
            else:
                opening, closing = PAIRS[chance.randrange(self.kinds)]
                found.append(opening)
                waiting.append(closing)
            left -= 1
        return "".join(found) + "\n"
