"""A network that has lost most of its weights, or had its matrices made thin, and what it recovers by."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

HIDDEN = ("0", "1")


class RecoveredLayers(Experiment, name="recovered-layers"):
    """Accuracy of a cut network after training on few images, by what the whole one tells it.

    A network of two hidden layers has learned scikit-learn's digits. ``cut: entries`` makes the smallest ``share`` of the entries of
    hidden matrices zero for good; ``cut: rank`` makes them products, from their singular value decomposition, of a rank that leaves (1 -
    ``share``) of the numbers. Then it trains ``steps`` on ``images`` of those that the whole one knew. ``by``: ``labels``, cross entropy;
    ``answers``, that and the divergence from the whole network's answers; ``layers``, cross entropy and, for each hidden layer, the mean
    squared distance from the whole network's numbers over their mean square (SquareHead of Kurtic et al. 2023, arXiv:2310.06927; the loss
    term `hidden-distillation` for language models); ``layers-alone``; ``near``, ``layers`` and a punishment of how far products are from
    the matrices they stand for, max row sum over 0.001, squared (PELA of Guo et al. 2024, arXiv:2310.10700, whose distances of features
    are not divided); ``fresh``: cross entropy from new weights, of which the same entries are left or as many ranks.

    Rates are chosen on validation. Numbers are ``accuracy``, ``before``, that of the cut network, and ``whole``.
    """

    trial = Trial({"training": 5, "steps": 3, "width": 16, "rates": (1e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    by: Literal["labels", "answers", "layers", "layers-alone", "near", "fresh"] = Field(
        "labels", description="what the cut network learns from"
    )
    cut: Literal["entries", "rank"] = Field("entries", description="what is lost")
    share: float = Field(0.9, gt=0, lt=1, description="of the numbers of hidden matrices that are lost")
    images: int = Field(100, ge=10, le=800, description="to recover on")
    width: int = Field(96, ge=4, description="of both hidden layers")
    training: int = Field(300, ge=1, description="steps of the whole network")
    steps: int = Field(100, ge=0, description="of recovering")
    rates: tuple[float, ...] = Field((1e-3, 3e-3, 1e-2), min_length=1, description="of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``before`` and ``whole``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, best, classified, dealt, right, said, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images, labels = data.images[data.train], data.labels[data.train]
        sizes = (64, self.width, self.width, 10)
        whole = trained(begun(sizes, seed), classified(images, labels), len(images), self.training, 3e-3, random)
        free, masks = self._cut(whole)
        if self.by == "fresh":
            free = self._cut(begun(sizes, seed + 1))[0]
        few, wanted = images[: self.images], labels[: self.images]
        told, inner = said(whole, few), [said(whole, few, layer) for layer in (1, 2)]

        def loss(held: Weights, rows: Tensor) -> Tensor:
            weights = joined(held, masks)
            found = said(weights, few[rows])
            total = torch.nn.functional.cross_entropy(found, wanted[rows])
            if self.by == "answers":
                divergence = torch.nn.functional.kl_div(found.log_softmax(dim=1), told[rows].softmax(dim=1), reduction="batchmean")
                return total + divergence
            if self.by in ("layers", "layers-alone", "near"):
                apart = sum((distance(said(weights, few[rows], layer), inner[layer - 1][rows]) for layer in (1, 2)), total.new_zeros(()))
                total = apart if self.by == "layers-alone" else total + apart
            if self.by == "near":
                for layer in HIDDEN:
                    name = f"{layer}.weight"
                    total = total + (torch.linalg.matrix_norm(weights[name] - whole[name], ord=float("inf")) - 1e-3).square()
            return total

        held = best(
            self.rates,
            lambda rate: trained(free, loss, len(few), self.steps, rate, np.random.default_rng((seed, 1))),
            lambda one: right(joined(one, masks), data.images[data.chosen], data.labels[data.chosen]),
        )

        def judged(weights: Weights) -> float:
            return right(weights, data.images[data.held], data.labels[data.held])

        return {"accuracy": judged(joined(held, masks)), "before": judged(joined(free, masks)), "whole": judged(whole)}

    def _cut(self, weights: Weights) -> tuple[Weights, Weights]:
        """What trains, and which entries of matrices are left."""
        import torch

        free, masks = dict(weights), {}
        for layer in HIDDEN:
            name = f"{layer}.weight"
            weight = weights[name]
            if self.cut == "entries":
                least = weight.abs().flatten().kthvalue(max(1, round(self.share * weight.numel()))).values
                masks[name] = (weight.abs() > least).float()
                continue
            rank = max(1, round((1 - self.share) * weight.numel() / sum(weight.shape)))
            left, values, right = torch.linalg.svd(weight, full_matrices=False)
            root = values[:rank].sqrt()
            free |= {f"{layer}.left": left[:, :rank] * root, f"{layer}.right": root[:, None] * right[:rank]}
            del free[name]
        return free, masks


def joined(held: Weights, masks: Weights) -> Weights:
    """The weights of the network from what trains."""
    made = {
        name: weight * masks[name] if name in masks else weight for name, weight in held.items() if not name.endswith(("left", "right"))
    }
    return made | {f"{layer}.weight": held[f"{layer}.left"] @ held[f"{layer}.right"] for layer in HIDDEN if f"{layer}.left" in held}


def distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The mean squared distance of ``one`` from ``other``, over the mean square of ``other``."""
    return (one - other).square().mean() / (other.square().mean() + 1e-6)
