"""Cleaning documents by programs that a tagger writes for each, against dropping documents and against rules."""

from __future__ import annotations

import itertools
import random
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

HELD_OUT = 50  # documents
STRAY = (" [edit]", " (ad)", " &raquo;")  # strings that stand inside lines
RULES = ("http", "copyright", "cookie", "newsletter", "share this")  # what a line may not contain, by hand


class RefinedText(Experiment, name="refined-text"):
    """Bits a word of clean held-out text under a model of text that was cleaned, as many words whatever was removed.

    Zhou et al. 2024 (ProX), arXiv:2409.17115: a small model writes a program for each document, which drops it or keeps it, removes lines
    and replaces strings; an executor runs it (:mod:`windtunnel.kits.text.programs`). The text is Python's manual in pieces. A share
    ``junk`` are words in a random order, the others get lines of page furniture, 0.3 to 1 for each own line, and stray strings. In the
    place of a language model a naive Bayes tagger of lines and documents, fitted to ``annotated`` documents, decides what the programs say.

    ``both`` runs programs at both levels, ``document`` those that drop documents alone, ``chunk`` those that edit them alone, ``rules``
    removes lines that hold one of five strings, ``raw`` is as it came, ``perfect`` is without all that was put in. The model counts runs of
    three words. The numbers are ``bits``; ``precision`` and ``recall`` of removed lines against the furniture, over the documents that are
    no junk; ``dropped``, the share of junk that went, and ``lost``, that of good documents.
    """

    trial = Trial({"annotated": 10, "documents": 40, "words": 500})

    unit: ClassVar[str] = "bits a word"

    how: Literal["both", "document", "chunk", "rules", "raw", "perfect"] = Field("both", description="what cleans")
    documents: int = Field(160, ge=20, description="that are cleaned and learned from")
    annotated: int = Field(50, ge=5, description="documents whose furniture and kind are known")
    junk: float = Field(0.25, ge=0, lt=1, description="share of documents that are junk")
    words: int = Field(25000, ge=100, description="that the model learns from")

    def measure(self, seed: int) -> dict[str, float]:
        """``bits``, ``precision``, ``recall``, ``dropped`` and ``lost``."""
        from windtunnel.kits.text.bayes import Bayes
        from windtunnel.kits.text.manual import asked, bits_of, furnished, pieces, salad

        chance = random.Random(f"{self.name} {seed}")
        texts = asked(self.name, pieces(chance), HELD_OUT + self.annotated + self.documents)
        held, texts = texts[:HELD_OUT], texts[HELD_OUT:]
        vocabulary = sorted({word for text in held for word in text.split() if word.isalpha()})
        made = []
        for text in texts:
            if chance.random() < self.junk:
                made.append(FurnishedText(salad(text, chance), [], text, True))
                continue
            page, bad = furnished(text, chance, vocabulary, chance.uniform(0.3, 1.0))
            lines = [line + chance.choice(STRAY) if chance.random() < 0.1 else line for line in page.split("\n")]
            made.append(FurnishedText("\n".join(lines), bad, text, False))
        known, pool = made[: self.annotated], made[self.annotated :]
        rows = [(line, bad) for page in known for line, bad in zip(page.text.split("\n"), page.bad, strict=False)]
        tagger = Bayes([line for line, bad in rows if not bad], [line for line, bad in rows if bad])
        judge = Bayes([ends(page.text) for page in known if not page.junk], [ends(page.text) for page in known if page.junk])
        kept: list[str] = []
        right, removed, wanted, gone = 0, 0, 0, {True: 0, False: 0}
        for one in pool:
            left, taken = self._cleaned(one, tagger, judge)
            if left is None:
                gone[one.junk] += 1
            else:
                kept.append(left)
            if not one.junk:
                right += sum(line and bad for line, bad in zip(taken, one.bad, strict=True))
                removed, wanted = removed + sum(taken), wanted + sum(one.bad)
        junk = sum(page.junk for page in pool)
        return {
            "bits": bits_of(kept, held, self.words),
            "precision": right / max(removed, 1),
            "recall": right / max(wanted, 1),
            "dropped": gone[True] / max(junk, 1),
            "lost": gone[False] / max(len(pool) - junk, 1),
        }

    def _cleaned(self, page: FurnishedText, tagger: object, judge: object) -> tuple[str | None, list[bool]]:
        """What is left of a page, and of one that is no junk which of its lines were removed."""
        from windtunnel.kits.text.programs import refined, removals

        lines, nothing = page.text.split("\n"), [False] * len(page.bad)
        if self.how == "perfect":
            return (None if page.junk else page.clean), page.bad
        if self.how == "raw":
            return page.text, nothing
        if self.how == "rules":
            bad = [any(one in line.lower() for one in RULES) for line in lines]
            return "\n".join(line for line, one in zip(lines, bad, strict=True) if not one), bad[: len(page.bad)]
        program = []
        if self.how != "chunk" and judge.odds(ends(page.text)) > 0:  # type: ignore[attr-defined]
            program.append("drop_doc()")
        if self.how != "document":
            program += [f'normalize(source_str="{one}")' for one in STRAY if one in page.text]
            bad = [tagger.odds(line) > 0 for line in lines]  # type: ignore[attr-defined]
            program += removals(bad)
            nothing = bad[: len(page.bad)]
        return refined(page.text, "\n".join(program)).text, nothing


class FurnishedText(NamedTuple):
    """A document, which of its lines are furniture (none of junk), what it was before, and whether it is junk."""

    text: str
    bad: list[bool]
    clean: str
    junk: bool


def ends(text: str) -> str:
    """What tells a shuffled text: its pairs of neighbouring words as words, of which only short ones keep their letters."""
    words = [word.lower() if word.isalpha() and len(word) <= 4 else "w" if word.isalpha() else "s" for word in text.split()]
    return " ".join(f"{one}_{two}" for one, two in itertools.pairwise(words))
