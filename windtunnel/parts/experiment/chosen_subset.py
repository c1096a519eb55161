"""Which part of a redundant set of images to learn from, chosen without their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

UNLIKE, HELD_OUT, SAME = 0.05, 500, 0.97  # noise of a copy, images judged on, and the cosine from which two images are copies


class ChosenSubset(Experiment, name="chosen-subset"):
    """The accuracy of a head that is fitted to a share of a pool, by how the share was chosen.

    The pool holds ``images`` of scikit-learn's digits; ``copied`` of them come ``copies`` times more, each with a little noise of its
    own; ``foreign`` more are noise, with labels drawn at random. The head is a ridge regression on the 64 pixels and their products of
    neighbours; it is judged on other digits, so copies and noise only cost room.

    ``facility`` is Renduchintala et al. 2023 (INGENIOUS), arXiv:2305.06677: in each of ``partitions`` a greedy maximisation of sum_i max_(j
    in S) s_ij, the cosines; an image is then drawn with a chance of 1 + g + g^2 / 2 by its gain g / ``temperature``, from all partitions
    together (there as many of each). With ``greedy`` the first of the greedy order are taken instead. ``least-typical`` and
    ``most-typical`` are of Motger et al. 2024 (T-FREX), arXiv:2408.01063: the mean cosine to all others, lowest (theirs) or highest first.
    ``spread`` takes the image farthest from what is taken already (k-centre), ``unlike`` removes all but one of images that are nearly the
    same and draws at random from the rest, and ``random`` draws from all. ``by_label`` fills an equal share of every label, as T-FREX does.

    The numbers are ``accuracy``; ``copies``, the share of what was chosen that is a copy of something else chosen; and ``foreign``, the
    share that is noise. It needs scikit-learn.
    """

    trial = Trial({"images": 60, "copied": 3, "copies": 4, "foreign": 5})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    how: Literal["facility", "greedy", "least-typical", "most-typical", "spread", "unlike", "random"] = Field(
        "facility", description="how the share is chosen"
    )
    share: float = Field(0.25, gt=0, le=1, description="of the pool that is learned from")
    images: int = Field(240, ge=20, le=1290, description="digits of the pool, each once")
    copied: int = Field(24, ge=0, description="of them that come more often")
    copies: int = Field(20, ge=0, description="how much more often")
    foreign: int = Field(0, ge=0, description="images of noise")
    partitions: int = Field(1, ge=1, description="parts of the pool, drawn at random, that facility location works in")
    temperature: float = Field(1.0, gt=0, description="what gains are divided by")
    by_label: bool = Field(False, description="whether every label gets an equal share")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``copies`` and ``foreign``. Raises UserError without scikit-learn, PartError where more is copied than there is."""
        import numpy as np

        if self.copied > self.images:
            raise PartError(f"{self.name}: copied {self.copied}: there are {self.images} images; lower it")
        from windtunnel.kits.image.digits import digits
        from windtunnel.kits.vectors import unit

        found, random = digits(self.name), np.random.default_rng(seed)
        order = random.permutation(len(found.target))
        held, own = order[:HELD_OUT], order[HELD_OUT : HELD_OUT + self.images]
        which = np.concatenate([np.arange(self.images), np.repeat(np.arange(self.copied), self.copies)])
        pixels = found.data[own][which] / 16
        pixels[self.images :] += UNLIKE * random.standard_normal((len(which) - self.images, 64))
        noise = random.random((self.foreign, 64))
        pool = np.concatenate([pixels, noise])
        labels = np.concatenate([found.target[own][which], random.integers(10, size=self.foreign)])
        which = np.concatenate([which, self.images + np.arange(self.foreign)])
        alike = unit(pool) @ unit(pool).T
        count = max(round(self.share * len(pool)), 10)
        ranked = self._ranked(alike, count, random)
        if self.by_label:
            ranked = in_turn(ranked, labels[ranked])
        chosen = ranked[:count]
        right = judged(pool[chosen], labels[chosen], found.data[held] / 16, found.target[held])
        return {
            "accuracy": right,
            "copies": 1 - len(np.unique(which[chosen])) / len(chosen),
            "foreign": float((which[chosen] >= self.images).mean()),
        }

    def _ranked(self, alike: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """All images, best first."""
        import numpy as np

        size = len(alike)
        if self.how == "random":
            return random.permutation(size)
        if self.how in ("least-typical", "most-typical"):
            typical = alike.mean(axis=1)
            return np.argsort(typical if self.how == "least-typical" else -typical, kind="stable")
        if self.how == "spread":
            return spread(alike, int(random.integers(size)))
        if self.how == "unlike":
            order = random.permutation(size)
            near = np.tril(alike[np.ix_(order, order)] > SAME, -1).any(axis=1)
            return np.concatenate([order[~near], order[near]])
        parts = np.array_split(random.permutation(size), self.partitions)
        worth = np.zeros(size)
        for part in parts:
            worth[part] = facility_gains(alike[np.ix_(part, part)])
        if self.how == "facility":
            gains = worth / self.temperature
            worth = np.log(1 + gains + gains**2 / 2) + random.gumbel(size=size)
        return np.argsort(-worth, kind="stable")


def in_turn(ranked: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """``ranked`` so that each kind comes as often as any other for as long as it lasts; ``kinds`` are those of ``ranked``."""
    import numpy as np

    before = np.zeros(len(ranked), int)
    for kind in np.unique(kinds):
        before[kinds == kind] = np.arange((kinds == kind).sum())
    return np.asarray(ranked[np.argsort(before, kind="stable")])


def facility_gains(alike: np.ndarray) -> np.ndarray:
    """By how much each raised the sum of the largest similarities to what was taken, when the greedy order came to it, [images].

    A gain only falls as more is taken, so the one with the largest known gain is asked anew until it stays the largest.
    """
    import numpy as np

    best, found = np.zeros(len(alike)), np.zeros(len(alike))
    known, open_ = np.maximum(alike, 0).sum(axis=1), np.ones(len(alike), bool)
    for _ in range(len(alike)):
        while True:
            place = int(np.where(open_, known, -np.inf).argmax())
            gain = float(np.maximum(alike[place] - best, 0).sum())
            if gain >= known[place] - 1e-12:
                break
            known[place] = gain
        found[place], open_[place] = gain, False
        best = np.maximum(best, alike[place])
    return found


def spread(alike: np.ndarray, first: int) -> np.ndarray:
    """An order in which each image is the one least like its nearest among those before it."""
    import numpy as np

    order, near = [first], alike[first].copy()
    near[first] = np.inf
    for _ in range(len(alike) - 1):
        order.append(int(near.argmin()))
        near = np.where(np.isinf(near), np.inf, np.maximum(near, alike[order[-1]]))
        near[order[-1]] = np.inf
    return np.array(order)


def judged(pixels: np.ndarray, labels: np.ndarray, held: np.ndarray, truth: np.ndarray) -> float:
    """The accuracy on ``held`` of a ridge regression to one number a label."""
    import numpy as np

    def wide(images: np.ndarray) -> np.ndarray:
        square = images.reshape(-1, 8, 8)
        across, down = square[:, :, 1:] * square[:, :, :-1], square[:, 1:] * square[:, :-1]
        return np.hstack([images, across.reshape(len(images), -1), down.reshape(len(images), -1), np.ones((len(images), 1))])

    inputs = wide(pixels)
    weights = ridge(inputs, 2.0 * np.eye(10)[labels] - 1, 1.0)
    return float(((wide(held) @ weights).argmax(axis=1) == truth).mean())
