"""Choosing what to train on next by what a step on it does to a reference, asked once or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge_with_constant
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

STATES, KINDS, WANTED = 8, 6, 3  # words of a kind of text, kinds, and how many of them the reference is of
WORDS, LENGTH, RIDGE, TEMPERATURE = STATES * KINDS, 24, 1.0, 0.5


class RefreshedInfluence(Experiment, name="refreshed-influence"):
    """The loss on a reference of a model that is trained in stages on the fifth of a fresh pool that a selector took.

    Yu, Das and Xiong 2024 (MATES), arXiv:2406.06046: the influence of a document is by how much one step on it, at a rate of 1, lowers the
    loss on a reference. It is measured for some, a regression tells it of the others from their text, and the best fifth is taken, loosened
    by Gumbel noise. The model changes, so all is done anew before each stage. The first stage is random.

    The model is a table of logits of the next word by the last, trained by gradient descent. Documents are of six kinds, each with words
    and a Markov chain of its own; three kinds make up the reference, in unlike shares; the pool has the other three more often, and a tenth
    of noise. ``once`` measures before the second stage and never again; ``all`` measures every document of the pool, which needs no
    regression; ``alike`` takes what has the words of the reference, as classifiers do; ``random`` what comes, and ``longer`` is random with
    as many more documents as others probe. The regression is a ridge on how often each word occurs (BERT there).

    The numbers are ``loss`` in nats a word on held-out text like the reference; ``agreement``, the rank correlation of influence told and
    measured on documents it was not fitted to, mean over stages; and ``change``, that of the measured influences of the same documents
    before the second and before the last stage; each of those alone that tell or measure influence.
    """

    trial = Trial({"stages": 2, "pool": 60, "probes": 12})

    unit: ClassVar[str] = "nats a word"

    how: Literal["refreshed", "once", "all", "alike", "random", "longer"] = Field("refreshed", description="what chooses")
    stages: int = Field(8, ge=2, description="of training, each with a pool of its own")
    pool: int = Field(400, ge=20, description="documents of a pool; a fifth is trained on, once")
    probes: int = Field(60, ge=10, description="documents whose influence is measured")
    rate: float = Field(3.0, gt=0, description="learning rate of a step on eight documents")

    def measure(self, seed: int) -> dict[str, float]:
        """``loss``, and where there is influence ``agreement`` and ``change``. Raises PartError for too many probes."""
        import numpy as np
        from scipy.stats import spearmanr

        if 2 * self.probes > self.pool:
            raise PartError(
                f"{self.name}: probes {self.probes}: half of a pool is {self.pool // 2}, as many are asked for control; lower it"
            )
        random = np.random.default_rng(seed)
        chains = world(random)
        usual, wanted = np.array([1, 1, 1, 2.5, 2.5, 2.5]), np.array([3, 2, 1, 0, 0, 0])
        reference, held = (counts(drawn(chains, wanted, 200, random)).sum(axis=0) for _ in range(2))
        watched = counts(drawn(chains, usual, 40, random))
        table, beta, agreement, seen = np.zeros((WORDS, WORDS)), None, [], []
        for stage in range(self.stages):
            pool = counts(drawn(chains, usual, self.pool, random))
            noise = random.random(len(pool)) < 0.1
            pool[noise] = counts(random.integers(WORDS, size=(int(noise.sum()), LENGTH)))
            scores = np.zeros(len(pool))
            if stage and self.how in ("refreshed", "once", "all"):
                if self.how == "all":
                    scores = influence(table, pool, reference)
                else:
                    if beta is None or self.how == "refreshed":
                        known = influence(table, pool[: self.probes], reference)
                        beta = ridge_with_constant(shares(pool[: self.probes]), known, RIDGE / self.probes**2)
                    scores = np.hstack([shares(pool), np.ones((len(pool), 1))]) @ beta
                    true = influence(table, pool[self.probes : 2 * self.probes], reference)
                    agreement.append(spearmanr(scores[self.probes : 2 * self.probes], true).statistic)
                seen.append(influence(table, watched, reference))
            elif stage and self.how == "alike":
                scores = shares(pool) @ np.log((shares(reference[None])[0] + 1e-3) / (shares(pool).mean(axis=0) + 1e-3))
            loose = TEMPERATURE * random.gumbel(size=len(scores)) if stage else 0.0  # drawn in all arms, so that they meet the same pools
            if scores.std() > 0:
                scores = scores / scores.std() + loose
            chosen = pool[np.argsort(-scores, kind="stable")[: len(pool) // 5]]
            if self.how == "longer" and stage:
                chosen = np.concatenate([chosen, pool[len(chosen) : len(chosen) + self.probes]])
            for first in range(0, len(chosen), 8):
                table = table - self.rate * gradient(table, chosen[first : first + 8].sum(axis=0))
        found = {"loss": loss(table, held)}
        if agreement:
            found["agreement"] = float(np.mean(agreement))
        return found | ({"change": float(spearmanr(seen[0], seen[-1]).statistic)} if seen else {})


def world(random: np.random.Generator) -> np.ndarray:
    """The chance of each word of a kind behind each, [kinds, states, states]."""
    import numpy as np

    chains = np.exp(2 * random.standard_normal((KINDS, STATES, STATES)))
    return np.asarray(chains / chains.sum(axis=2, keepdims=True))


def drawn(chains: np.ndarray, often: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Documents [count, LENGTH] of word numbers, of a kind each, drawn as ``often`` as said."""
    import numpy as np

    from windtunnel.kits.vectors import picked

    kinds = random.choice(KINDS, size=count, p=often / often.sum())
    found = np.zeros((count, LENGTH), int)
    found[:, 0] = random.integers(STATES, size=count)
    for place in range(1, LENGTH):
        found[:, place] = picked(chains[kinds, found[:, place - 1]], random)
    return np.asarray(found + STATES * kinds[:, None])


def counts(documents: np.ndarray) -> np.ndarray:
    """How often each word follows each, [documents, words, words]."""
    import numpy as np

    found = np.zeros((len(documents), WORDS, WORDS))
    np.add.at(found, (np.arange(len(documents))[:, None], documents[:, :-1], documents[:, 1:]), 1)
    return found


def shares(pairs: np.ndarray) -> np.ndarray:
    """The share of each word in each document, [documents, words]."""
    import numpy as np

    found = pairs.sum(axis=1)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def loss(table: np.ndarray, pairs: np.ndarray) -> float:
    """Nats a word of ``pairs`` [words, words], which are how often one follows the other."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    return float(-(pairs * np.log(softmax(table))).sum() / pairs.sum())


def gradient(table: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of :func:`loss` by ``table``."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    return np.asarray((pairs.sum(axis=1, keepdims=True) * softmax(table) - pairs) / pairs.sum())


def influence(table: np.ndarray, documents: np.ndarray, reference: np.ndarray, rate: float = 1.0) -> np.ndarray:
    """By how much a step on each document lowers the loss on ``reference``, [documents]."""
    import numpy as np

    before = loss(table, reference)
    return np.array([before - loss(table - rate * gradient(table, one), reference) for one in documents])
