"""Sampling by diffusion from what several models together describe, where the truth is a formula."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment


class MixtureSampling(Experiment, name="mixture-sampling"):
    """How far samples are from a power or a product of Gaussian mixtures, drawn by diffusion with scores that are formulas.

    Skreta et al. 2025, "Feynman-Kac Correctors in Diffusion", arXiv:2503.02819: mixing the scores of models, as guidance and annealing do,
    samples from something else than the mixed density at every noise but the last; weighting each sample by what its path missed, and
    drawing anew by these weights, corrects it. Nothing is trained: the score of a noised mixture in the plane is exact.

    The target is of two mixtures that the seed draws. ``annealed`` is the first to the power ``beta``; ``product`` is of both;
    ``geometric`` is guidance, from ``prompts`` mixtures together towards the first of them. The number is ``mass_error``, the total
    variation between the shares of samples in the 256 cells of a square and those of the target; ``effective_share`` is what the weights
    leave of the samples. ``exact`` draws from the target itself: what remains is the noise of so many samples.
    """

    trial = Trial({"particles": 64, "steps": 8})

    unit: ClassVar[str] = "total variation"

    target: Literal["annealed", "geometric", "product"] = Field("annealed", description="what is sampled from")
    beta: float = Field(2.0, gt=0, description="the power of annealing, or the strength of guidance; of a product nothing")
    correct: Literal["none", "resample", "weigh", "exact"] = Field(
        "none", description="mixed scores alone; drawing anew after each step; weights kept to the end; or draws from the target itself"
    )
    clamp: float | None = Field(None, gt=0, description="the most that a log-weight may grow by in a step, about the mean")
    matched: bool = Field(True, description="whether samples begin spread as the target is at the most noise, or as one model is")
    steps: int = Field(200, ge=2, description="in which noise is taken away")
    particles: int = Field(4000, ge=16, description="samples")
    components: int = Field(4, ge=1, description="Gaussians of a mixture")
    prompts: int = Field(3, ge=2, description="mixtures that guidance leads away from, the wanted one among them")

    def measure(self, seed: int) -> dict[str, float]:
        """``mass_error`` and ``effective_share``."""
        import numpy as np

        from windtunnel.kits.diffused import Combination, Gaussians, masses, sampled, shares

        drawing = np.random.default_rng((seed, 0))
        mixtures = tuple(Gaussians.drawn(drawing, self.components) for _ in range(self.prompts))
        guided = self.target == "geometric"
        target = Combination(self.target, Gaussians.average(mixtures) if guided else mixtures[0], mixtures[0 if guided else 1], self.beta)
        random, truth = np.random.default_rng((seed, 1)), masses(target.log_density)
        if self.correct == "exact":
            found, weights = random.multinomial(self.particles, truth.ravel()).reshape(truth.shape) / self.particles, np.ones(1)
        else:
            points, weights = sampled(
                target, random, particles=self.particles, steps=self.steps, correct=self.correct, clamp=self.clamp, matched=self.matched
            )
            found = shares(points, weights)
        effective = float(weights.sum() ** 2 / (weights**2).sum() / len(weights))
        return {"mass_error": float(abs(found - truth).sum() / 2), "effective_share": effective}
