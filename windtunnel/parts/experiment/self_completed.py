"""Training on sentences that the model itself completed, of prompts that are training text or, by mistake, held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WORDS, LENGTH, LANGUAGES, OWN = 60, 12, 6, 40  # words of all languages, of a sentence, languages, and words that a language uses


class SelfCompleted(Experiment, name="self-completed"):
    """The loss of a model of several languages that trains in rounds on its own completions.

    Dossou et al. 2022 (AfroLM), arXiv:2211.03263. In each round a model is trained anew; then sentences lose their last 15 percent of
    words and one, the likeliest words take their place, and what comes of it joins the training text. In the released code the
    sentences are those that a fresh split holds out, and the next round splits again: what was held out comes to be trained on.

    Languages are Markov chains over words that they partly share, of ``sentences`` in all, the commonest 32 times the rarest. The model
    counts pairs of words in a language, and backs off to the words that follow in any language and to all words alike. ``honest`` completes
    training sentences, ``leaking`` held-out ones, ``repeated`` adds as many training sentences once more, ``static`` adds nothing. All
    prompts of a round are drawn with replacement, ``prompts`` of each language; completions that come twice are dropped there and not here.

    The numbers are nats a word: ``clean`` on sentences that no loop ever saw, ``rare`` on those of the two rarest languages, and ``split``
    on the sentences that the loop itself holds out: what it would report.
    """

    trial = Trial({"sentences": 60, "prompts": 5, "rounds": 1})

    unit: ClassVar[str] = "nats a word"

    how: Literal["static", "honest", "leaking", "repeated"] = Field("static", description="what joins the training text")
    sentences: int = Field(1500, ge=50, description="of all languages")
    rounds: int = Field(3, ge=1, description="of completing")
    prompts: int = Field(200, ge=1, description="sentences of a language that are completed in a round")

    def measure(self, seed: int) -> dict[str, float]:
        """``clean``, ``rare`` and ``split``."""
        import numpy as np

        random = np.random.default_rng(seed)
        chains = languages(random)
        sizes = 0.5 ** np.arange(LANGUAGES)
        own = [drawn(chain, max(round(self.sentences * size / sizes.sum()), 10), random) for chain, size in zip(chains, sizes, strict=True)]
        clean = [drawn(chain, 200, random) for chain in chains]
        kept = [len(one) * 4 // 5 for one in own]
        train, split = [one[:size] for one, size in zip(own, kept, strict=True)], [one[size:] for one, size in zip(own, kept, strict=True)]
        for _ in range(self.rounds if self.how != "static" else 0):
            tables = model(train)
            for number, table in enumerate(tables):
                pool = split[number] if self.how == "leaking" else train[number]
                chosen = pool[random.integers(len(pool), size=self.prompts)]
                added = chosen if self.how == "repeated" else completed(table, chosen)
                train[number] = np.concatenate([train[number], added])
        tables = model(train)
        losses = [nats(table, one) for table, one in zip(tables, clean, strict=True)]
        told = [nats(table, one) for table, one in zip(tables, split, strict=True)]
        return {"clean": float(np.mean(losses)), "rare": float(np.mean(losses[-2:])), "split": float(np.mean(told))}


def languages(random: np.random.Generator) -> list[np.ndarray]:
    """Chances of the next word by the last, [WORDS, WORDS] each; words that a language lacks are never drawn."""
    import numpy as np

    common, found = random.standard_normal((WORDS, WORDS)), []
    for _ in range(LANGUAGES):
        odds = np.exp(1.2 * (common + random.standard_normal((WORDS, WORDS))))
        odds[:, random.permutation(WORDS)[OWN:]] = 0
        found.append(odds / odds.sum(axis=1, keepdims=True))
    return found


def drawn(chain: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Sentences [count, LENGTH]."""
    import numpy as np

    from windtunnel.kits.text.chains import followed

    return followed(chain, random.choice(np.flatnonzero(chain[0]), count), LENGTH, random)


def model(texts: list[np.ndarray]) -> list[np.ndarray]:
    """Of each language, the chance of the next word by the last: pairs counted, smoothed by those of all languages, and by all words."""
    import numpy as np

    counts = []
    for text in texts:
        pairs = np.zeros((WORDS, WORDS))
        np.add.at(pairs, (text[:, :-1], text[:, 1:]), 1)
        counts.append(pairs)
    together = np.sum(counts, axis=0)
    shared = (together + 20 / WORDS) / (together.sum(axis=1, keepdims=True) + 20)
    return [(pairs + 8 * shared) / (pairs.sum(axis=1, keepdims=True) + 8) for pairs in counts]


def completed(table: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """``sentences`` whose last words are the likeliest ones instead, 15 percent and one."""
    found = sentences.copy()
    for place in range(LENGTH - int(0.15 * LENGTH) - 1, LENGTH):
        found[:, place] = table[found[:, place - 1]].argmax(axis=1)
    return found


def nats(table: np.ndarray, text: np.ndarray) -> float:
    """A word of ``text``, given the one before it."""
    import numpy as np

    return float(-np.log(table[text[:, :-1], text[:, 1:]]).mean())
