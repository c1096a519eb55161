"""Strings that come again after a gap."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field, model_validator

from windtunnel.kits.text.gapped import SYMBOLS, problem, spelt
from windtunnel.kits.text.synthetic import Synthetic


class GappedCopy(Synthetic, name="gapped-copy"):
    """A random string, a gap, and the string again: only a model that looks back over the gap can know it.

    The copying task of Hochreiter and Schmidhuber 1997 and Graves et al. 2014, arXiv:1410.5401, as a test of memory and attention. The
    second half can be predicted perfectly and the first not at all, so loss says how much of it a model copies. Draw gaps of very different
    lengths: at nearly one distance a model learns to look so many tokens back and nothing else.

    ``filler: letters`` makes of it what the evaluation `copy-accuracy` asks for: the letters of the string are all different, the gap holds
    other letters, and so do up to ``offset`` places before the string. Each letter has a space before it, and a byte-level tokenizer that
    is trained on it (of a vocabulary of at least 326 and ``letters``) makes one token of both.
    """

    length: int = Field(12, ge=1, description="characters of the string")
    gap: int = Field(20, ge=0, description="most characters between the two; their number is drawn")
    letters: int = Field(26, ge=2, le=len(SYMBOLS), description="different characters")
    filler: Literal["dots", "letters"] = Field("dots", description="what the gap holds")
    least: int = Field(0, ge=0, description="fewest characters between the two")
    offset: int = Field(0, ge=0, description="with filler of letters, most of them before the string; their number is drawn")

    @model_validator(mode="after")
    def _fits(self) -> GappedCopy:
        if self.least > self.gap:
            raise ValueError(f"least: {self.least} characters between the two are more than gap, {self.gap}")
        if self.filler == "letters" and self.length >= self.letters:
            raise ValueError(f"length: {self.length} different letters and one of filler need letters of at least {self.length + 1}")
        if self.filler == "dots" and self.offset:
            raise ValueError("offset is of filler of letters: filler: letters")
        return self

    def one(self, chance: random.Random) -> str:
        """A string twice."""
        if self.filler == "letters":
            offset, gap = chance.randint(0, self.offset), chance.randint(self.least, self.gap)
            return spelt(problem(chance, copied=self.length, symbols=self.letters, offset=offset, gap=gap))
        word = "".join(chance.choices(SYMBOLS[: self.letters], k=self.length))
        return f"{word}|{'.' * chance.randint(self.least, self.gap)}|{word}\n"
