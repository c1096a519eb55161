"""Fine-tuning with a bank of features of the network as it was, and what of it helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

BODY = ("0.weight", "0.bias", "1.weight", "1.bias")
HEAD = 10**0.5  # the head's numbers are its weights over this, so that gradient descent moves them ten times as fast
EVERY = 10  # steps between turns of the bank


class CalibratedBank(Experiment, name="calibrated-bank"):
    """Accuracy of a network tuned on few labels, where its head also learns from features that the untuned network gave.

    Zhou et al. 2023, "DR-Tune", arXiv:2308.12058, as in their code: the head's cross entropy is one mean over the batch of B and over K
    features of the untuned network with their labels, so the body sees its own loss times B / (B + K). The features are ``calibrated``:
    on every tenth step they are turned onto the features of the network that trains (a rotation without reflection, by Kabsch), in each
    class they are shifted to a mean of those weighted by their cosine with the class's row of the head, and brought to the length of the
    batch's; what they are made then stays for ten steps, where their code turns them on that step alone. ``bank: plain`` leaves out
    calibration, ``none`` the bank; ``slow`` is ``none`` with the body's loss times that factor. All descend the gradient with momentum, as
    in the paper: Adam would not feel the factor.

    The network has two hidden layers and has learned five classes of scikit-learn's digits with turns and noise; the five others are
    learned from ``shots`` images each. The bank holds the features of all of these, so K is their number times ``copies`` of noise. Rates
    are chosen for each on validation, those of the head are ten times the body's. Numbers are ``accuracy``, on upright images, and
    ``noisy``, on noisy ones.
    """

    trial = Trial({"steps": 11, "training": 5, "rates": (1e-2,), "bank": "calibrated"})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    bank: Literal["none", "slow", "plain", "calibrated"] = Field("none", description="what the head learns from beside the batch")
    shots: int = Field(10, ge=1, le=60, description="labelled images of each class")
    copies: int = Field(8, ge=1, description="features of each image in the bank")
    width: int = Field(64, ge=2, description="of both hidden layers")
    training: int = Field(300, ge=1, description="steps before")
    steps: int = Field(150, ge=1, description="of tuning")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2, 1e-1), min_length=1, description="of the body, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy`` and ``noisy``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, dealt_halves, right, said, trained, turned

        random = np.random.default_rng(seed)
        before, data = dealt_halves(self.name, random)
        generator = torch.Generator().manual_seed(seed)

        def noisy(images: Tensor) -> Tensor:
            return (images + 0.2 * torch.randn(images.shape, generator=generator)).clamp(0, 1)

        many = torch.cat([turned(before.images[before.train], degrees) for degrees in (-15.0, 0.0, 15.0)])
        labels = before.labels[before.train].repeat(3)

        def old(weights: Weights, rows: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(said(weights, noisy(many[rows])), labels[rows])

        first = trained(begun((64, self.width, self.width, 5), seed), old, len(many), self.training, 3e-3, random)
        first |= {"2.weight": 0.01 * torch.randn(5, self.width, generator=generator), "2.bias": torch.zeros(5)}
        own = data.labels[data.train]
        few = data.train[torch.cat([torch.nonzero(own == label)[: self.shots, 0] for label in range(5)])]
        shown, wanted = data.images[few], data.labels[few]
        blurred = torch.cat([noisy(shown) for _ in range(self.copies)])
        kept, answers = said(first, blurred, 2), wanted.repeat(self.copies)
        tuned = best(
            self.rates,
            lambda rate: self._tuned(first, (shown, wanted), (kept, answers, blurred), rate, np.random.default_rng((seed, 1))),
            lambda found: right(found, data.images[data.chosen], data.labels[data.chosen]),
        )
        images, labels = data.images[data.held], data.labels[data.held]
        return {"accuracy": right(tuned, images, labels), "noisy": right(tuned, noisy(images), labels)}

    def _tuned(
        self, first: Weights, shown: tuple[Tensor, Tensor], bank: tuple[Tensor, Tensor, Tensor], rate: float, random: np.random.Generator
    ) -> Weights:
        import torch

        from windtunnel.kits.image.tiny import said, trained

        kept, answers, blurred = bank
        state: dict[str, Any] = {"kept": kept, "step": 0}
        batch = min(32, len(shown[0]))
        share = batch / (batch + len(kept))
        begun = {name: weight if name in BODY else weight / HEAD for name, weight in first.items()}

        def whole(held: Weights) -> Weights:
            return {name: weight if name in BODY else weight * HEAD for name, weight in held.items()}

        def loss(held: Weights, rows: Tensor) -> Tensor:
            weights = whole(held)
            own = torch.nn.functional.cross_entropy(said(weights, shown[0][rows]), shown[1][rows])
            if self.bank == "none":
                return own
            if self.bank == "slow":
                detached = said({name: weight.detach() if name in BODY else weight for name, weight in weights.items()}, shown[0][rows])
                return share * own + (1 - share) * torch.nn.functional.cross_entropy(detached, shown[1][rows])
            if self.bank == "calibrated" and state["step"] % EVERY == 0:
                with torch.no_grad():
                    state["kept"] = calibrated(kept, answers, said(weights, blurred, 2), weights["2.weight"])
            state["step"] += 1
            of_bank = torch.nn.functional.linear(state["kept"], weights["2.weight"], weights["2.bias"])
            return share * own + (1 - share) * torch.nn.functional.cross_entropy(of_bank, answers)

        return whole(trained(begun, loss, len(shown[0]), self.steps, rate, random, plain=True))


def calibrated(kept: torch.Tensor, labels: torch.Tensor, now: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Features ``kept`` [K, width] of the untuned network brought to ``now`` [K, width], those of the same images of the network that
    trains."""
    import torch

    size, unit = now.norm(dim=1).mean(), torch.nn.functional.normalize
    one, other = unit(kept, dim=1), unit(now, dim=1)
    one = (one - one.mean(dim=0)) @ rotation(one, other) + other.mean(dim=0)
    for label in labels.unique():
        mine = labels == label
        weights = (other[mine] @ unit(head[label], dim=0)).softmax(dim=0)
        one[mine] += weights @ other[mine] - one[mine].mean(dim=0)
    return unit(one, dim=1) * size


def rotation(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The rotation [width, width], without reflection, that brings centred rows of ``one`` nearest to those of ``other``."""
    import torch

    left, _, right = torch.linalg.svd((one - one.mean(dim=0)).T @ (other - other.mean(dim=0)))
    sign = torch.ones(len(left))
    sign[-1] = torch.linalg.det(left @ right).sign()
    return left * sign @ right
