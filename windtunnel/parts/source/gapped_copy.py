"""Strings that come again after a gap."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic


class GappedCopy(Synthetic, name="gapped-copy"):
    """A random string, a gap of dots, and the string again: only a model that looks back over the gap can know it.

    The copying task of Hochreiter and Schmidhuber 1997 and Graves et al. 2014, arXiv:1410.5401, as a test of memory and attention. The
    second half can be predicted perfectly and the first not at all, so loss says how much of it a model copies.
    """

    length: int = Field(12, ge=1, description="characters of the string")
    gap: int = Field(20, ge=0, description="most dots between the two; their number is drawn")
    letters: int = Field(26, ge=2, le=26, description="different characters")

    def one(self, chance: random.Random) -> str:
        """A string twice."""
        word = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz"[: self.letters], k=self.length))
        return f"{word}|{'.' * chance.randint(0, self.gap)}|{word}\n"
