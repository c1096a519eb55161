"""What another order of the same batches would have come to, told without training in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

HIDDEN = 24  # units of the network
BATCH = 48  # images in a batch
DECAYS = (0.9, 0.999)  # of Adam's moments


class OrderEffects(Experiment, name="order-effects"):
    """How well the loss after other orders of the batches is told from one run, without training in them.

    Yang et al. 2025 (FUT), arXiv:2505.22042. A network of one hidden layer learns handwritten digits in one step of Adam a batch; each
    batch holds few of the ten digits, so that order matters. Of that run all weights are known. Another order is followed from there: the
    gradient of its batch at step t is expanded around the weights that the run had at step t, to no, the ``first`` or the ``second``
    order in how far it is from them, and Adam's moments are carried along exactly. The paper expands Adam's whole update, takes higher
    derivatives from differences, and keeps all of it projected; here derivatives are exact and nothing is projected.

    ``reference`` says of every order what the run came to, and ``last`` what it comes to if the order's last batch takes the place of the
    run's own: that what was seen last counts most needs no expansion. The numbers are ``rank_correlation`` of the losses told and true
    on held-out images (0 where all are told alike), ``weight_error`` (the distance of the weights told from the true ones, over that of
    the run's own) and ``loss_error`` in nats. It needs scikit-learn.
    """

    trial = Trial({"orders": 3, "batches": 3})

    unit: ClassVar[str] = "rank correlation"
    better: ClassVar[str] = "higher"

    estimate: Literal["reference", "last", "none", "first", "second"] = Field("first", description="how another order is told")
    learning_rate: float = Field(0.003, gt=0, description="of Adam")
    batches: int = Field(16, ge=2, le=24, description="steps of a run")
    orders: int = Field(40, ge=2, description="other orders, drawn at random")

    def measure(self, seed: int) -> dict[str, float]:
        """``rank_correlation``, ``weight_error`` and ``loss_error``. Raises UserError where scikit-learn is missing."""
        import numpy as np
        import torch
        from scipy.stats import spearmanr

        random = np.random.default_rng(seed)
        batches, held_out = self._data(random)
        start = torch.from_numpy(random.standard_normal(64 * HIDDEN + HIDDEN * 10) * 0.1)
        usual = list(range(self.batches))
        run = trained(start, [batches[number] for number in usual], self.learning_rate)
        true, told, errors = [], [], []
        for _ in range(self.orders):
            order = random.permutation(self.batches).tolist()
            right = trained(start, [batches[number] for number in order], self.learning_rate)[-1]
            guess = self._told(run, [batches[number] for number in order], [batches[number] for number in usual])
            errors.append(float((guess - right).norm() / (run[-1] - right).norm().clamp(min=1e-12)))
            true.append(float(loss(right, held_out)))
            told.append(float(loss(guess, held_out)))
        rank = spearmanr(true, told).statistic if np.ptp(told) > 0 else 0.0
        return {
            "rank_correlation": float(rank),
            "weight_error": float(np.mean(errors)),
            "loss_error": float(np.mean(np.abs(np.subtract(true, told)))),
        }

    def _data(self, random: np.random.Generator) -> tuple[list[LabelledDigits], LabelledDigits]:
        """Batches of digits in the order of their labels, which is loosened a little, and held-out ones."""
        import numpy as np
        import torch

        from windtunnel.kits.image.digits import digits

        found = digits(self.name)
        places = random.permutation(len(found.target))
        seen, unseen = places[: self.batches * BATCH], places[self.batches * BATCH :]
        seen = seen[np.argsort(found.target[seen] + random.standard_normal(len(seen)))]
        pixels, labels = torch.from_numpy(found.data / 16), torch.from_numpy(found.target.astype(np.int64))
        parts = [LabelledDigits(pixels[part], labels[part]) for part in np.split(seen, self.batches)]
        return parts, LabelledDigits(pixels[unseen], labels[unseen])

    def _told(self, run: list[torch.Tensor], order: list[LabelledDigits], usual: list[LabelledDigits]) -> torch.Tensor:
        """The weights that training in ``order`` is thought to come to; ``run`` are those before and after each step of ``usual``."""
        if self.estimate == "reference":
            return run[-1]
        if self.estimate == "last":
            return trained(run[0], [*usual[:-1], order[-1]], self.learning_rate)[-1]
        orders = ("none", "first", "second").index(self.estimate)
        adam = Adam(self.learning_rate)
        weights = run[0]
        for known, images in zip(run, order, strict=False):
            weights = weights - adam.update(expanded(known, weights - known, images, orders))
        return weights


class LabelledDigits(NamedTuple):
    """``pixels`` float64 [images, 64] from 0 to 1 and ``labels`` int64 [images]."""

    pixels: torch.Tensor
    labels: torch.Tensor


class Adam:
    """Adam's update of one vector of weights, float64."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate, self.steps = learning_rate, 0
        self.moments: list[torch.Tensor | float] = [0.0, 0.0]

    def update(self, gradient: torch.Tensor) -> torch.Tensor:
        """What is taken from the weights."""
        self.steps += 1
        powers = (gradient, gradient**2)
        self.moments = [decay * old + (1 - decay) * new for decay, old, new in zip(DECAYS, self.moments, powers, strict=True)]
        mean, square = (moment / (1 - decay**self.steps) for decay, moment in zip(DECAYS, self.moments, strict=True))
        update: torch.Tensor = self.learning_rate * mean / (square**0.5 + 1e-8)  # type: ignore[operator]
        return update


def loss(weights: torch.Tensor, images: LabelledDigits) -> torch.Tensor:
    """Mean cross entropy in nats of a network with ``weights`` [64 x HIDDEN + HIDDEN x 10]; tanh, which has all derivatives."""
    import torch

    inner, outer = weights[: 64 * HIDDEN].view(64, HIDDEN), weights[64 * HIDDEN :].view(HIDDEN, 10)
    return torch.nn.functional.cross_entropy(torch.tanh(images.pixels @ inner) @ outer, images.labels)


def trained(start: torch.Tensor, batches: list[LabelledDigits], learning_rate: float) -> list[torch.Tensor]:
    """The weights before the first step and after each."""
    from torch.func import grad

    adam, found = Adam(learning_rate), [start]
    for images in batches:
        found.append(found[-1] - adam.update(grad(loss)(found[-1], images)))
    return found


def expanded(known: torch.Tensor, away: torch.Tensor, images: LabelledDigits, orders: int) -> torch.Tensor:
    """The gradient at ``known + away``, expanded around ``known`` to so many orders (0 to 2) of ``away``."""
    from torch.func import grad, jvp

    def gradient(weights: torch.Tensor) -> torch.Tensor:
        return grad(loss)(weights, images)

    def slope(weights: torch.Tensor) -> torch.Tensor:
        return jvp(gradient, (weights,), (away,))[1]

    if orders == 0:
        return gradient(known)
    if orders == 1:
        return gradient(known) + slope(known)
    first, second = jvp(slope, (known,), (away,))[:2]
    return gradient(known) + first + second / 2
