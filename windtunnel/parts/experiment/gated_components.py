"""Matrices as sums of components, of which each class opens its own beside those that all have."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

SHAPES = {"0": (48, 64), "1": (48, 48)}


class GatedComponents(Experiment, name="gated-components"):
    """Accuracy on new groups of images, with the components that all groups shared frozen and a new group's own trained.

    Xie et al. 2024, "KIND: Knowledge Integration and Diversion in Diffusion Models", arXiv:2408.07337: every matrix is a sum of
    components u s v^T from the beginning; ``common`` of them (learngenes) are always open, ``own`` of them (tailors) only for their
    group. Groups are digits of scikit-learn turned by 0, 90 and 180 degrees, and the network classifies; the paper generates images, of
    groups that are classes. Then the group of 270 degrees is learned from ``shots`` images a class. ``begin``: ``gated``, as above;
    ``plain``, one matrix without components, with a low-rank addition of the size of a tailor trained; ``ungated``, components all open
    for all; the last two with the same steps. ``fresh`` trains a network of the same size from nothing.

    Numbers are ``accuracy`` on the new group; ``open``, that on the old groups, and ``closed``, that with the components of the image's
    group closed and another's open (as ``open`` without gates).
    """

    trial = Trial({"training": 4, "steps": 3})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    begin: Literal["gated", "ungated", "plain", "fresh"] = Field("gated", description="what the new group begins from")
    common: int = Field(12, ge=1, le=40, description="components that are always open")
    own: int = Field(4, ge=1, le=10, description="components of a group")
    shots: int = Field(10, ge=1, le=50, description="images of each class of the new group")
    training: int = Field(500, ge=1, description="steps on the old groups")
    steps: int = Field(150, ge=1, description="on the new one")
    rates: tuple[float, ...] = Field((3e-3, 1e-2, 3e-2), min_length=1, description="on the new group, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``open`` and ``closed``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, dealt, share_right, trained, turned

        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        data = dealt(self.name, random)
        views = [turned(data.images, degrees) for degrees in (0.0, 90.0, 180.0, 270.0)]
        labels = data.labels[data.train]
        weights = self._begun(3, generator)

        def loss(held: Weights, rows: Tensor) -> Tensor:
            group = int(random.integers(3))
            return torch.nn.functional.cross_entropy(self.said(held, views[group][data.train][rows], group), labels[rows])

        weights = trained(weights, loss, len(labels), self.training, 3e-3, random)
        found = {}
        for name, away in (("open", 0), ("closed", 1)):
            scores = [
                share_right(self.said(weights, views[group][data.held], (group + away) % 3).detach(), data.labels[data.held])
                for group in range(3)
            ]
            found[name] = float(np.mean(scores))
        fresh = self._begun(4, generator)
        kept = {name: weight for name, weight in weights.items() if self.begin != "fresh"}
        begun = {**fresh, **kept}
        moving = {name for name in begun if name.startswith("head") or ".3." in name}
        moving = set(begun) if self.begin == "fresh" else moving
        few = torch.cat([torch.nonzero(labels == label)[: self.shots, 0] for label in range(10)])
        shown = views[3][data.train][few]

        def tuned(rate: float) -> Weights:
            def of_new(held: Weights, rows: Tensor) -> Tensor:
                return torch.nn.functional.cross_entropy(self.said(held, shown[rows], 3), labels[few][rows])

            return trained(begun, of_new, len(few), self.steps, rate, np.random.default_rng((seed, 1)), only=moving)

        def judged(one: Weights, rows: Tensor) -> float:
            return share_right(self.said(one, views[3][rows], 3).detach(), data.labels[rows])

        held = best(self.rates, tuned, lambda one: judged(one, data.chosen))
        return {"accuracy": judged(held, data.held), **found}

    def _begun(self, groups: int, generator: torch.Generator) -> Weights:
        """Components: u [out, r] and v [r, in] of what all share (``0.all``) and of each group (``0.2.u``)."""
        import torch

        made = {"head": torch.randn(10, 48, generator=generator) * 0.2, "head.bias": torch.zeros(10)}
        old = self.begin in ("plain", "ungated", "fresh")
        for layer, (out, read) in SHAPES.items():
            # Without gates the old groups' components are of all, so that every network has as many numbers.
            common = self.common + (3 * self.own if old else 0)
            scale = (2 / read) ** 0.5
            if self.begin == "plain":
                made[f"{layer}.all"] = scale * torch.randn(out, read, generator=generator)
            else:
                made[f"{layer}.all.u"] = torch.randn(out, common, generator=generator) / common**0.5
                made[f"{layer}.all.v"] = scale * torch.randn(common, read, generator=generator)
            made[f"{layer}.bias"] = torch.zeros(out)
            for group in range(groups):
                if group == 3 or not old:
                    first = torch.zeros(out, self.own) if group == 3 else torch.randn(out, self.own, generator=generator) / common**0.5
                    made[f"{layer}.{group}.u"], made[f"{layer}.{group}.v"] = first, scale * torch.randn(self.own, read, generator=generator)
        return made

    def said(self, weights: Weights, inputs: Tensor, group: int) -> Tensor:
        """Logits of images of ``group``."""
        import torch

        for layer in SHAPES:
            matrix = weights[f"{layer}.all"] if self.begin == "plain" else weights[f"{layer}.all.u"] @ weights[f"{layer}.all.v"]
            if f"{layer}.{group}.u" in weights:
                matrix = matrix + weights[f"{layer}.{group}.u"] @ weights[f"{layer}.{group}.v"]
            inputs = torch.relu(torch.nn.functional.linear(inputs, matrix, weights[f"{layer}.bias"]))
        return torch.nn.functional.linear(inputs, weights["head"], weights["head.bias"])
