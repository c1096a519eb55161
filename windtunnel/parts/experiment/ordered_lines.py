"""Which lines, in which order, belong to a sequence of pictures and words, learned from orders that are less and less wrong, or others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

STEPS, TOPICS = 5, 20  # of an episode; topics
SEEN, LINE, BATCH = 24, 16, 64  # numbers of a picture or word, and of a line; episodes of a step


class OrderedLines(Experiment, name="ordered-lines"):
    """The share of episodes whose own order of lines scores above all others that exchange two of them, by what was learned from.

    Cao et al. 2022, arXiv:2209.02427: texts are generated from sequences of pictures with words, by channels of both that attention joins,
    with negatives that become harder as training goes on. Here the generator is a score: the sum over five steps of a bilinear form of what
    is seen in a step and the line beside it. A step shows its topic as a picture and as a word, each through noise; one of both is blank in
    ``blank`` of the steps. A line tells its topic and a little of the topic before. Negatives are the lines of another episode (easy), the
    episode's lines in any order (middle), or with two neighbours exchanged (hard).

    ``negatives``: ``rising``, from easy to hard in thirds of the steps; ``falling``, the reverse; ``mixed``, all three equally often; or
    one kind alone. ``channels``: ``both`` side by side, ``joined``, the mean of both weighed by their lengths, ``pictures`` or ``words``.

    Numbers are ``order``, that share; and ``own``, how often the own lines score above those of each of ten other episodes.
    """

    trial = Trial({"episodes": 40, "steps": 6})

    unit: ClassVar[str] = "share of episodes"
    better: ClassVar[str] = "higher"

    negatives: Literal["rising", "falling", "mixed", "easy", "middle", "hard"] = Field("rising", description="what is to score less")
    channels: Literal["both", "joined", "pictures", "words"] = Field("both", description="what is read of a step")
    episodes: int = Field(600, ge=10, description="to learn from")
    blank: float = Field(0.3, ge=0, lt=1, description="share of steps that lack a picture or a word")
    noise: float = Field(1.0, ge=0, description="of what is seen")
    steps: int = Field(45, ge=3, description="of gradient descent")
    rate: float = Field(0.5, gt=0, description="its learning rate, which falls in one line")

    def measure(self, seed: int) -> dict[str, float]:
        """``order`` and ``own``."""
        import numpy as np

        random = np.random.default_rng(seed)
        world = tuple(random.standard_normal((TOPICS, size)) for size in (SEEN, SEEN, LINE, LINE))
        known, held = (self._episodes(world, count, random) for count in (self.episodes, 500))
        weights = np.zeros((known[0].shape[2], LINE))
        draw = np.random.default_rng((seed, 1))
        for step in range(self.steps):
            rows = draw.integers(0, self.episodes, BATCH)
            seen, lines = known[0][rows], known[1][rows]
            wrong = corrupted(lines, self._kinds(step, draw), draw)
            apart = np.einsum("nsw,wl,nsl->n", seen, weights, lines - wrong, optimize=True)
            pull = 1 / (1 + np.exp(np.clip(apart, -30, 30)))
            slope = np.einsum("n,nsw,nsl->wl", pull, seen, lines - wrong, optimize=True) / BATCH
            weights += self.rate * (1 - step / self.steps) * slope / (seen.shape[2] ** 0.5)
        table = np.einsum("nsw,wl,ntl->nst", held[0], weights, held[1], optimize=True)
        return {"order": ordered(table), "own": self._own(held, weights)}

    def _episodes(self, world: tuple[np.ndarray, ...], count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What is read of each step [count, STEPS, width], and its lines [count, STEPS, LINE]."""
        import numpy as np

        topics = random.integers(0, TOPICS, (count, STEPS))
        picture, word = (each[topics] + self.noise * random.standard_normal((count, STEPS, SEEN)) for each in world[:2])
        gone = random.random((count, STEPS, 1)) < self.blank
        which = random.random((count, STEPS, 1)) < 0.5
        picture, word = picture * ~(gone & which), word * ~(gone & ~which)
        before = np.concatenate([topics[:, :1], topics[:, :-1]], axis=1)
        lines = world[2][topics] + 0.5 * world[3][before] + 0.5 * random.standard_normal((count, STEPS, LINE))
        sizes = [np.linalg.norm(each, axis=2, keepdims=True) for each in (picture, word)]
        read = {
            "both": np.concatenate([picture, word], axis=2),
            "joined": (picture * sizes[0] + word * sizes[1]) / (sizes[0] + sizes[1] + 1e-9),
            "pictures": picture,
            "words": word,
        }
        return read[self.channels], lines

    def _kinds(self, step: int, random: np.random.Generator) -> np.ndarray:
        """How hard each negative of a step is: 0, 1 or 2."""
        import numpy as np

        third = min(2, 3 * step // self.steps)
        alone = {"rising": third, "falling": 2 - third, "easy": 0, "middle": 1, "hard": 2}
        return random.integers(0, 3, BATCH) if self.negatives == "mixed" else np.full(BATCH, alone[self.negatives])

    def _own(self, held: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> float:
        """How often an episode's own lines score above those of the ten episodes behind it."""
        import numpy as np

        score = np.einsum("nsw,wl,msl->nm", held[0], weights, held[1], optimize=True)
        rows = np.arange(len(score))
        others = score[rows[:, None], (rows[:, None] + np.arange(1, 11)) % len(score)]
        return float((score[rows, rows][:, None] > others).mean())


def corrupted(lines: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Lines [N, STEPS, LINE] of another episode (0), in another order (1), or with two neighbours exchanged (2)."""
    import numpy as np

    rows = np.arange(len(lines))
    order = np.tile(np.arange(STEPS), (len(lines), 1))
    mixed = np.argsort(random.random(order.shape), axis=1)
    first = random.integers(0, STEPS - 1, len(lines))
    order = np.where((kinds == 1)[:, None], mixed, order)
    swapped = order.copy()
    swapped[rows, first], swapped[rows, first + 1] = order[rows, first + 1], order[rows, first]
    order = np.where((kinds == 2)[:, None], swapped, order)
    source = np.where(kinds == 0, np.roll(rows, 1), rows)
    return np.asarray(lines[source[:, None], order])


def ordered(table: np.ndarray) -> float:
    """The share of score tables [N, steps, lines] whose diagonal outweighs every exchange of two lines."""
    import itertools

    import numpy as np

    best = np.ones(len(table), bool)
    for one, other in itertools.combinations(range(table.shape[1]), 2):
        best &= table[:, one, one] + table[:, other, other] > table[:, one, other] + table[:, other, one]
    return float(best.mean())
