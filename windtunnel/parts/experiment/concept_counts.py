"""How well two towers name a concept by how often training showed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class ConceptCounts(Experiment, name="concept-counts"):
    """What the logarithm of a concept's count says of how well it is named without examples.

    Udandarao et al. 2024, arXiv:2404.04125: over many models and corpora the accuracy on a concept rises in a straight line with the
    logarithm of how many pairs show it. Two linear towers learn from planted pairs in which each of ``concepts`` has a word of its own,
    and appears as Zipf's law of ``exponent`` has it (``counts: zipf``) or equally often. Images are vectors: the direction of their
    concept, drawn at random, whose numbers have a deviation of 1, and noise.

    The numbers are ``slope``, points of accuracy for ten times the pairs, by least squares over concepts; ``fit``, the share of the
    variance over concepts that the line explains; ``linear_fit``, the same for the count itself; ``binned_fit``, that of the means of 8
    bins of equal width in the logarithm, which is what is often shown; and ``accuracy``, the mean over concepts.
    """

    trial = Trial({"pairs": 400, "steps": 4, "concepts": 20})

    unit: ClassVar[str] = "points for ten times the pairs"
    better: ClassVar[str] = "higher"

    counts: Literal["zipf", "uniform"] = Field("zipf", description="how often concepts appear")
    exponent: float = Field(1.0, gt=0, description="of Zipf's law")
    concepts: int = Field(80, ge=10, description="words, and directions of images")
    pairs: int = Field(4000, ge=100, description="of training")
    steps: int = Field(300, ge=1, description="of training, 128 pairs each")
    noise: float = Field(1.2, ge=0, description="half the deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``slope``, ``fit``, ``linear_fit``, ``binned_fit`` and ``accuracy``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import PIXELS, PairTowers, shuffled

        random = np.random.default_rng(seed)
        ways = random.standard_normal((self.concepts, PIXELS))
        share = np.arange(1, self.concepts + 1) ** -self.exponent if self.counts == "zipf" else np.ones(self.concepts)
        shown = random.choice(self.concepts, self.pairs, p=share / share.sum())

        def seen(which: np.ndarray) -> np.ndarray:
            return ways[which] + self.noise * 2 * random.standard_normal((len(which), PIXELS))

        words = np.eye(self.concepts)
        towers = PairTowers.begun(random, words=self.concepts)
        towers.fit(seen(shown), words[shown], shuffled(random, self.pairs, 128), self.steps)
        asked = np.repeat(np.arange(self.concepts), 30)
        with torch.no_grad():
            named = (towers.images(seen(asked)) @ towers.texts(words).T).argmax(dim=1).numpy()
        right = (named == asked).reshape(self.concepts, 30).mean(axis=1)
        counts = np.bincount(shown, minlength=self.concepts)
        slope, fit = line(np.log10(np.maximum(counts, 0.5)), right)
        bins = np.floor(8 * (np.log(np.maximum(counts, 0.5)) - np.log(0.5)) / (np.log(counts.max() + 1) - np.log(0.5)))
        means = np.array([(bins[bins == each].mean(), right[bins == each].mean()) for each in np.unique(bins)])
        return {
            "slope": 100 * slope,
            "fit": fit,
            "linear_fit": line(counts.astype(float), right)[1],
            "binned_fit": line(*means.T)[1],
            "accuracy": float(right.mean()),
        }


def line(inputs: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The slope of the least squares of ``values`` on ``inputs`` and the share of their variance that it explains."""
    import numpy as np

    if len(inputs) < 2 or np.ptp(inputs) == 0 or np.ptp(values) == 0:
        return 0.0, 0.0
    slope = np.polyfit(inputs, values, 1)[0]
    return float(slope), float(np.corrcoef(inputs, values)[0, 1] ** 2)
