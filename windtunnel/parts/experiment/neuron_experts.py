"""The hidden numbers that a domain uses most as its own small network within a large one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

TURNS = (0.0, 90.0, 180.0, 270.0)  # of the digits of four domains


class NeuronExperts(Experiment, name="neuron-experts"):
    """Accuracy with a share of the hidden numbers, chosen for each domain, for all, or by nothing.

    Cai et al. 2024, "Read-ME: Refactorizing LLMs as Router-Decoupled Mixture of Experts with System Co-Design", arXiv:2410.19123: an
    expert are the hidden numbers of a trained network with the largest mean activations on a domain, and one router, ahead of all layers,
    says which expert an input gets. A network with one wide layer between two has learned digits of scikit-learn in four directions,
    which are the domains. ``masks``: ``oracle``, the expert of the domain of the image; ``router``, that which a small network of its own
    says; ``drawn``, an expert at random; ``one``, the numbers with the largest activations over all domains, for every image; ``size``,
    those with the largest weights; ``random`` numbers for each domain, told which; ``all``: no number is left out. Then all weights train
    ``steps`` on, and the router with them (before).

    Numbers are ``accuracy``, ``before`` further training, and ``overlap``, the mean share of an expert's numbers that another has too (0
    without experts).
    """

    trial = Trial({"training": 4, "steps": 3, "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    masks: Literal["oracle", "router", "drawn", "one", "size", "random", "all"] = Field("oracle", description="which numbers an image gets")
    share: float = Field(0.25, gt=0, le=1, description="of the hidden numbers that are left")
    width: int = Field(128, ge=2, description="of the wide layer")
    training: int = Field(400, ge=1, description="steps before")
    steps: int = Field(100, ge=0, description="with masks")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``before`` and ``overlap``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, classified, dealt, said, share_right, trained, turned

        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        data = dealt(self.name, random)

        def all_of(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            images = torch.cat([turned(data.images[rows], turn) for turn in TURNS])
            return images, data.labels[rows].repeat(len(TURNS)), torch.arange(len(TURNS)).repeat_interleave(len(rows))

        images, labels, domains = all_of(data.train)
        first = begun((64, 32, self.width, 10), seed)
        first = trained(first, classified(images, labels), len(images), self.training, 3e-3, random)
        asked, wanted, where = all_of(data.held)
        count = max(1, round(self.share * self.width))
        inner = said(first, images, 2)
        experts = torch.stack([largest(inner[domains == domain].mean(dim=0), count) for domain in range(len(TURNS))])
        shared = (experts.float() @ experts.float().T).fill_diagonal_(0).sum() / (len(TURNS) * (len(TURNS) - 1) * count)
        if self.masks == "random":
            experts = torch.stack([largest(torch.rand(self.width, generator=generator), count) for _ in TURNS])
        elif self.masks == "one":
            experts = largest(inner.mean(dim=0), count)[None]
        elif self.masks == "size":
            experts = largest(first["1.weight"].norm(dim=1) * first["2.weight"].norm(dim=0), count)[None]
        elif self.masks == "all":
            experts = torch.ones(1, self.width, dtype=torch.bool)
        if len(experts) == 1:
            chosen, of_asked = torch.zeros_like(domains), torch.zeros_like(where)
        elif self.masks == "drawn":
            chosen, of_asked = (torch.randint(len(TURNS), each.shape, generator=generator) for each in (domains, where))
        elif self.masks == "router":
            router = trained(begun((64, 16, len(TURNS)), seed + 1), classified(images, domains), len(images), 200, 1e-2, random)
            chosen, of_asked = (said(router, each).argmax(dim=1) for each in (images, asked))
        else:
            chosen, of_asked = domains, where

        def masked(weights: Weights, given: Tensor, masks: Tensor) -> Tensor:
            hidden = said(weights, given, 2) * masks
            return torch.nn.functional.linear(hidden, weights["2.weight"], weights["2.bias"])

        def loss(weights: Weights, rows: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(masked(weights, images[rows], experts[chosen[rows]]), labels[rows])

        after = trained(first, loss, len(images), self.steps, 1e-3, random)
        found = [share_right(masked(weights, asked, experts[of_asked]), wanted) for weights in (after, first)]
        return {"accuracy": found[0], "before": found[1], "overlap": float(shared) if len(experts) > 1 else 0.0}


def largest(scores: Tensor, count: int) -> Tensor:
    """True at the ``count`` largest."""
    import torch

    found = torch.zeros(len(scores), dtype=torch.bool)
    found[scores.topk(count).indices] = True
    return found
