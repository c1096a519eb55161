"""Chains of assignments that have to be resolved one after the other."""

from __future__ import annotations

import random

from pydantic import Field, model_validator

from windtunnel.kits.text.synthetic import Synthetic


class LegoChains(Synthetic, name="lego-chains"):
    """Variables that are each said to be plus or minus another, in random order, and then the value of one.

    Zhang et al. 2022, arXiv:2206.04301 (LEGO), as Chen et al. 2023, arXiv:2307.14430, ask it: ``a=+1 c=-b b=-a : b=-1``. The question is
    about the variable at place ``depth`` of the chain, counted from 1, so each depth is a skill, and a source of its own.
    """

    length: int = Field(5, ge=1, le=26, description="variables of the chain")
    depth: int = Field(1, ge=1, description="which of them is asked for")

    @model_validator(mode="after")
    def _in_the_chain(self) -> LegoChains:
        if self.depth > self.length:
            raise ValueError(f"depth ({self.depth}) is beyond the chain of {self.length} variables")
        return self

    def one(self, chance: random.Random) -> str:
        """A chain and a value."""
        names = chance.sample("abcdefghijklmnopqrstuvwxyz", self.length)
        signs = [chance.choice((1, -1)) for _ in names]
        clauses = [f"{name}={'+-'[sign < 0]}{before}" for name, sign, before in zip(names, signs, ["1", *names], strict=False)]
        chance.shuffle(clauses)
        value = 1
        for sign in signs[: self.depth]:
            value *= sign
        return f"{' '.join(clauses)} : {names[self.depth - 1]}={value:+d}\n"
