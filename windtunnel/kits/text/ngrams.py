"""A small smoothed n-gram model of words, in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

_WORDS = re.compile(r"\w+|[^\w\s]")
EDGE = "\n"  # stands before a document; no word is a line end


class NGrams:
    """Probabilities of words given the few before them, interpolated over lengths (Witten and Bell 1991, method C).

    A context that was followed by many different words leaves more room for others: of its ``count`` occurrences and ``kinds`` of
    followers, the share kinds / (count + kinds) goes to what the shorter context says, and the shortest to all known words and an
    unknown one alike. So no parameter is fitted. KenLM, which the literature uses, needs a compiler; on a sample of some megabytes this
    ranks documents much the same way and takes seconds.
    """

    def __init__(self, texts: Iterable[str], order: int = 3) -> None:
        self.order = order
        self.counts: dict[tuple[str, ...], int] = Counter()
        for text in texts:
            words = list(self._padded(text))
            for place in range(order - 1, len(words)):
                for length in range(order):
                    self.counts[tuple(words[place - length : place + 1])] += 1
        self.vocabulary = {gram[0] for gram in self.counts if len(gram) == 1}
        self.totals: dict[tuple[str, ...], int] = Counter()
        self.kinds: dict[tuple[str, ...], int] = Counter()
        for gram, count in self.counts.items():
            self.totals[gram[:-1]] += count
            self.kinds[gram[:-1]] += 1

    def _padded(self, text: str) -> Iterator[str]:
        yield from [EDGE] * (self.order - 1)
        yield from words_of(text)

    def probability(self, word: str, before: tuple[str, ...]) -> float:
        """That ``word`` follows ``before``, the words before it (at most order - 1 of them count)."""
        before = before[len(before) - self.order + 1 :] if len(before) >= self.order else before
        value = 1.0 / (len(self.vocabulary) + 1)
        for length in range(len(before) + 1):
            context = before[len(before) - length :]
            total = self.totals.get(context, 0)
            if not total:
                break
            kinds = self.kinds[context]
            value = (self.counts.get((*context, word), 0) + kinds * value) / (total + kinds)
        return value

    def perplexity(self, text: str, longest: int | None = None) -> float:
        """Of the first ``longest`` words of ``text``, per word; infinite for a text without one."""
        words = list(self._padded(text))[: None if longest is None else longest + self.order - 1]
        places = range(self.order - 1, len(words))
        if not places:
            return math.inf
        total = math.fsum(math.log(self.probability(words[place], tuple(words[place - self.order + 1 : place]))) for place in places)
        return math.exp(-total / len(places))


def words_of(text: str) -> list[str]:
    """Words and signs; white space only separates."""
    return _WORDS.findall(text)
