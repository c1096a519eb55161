"""Texts of a frozen model that are steered towards a reward by the value of what was written so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

LETTERS = 26
LIKED = (5, 8)  # letters that the first and the second reward count; two of them are of both
RIDGE = 1e-3


class ValueSampling(Experiment, name="value-sampling"):
    """The reward of texts that are written by a frozen language model alone, chosen as the best of several, or steered by a value model.

    Han et al. 2024, arXiv:2405.06639 (VAS): a value model learns from texts of the frozen model what reward a beginning ends with, and in
    writing each of the ``top`` likeliest next letters is weighted by exp(strength x (its value - the mean of those)); the others keep
    their weight. Several rewards are added, each with its own strength, without training anew. Rivals are the model alone and the best of
    ``of`` texts, which writes ``of`` times as much.

    The language model is a random Markov chain over 26 letters, of which a text has ``length``; a reward is how many letters of some set a
    text has. The value model is linear in the last letter, what is left to write, both together, and the reward so far; it is fitted to
    ``texts`` by least squares. ``divergence`` is how far in nats a text's distribution is from the frozen model's, estimated on what was
    written, or of the best of several its formula. ``shuffled`` values, a control, are those of other letters.
    """

    trial = Trial({"length": 6, "texts": 200, "written": 40})

    unit: ClassVar[str] = "letters a text"
    better: ClassVar[str] = "higher"

    how: Literal["alone", "best-of", "values", "shuffled"] = Field("alone", description="how texts are written")
    of: int = Field(8, ge=1, description="texts that the best is chosen of, by the first reward")
    strength: float = Field(1.0, ge=0, description="of the value of the first reward")
    second: float = Field(0.0, ge=0, description="of the value of the second")
    top: int = Field(20, ge=1, le=LETTERS, description="letters that are weighted anew")
    texts: int = Field(2000, ge=50, description="of the frozen model, that values are learned from")
    length: int = Field(24, ge=2, description="letters of a text")
    written: int = Field(1000, ge=2, description="texts that are judged")

    def measure(self, seed: int) -> dict[str, float]:
        """``reward``, ``second``, ``divergence`` in nats a text, and ``letters`` written for each text that is kept.

        Those of the texts that values are learned from are not among them.
        """
        import numpy as np

        random = np.random.default_rng(seed)
        chain = np.exp(1.5 * random.standard_normal((LETTERS + 1, LETTERS)))  # the last row: before the first letter
        chain /= chain.sum(axis=1, keepdims=True)
        first, later = random.permutation(LETTERS)[: LIKED[0]], random.permutation(LETTERS)[: LIKED[1]]
        liked = np.zeros((2, LETTERS))
        liked[0, first], liked[1, later] = 1.0, 1.0
        if self.how == "best-of":
            many, _ = write(chain, self.length, self.of * self.written, random)
            rewards = liked[0][many].sum(axis=1).reshape(self.written, self.of)
            kept = many.reshape(self.written, self.of, -1)[np.arange(self.written), rewards.argmax(axis=1)]
            away = math.log(self.of) - (self.of - 1) / self.of
        else:
            values = None if self.how == "alone" else self._values(chain, liked, random)
            kept, away = write(chain, self.length, self.written, random, values, self.top)
        scores = liked[:, kept].sum(axis=2).mean(axis=1)
        letters = self.length * (self.of if self.how == "best-of" else 1)
        return {"reward": float(scores[0]), "second": float(scores[1]), "divergence": away, "letters": float(letters)}

    def _values(self, chain: np.ndarray, liked: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """What the next letter adds, by how much is left behind it, with its strength: [length, LETTERS]."""
        import numpy as np

        learned, _ = write(chain, self.length, self.texts, random)
        found = np.zeros((self.length, LETTERS))
        for strength, good in zip((self.strength, self.second), liked, strict=True):
            found += strength * learned_values(learned, good)
        return found[:, random.permutation(LETTERS)] if self.how == "shuffled" else found


def write(
    chain: np.ndarray, length: int, count: int, random: np.random.Generator, values: np.ndarray | None = None, top: int = LETTERS
) -> tuple[np.ndarray, float]:
    """``count`` texts of ``length`` letters, [count, length], and the mean of log(their chance / that by ``chain`` alone) in nats.

    Args:
        chain: the chance of each letter behind each, [LETTERS + 1, LETTERS]; the last row is before the first letter.
        length: letters of a text.
        count: how many texts.
        random: what letters are drawn by.
        values: of each letter by the letters left behind it, [length, LETTERS]; None: the chain alone.
        top: letters that are weighted by their value less the mean of theirs.
    """
    import numpy as np

    from windtunnel.kits.vectors import picked

    texts, last, away = np.zeros((count, length), int), np.full(count, LETTERS), 0.0
    for place in range(length):
        plain = chain[last]
        odds = plain
        if values is not None:
            value, likely = values[length - 1 - place], plain >= -np.sort(-plain, axis=1)[:, top - 1 : top]
            mean = (likely * value).sum(axis=1, keepdims=True) / likely.sum(axis=1, keepdims=True)
            odds = np.where(likely, plain * np.exp(value - mean), plain)
            odds = odds / odds.sum(axis=1, keepdims=True)
        drawn = picked(odds, random)
        rows = np.arange(count)
        away += float(np.log(odds[rows, drawn] / plain[rows, drawn]).mean())
        texts[:, place] = last = drawn
    return texts, away


def learned_values(texts: np.ndarray, good: np.ndarray) -> np.ndarray:
    """By least squares, the reward that a letter is worth with so many letters left behind it, [length, LETTERS].

    ``texts`` [count, length]; ``good`` [LETTERS] is what each letter adds. The value of a beginning is the reward so far and a
    linear function of its last letter, alone and times what is left. The reward so far is the same whatever letter follows, so it is left
    out.
    """
    import numpy as np

    count, length = texts.shape
    gained = good[texts]
    ahead = gained[:, ::-1].cumsum(axis=1)[:, ::-1] - gained  # behind each letter
    left = np.broadcast_to(np.arange(length)[::-1], (count, length)) / length
    one = np.eye(LETTERS)[texts]
    features = np.concatenate([one, one * left[..., None]], axis=2).reshape(-1, 2 * LETTERS)
    weights = ridge(features, ahead.ravel(), RIDGE)
    found: np.ndarray = good + weights[:LETTERS] + (np.arange(length) / length)[:, None] * weights[LETTERS:]
    return found
