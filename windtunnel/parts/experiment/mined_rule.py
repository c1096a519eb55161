"""A linear rule of cheap indicators that foretells what a training set is worth, and picks examples by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

INDICATORS = ("length", "perplexity", "doubt", "variety", "distance")
STEPS, RATE, KNOWN = 60, 0.5, 100  # of a fine-tuning, and the examples that the base model was trained on


class MinedRule(Experiment, name="mined-rule"):
    """The loss of a model that is tuned on the share of a pool that a rule takes, and how well the rule foretells losses.

    Cao et al. 2023 (Instruction Mining), arXiv:2307.06290: tune on many random subsets, regress the log of the loss on a held-out set on
    the subsets' means of indicators, and rank single examples by that rule; the lowest are kept. Examples are scikit-learn's digits, of
    which by a share that differs from set to set some have a wrong label, some are cut (the lower half is missing) and some are copies.
    The model is a softmax regression which first learned 100 good examples. Indicators stand for theirs: ``length`` is ink,
    ``perplexity`` the base model's loss, ``doubt`` the entropy of its answer, ``variety`` the entropy of pixel values, ``distance`` that
    to the nearest other example of the set. Their reward model is not there.

    ``rule`` keeps the lowest foretold losses, ``single`` the lowest values of the one indicator that fits the subsets best by itself, in
    the better direction, ``perplexity`` the lowest loss under the base model, ``longest`` the most ink, ``random`` any, and ``clean`` what
    has no fault, which is the bound. The numbers are ``loss`` in nats on held-out good digits; ``foretold``, the rank correlation of
    foretold and true losses over subsets of other examples; ``foretold_single``, that of the one indicator; and ``faulty``, the share of
    the chosen that has a fault. It needs scikit-learn.
    """

    trial = Trial({"subsets": 8, "pool": 60})

    unit: ClassVar[str] = "nats"

    how: Literal["rule", "single", "perplexity", "longest", "random", "clean"] = Field("rule", description="what is kept")
    subsets: int = Field(30, ge=8, description="that the rule is fitted to, and as many that it is tried on")
    pool: int = Field(500, ge=50, le=690, description="examples to choose from")
    share: float = Field(0.2, gt=0, le=1, description="of the pool that is kept")

    def measure(self, seed: int) -> dict[str, float]:
        """``loss``, ``foretold``, ``foretold_single`` and ``faulty``."""
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.image.digits import shuffled_digits

        random = np.random.default_rng(seed)
        pixels, labels = shuffled_digits(self.name, random)
        base = tuned(np.zeros((65, 10)), pixels[:KNOWN], labels[:KNOWN], 200)
        held = pixels[KNOWN : KNOWN + 400], labels[KNOWN : KNOWN + 400]
        rest = KNOWN + 400 + np.arange(len(pixels) - KNOWN - 400)
        sides = np.split(random.permutation(rest), [300, 600])  # for fitting the rule, trying it and choosing

        def tried(side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            means, worth = [], []
            for _ in range(self.subsets):
                some = spoiled(pixels, labels, random.choice(side, 80, replace=False), random.random(3) * 0.6, random)
                means.append(indicators(some, base).mean(axis=0))
                worth.append(np.log(nats(tuned(base, some.pixels, some.labels), *held).mean()))
            return np.array(means), np.array(worth)

        means, worth = tried(sides[0])
        centre, scale = means.mean(axis=0), means.std(axis=0) + 1e-9
        weights, *_ = np.linalg.lstsq((means - centre) / scale, worth - worth.mean(), rcond=None)
        others, true = tried(sides[1])
        foretold = spearmanr(((others - centre) / scale) @ weights, true).statistic
        pool = spoiled(pixels, labels, random.choice(sides[2], self.pool, replace=False), np.array([0.3, 0.2, 0.2]), random)
        told = (indicators(pool, base) - centre) / scale
        fits: list[float] = [np.corrcoef(means[:, one], worth)[0, 1] for one in range(len(INDICATORS))]
        best = int(np.abs(fits).argmax())
        single = spearmanr(others[:, best] * np.sign(fits[best]), true).statistic
        scores = {
            "rule": told @ weights,
            "single": told[:, best] * np.sign(fits[best]),
            "perplexity": told[:, 1],
            "longest": -told[:, 0],
            "random": random.random(self.pool),
            "clean": pool.faulty + 0.5 * random.random(self.pool),
        }[self.how]
        chosen = np.argsort(scores, kind="stable")[: max(round(self.share * self.pool), 1)]
        after = nats(tuned(base, pool.pixels[chosen], pool.labels[chosen]), *held).mean()
        faulty = float(pool.faulty[chosen].mean())
        return {"loss": float(after), "foretold": float(foretold), "foretold_single": float(single), "faulty": faulty}


class Examples(NamedTuple):
    """Pixels [examples, 64], labels and whether each has a fault."""

    pixels: np.ndarray
    labels: np.ndarray
    faulty: np.ndarray


def spoiled(pixels: np.ndarray, labels: np.ndarray, chosen: np.ndarray, often: np.ndarray, random: np.random.Generator) -> Examples:
    """Examples of which shares ``often`` are given a wrong label, are cut, and are copies of the first."""

    images, names = pixels[chosen].copy(), labels[chosen].copy()
    wrong, cut, copy = random.random((3, len(chosen))) < often[:, None]
    copy[0] = False
    images[copy], names[copy] = images[0], names[0]
    names[wrong] = (names[wrong] + random.integers(1, 10, wrong.sum())) % 10
    images[cut, 32:] = 0
    return Examples(images, names, (wrong | cut | copy).astype(float))


def nats(weights: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The cross entropy of each example."""
    import numpy as np

    return np.asarray(-np.log(chances(weights, pixels)[np.arange(len(labels)), labels] + 1e-12))


def chances(weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Of every label, [examples, 10], by ``weights`` [65, 10], the last row of which is the constant."""
    from windtunnel.kits.vectors import softmax

    return softmax(pixels @ weights[:64] + weights[64])


def tuned(weights: np.ndarray, pixels: np.ndarray, labels: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """``weights`` after steps of gradient descent on all examples."""
    import numpy as np

    wide, wanted = np.hstack([pixels, np.ones((len(pixels), 1))]), np.eye(10)[labels]
    for _ in range(steps):
        weights = weights - RATE / len(pixels) * wide.T @ (chances(weights, pixels) - wanted)
    return weights


def indicators(examples: Examples, base: np.ndarray) -> np.ndarray:
    """[examples, indicators], named as :data:`INDICATORS`."""
    import numpy as np

    pixels = examples.pixels
    odds = chances(base, pixels)
    values = np.stack([(np.rint(pixels * 16) == value).mean(axis=1) for value in range(17)])
    apart = ((pixels[:, None] - pixels[None]) ** 2).sum(axis=2) + 1e6 * np.eye(len(pixels))

    def entropy(shares: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(-(shares * np.log(shares + 1e-12)).sum(axis=axis))

    found = (pixels.sum(axis=1), nats(base, pixels, examples.labels), entropy(odds, 1), entropy(values, 0), np.sqrt(apart.min(axis=1)))
    return np.stack(found, axis=1)
