"""Topics of a new language that are learned at different speeds beside an old one, by how their shares move."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class ShiftingShares(Experiment, name="shifting-shares"):
    """The mean error on new topics after a budget of examples, by how shares of topics are set, with an old topic that must be kept.

    Chen et al. 2024, "Towards Effective and Efficient Continual Pre-training of Large Language Models", arXiv:2407.18743 (Llama-3-SynE):
    four fifths of the tokens stay those of the old language, topics of the new one get shares by how far their perplexity has changed,
    and texts come from easy to hard. The formula is not public: here a topic's share is in proportion to exp(4 x relative error),
    measured after each tenth of the budget on held-out examples (``shares: behind``), or to how far the error fell in the last tenth
    (``moving``); ``even`` shares are the rival, and ``fixed``, those of a corpus, in which a topic that is hard is rare. A topic is a
    linear task: inputs in a subspace of their own and of all, outputs with noise, and hard ones have little variance. A linear model
    learns by gradient descent, and knows the old topic.

    ``old`` of the examples are of the old topic. ``order: easy``: examples come from the least squared output to the largest, with shares
    fixed. Numbers are ``error``, the mean over new topics relative to no training, ``worst``, the largest, and ``kept``, the error on the
    old topic over the size of its outputs.

    Raises:
        PartError: where ``rate`` is so high that errors grow without end.
    """

    trial = Trial({"budget": 100, "topics": 2})

    unit: ClassVar[str] = "share of the error before"
    better: ClassVar[str] = "lower"

    shares: Literal["behind", "moving", "even", "fixed"] = Field("behind", description="how new topics are drawn")
    order: Literal["any", "easy"] = Field("any", description="in which examples of a topic come")
    old: float = Field(0.2, ge=0, lt=1, description="share of the examples that are of the old topic")
    topics: int = Field(5, ge=2, description="of the new language")
    budget: int = Field(2000, ge=20, description="examples in all")
    width: int = Field(40, ge=4, description="numbers of inputs")
    rate: float = Field(0.02, gt=0, description="of gradient descent, an example at a time")

    def measure(self, seed: int) -> dict[str, float]:
        """``error``, ``worst`` and ``kept``."""
        import numpy as np

        random = np.random.default_rng(seed)
        axes = np.linalg.qr(random.standard_normal((self.width, self.width)))[0]
        wanted = random.standard_normal((self.topics + 1, self.width, 4)) / 2
        shared = axes[:, :4]
        size = (self.width - 4) // (self.topics + 1)
        places = [np.concatenate([shared, axes[:, 4 + topic * size : 4 + (topic + 1) * size]], axis=1) for topic in range(self.topics + 1)]
        loud = np.geomspace(2.0, 0.5, self.topics + 1)  # the last topic is the hardest

        def drawn(topic: int, count: int) -> tuple[Array, Array]:
            inputs = loud[topic] * random.standard_normal((count, places[topic].shape[1])) @ places[topic].T
            return inputs, inputs @ wanted[topic] + 0.1 * random.standard_normal((count, 4))

        old, news = 0, range(1, self.topics + 1)
        layer = places[old] @ places[old].T @ wanted[old]
        tested = [drawn(topic, 300) for topic in range(self.topics + 1)]
        judged = [drawn(topic, 60) for topic in range(self.topics + 1)]

        def errors(asked: list[tuple[Array, Array]]) -> Array:
            return np.array([((inputs @ layer - outputs) ** 2).sum() / (outputs**2).sum() for inputs, outputs in asked])

        before, first = errors(judged), errors(tested)
        share, last = self._shares(before, before, before), before
        for _ in range(10):
            counts = random.multinomial(self.budget // 10, [self.old, *((1 - self.old) * share)])
            parts = [drawn(topic, count) for topic, count in enumerate(counts)]
            if self.order == "easy":
                ranks = [np.argsort((outputs**2).sum(axis=1)) for _, outputs in parts]
                parts = [(inputs[rank], outputs[rank]) for (inputs, outputs), rank in zip(parts, ranks, strict=True)]
                place = np.argsort(np.concatenate([np.arange(len(part[0])) / max(len(part[0]), 1) for part in parts]), kind="stable")
            else:
                place = random.permutation(sum(counts))
            inputs, outputs = (np.concatenate(part)[place] for part in zip(*parts, strict=True))
            for one, answer in zip(inputs, outputs, strict=True):
                layer = layer - self.rate * np.outer(one, one @ layer - answer)
            now = errors(judged)
            if not (now < 1e6).all():
                raise PartError(f"rate: errors grow without end at {self.rate:g} with topics this loud; lower it")
            share, last = self._shares(before, last, now), now
        found = errors(tested)
        relative = np.array([found[topic] / first[topic] for topic in news])
        return {"error": float(relative.mean()), "worst": float(relative.max()), "kept": float(found[old])}

    def _shares(self, before: Array, last: Array, now: Array) -> Array:
        """Of the new topics, from errors [topics + 1] at first, a tenth ago and now."""
        import numpy as np

        if self.shares == "behind":
            found = np.exp(4 * (now / before)[1:])
        elif self.shares == "moving":
            found = np.maximum((last - now)[1:] / before[1:], 0) + 0.05
        else:
            found = np.ones(len(now) - 1) if self.shares == "even" else np.geomspace(8, 1, len(now) - 1)
        return np.asarray(found / found.sum())
