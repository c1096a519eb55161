"""Several low-rank adapters side by side, kept apart from each other and from the weight, and a domain that none has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

SEEN, UNSEEN = (0.0, 25.0, 50.0), 75.0  # degrees of the domains
ADAPTED = ("0.weight", "1.weight")


class ParallelAdapters(Experiment, name="parallel-adapters"):
    """Accuracy on a domain that tuning has not seen, by what keeps adapters orthogonal.

    Hu et al. 2024, "Learn to Preserve and Diversify", arXiv:2407.15085 (PEGO): ``adapters`` pairs B_i A_i of rank ``rank`` stand at each
    matrix W of a frozen network, and the loss has besides cross entropy ``weight`` times the sum of |W (B_i A_i)^T| over entries and
    adapters (``preserve``) and of |(B_i A_i) (B_j A_j)^T| over pairs (``diversify``); ``both`` is the method. Here each is divided by the
    entries it is summed over, so that weights mean the same at any width. ``size`` punishes the mean |B_i A_i| instead, which is the
    simplest thing that keeps an update small; ``plain`` nothing.

    The network has two hidden layers and has learned scikit-learn's digits turned by up to 20 degrees. The domains are digits turned by
    0, 25 and 50 degrees, and that of 75 is held out. Of ``weights`` the one that is best on validation images of the domains seen is
    taken, as in DomainBed. Numbers are ``unseen``, ``seen`` and ``weight``.
    """

    trial = Trial({"keeps": "both", "steps": 5, "training": 5, "weights": (1.0,), "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    keeps: Literal["plain", "size", "preserve", "diversify", "both"] = Field("plain", description="what is punished")
    adapters: int = Field(2, ge=1, description="side by side")
    rank: int = Field(4, ge=1, description="of each")
    weights: tuple[float, ...] = Field((1.0, 30.0, 1000.0), min_length=1, description="of the punishment, of which one is chosen")
    width: int = Field(64, ge=1, description="of both hidden layers")
    training: int = Field(250, ge=1, description="steps before")
    steps: int = Field(100, ge=1, description="of the adapters")
    rate: float = Field(5e-3, gt=0, description="learning rate of the adapters")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen``, ``seen`` and ``weight``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, trained, turned

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        labels = data.labels[data.train]
        varied = torch.cat([turned(data.images[data.train], degrees) for degrees in (-20.0, 0.0, 20.0)])
        start = begun((64, self.width, self.width, 10), seed)
        first = trained(start, classified(varied, labels.repeat(3)), len(varied), self.training, 5e-3, random)
        views = {degrees: turned(data.images, degrees) for degrees in (*SEEN, UNSEEN)}
        shown = torch.cat([views[degrees][data.train] for degrees in SEEN])
        loss = classified(shown, labels.repeat(len(SEEN)))
        free = self._free(first, seed) | {name: first[name] for name in ("2.weight", "2.bias")}

        def moved(weight: float) -> tuple[float, Weights]:
            def both(held: Weights, rows: Tensor) -> Tensor:
                return loss(self.made(first, held), rows) + weight * self.punished(first, held)

            return weight, self.made(first, trained(free, both, len(shown), self.steps, self.rate, np.random.default_rng((seed, 1))))

        def judged(found: Weights, rows: Tensor) -> float:
            return float(np.mean([right(found, views[degrees][rows], data.labels[rows]) for degrees in SEEN]))

        tried = (0.0,) if self.keeps == "plain" else self.weights
        weight, found = best(tried, moved, lambda one: judged(one[1], data.chosen))
        unseen = right(found, views[UNSEEN][data.held], data.labels[data.held])
        return {"unseen": unseen, "seen": judged(found, data.held), "weight": weight}

    def _free(self, first: Weights, seed: int) -> Weights:
        import torch

        generator, made = torch.Generator().manual_seed(seed), {}
        for name in ADAPTED:
            out, read = first[name].shape
            made[f"{name}.down"] = torch.randn(self.adapters, self.rank, read, generator=generator) / read**0.5
            made[f"{name}.up"] = torch.zeros(self.adapters, out, self.rank)
        return made

    def made(self, first: Weights, free: Weights) -> Weights:
        """The weights of the network with its adapters added."""
        found = first | {name: free[name] for name in ("2.weight", "2.bias")}
        return found | {name: first[name] + (free[f"{name}.up"] @ free[f"{name}.down"]).sum(dim=0) for name in ADAPTED}

    def punished(self, first: Weights, free: Weights) -> Tensor:
        """What stands beside cross entropy, for weight 1."""
        import torch

        total = torch.zeros(())
        for name in ADAPTED if self.keeps != "plain" else ():
            products = free[f"{name}.up"] @ free[f"{name}.down"]  # [adapters, out, in]
            if self.keeps == "size":
                total = total + products.abs().mean()
            if self.keeps in ("preserve", "both"):
                total = total + (first[name] @ products.transpose(1, 2)).abs().mean()
            if self.keeps in ("diversify", "both") and self.adapters > 1:
                pairs = torch.einsum("aoi,bpi->abop", products, products).abs().mean(dim=(2, 3))
                total = total + pairs.triu(1).sum() / (self.adapters * (self.adapters - 1) / 2)
        return total
