"""Vectors that stand for classes, tuned on a few examples, by where they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PromptBeginnings(Experiment, name="prompt-beginnings"):
    """Accuracy of prompts of classes after tuning on ``shots`` examples each, by what they are before.

    Li et al. 2024, "BayesPrompt", arXiv:2401.14166: the domain's features are approximated by a Gaussian mixture, samples that stand for
    it are moved there by Stein variational gradient descent, and prompts are made of them. In the authors' code the mixture has a
    component for each class and is fitted on features of all training inputs without labels, and the samples begin as the features of the
    examples. Prompts are vectors here, and an input has the class of the prompt with the largest cosine; features are principal
    components of scikit-learn's digits of length 1. ``begin``: ``sampled``, for each class the mean of its moved examples; ``together``,
    the mean of as many moved ones as there are classes, drawn of all, as the code does; ``nearest``, as ``sampled`` with the mean of the
    nearest component in the place of each moved example, which needs no samples; ``means`` of the class's examples; ``random``;
    ``nothing``: the same vector for all.

    Then ``steps`` of tuning. Numbers are ``accuracy``, and ``before``, that ahead of tuning.
    """

    trial = Trial({"shots": 1, "moves": 3, "steps": 2})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begin: Literal["sampled", "together", "nearest", "means", "random", "nothing"] = Field(
        "sampled", description="what prompts are before tuning"
    )
    shots: int = Field(4, ge=1, le=40, description="examples of each class")
    moves: int = Field(200, ge=0, description="steps of the samples")
    steps: int = Field(30, ge=0, description="of tuning")
    rate: float = Field(0.1, gt=0, description="of gradient descent")
    width: int = Field(24, ge=2, le=60, description="numbers of a feature")
    sharp: float = Field(10.0, gt=0, description="what cosines are multiplied by")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``before``."""
        import numpy as np

        from windtunnel.kits.image.tiny import dealt
        from windtunnel.kits.vectors import softmax, unit

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images.numpy().astype(np.float64), data.labels.numpy()
        train, held = data.train.numpy(), data.held.numpy()
        middle = images[train].mean(axis=0)
        axes = np.linalg.svd(images[train] - middle, full_matrices=False)[2][: self.width]
        found = unit((images - middle) @ axes.T)
        rows = np.concatenate([train[labels[train] == label][: self.shots] for label in range(10)])
        shown, wanted = found[rows], labels[rows]
        if self.begin in ("sampled", "together", "nearest"):
            from sklearn.mixture import GaussianMixture

            mixture = GaussianMixture(10, reg_covar=1e-2, random_state=seed, max_iter=30).fit(found[train])
            moved = stein(shown, mixture.weights_, mixture.means_, mixture.covariances_, self.moves if self.begin != "nearest" else 0)
            if self.begin == "nearest":
                moved = mixture.means_[((shown[:, None] - mixture.means_) ** 2).sum(axis=2).argmin(axis=1)]
            if self.begin != "together":
                prompts = np.stack([moved[wanted == label].mean(axis=0) for label in range(10)])
            else:
                prompts = np.stack([moved[random.choice(len(moved), 10)].mean(axis=0) for _ in range(10)])
        elif self.begin == "means":
            prompts = np.stack([shown[wanted == label].mean(axis=0) for label in range(10)])
        else:
            prompts = random.standard_normal((10, self.width)) if self.begin == "random" else np.tile(shown.mean(axis=0), (10, 1))
        prompts = unit(prompts)

        def right() -> float:
            return float(((found[held] @ unit(prompts).T).argmax(axis=1) == labels[held]).mean())

        before = right()
        for _ in range(self.steps):
            odds = softmax(self.sharp * shown @ unit(prompts).T)
            odds[np.arange(len(shown)), wanted] -= 1
            slope = self.sharp * odds.T @ shown / len(shown)
            along = unit(prompts)
            length = np.linalg.norm(prompts, axis=1, keepdims=True)
            prompts = prompts - self.rate * (slope - (slope * along).sum(axis=1, keepdims=True) * along) / length
        return {"accuracy": right(), "before": before}


def stein(
    particles: NDArray,
    shares: NDArray,
    means: NDArray,
    covariances: NDArray,
    moves: int,
    rate: float = 0.01,  # type: ignore[type-arg]
) -> NDArray:  # type: ignore[type-arg]
    """Particles [N, d] moved by Stein variational gradient descent towards a Gaussian mixture; median bandwidth, Adagrad (Liu and Wang
    2016)."""
    import numpy as np

    from windtunnel.kits.vectors import softmax

    precisions = np.linalg.inv(covariances)
    constants = np.log(shares) + 0.5 * np.linalg.slogdet(precisions)[1]
    particles, memory = particles.copy(), np.zeros_like(particles)
    for move in range(moves):
        away = particles[:, None] - means
        pulled = np.einsum("ncd,cde->nce", away, precisions)
        logs = constants - 0.5 * (pulled * away).sum(axis=2)
        score = -(softmax(logs)[:, :, None] * pulled).sum(axis=1)
        between = particles[:, None] - particles
        squares = (between**2).sum(axis=2)
        width = max(np.median(squares) / np.log(len(particles) + 1), 1e-9)
        kernel = np.exp(-squares / width)
        step = (kernel @ score + 2 / width * (kernel[:, :, None] * between).sum(axis=1)) / len(particles)
        memory = step**2 if not move else 0.9 * memory + 0.1 * step**2
        particles = particles + rate * step / (1e-6 + np.sqrt(memory))
    return particles
