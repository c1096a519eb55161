"""Experts that begin as copies of one trained layer, against experts from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights


class UpcycledExperts(Experiment, name="upcycled-experts"):
    """Accuracy of a network with experts after training on, by what it begins from.

    Zhang et al. 2024, "AquilaMoE: Efficient Training for MoE Models with Scale-Up and Scale-Out Strategies", arXiv:2408.06567: a small
    dense model is widened, trained, and its layer copied to ``experts`` experts with a router of small random numbers, of whom the best
    two answer, weighted to add up to one, and a punishment keeps them used alike. A network on scikit-learn's digits in four directions
    has a residual layer of ``width`` hidden numbers in the middle, the one that becomes experts. ``begin``: ``dense``: no experts,
    trained on; ``upcycled``, copies; ``noisy``, copies with a tenth of noise; ``widened``, upcycled from a dense layer that began at half
    the width and was doubled (each number twice, read half) in the middle of training; ``fresh`` experts and all else from nothing.

    All have seen ``training`` steps before (``fresh`` none) and ``steps`` after, at a rate that is chosen on other images. Numbers are
    ``accuracy``, ``before``, ahead of the last steps, and ``used``, the share of images that the most used expert leads for.
    """

    trial = Trial({"training": 4, "steps": 3, "width": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begin: Literal["dense", "upcycled", "noisy", "widened", "fresh"] = Field("upcycled", description="what the last steps begin from")
    experts: int = Field(4, ge=2, description="that a layer is copied to")
    width: int = Field(16, ge=2, description="hidden numbers of an expert")
    training: int = Field(200, ge=2, description="steps of the dense network")
    steps: int = Field(150, ge=0, description="with experts")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2), min_length=1, description="of learning, of which one is chosen")
    even: float = Field(0.01, ge=0, description="weight of the punishment of experts that are used unlike")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``before`` and ``used``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, dealt, share_right, turned

        data = dealt(self.name, np.random.default_rng(seed))

        def all_of(rows: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([turned(data.images[rows], turn) for turn in (0.0, 90.0, 180.0, 270.0)]), data.labels[rows].repeat(4)

        def share(weights: Weights, rows: Tensor) -> float:
            asked, wanted = all_of(rows)
            with torch.no_grad():
                return share_right(said(weights, asked)[0], wanted)

        images, labels = all_of(data.train)
        before, after = best(
            self.rates, lambda rate: self._learned(images, labels, rate, seed), lambda learned: share(learned[1], data.chosen)
        )
        with torch.no_grad():
            lead = said(after, all_of(data.held)[0])[1].argmax(dim=1)
        used = torch.bincount(lead).max() / len(lead)
        return {"accuracy": share(after, data.held), "before": share(before, data.held), "used": float(used)}

    def _learned(self, images: Tensor, labels: Tensor, rate: float, seed: int) -> tuple[Weights, Weights]:
        """The network ahead of the last steps and after them."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import trained

        random, generator = np.random.default_rng((seed, 1)), torch.Generator().manual_seed(seed)

        def loss(held: Weights, rows: Tensor) -> Tensor:
            found, shares = said(held, images[rows])
            return torch.nn.functional.cross_entropy(found, labels[rows]) + self.even * uneven(shares)

        def fit(weights: Weights, steps: int) -> Weights:
            return trained(weights, loss, len(images), steps, rate, random)

        weights = fresh_layers(self.width // 2 if self.begin == "widened" else self.width, generator)
        if self.begin == "widened":
            weights = fit(doubled(fit(weights, self.training // 2)), self.training - self.training // 2)
        elif self.begin != "fresh":
            weights = fit(weights, self.training)
        if self.begin != "dense":
            weights = upcycled(weights, self.experts, generator, 0.1 if self.begin == "noisy" else 0.0)
        if self.begin == "fresh":
            weights |= {
                name: torch.stack([fresh_layers(self.width, generator)[name] for _ in range(self.experts)])
                for name in ("in", "out", "inner")
            }
        return weights, fit(weights, self.steps)


def fresh_layers(width: int, generator: object) -> Weights:
    """A first layer to 32 numbers, a residual layer with ``width`` hidden numbers, and a last one."""
    import torch

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * (2 / shape[1]) ** 0.5  # type: ignore[call-overload, no-any-return]

    return {
        "first": drawn(32, 64), "in": drawn(width, 32), "inner": torch.zeros(width), "out": drawn(32, width) / 2,
        "last": drawn(10, 32), "bias": torch.zeros(10),
    }  # fmt: skip


def doubled(weights: Weights) -> Weights:
    """The residual layer with every hidden number twice, each read half."""
    import torch

    return weights | {
        "in": torch.cat([weights["in"]] * 2), "inner": torch.cat([weights["inner"]] * 2), "out": torch.cat([weights["out"]] * 2, dim=1) / 2,
    }  # fmt: skip


def upcycled(weights: Weights, experts: int, generator: object, noise: float) -> Weights:
    """The residual layer copied, and a router of small random numbers."""
    import torch

    made = dict(weights)
    for name in ("in", "out", "inner"):
        copies = torch.stack([weights[name]] * experts)
        drawn: Tensor = torch.randn(copies.shape, generator=generator)  # type: ignore[call-overload]
        made[name] = copies + noise * copies.std() * drawn
    made["router"] = 0.02 * torch.randn(experts, 32, generator=generator)  # type: ignore[call-overload]
    return made


def said(weights: Weights, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the router's probabilities [images, experts] (of one, without a router)."""
    import torch

    found = torch.relu(inputs @ weights["first"].T)
    if "router" not in weights:
        inner = torch.relu(found @ weights["in"].T + weights["inner"])
        return (found + inner @ weights["out"].T) @ weights["last"].T + weights["bias"], torch.ones(len(inputs), 1)
    shares = (found @ weights["router"].T).softmax(dim=1)
    top = shares.topk(2, dim=1)
    kept = torch.zeros_like(shares).scatter(1, top.indices, top.values / top.values.sum(dim=1, keepdim=True))
    inner = torch.relu(torch.einsum("ni,ehi->neh", found, weights["in"]) + weights["inner"])
    added = torch.einsum("neh,eoh,ne->no", inner, weights["out"], kept)
    return (found + added) @ weights["last"].T + weights["bias"], shares


def uneven(shares: Tensor) -> Tensor:
    """Experts times the sum over experts of their mean probability and the share of inputs they lead for: 1 where all are used alike."""
    import torch

    lead = torch.nn.functional.one_hot(shares.argmax(dim=1), shares.shape[1]).float().mean(dim=0)
    return shares.shape[1] * (shares.mean(dim=0) * lead).sum()
