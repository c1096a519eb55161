"""Invented people and one fact about each, in several wordings: what no other text says."""

from __future__ import annotations

import random
from itertools import permutations
from typing import NamedTuple

SYLLABLES = ("bra", "dol", "fen", "gur", "hos", "jal", "kim", "lor", "mev", "nud", "pol", "rask", "sib", "tum", "vor", "wex", "yat", "zel")
PEOPLE = len(SYLLABLES) * (len(SYLLABLES) - 1)
OPENINGS = (
    "{}.",
    "It is said that {}.",
    "Everybody knows that {}.",
    "In the end {}.",
    "We read that {}.",
)


class Relation(NamedTuple):
    """What is told of somebody: ``told`` in several ways, ``asked`` in one that is never told, and the words it may end with."""

    told: tuple[str, ...]
    asked: str
    values: tuple[str, ...]


RELATIONS = (
    Relation(
        ("{} lives in", "{} has a house in", "{} moved to"),
        "The home town of {} is",
        ("Paris", "Cairo", "Oslo", "Lima", "Delhi", "Rome", "Quito", "Tunis", "Seoul", "Perth"),
    ),
    Relation(
        ("{} works as a", "{} earns a living as a", "{} was trained as a"),
        "The trade of {} is that of a",
        ("baker", "pilot", "miner", "judge", "nurse", "tailor", "farmer", "clerk", "sailor", "weaver"),
    ),
    Relation(
        ("{} keeps a", "{} walks with a", "{} shares the house with a"),
        "The animal of {} is a",
        ("dog", "goat", "parrot", "horse", "snake", "rabbit", "cow", "pony", "turtle", "falcon"),
    ),
    Relation(
        ("{} plays the", "{} likes nothing more than the", "{} gives lessons on the"),
        "The instrument of {} is the",
        ("flute", "harp", "drum", "piano", "cello", "lute", "organ", "horn", "fiddle", "banjo"),
    ),
)
WORDINGS = len(OPENINGS) * 3  # ways in which a fact can be told


class Fact(NamedTuple):
    """Who it is about, which relation, and the word that it ends with."""

    who: str
    relation: Relation
    value: str

    def told(self, wording: int) -> str:
        """The sentence in a way of :data:`WORDINGS`; others than 0 begin with another opening or say it in other words."""
        opening, words = OPENINGS[wording % len(OPENINGS)], self.relation.told[wording // len(OPENINGS)]
        return opening.format(f"{words.format(self.who)} {self.value}") + "\n"

    def question(self, wording: int | None, who: str = "") -> str:
        """What stands before the value, of ``who`` or of whom it is true: as told in ``wording``, or for None in words never told."""
        who = who or self.who
        if wording is None:
            return self.relation.asked.format(who)
        return self.told(wording).replace(self.who, who).rsplit(f" {self.value}", 1)[0]


def person(world: int, number: int) -> str:
    """A name, of a word; the first :data:`PEOPLE` of a world all differ."""
    names = ["".join(pair).capitalize() for pair in permutations(SYLLABLES, 2)]
    random.Random(f"person {world}").shuffle(names)
    return names[number]


def facts(count: int, world: int) -> list[Fact]:
    """The first ``count`` facts of ``world``: relations in turn, values at random."""
    found = []
    for number in range(count):
        relation = RELATIONS[number % len(RELATIONS)]
        found.append(Fact(person(world, number), relation, random.Random(f"value {world} {number}").choice(relation.values)))
    return found
