"""Weights that share a few values, found while training goes on or after it, and what the search for them keeps in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

MATRICES = ("0.weight", "1.weight", "2.weight")


class ClusteredWeights(Experiment, name="clustered-weights"):
    """Accuracy of a network whose matrices have 2^bits values each, by when the values are found.

    Cho et al. 2023, "eDKM", arXiv:2309.00964. Differentiable k-means (DKM): weights w stand for A c, where A is the softmax of -|w - c| /
    ``spread`` over centroids c, and c become the means of w weighted by A, ``rounds`` times; the network trains through that, and in the
    end each weight gets its nearest centroid. ``when``: ``training``, so; ``after``, k-means of the trained weights; ``tuned``, the same
    number of further steps without clusters and then k-means.

    ``table`` keeps, for the way back, the rows of A of the different values alone and which each weight has: the weights are bfloat16
    numbers, of which few are different. Gradients are the same. ``kept`` is how many times fewer bytes are kept so for the largest
    matrix; the paper's 130 times also count what is kept once for copies and what is spread over eight devices.

    Numbers are ``accuracy``, ``dense``, that before, ``kept``, ``values``, the different values of the largest matrix, and ``one``, to hold
    them against.
    """

    trial = Trial({"training": 5, "steps": 3, "width": 16})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    when: Literal["training", "after", "tuned"] = Field("training", description="when values are found")
    bits: int = Field(2, ge=1, le=6, description="of a weight: 2^bits values for each matrix")
    spread: float = Field(
        0.02, gt=0, description="of the softmax over centroids, as a share of the standard deviation of the matrix times 10"
    )
    rounds: int = Field(2, ge=1, description="of k-means in a step")
    table: bool = Field(True, description="whether rows of the softmax are kept once for each different value")
    width: int = Field(64, ge=2, description="of both hidden layers")
    training: int = Field(250, ge=1, description="steps before")
    steps: int = Field(80, ge=1, description="of training with clusters")
    rate: float = Field(1e-3, gt=0, description="of these")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``dense``, ``kept`` and ``values``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import begun, classified, dealt, right, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        loss = classified(data.images[data.train], data.labels[data.train])
        first = trained(begun((64, self.width, self.width, 10), seed), loss, len(data.train), self.training, 3e-3, random)
        middles = {name: quantiles(first[name], self.bits) for name in MATRICES}

        def soft(held: Weights, rows: Tensor) -> Tensor:
            made = dict(held)
            for name in MATRICES:
                made[name], middles[name] = clustered(
                    held[name].bfloat16(), middles[name], self._spread(first[name]), self.rounds, self.table
                )
            return loss(made, rows)

        held = first
        if self.when != "after":
            chosen = soft if self.when == "training" else loss
            held = trained(first, chosen, len(data.train), self.steps, self.rate, random)
        found = dict(held)
        for name in MATRICES:
            middle = middles[name] if self.when == "training" else lloyd(held[name], quantiles(held[name], self.bits))
            found[name] = middle[(held[name].flatten()[:, None] - middle).abs().argmin(dim=1)].view_as(held[name])
        name = max(MATRICES, key=lambda one: first[one].numel())
        largest, bytes_kept = first[name].bfloat16().requires_grad_(), []
        for table in (False, True):
            held_bytes: list[int] = []
            clustered(largest, quantiles(first[name], self.bits), self._spread(first[name]), self.rounds, table, held_bytes)
            bytes_kept.append(sum(held_bytes))
        return {
            "accuracy": right(found, data.images[data.held], data.labels[data.held]),
            "dense": right(first, data.images[data.held], data.labels[data.held]),
            "kept": bytes_kept[0] / bytes_kept[1],
            "values": float(len(torch.unique(largest.detach()))),
            "one": 1.0,
        }

    def _spread(self, weight: Tensor) -> float:
        return self.spread * 10 * float(weight.std())


def quantiles(weight: Tensor, bits: int) -> Tensor:
    """Centroids to begin with: the middles of equal shares of the sorted weights."""
    ordered, count = weight.detach().flatten().sort().values, 2**bits
    return ordered[[int((place + 0.5) * len(ordered) / count) for place in range(count)]].clone()


def lloyd(weight: Tensor, middle: Tensor, rounds: int = 30) -> Tensor:
    """Centroids of k-means of single numbers."""
    import torch

    flat, middle = weight.flatten(), middle.clone()
    for _ in range(rounds):
        nearest = (flat[:, None] - middle).abs().argmin(dim=1)
        for place in range(len(middle)):
            if bool((nearest == place).any()):
                middle[place] = flat[nearest == place].mean()
    return torch.sort(middle).values


def clustered(
    weight: Tensor, middle: Tensor, spread: float, rounds: int, table: bool, held: list[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Soft weights [the shape of ``weight``] through which gradients reach it, and the centroids without gradients.

    With ``table`` what the way back needs of each weight is kept once for each different value. Bytes kept are appended to ``held``.
    """
    import torch

    flat = weight.flatten().float()
    values, place = torch.unique(flat.detach(), return_inverse=True)
    first = torch.zeros(len(values), dtype=torch.long).scatter_(0, place, torch.arange(len(flat)))
    index = place.to(torch.int32 if len(values) > 1 << 15 else torch.int16)
    if held is not None and table:
        held.append(index.numel() * index.element_size())

    def pack(kept: Tensor) -> Any:
        rows = table and kept.ndim == 2 and len(kept) == len(flat)
        kept = kept[first] if rows else kept
        if held is not None:
            held.append(kept.numel() * kept.element_size())
        return (kept, rows)

    def unpack(packed: Any) -> Any:
        return packed[0][index.long()] if packed[1] else packed[0]

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        for _ in range(rounds):
            share = torch.softmax(-(flat[:, None] - middle).abs() / spread, dim=1)
            middle = (share * flat[:, None]).sum(dim=0) / share.sum(dim=0).clamp(min=1e-9)
        made = torch.softmax(-(flat[:, None] - middle).abs() / spread, dim=1) @ middle
    return made.view_as(weight), middle.detach()
