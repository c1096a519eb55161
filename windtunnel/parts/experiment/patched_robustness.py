"""Robustness to one corruption, cut out of the weights of one network and added to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from windtunnel.kits.image.tiny import Weights

CHANNELS = (8, 16, 16)
NORMS = ("gain", "shift", "mean", "spread")


class PatchedRobustness(Experiment, name="patched-robustness"):
    """Accuracy on noisy images of a network that has not seen any, with the signature of noise from networks of another task.

    Cai et al. 2023, "Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights?", arXiv:2302.12480, as in their code: of
    one ancestor a clean and a corrupted copy are tuned; the signature of a layer is the difference of the corrupted one without its
    component along that of the clean one, and ``layers`` of the shallowest get it; all batch norms, their averages too, become the
    corrupted network's. Ancestor, donors and receiver have three convolutions with norms. The ancestor has learned digits of five classes
    (scikit-learn), donors are tuned on these classes, and the receiver on the five others, all but the corrupted donor on clean images.

    ``patch``: ``none``; ``whole``, as above; ``layers`` alone, ``norms`` alone; ``other``, both of a donor tuned on faded images;
    ``averages``: the averages of the norms are taken anew from the receiver's training images with noise (AdaBN: Li et al. 2016), which
    needs no donor; ``trained``, the receiver tuned on noisy images.

    Numbers are ``noisy`` and ``clean``, the accuracies.
    """

    trial = Trial({"steps": 3})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    patch: Literal["none", "whole", "layers", "norms", "other", "averages", "trained"] = Field("none", description="what the receiver gets")
    layers: int = Field(2, ge=1, le=3, description="shallowest convolutions that get the signature")
    noise: float = Field(0.4, gt=0, description="standard deviation of the corruption")
    steps: int = Field(100, ge=1, description="of the ancestor and of each tuning")
    rate: float = Field(3e-3, gt=0, description="learning rate of the ancestor; a third of it tunes")

    def measure(self, seed: int) -> dict[str, float]:
        """``noisy`` and ``clean``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import dealt_halves, share_right
        from windtunnel.kits.weights.deltas import without_component

        random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        first, second = dealt_halves(self.name, random)

        def noisy(images: Tensor, drawn: torch.Generator = generator) -> Tensor:
            return images + self.noise * torch.randn(images.shape, generator=drawn)

        def plain(images: Tensor) -> Tensor:
            return images

        def fit(weights: Weights, data: object, change: object, share: float = 1 / 3) -> Weights:
            return tuned(weights, data.images[data.train], data.labels[data.train], change, self.steps, share * self.rate, random)  # type: ignore[attr-defined]

        ancestor = fit(begun_norms(5, generator), first, plain, 1.0)
        receiver = fit(ancestor, second, noisy if self.patch == "trained" else plain)
        if self.patch in ("whole", "layers", "norms", "other"):
            clean = fit(ancestor, first, plain)
            hard = fit(ancestor, first, noisy if self.patch != "other" else (lambda images: 0.3 * images + 0.2))
            receiver = dict(receiver)
            for place in range(self.layers if self.patch != "norms" else 0):
                name = f"conv{place}"
                receiver[name] = receiver[name] + without_component(hard[name] - ancestor[name], clean[name] - ancestor[name])
            if self.patch != "layers":
                receiver |= {name: weight for name, weight in hard.items() if name.startswith(NORMS)}
        elif self.patch == "averages":
            receiver = dict(receiver)
            said_by(receiver, noisy(second.images[second.train]), renew=1.0)
        with torch.no_grad():
            images, labels = second.images[second.held], second.labels[second.held]
            asked = noisy(images, torch.Generator().manual_seed(seed + 1))  # the same for every patch
            return {"noisy": share_right(said_by(receiver, asked), labels), "clean": share_right(said_by(receiver, images), labels)}


def begun_norms(classes: int, generator: torch.Generator) -> Weights:
    """Three convolutions with norms, and a last layer."""
    import torch

    made, read = {}, 1
    for place, out in enumerate(CHANNELS):
        made[f"conv{place}"] = torch.randn(out, read, 3, 3, generator=generator) * (2 / (9 * read)) ** 0.5
        made |= {f"gain{place}": torch.ones(out), f"shift{place}": torch.zeros(out)}
        made |= {f"mean{place}": torch.zeros(out), f"spread{place}": torch.ones(out)}
        read = out
    return made | {"last": torch.randn(classes, read * 4, generator=generator) * (1 / (read * 4)) ** 0.5}


def said_by(weights: Weights, images: Tensor, renew: float | None = None) -> Tensor:
    """Logits of images [N, 64]. With ``renew`` norms go by the batch, and that share of their averages becomes the batch's, in place."""
    import torch

    found = images.view(-1, 1, 8, 8)
    for place in range(len(CHANNELS)):
        found = torch.nn.functional.conv2d(found, weights[f"conv{place}"], padding=1)
        averages = weights[f"mean{place}"].detach(), weights[f"spread{place}"].detach()
        found = torch.nn.functional.batch_norm(
            found, *averages, weights[f"gain{place}"], weights[f"shift{place}"], training=renew is not None, momentum=renew or 0.0
        )
        found = torch.relu(found)
        if place:
            found = torch.nn.functional.max_pool2d(found, 2)
    return found.flatten(1) @ weights["last"].T


def tuned(
    weights: Weights, images: Tensor, labels: Tensor, change: object, steps: int, rate: float, random: np.random.Generator
) -> Weights:
    """Weights after training on changed images; averages of norms follow the batches by a tenth."""
    import torch

    from windtunnel.kits.image.tiny import trained

    weights = {name: weight.clone() for name, weight in weights.items()}
    averages = {name: weight for name, weight in weights.items() if name.startswith(("mean", "spread"))}

    def loss(held: Weights, rows: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(said_by(held | averages, change(images[rows]), renew=0.1), labels[rows])  # type: ignore[operator]

    return trained(weights, loss, len(images), steps, rate, random, only=set(weights) - set(averages)) | averages
