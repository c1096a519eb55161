"""Sums, written in several ways."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic


class Addition(Synthetic, name="addition"):
    """Sums of two numbers, a document each: plain, with the digits of the result reversed, or with every step.

    Lee et al. 2024, arXiv:2307.03381. ``plain`` is ``128+367=495``, ``reversed`` ``$128+367=594$``: a model that writes the last digit
    first can add as people do. ``steps`` writes digit and carry of every place (their simplified scratchpad). ``balanced`` draws the
    number of digits of each summand evenly instead of the number, which is an effect of its own: change one at a time.
    """

    form: Literal["plain", "reversed", "steps"] = Field("plain", description="how a sum is written")
    digits: int = Field(3, ge=1, le=18, description="most digits of a summand")
    balanced: bool = Field(True, description="whether every number of digits is as frequent")

    def one(self, chance: random.Random) -> str:
        """A sum."""
        first, second = (self._number(chance) for _ in range(2))
        total = str(first + second)
        if self.form == "plain":
            return f"{first}+{second}={total}\n"
        if self.form == "reversed":
            return f"${first}+{second}={total[::-1]}$\n"
        return f"{first}+{second}=\n{''.join(steps(first, second))}{total}\n"

    def _number(self, chance: random.Random) -> int:
        if not self.balanced:
            return chance.randrange(10**self.digits)
        digits = chance.randint(1, self.digits)
        return chance.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def steps(first: int, second: int) -> list[str]:
    """The digit (A) and the carry (C) of every place, from the last."""
    found, carry = [], 0
    for place in range(max(len(str(first)), len(str(second)))):
        carry, digit = divmod(first // 10**place % 10 + second // 10**place % 10 + carry, 10)
        found.append(f"A->{digit},C->{carry}\n")
    return found
