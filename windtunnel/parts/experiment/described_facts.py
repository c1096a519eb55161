"""When facts held, told from what is written of those they are about or from who these are, also for some that nothing was learned of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import falling, take_steps
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

YEARS, ERAS, TRADES, RELATIONS = 40, 8, 8, 4
FILLERS, SAID = 40, 3  # words that tell nothing, and how many of them a description has
WIDTH = 96  # numbers of an encoded description
HELD = 600  # facts to be judged on, of each kind


class DescribedFacts(Experiment, name="described-facts"):
    """How well foretold intervals of facts overlap with true ones, by what a network reads of both ends of a fact.

    Islakoglu et al. 2023 (TEMT), arXiv:2309.16357: the text of head, relation and tail goes through a frozen encoder, a point of time is
    encoded apart, and a network scores whether the fact holds then; corrupted times and corrupted facts are the negatives. All points are
    scanned, and the foretold interval is the stretch of years with the largest sum of scores. Things here have a description, of a word for
    their era, one for their trade and words that tell nothing, in one of two wordings; the frozen encoder is a fixed random projection of
    its words through a hyperbolic tangent. A fact begins by the head's era and the relation, lasts by the tail's trade, and is shifted by
    what ``own`` says of the head alone.

    ``read``: ``text``; ``names``, a learned vector for each thing in the place of its description; ``both``; ``swapped``, the descriptions
    of others; ``regression``, ridge regression of begin and end on the encoded text; ``usual``, the mean begin and end of the relation.
    ``negatives``: ``both``, ``times`` or ``facts``.

    ``unseen`` is the mean ratio of intersection to union for facts whose head and tail are in no fact of training, ``seen`` for new facts
    of things that are.
    """

    trial = Trial({"things": 60, "facts": 80, "steps": 4})

    unit: ClassVar[str] = "intersection over union"
    better: ClassVar[str] = "higher"

    read: Literal["text", "names", "both", "swapped", "regression", "usual"] = Field("text", description="what is read of both ends")
    negatives: Literal["both", "times", "facts"] = Field("both", description="what is corrupted in negatives")
    own: float = Field(2.0, ge=0, description="years by which a head shifts its facts, a standard deviation")
    things: int = Field(1000, ge=8, description="things, a quarter of them in no fact of training")
    facts: int = Field(4000, ge=20, description="of training")
    steps: int = Field(800, ge=1, description="of Adam, 64 facts each")
    rate: float = Field(5e-3, gt=0, description="its learning rate")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen`` and ``seen``."""
        import numpy as np

        random = np.random.default_rng(seed)
        kinds = np.stack([random.integers(0, ERAS, self.things), random.integers(0, TRADES, self.things)], axis=1)
        shift = self.own * random.standard_normal(self.things)
        text = encoded(kinds, random)
        met = self.things - self.things // 4
        known, seen = (facts(random, np.arange(met), count) for count in (self.facts, HELD))
        unseen = facts(random, np.arange(met, self.things), HELD)
        spans = [interval(each, kinds, shift) for each in (known, seen, unseen)]
        if self.read == "swapped":
            text = text[random.permutation(self.things)]
        if self.read in ("regression", "usual"):
            text = text if self.read == "regression" else np.zeros((self.things, 1))
            found = [regressed(text, known, spans[0], each) for each in (unseen, seen)]
        else:
            found = self._scanned(text, known, spans[0], (unseen, seen), met, random, seed)
        return {"unseen": overlap(found[0], spans[2]), "seen": overlap(found[1], spans[1])}

    def _scanned(
        self,
        text: np.ndarray,
        known: np.ndarray,
        spans: np.ndarray,
        asked: tuple[np.ndarray, ...],
        met: int,
        random: np.random.Generator,
        seed: int,
    ) -> list[np.ndarray]:
        """Foretold intervals of each set of facts that is asked about, by a network that is trained on the ``known``."""
        import numpy as np
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            names = nn.Embedding(self.things, WIDTH)
            relation = nn.Embedding(RELATIONS, 8)
            times = torch.from_numpy(clock(np.arange(YEARS))).float()
            wide = WIDTH * (2 if self.read == "both" else 1)
            body = nn.Sequential(nn.Linear(2 * wide + 8 + times.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        words = torch.from_numpy(text).float()

        def thing(which: torch.Tensor) -> torch.Tensor:
            if self.read == "both":
                return torch.cat([words[which], names(which)], dim=-1)
            return names(which) if self.read == "names" else words[which]

        def scores(rows: torch.Tensor, years: torch.Tensor) -> torch.Tensor:
            parts = [thing(rows[:, 0]), relation(rows[:, 1]), thing(rows[:, 2]), times[years]]
            return torch.as_tensor(body(torch.cat(parts, dim=1))[:, 0])

        def loss(step: int) -> torch.Tensor:
            rows = random.integers(0, len(known), 64)
            given, years, wanted = examples(known[rows], spans[rows], met, self.negatives, random)
            found = scores(torch.from_numpy(given), torch.from_numpy(years))
            return nn.functional.binary_cross_entropy_with_logits(found, torch.from_numpy(wanted).float())

        optimizer = torch.optim.Adam([*body.parameters(), *names.parameters(), *relation.parameters()], self.rate, fused=True)
        take_steps(optimizer, loss, self.steps, falling)
        told = []
        with torch.no_grad():
            for each in asked:
                repeated = torch.from_numpy(np.repeat(each, YEARS, axis=0))
                every = scores(repeated, torch.arange(YEARS).repeat(len(each))).view(-1, YEARS)
                told.append(stretch(every.double().numpy()))
        return told


def encoded(kinds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Descriptions [things, WIDTH]: words for era and trade, each in one of two wordings, among words that tell nothing."""
    import numpy as np

    words = 2 * (ERAS + TRADES) + FILLERS
    bags = np.zeros((len(kinds), words))
    rows = np.arange(len(kinds))
    bags[rows, 2 * kinds[:, 0] + random.integers(0, 2, len(kinds))] = 1
    bags[rows, 2 * (ERAS + kinds[:, 1]) + random.integers(0, 2, len(kinds))] = 1
    bags[rows[:, None], 2 * (ERAS + TRADES) + random.integers(0, FILLERS, (len(kinds), SAID))] = 1
    return np.tanh(bags @ random.standard_normal((words, WIDTH)) / 2)


def facts(random: np.random.Generator, things: np.ndarray, count: int) -> np.ndarray:
    """Head, relation and tail [count, 3], both ends of ``things``."""
    import numpy as np

    return np.stack([random.choice(things, count), random.integers(0, RELATIONS, count), random.choice(things, count)], axis=1)


def interval(rows: np.ndarray, kinds: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """First year and the year after the last [facts, 2]."""
    import numpy as np

    begin = 4 * kinds[rows[:, 0], 0] + 2 * rows[:, 1] + shift[rows[:, 0]]
    begin = np.clip(np.round(begin), 0, YEARS - 2).astype(np.int64)
    return np.stack([begin, np.minimum(begin + 2 + 2 * kinds[rows[:, 2], 1], YEARS)], axis=1)


def clock(years: np.ndarray) -> np.ndarray:
    """Sines and cosines of six rates [years, 12]."""
    import numpy as np

    angles = years[:, None] / YEARS * np.pi * 2.0 ** np.arange(6)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def examples(
    rows: np.ndarray, spans: np.ndarray, met: int, negatives: str, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Facts, years and whether they hold: each at a year at which it does, and corrupted in its year, in an end, or once in either."""
    import numpy as np

    count = len(rows)
    true = spans[:, 0] + (random.random(count) * (spans[:, 1] - spans[:, 0])).astype(np.int64)
    long = spans[:, 1] - spans[:, 0]
    off = (random.random(count) * np.maximum(YEARS - long, 1)).astype(np.int64)
    wrong = np.where(off < spans[:, 0], off, np.minimum(off + long, YEARS - 1))
    other = rows.copy()
    end = 2 * random.integers(0, 2, count)
    other[np.arange(count), end] = random.integers(0, met, count)
    kept = {"times": [(rows, wrong)], "facts": [(other, true)], "both": [(rows, wrong), (other, true)]}[negatives]
    holds = np.concatenate([np.ones(count), np.zeros(count * len(kept))])
    return np.concatenate([rows, *(each for each, _ in kept)]), np.concatenate([true, *(years for _, years in kept)]), holds


def stretch(scores: np.ndarray) -> np.ndarray:
    """First year and the year after the last of the stretch with the largest sum of ``scores`` [facts, years], [facts, 2]."""
    import numpy as np

    sums = np.concatenate([np.zeros((len(scores), 1)), scores.cumsum(axis=1)], axis=1)
    gain = sums[:, None, :] - sums[:, :, None]
    gain[:, ~np.triu(np.ones(gain.shape[1:], bool), 1)] = -np.inf
    best = gain.reshape(len(scores), -1).argmax(axis=1)
    return np.stack(np.unravel_index(best, gain.shape[1:]), axis=1)


def regressed(text: np.ndarray, known: np.ndarray, spans: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Begin and end [facts, 2] by ridge regression on the encoded ends and the relation."""
    import numpy as np

    def inputs(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([text[rows[:, 0]], text[rows[:, 2]], np.eye(RELATIONS)[rows[:, 1]]], axis=1)

    given = inputs(known)
    weights = ridge(given, spans, 1.0)
    return np.asarray(inputs(asked) @ weights)


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    """The mean ratio of intersection to union of intervals [facts, 2]."""
    import numpy as np

    inner = np.clip(np.minimum(found[:, 1], true[:, 1]) - np.maximum(found[:, 0], true[:, 0]), 0, None)
    outer = np.clip(found[:, 1] - found[:, 0], 0, None) + (true[:, 1] - true[:, 0]) - inner
    return float((inner / outer).mean())
