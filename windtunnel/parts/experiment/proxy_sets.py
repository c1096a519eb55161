"""How well the effects of design choices on a small set of data foretell those on the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.ridge import ridge
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class ProxySets(Experiment, name="proxy-sets"):
    """The rank correlation between what ten choices change on a part of the data and on all of it.

    Gasteiger et al. 2022, arXiv:2204.02782 (GemNet-OC), try eighteen choices of a network on several sets of molecules: which ones help
    differs by set, and a random tenth of the large set tells what a small set of another kind does not. Here choices are what happens to
    handwritten digits before a ridge regression names them, each switched alone. ``part``: ``random`` images of all digits, ``narrow``, as
    many of three digits, or ``again``, all images dealt anew into those that are learned from and those that are held out, which bounds
    what any part can reach. An effect is the difference in held-out accuracy, the mean of ``repeats``. The numbers are ``ranks``,
    Spearman's correlation of effects; ``best``, whether the best choice is the same; and ``regret``, what the part's best choice loses on
    the whole.
    """

    trial = Trial({"repeats": 1, "images": 60})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    part: Literal["random", "narrow", "again"] = Field("random", description="the small set")
    images: int = Field(200, ge=50, description="how many it has to learn from")
    repeats: int = Field(4, ge=1, description="deals of images for an effect")

    def measure(self, seed: int) -> dict[str, float]:
        """``ranks``, ``best`` and ``regret``."""
        import numpy as np
        from scipy.stats import spearmanr

        from windtunnel.kits.image.digits import digits

        found, random = digits(self.name), np.random.default_rng(seed)
        few = random.choice(10, 3, replace=False)

        def effects(kind: str) -> np.ndarray:
            changes = []
            for _ in range(self.repeats):
                order = random.permutation(len(found.target))
                if kind == "narrow":
                    order = order[np.isin(found.target[order], few)]
                count = len(order) * 2 // 3 if kind in ("whole", "again") else min(self.images, len(order) * 2 // 3)
                images, labels = found.images / 16, found.target
                drawn = np.random.default_rng(random.integers(2**31))
                scores = [judged(images, labels, order[:count], order[-len(order) // 3 :], name, drawn) for name in (None, *CHOICES)]
                changes.append(np.array(scores[1:]) - scores[0])
            return np.mean(changes, axis=0)

        whole, part = effects("whole"), effects(self.part)
        ranks = float(spearmanr(whole, part).statistic)
        return {
            "ranks": ranks if np.isfinite(ranks) else 0.0,
            "best": float(whole.argmax() == part.argmax()),
            "regret": float(whole.max() - whole[part.argmax()]),
        }


CHOICES = ("root", "threshold", "blurred", "halves", "waves", "squares", "moved", "loose", "strict", "mirrored")


def judged(images: np.ndarray, labels: np.ndarray, train: np.ndarray, held: np.ndarray, choice: str | None, random: Any) -> float:
    """The share of ``held`` digits that a ridge regression on ``train`` names rightly with one ``choice``."""
    import numpy as np

    shown, wanted, asked = images[train], labels[train], images[held]
    if choice in ("moved", "mirrored"):
        more = np.roll(shown, random.integers(-1, 2), 2) if choice == "moved" else shown[:, :, ::-1]
        shown, wanted = np.concatenate([shown, more]), np.concatenate([wanted, wanted])
    planes = random.standard_normal((64, 200)), random.uniform(0, 2 * np.pi, 200)

    def read(pictures: np.ndarray) -> np.ndarray:
        if choice == "root":
            pictures = np.sqrt(pictures)
        elif choice == "threshold":
            pictures = (pictures > 0.5).astype(float)
        elif choice == "blurred":
            pictures = (pictures + np.roll(pictures, 1, 1) + np.roll(pictures, 1, 2)) / 3
        elif choice == "halves":
            pictures = pictures.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
        flat = pictures.reshape(len(pictures), -1)
        if choice == "waves":
            flat = np.cos(flat @ planes[0] / 3 + planes[1])
        elif choice == "squares":
            flat = np.concatenate([flat, flat**2, flat[:, 1:] * flat[:, :-1]], axis=1)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    inputs = read(shown)
    shrunk = {"loose": 1e-4, "strict": 10.0}.get(choice or "", 0.1)
    weights = ridge(inputs, np.eye(10)[wanted], shrunk)
    return float(((read(asked) @ weights).argmax(axis=1) == labels[held]).mean())
