"""Points led by the scores of a frozen diffusion model towards what a prompt describes, where the scores are formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

    from windtunnel.kits.diffused import Gaussians


class ScoreDistillation(Experiment, name="score-distillation"):
    """How far points that were led by score distillation are from the mixture that their prompt describes.

    Each of ``prompts`` is a Gaussian mixture in the plane that the seed draws; without a prompt the model knows their average. The points
    of a prompt are what a generator would draw. A step noises them and moves them against ``eps(no prompt) + guidance (eps(prompt)
    - eps(no prompt)) - reference``, times the share of noise. The reference is the ``noise`` itself (SDS, Poole et al. 2023,
    arXiv:2209.14988), what the model says without a prompt (``unconditional``, CSD), or what it says of the prompt at a somewhat noisier
    time with the same noise (``shifted``: ASD, Ma et al. 2024, arXiv:2407.02040). Times fall over the run.

    The numbers are ``mass_error``, the total variation between the shares of points and of the mixture in the cells of a square, the mean
    over prompts; ``accuracy``, the share of points that their own prompt describes best; and ``modes``, the share of components that hold
    a tenth of what they should.
    """

    trial = Trial({"points": 16, "steps": 4})

    unit: ClassVar[str] = "total variation"

    reference: Literal["noise", "unconditional", "shifted"] = Field("noise", description="what is subtracted from the guided prediction")
    guidance: float = Field(7.5, ge=0, description="strength of the prompt")
    shift: float = Field(0.1, ge=0, le=1, description="of `shifted`: how much noisier at most, as a share of the time so far")
    steps: int = Field(400, ge=1, description="moves")
    rate: float = Field(0.05, gt=0, description="learning rate of Adam")
    points: int = Field(300, ge=4, description="points of a prompt")
    prompts: int = Field(3, ge=2, description="mixtures")
    components: int = Field(3, ge=1, description="Gaussians of a mixture")

    def measure(self, seed: int) -> dict[str, float]:
        """``mass_error``, ``accuracy`` and ``modes``."""
        import numpy as np

        from windtunnel.kits.diffused import Gaussians, masses, shares

        drawing, random = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
        mixtures = tuple(Gaussians.drawn(drawing, self.components) for _ in range(self.prompts))
        known, found = Gaussians.average(mixtures), []
        for place, mixture in enumerate(mixtures):
            points = self._led(mixture, known, random)
            best = np.argmax([one.log_density(points) for one in mixtures], axis=0)
            nearest = ((points[:, None] - mixture.means) ** 2 / mixture.variances[:, None]).sum(axis=2).argmin(axis=1)
            held = np.bincount(nearest, minlength=self.components) / len(points)
            error = abs(shares(points, np.ones(len(points))) - masses(mixture.log_density)).sum() / 2
            found.append((error, (best == place).mean(), (held > 0.1 * mixture.weights).mean()))
        error, accuracy, modes = np.mean(found, axis=0)
        return {"mass_error": float(error), "accuracy": float(accuracy), "modes": float(modes)}

    def _led(self, mixture: Gaussians, known: Gaussians, random: np.random.Generator) -> np.ndarray:
        """The points of one prompt after all steps, by Adam."""
        import numpy as np

        points = 2 * random.standard_normal((self.points, 2))
        first, second = np.zeros_like(points), np.zeros_like(points)
        for step in range(1, self.steps + 1):
            least, most = (end + (start - end) * (1 - step / self.steps) for start, end in ((0.5, 0.02), (0.98, 0.5)))
            way = self.direction(points, mixture, known, random.uniform(least, most), random)
            first, second = 0.9 * first + 0.1 * way, 0.99 * second + 0.01 * way**2
            points = points - self.rate * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
        return points

    def direction(self, points: np.ndarray, mixture: Gaussians, known: Gaussians, time: float, random: np.random.Generator) -> np.ndarray:
        """What points are moved against at ``time`` from 0, clean, to 1: [points, 2]."""
        import numpy as np

        noise, later = random.standard_normal(points.shape), min(0.999, time * (1 + self.shift * random.random()))

        def predicted(model: Gaussians, at: float) -> np.ndarray:
            level = np.tan(at * np.pi / 2)  # noise over signal
            return np.asarray(-level * model.score(points + level * noise, level**2))

        prompted, free = predicted(mixture, time), predicted(known, time)
        reference = {"noise": lambda: noise, "unconditional": lambda: free, "shifted": lambda: predicted(mixture, later)}[self.reference]()
        return np.asarray(np.sin(time * np.pi / 2) ** 2 * (free + self.guidance * (prompted - free) - reference))
