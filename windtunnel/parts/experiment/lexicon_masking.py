"""Filling in words of a lexicon first: what it does to the words themselves, to the others, and to features of the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WORDS, LEXICON, LENGTH, WIDTH = 240, 24, 20, 24  # of which the lexicon's carry the topic, half of them one each
MASK = WORDS
SHARE = 0.2  # of a text's words that are filled in


class LexiconMasking(Experiment, name="lexicon-masking"):
    """The accuracy of telling a text's topic from few labels, on features of a network that filled in words.

    Zhai et al. 2024 (Chinese MentalBERT), arXiv:2402.09151: of the words that are masked, those of a lexicon of the domain come first, from
    left to right, and others at random fill up to a fifth. Texts are of two topics; one word in ten, of a lexicon of 24, tells which, and
    likes certain neighbours; all others come from a Markov chain that both share. A network tells each masked word from its two neighbours
    and the mean of all words that are seen.

    ``random`` masks any words; ``lexicon`` those of the lexicon first, as they stand, which is the released code; ``shuffled`` those of the
    lexicon in a random order; ``wrong`` has a lexicon of as frequent words that tell nothing. ``topic`` is the accuracy of a ridge
    regression on ``labels`` labelled texts, on the network's hidden state for the whole text; ``lexicon`` and ``others`` are nats of
    held-out words of the lexicon and of other ones, masked at random.
    """

    trial = Trial({"texts": 30, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    masks: Literal["random", "lexicon", "shuffled", "wrong"] = Field("random", description="which words come first")
    texts: int = Field(1500, ge=20, description="to learn from")
    labels: int = Field(8, ge=2, description="labelled texts")
    steps: int = Field(400, ge=1, description="of Adam, 64 texts each")
    rate: float = Field(5e-3, gt=0, description="its learning rate")

    def measure(self, seed: int) -> dict[str, float]:
        """``topic``, ``lexicon`` and ``others``."""
        import numpy as np
        import torch
        from torch import nn

        from windtunnel.kits.ridge import leaning

        random = np.random.default_rng(seed)
        chain = np.exp(1.5 * random.standard_normal((WORDS, WORDS - LEXICON)))
        chain /= chain.sum(axis=1, keepdims=True)
        texts, _ = written(chain, self.texts, random)
        known, topics = written(chain, 300, random)
        held, truth = written(chain, 400, random)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            table = nn.Embedding(WORDS + 1, WIDTH)
            inner, outer = nn.Linear(3 * WIDTH, 64), nn.Linear(64, WORDS)

        def losses(some: np.ndarray, masked: np.ndarray) -> torch.Tensor:
            tokens, gone = torch.from_numpy(some), torch.from_numpy(masked)
            found = outer(torch.tanh(inner(context(table, tokens.masked_fill(gone, MASK)))))
            return nn.functional.cross_entropy(found[gone], tokens[gone], reduction="none")

        def loss(step: int) -> torch.Tensor:
            some = texts[random.integers(len(texts), size=64)]
            return losses(some, masked(some, self.masks, random)).mean()

        take_steps(torch.optim.Adam([*table.parameters(), *inner.parameters(), *outer.parameters()], self.rate), loss, self.steps)
        hidden = masked(held, "random", random)
        with torch.no_grad():
            each = losses(held, hidden).double().numpy()
            read = [torch.tanh(inner(context(table, torch.from_numpy(one)))).mean(dim=1).double().numpy() for one in (known, held)]
        own = held[hidden] >= WORDS - LEXICON
        balanced = np.concatenate([np.flatnonzero(topics == one)[: self.labels // 2] for one in (0, 1)])
        right = (leaning(read[0][balanced], topics[balanced], read[1], 10) > 0) == truth
        return {"topic": float(right.mean()), "lexicon": float(each[own].mean()), "others": float(each[~own].mean())}


def written(chain: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Texts int64 [count, LENGTH] and their topics: one word in ten is of the topic, others follow the word before them."""
    import numpy as np

    from windtunnel.kits.vectors import picked

    topics, found = random.integers(0, 2, count), np.zeros((count, LENGTH), np.int64)
    half = LEXICON // 2
    for place in range(LENGTH):
        own = random.random(count) < 0.1
        usual = picked(chain[found[:, place - 1] if place else random.integers(WORDS - LEXICON, size=count)], random)
        found[:, place] = np.where(own, WORDS - LEXICON + half * topics + random.integers(0, half, count), usual)
    return found, topics


def masked(texts: np.ndarray, how: str, random: np.random.Generator) -> np.ndarray:
    """Which words are masked, a fifth of each text: those of the lexicon first, then others at random."""
    import numpy as np

    budget = round(SHARE * LENGTH)
    order = random.random(texts.shape)
    if how != "random":
        first = texts >= WORDS - LEXICON if how != "wrong" else texts < LEXICON
        rank = np.arange(LENGTH)[None] / LENGTH if how == "lexicon" else order
        order = np.where(first, rank - 1, order)
    found = np.zeros(texts.shape, bool)
    np.put_along_axis(found, np.argsort(order, axis=1, kind="stable")[:, :budget], True, axis=1)
    return found


def context(table: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Of each place, the vectors of its neighbours and the mean of the vectors of all words that are seen, [texts, LENGTH, 3 x WIDTH]."""
    import torch

    vectors = table(tokens)
    edge = vectors.new_zeros(len(tokens), 1, WIDTH)
    seen = (tokens != MASK)[..., None].to(vectors.dtype)
    mean = (vectors * seen).sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True).clamp(min=1)
    left, right = torch.cat([edge, vectors[:, :-1]], dim=1), torch.cat([vectors[:, 1:], edge], dim=1)
    return torch.cat([left, right, mean.expand_as(vectors)], dim=2)
