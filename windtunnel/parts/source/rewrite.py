"""Rewriting rules, applied to strings."""

from __future__ import annotations

import random

from pydantic import Field, model_validator

from windtunnel.kits.text.gapped import SYMBOLS, spelt
from windtunnel.kits.text.synthetic import Synthetic


class Rewrite(Synthetic, name="rewrite"):
    """A rule, a string and what the rule makes of it: `` a b > c d : e a b = e c d``, each symbol a token of a tokenizer trained on it.

    Zhang et al. 2024 (Only-IF), arXiv:2410.04717: instructions in miniature. The first place where the left side of the rule stands is
    replaced by its right side; with a chance of ``absent`` it stands nowhere and the string stays. With few ``distinct`` rules a model may
    know each by heart; with many it has to read the rule and follow it. ``distinct: 0`` draws a rule for every document, so nearly all of
    them are in no pool: a source of rules that were never seen. The evaluation `exact-match` judges by what follows ``=``.
    """

    distinct: int = Field(0, ge=0, description="how many rules there are, each as likely (0: every document has one of its own)")
    side: int = Field(2, ge=1, description="symbols of each side of a rule")
    length: int = Field(8, ge=2, description="symbols of the string")
    symbols: int = Field(12, ge=2, le=len(SYMBOLS), description="different symbols")
    absent: float = Field(0.2, ge=0, le=1, description="the chance that the rule does not apply")
    pool: int = Field(0, ge=0, description="the seed of the rules")

    @model_validator(mode="after")
    def _fits(self) -> Rewrite:
        if self.side >= self.length:
            raise ValueError(f"side: {self.side} symbols do not fit into a string of length {self.length} with any beside them")
        return self

    def one(self, chance: random.Random) -> str:
        """A rule, a string, and the string rewritten."""
        kinds = SYMBOLS[: self.symbols]
        drawn = random.Random(f"rule {self.pool} {chance.randrange(self.distinct)}") if self.distinct else chance
        left, right = (drawn.choices(kinds, k=self.side) for _ in range(2))
        if chance.random() < self.absent:
            text: list[str] = []
            for _ in range(self.length):  # whole strings without it may be too rare to wait for
                ends = text[max(0, len(text) - self.side + 1) :] == left[:-1]
                text.append(chance.choice([kind for kind in kinds if kind != left[-1]] if ends else kinds))
            return spelt([*left, ">", *right, ":", *text, "=", *text])
        text = chance.choices(kinds, k=self.length)
        place = chance.randrange(self.length - self.side + 1)
        text[place : place + self.side] = left
        first = next(at for at in range(place + 1) if text[at : at + self.side] == left)
        return spelt([*left, ">", *right, ":", *text, "=", *text[:first], *right, *text[first + self.side :]])
