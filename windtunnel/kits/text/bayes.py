"""Naive Bayes of two kinds of texts, in plain Python."""

from __future__ import annotations

import math
from collections import Counter

from windtunnel.kits.text.ngrams import words_of


class Bayes:
    """Naive Bayes of two kinds of texts by whether each word occurs that three texts have; numbers are one word.

    The share of texts that have a word is smoothed by one text that is as all others are, so a kind of which there is none says nothing.
    """

    def __init__(self, good: list[str], bad: list[str]) -> None:
        counts = [Counter(word for text in kind for word in marks(text)) for kind in (good, bad)]
        self.prior = math.log((len(bad) + 1) / (len(good) + 1))
        self.evidence = {}
        for word, often in (counts[0] + counts[1]).items():
            if often < 3:
                continue
            usual = often / (len(good) + len(bad))
            shares = [(count[word] + usual) / (len(kind) + 1) for count, kind in zip(counts, (good, bad), strict=True)]
            self.evidence[word] = math.log(shares[1]) - math.log(shares[0])

    def odds(self, text: str) -> float:
        """The logarithm of the odds that ``text`` is bad."""
        return self.prior + sum(self.evidence.get(word, 0.0) for word in marks(text))


def marks(text: str) -> set[str]:
    """The words and signs of ``text`` in small letters, numbers as one."""
    return {"0" if word.isdigit() else word.lower() for word in words_of(text)}
