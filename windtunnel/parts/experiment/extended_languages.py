"""Translation of languages with few pairs, by a model that learned other languages before, these with them, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

BLANK, GAP, END = range(3)
PIVOT, OLD, NEW = (0,), (1, 2), (3, 4)  # languages
LANGUAGES = 5
NOUNS, VERBS, ADJECTIVES, ADVERBS = 10, 8, 6, 6
KINDS = (NOUNS, VERBS, ADJECTIVES, ADVERBS)
WORDS = sum(KINDS)
COMMON = 8  # words that are the same in all languages, as names and numbers are
FIRST = 3 + LANGUAGES  # the first token that is a word
VOCABULARY = FIRST + COMMON + LANGUAGES * (WORDS - COMMON)
LONGEST = 6  # words of a sentence: a subject, a verb and an object, and perhaps two adjectives and an adverb
ROW = 1 + LONGEST + 1 + LONGEST + 1  # a language, a sentence, a language, a sentence, and the end
TEMPERATURE = 1.5


class ExtendedLanguages(Experiment, name="extended-languages"):
    """The share of sentences that are translated without a fault from and into two languages of which there are few pairs.

    Tang et al. 2020 (ML50), arXiv:2008.00401: a model that learned to restore texts of some languages learns those of further ones beside
    them, and is then tuned once on many directions of translation, drawn by size to the power 1 / 1.5, with the language in front of each
    text. Languages are made: five of 30 words, of which 8 are the same in all, with a word order of their own; a verb has its subjects and
    objects, alike in all. Pairs all have the pivot on one side: ``many`` of each of two old languages, ``few`` of each of two new ones.

    A decoder of two layers, which reads a sentence and then writes the other, stands for mBART. To restore is to fill a gap of one to three
    words (the order of several sentences is not shuffled), and there is no smoothing of labels. ``before``: ``all``, ``texts`` steps on the
    pivot and the old languages and as many on all five; ``old``, twice as many on the first three; ``nothing``. ``tuned``: ``together``,
    one model for all eight directions; ``alone``, one for each direction with a quarter of the steps, twice as many in all.

    Numbers are ``new``, the mean over the four directions with new languages; ``into``, of those into the pivot alone; and ``old``, the
    mean over the other four. The rate of tuning is chosen on other sentences, by the mean of all directions.
    """

    trial = Trial({"texts": 2, "steps": 4, "few": 10, "many": 20, "judged": 10, "rates": (1e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    before: Literal["all", "old", "nothing"] = Field("all", description="languages whose texts were restored before")
    tuned: Literal["together", "alone"] = Field("together", description="one model for all directions, or one for each")
    texts: int = Field(500, ge=1, description="steps of each of both stages on texts")
    few: int = Field(100, ge=2, description="pairs of a new language")
    many: int = Field(1000, ge=2, description="pairs of an old language")
    steps: int = Field(600, ge=4, description="of tuning")
    judged: int = Field(150, ge=1, description="sentences of a direction")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 6e-3), min_length=1, description="of tuning, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``new``, ``into`` and ``old``."""
        import copy

        import numpy as np

        from windtunnel.kits.image.tiny import best
        from windtunnel.kits.text.small import learn, made

        random, reading = np.random.default_rng(seed).spawn(2)
        world = MadeLanguages(random)
        model = made(seed, VOCABULARY, ROW, width=64)
        if self.before != "nothing":
            for languages in (PIVOT + OLD, PIVOT + OLD + (NEW if self.before == "all" else ())):
                rows = world.restored(languages, 64 * min(self.texts, 200), reading)
                learn(model, rows, behind(rows), reading, steps=self.texts, rate=3e-3)
        directions = [pair for other in OLD + NEW for pair in ((0, other), (other, 0))]
        sizes = {pair: self.few if max(pair) in NEW else self.many for pair in directions}
        learned: dict[tuple[int, int], np.ndarray] = {}
        for other in OLD + NEW:  # both directions have the same pairs of sentences
            meanings = world.meanings(sizes[0, other], random)
            learned |= {pair: world.pairs(*pair, meanings) for pair in ((0, other), (other, 0))}
        chosen, held = ({pair: world.pairs(*pair, world.meanings(count, random)) for pair in directions} for count in (60, self.judged))

        def of(pairs: list[tuple[int, int]], rate: float) -> Any:
            own, draw = copy.deepcopy(model), np.random.default_rng((seed, 1))
            odds = np.array([sizes[pair] for pair in pairs]) ** (1 / TEMPERATURE)
            which = draw.choice(len(pairs), 20000, p=odds / odds.sum())
            rows = np.stack([learned[pairs[one]][draw.integers(sizes[pairs[one]])] for one in which])
            learn(own, rows, behind(rows), draw, steps=self.steps if len(pairs) > 1 else self.steps // 4, rate=rate)
            return own

        found: dict[tuple[int, int], float] = {}
        for pairs in [directions] if self.tuned == "together" else [[pair] for pair in directions]:
            own = best(
                self.rates,
                lambda rate, pairs=pairs: of(pairs, rate),  # type: ignore[misc]
                lambda one, pairs=pairs: float(np.mean([right(one, chosen[pair]) for pair in pairs])),  # type: ignore[misc]
            )
            found |= {pair: right(own, held[pair]) for pair in pairs}
        new, old = ([pair for pair in directions if max(pair) in some] for some in (NEW, OLD))
        return {
            "new": float(np.mean([found[pair] for pair in new])),
            "into": float(np.mean([found[pair] for pair in new if pair[1] == 0])),
            "old": float(np.mean([found[pair] for pair in old])),
        }


class MadeLanguages:
    """Words and word orders of all languages, and what is said of what.

    A meaning is a row of six words, each from 0 to ``WORDS`` or -1 where there is none: subject, its adjective, verb, adverb, object, its
    adjective.
    """

    def __init__(self, random: np.random.Generator) -> None:
        import numpy as np

        common = random.permutation(WORDS)[:COMMON]
        own = np.setdiff1d(np.arange(WORDS), common)
        self.tokens = np.zeros((LANGUAGES, WORDS), int)
        for language in range(LANGUAGES):
            self.tokens[language, common] = FIRST + np.arange(COMMON)
            self.tokens[language, own] = FIRST + COMMON + language * len(own) + random.permutation(len(own))
        phrases = [(0, 1), (2, 3), (4, 5)]  # a word and what is said of it
        orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (2, 0, 1), (1, 2, 0)]
        self.orders = []
        for language, place in enumerate(random.permutation(len(orders))[:LANGUAGES]):
            self.orders.append([word for phrase in orders[place] for word in (phrases[phrase] if language % 2 else phrases[phrase][::-1])])
        self.subjects = np.stack([random.dirichlet(np.full(NOUNS, 0.3)) for _ in range(VERBS)])
        self.objects = np.stack([random.dirichlet(np.full(NOUNS, 0.3)) for _ in range(VERBS)])

    def meanings(self, count: int, random: np.random.Generator) -> np.ndarray:
        """[count, 6]."""
        import numpy as np

        found = np.full((count, LONGEST), -1)
        begins = np.cumsum([0, *KINDS])
        for row in found:
            verb = int(random.integers(VERBS))
            row[0], row[4] = (random.choice(NOUNS, p=odds[verb]) for odds in (self.subjects, self.objects))
            row[2] = begins[1] + verb
            for place, kind in ((1, 2), (5, 2), (3, 3)):
                if random.random() < 0.5:
                    row[place] = begins[kind] + random.integers(KINDS[kind])
        return found

    def said(self, language: int, meaning: np.ndarray) -> list[int]:
        """The sentence of a meaning, as tokens."""
        return [int(self.tokens[language, meaning[place]]) for place in self.orders[language] if meaning[place] >= 0]

    def pairs(self, source: int, target: int, meanings: np.ndarray) -> np.ndarray:
        """Rows [meanings, ROW] of a sentence and its translation."""
        import numpy as np

        return np.stack([laid(source, self.said(source, each), target, self.said(target, each)) for each in meanings])

    def restored(self, languages: tuple[int, ...], count: int, random: np.random.Generator) -> np.ndarray:
        """Rows [count, ROW] of a sentence with a gap in the place of one to three words, and the whole of it."""
        import numpy as np

        found = []
        for meaning in self.meanings(count, random):
            language = int(random.choice(languages))
            whole = self.said(language, meaning)
            span = min(int(random.integers(1, 4)), len(whole) - 1)
            begin = int(random.integers(len(whole) - span + 1))
            found.append(laid(language, [*whole[:begin], GAP, *whole[begin + span :]], language, whole))
        return np.stack(found)


def laid(source: int, given: list[int], target: int, answer: list[int]) -> np.ndarray:
    """A row of tokens: the source language and what is given, filled up with blanks, the target language, the answer and the end."""
    import numpy as np

    found = np.full(ROW, BLANK)
    found[0], found[1 : 1 + len(given)] = 3 + source, given
    found[1 + LONGEST] = 3 + target
    found[2 + LONGEST : 3 + LONGEST + len(answer)] = [*answer, END]
    return found


def behind(rows: np.ndarray) -> np.ndarray:
    """Which tokens are learned: the answer and its end."""
    import numpy as np

    return np.asarray((np.arange(ROW) > 1 + LONGEST) & (rows != BLANK))


def right(model: Any, rows: np.ndarray) -> float:
    """The share of rows whose answer is written without a fault."""
    from windtunnel.kits.text.small import written

    told = written(model, rows[:, : 2 + LONGEST], LONGEST + 1)
    wanted = rows[:, 2 + LONGEST :]
    return float(((told == wanted) | (wanted == BLANK)).all(axis=1).mean())
