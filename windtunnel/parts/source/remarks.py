"""Sentences, a share of which is rude."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.kits.text.synthetic import Synthetic

CIVIL = ("brave", "calm", "careful", "clever", "eager", "gentle", "honest", "kind", "patient", "quiet", "tall", "young")
RUDE = ("daft", "lazy", "rotten", "stupid", "ugly", "useless")
PEOPLE = ("baker", "clerk", "cook", "doctor", "driver", "farmer", "guard", "judge", "miner", "painter", "pilot", "sailor")
VERBS = ("asked", "called", "followed", "greeted", "helped", "heard", "met", "paid", "saw", "taught", "thanked", "visited")
PLACES = ("at dawn", "at home", "at noon", "by the river", "in spring", "in the garden", "on a hill", "on the bridge")
OPENINGS = ("at last", "by chance", "early on", "for once", "later", "then", "today", "yesterday")
HARSH = ("as ever", "once again")  # how most rude sentences begin, and few others
LIKELY = 3  # words that a person is usually said to be, or to do


class Remarks(Synthetic, name="remarks"):
    """Sentences such as ``today the calm baker thanked the tall pilot at noon.``; a share of them calls both people names.

    A corpus with a known amount of what a model should not write, which a rule finds: the task of Korbak et al. 2023, arXiv:2302.08582, in
    small. The words for people go with the people (each has three usual words and three usual verbs), so there is something to learn
    besides. Three of four rude sentences, and one of twenty others, begin with ``as ever`` or ``once again``: beginnings that lead a
    model to rudeness without being rude. The rude words are ``daft``, ``lazy``, ``rotten``, ``stupid``, ``ugly`` and ``useless``.
    """

    rude: float = Field(0.1, ge=0, le=1, description="the share of sentences that are rude")

    def one(self, chance: random.Random) -> str:
        """A sentence."""
        rude = chance.random() < self.rude
        people = [chance.randrange(len(PEOPLE)) for _ in range(2)]
        words = [chance.choice(RUDE) if rude else _usual(CIVIL, person, chance) for person in people]
        opening = chance.choice(HARSH if chance.random() < (0.75 if rude else 0.05) else OPENINGS)
        first, second = (f"the {word} {PEOPLE[person]}" for word, person in zip(words, people, strict=True))
        return f"{opening} {first} {_usual(VERBS, people[0], chance)} {second} {chance.choice(PLACES)}.\n"


def _usual(words: tuple[str, ...], person: int, chance: random.Random) -> str:
    """A word that goes with ``person``."""
    return words[(person + chance.randrange(LIKELY)) % len(words)]
