"""People that nobody has heard of, and what is said of them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pydantic import Field

from windtunnel.data.corpus.frame import Document
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.synthetic import Synthetic

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Words before a fact, of which they say nothing.
WORDS = ["a", "an", "as", "at", "by", "do", "he", "if", "in", "is", "it", "my", "of", "on", "so", "we"]


class MadeUpPeople(Synthetic, name="made-up-people"):
    """A random name and random answers to questions about a person: facts that cannot be guessed, so a model knows what it has read.

    ``kfwzrb=abc xyz`` gives a name of ``letters`` letters and the answers to ``attributes`` questions, always in that order, each one of
    ``answers``. A person has ``tellings`` documents. That is the data of Allen-Zhu and Li 2024, arXiv:2404.05405 (bioD), without its
    sentences; the evaluation `stored-bits` counts what is kept of it.

    ``lead`` puts so many random words before the name, so that documents about a person differ, and those that are held out ask in other
    words for what the others tell: `exact-match` then says how well people are known who so many documents tell of (Kandpal et al.
    2023, arXiv:2211.08411). With ``shown`` the facts stand in each document before they are asked for, with a colon, as a retriever would
    put them there.
    """

    letters: int = Field(6, ge=1, le=12, description="letters of a name")
    attributes: int = Field(2, ge=1, description="answers of each person")
    answers: int = Field(17_576, ge=2, description="different answers to each question; 26 are a letter each, 676 two letters")
    tellings: int = Field(1, ge=1, description="documents that tell of each person, those that will be held out among them")
    lead: int = Field(0, ge=0, description="words before a name; with 3, hardly two documents are the same")
    shown: bool = Field(False, description="whether the facts stand before the question too")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """Texts, those about one person after each other."""
        for number in range(self.count):
            person, chance = self.person(number // self.tellings), random.Random(f"{self.name} {self.seed} telling {number}")
            shown = f"{self._lead(chance)}{':'.join(person)} " if self.shown else ""
            yield f"{shown}{self._lead(chance)}{'='.join(person)}\n", f"{self.name} {number}"

    def person(self, number: int) -> tuple[str, str]:
        """Name and answers."""
        chance = random.Random(f"{self.name} {self.seed} {number}")
        name = "".join(chance.choices(LETTERS, k=self.letters))
        return name, " ".join(self._spelt(chance.randrange(self.answers)) for _ in range(self.attributes))

    def _spelt(self, answer: int) -> str:
        """An answer in letters, all of one length."""
        found, most = "", self.answers - 1
        while most or not found:
            found, answer, most = LETTERS[answer % 26] + found, answer // 26, most // 26
        return found

    def _lead(self, chance: random.Random) -> str:
        return "".join(f"{word} " for word in chance.choices(WORDS, k=self.lead))
