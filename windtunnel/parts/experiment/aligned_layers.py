"""Layers that answer loudest where inputs point their way, new or made of an ordinary network, and what they show as their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

Kernels = dict[str, "torch.Tensor"]
SIZES = ((2, 16, 3), (16, 32, 3), (32, 10, 1))  # channels in and out and the side of the kernel, layer by layer
BATCH = 64


class AlignedLayers(Experiment, name="aligned-layers"):
    """Accuracy, and how well what a network shows as its reason lies on the digit it names, of B-cos networks by where they come from.

    Arya et al. 2024, arXiv:2411.00715 (B-cosification) on B-cos networks (Böhle et al. 2022, arXiv:2205.10268): a layer gives (w x) |w x /
    ||x|| |^(B - 1), where ||x|| is the length of the patch that the kernel w sees, and w is not normalised, as in the released conversion.
    An image x is given as [x, 1 - x], the first kernels of an ordinary network become [w, -w] / 2 (here they are of that form when it
    begins, and are then trained as six-channel ones are there), and training goes on with B = 2; rectifiers stay, as released. Every layer
    of a network with B = 2 begins scaled so that its numbers are as large as the ordinary network's on the training images, in the place of
    the released norms. The network has two convolutions and one of size 1 before the mean over places, and never a bias but -log 9 on its
    logits.

    ``way``: ``ordinary``, trained for ``before`` steps and ``steps`` more; ``converted``, B = 2 after ``before`` ordinary steps, then
    ``steps``; ``scratch``, B = 2 from the beginning, for ``steps``; ``scratch-long``, for both. The loss is binary cross entropy for each
    class.

    Numbers are ``accuracy``; ``localised``, the mean share of what speaks for the class that lies on its own quarter, of four digits of
    different classes side by side that were each named rightly (the grid pointing game; what speaks is the input times the effective
    weights, where the factor of cosines is held constant, and negative shares count as nothing); and ``kept``, the accuracy right after
    conversion, before further steps.
    """

    trial = Trial({"before": 3, "steps": 3, "rates": (3e-3,)})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    way: Literal["ordinary", "converted", "scratch", "scratch-long"] = Field("ordinary", description="where the network comes from")
    power: float = Field(2.0, ge=1, le=3, description="B of the aligned layers")
    before: int = Field(400, ge=1, description="ordinary steps")
    steps: int = Field(100, ge=0, description="further steps")
    rectified: bool = Field(True, description="whether rectifiers stand between aligned layers")
    rates: tuple[float, ...] = Field((3e-3, 1e-2), min_length=1, description="of further steps, of which one is chosen")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``, ``localised`` and ``kept``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.tiny import best, dealt, share_right, trained

        random = np.random.default_rng(seed)
        data = dealt(self.name, random)
        images = coded(data.images.view(-1, 8, 8))
        fresh, power = kernels(seed), 1.0 if self.way == "ordinary" else self.power
        given, labels = images[data.train], data.labels[data.train]

        def learned(begun: Kernels, steps: int, rate: float, power: float) -> Kernels:
            wanted = torch.eye(10)

            def loss(held: Kernels, rows: torch.Tensor) -> torch.Tensor:
                found = logits(held, given[rows], power, self.rectified)
                return torch.nn.functional.binary_cross_entropy_with_logits(found, wanted[labels[rows]])

            return trained(begun, loss, len(given), steps, rate, np.random.default_rng((seed, steps)), batch=BATCH)

        begun = fresh if self.way.startswith("scratch") else learned(fresh, self.before, 1e-2, 1.0)
        if power > 1:
            begun = scaled(begun, given, power, self.rectified)
        steps = self.steps + (self.before if self.way == "scratch-long" else 0)

        def right(held: Kernels, rows: torch.Tensor) -> float:
            with torch.no_grad():
                return share_right(logits(held, images[rows], power, self.rectified), data.labels[rows])

        found = best(self.rates, lambda rate: learned(begun, steps, rate, power), lambda one: right(one, data.chosen))
        return {
            "accuracy": right(found, data.held),
            "localised": localised(found, images[data.held], data.labels[data.held], power, random, self.rectified),
            "kept": right(begun, data.held),
        }


def coded(images: torch.Tensor) -> torch.Tensor:
    """Images [N, 8, 8] from 0 to 1 as two channels, x and 1 - x."""
    import torch

    return torch.stack([images, 1 - images], dim=1)


def kernels(seed: int) -> Kernels:
    """Kernels of all layers; those of the first are [w, -w] / 2, so that an ordinary network reads x - 1/2 alone."""
    import torch

    generator, found = torch.Generator().manual_seed(seed), {}
    for place, (read, out, side) in enumerate(SIZES):
        found[str(place)] = torch.randn(out, read, side, side, generator=generator) * (2 / (read * side * side)) ** 0.5
    first = found["0"][:, :1] * 2
    found["0"] = torch.cat([first, -first], dim=1) / 2
    return found


def layer(inputs: torch.Tensor, kernel: torch.Tensor, power: float, constant: bool = False) -> torch.Tensor:
    """(w x) |w x / ||x|| |^(power - 1) at every place; ``constant`` lets no gradient through the second factor."""
    import torch

    pad = kernel.shape[-1] // 2
    plain = torch.nn.functional.conv2d(inputs, kernel, padding=pad)
    if power == 1:
        return plain
    whole = torch.nn.functional.conv2d(inputs.square().sum(dim=1, keepdim=True), torch.ones(1, 1, *kernel.shape[2:]), padding=pad)
    factor = (plain / (whole + 1e-6).sqrt()).abs() + 1e-6
    factor = factor.detach() if constant else factor
    return plain * factor ** (power - 1)


def scaled(held: Kernels, images: torch.Tensor, power: float, rectified: bool) -> Kernels:
    """Kernels whose layers with that power give numbers of the size that those of the ordinary network have, on ``images``."""
    import torch

    found, plain, bent = {}, images, images
    with torch.no_grad():
        for place in range(len(SIZES)):
            kernel = held[str(place)]
            plain, answer = layer(plain, kernel, 1.0), layer(bent, kernel, power)
            ratio = plain.square().mean().sqrt() / answer.square().mean().sqrt().clamp(min=1e-12)
            found[str(place)] = kernel * ratio ** (1 / power)
            bent = torch.relu(answer * ratio) if rectified else answer * ratio
            plain = torch.relu(plain)
    return found


def mapped(held: Kernels, images: torch.Tensor, power: float, rectified: bool, constant: bool = False) -> torch.Tensor:
    """What the last layer says at each place, [N, 10, size, size], with rectifiers between layers or without."""
    import torch

    for place in range(len(SIZES)):
        images = layer(images, held[str(place)], power, constant)
        if place < len(SIZES) - 1 and (rectified or power == 1):
            images = torch.relu(images)
    return images


def logits(held: Kernels, images: torch.Tensor, power: float, rectified: bool) -> torch.Tensor:
    """The mean over places, which a released network scales by a temperature; here by 10, and the bias of nine against one."""
    import math

    return 10 * mapped(held, images, power, rectified).mean(dim=(2, 3)) - math.log(9)


def localised(
    held: Kernels, images: torch.Tensor, labels: torch.Tensor, power: float, random: np.random.Generator, rectified: bool, grids: int = 100
) -> float:
    """The mean share of positive contributions on the quarter of the class that is asked about."""
    import torch

    with torch.no_grad():
        sure = (logits(held, images, power, rectified).argmax(dim=1) == labels).numpy()
    able = [(labels.numpy() == one).nonzero()[0] for one in range(10)]
    able = [rows[sure[rows]] for rows in able]
    classes = [one for one in range(10) if len(able[one])]
    if len(classes) < 4:
        return 0.25  # a network that names fewer than four classes shows nothing
    chosen = [random.choice(classes, 4, replace=False) for _ in range(grids)]
    tiles = torch.stack([torch.stack([images[int(random.choice(able[one]))] for one in row]) for row in chosen])
    whole = torch.cat([torch.cat([tiles[:, 0], tiles[:, 1]], dim=3), torch.cat([tiles[:, 2], tiles[:, 3]], dim=3)], dim=2)
    whole = whole.detach().requires_grad_()
    asked = torch.tensor([int(row[0]) for row in chosen])
    said = mapped(held, whole, power, rectified, constant=True).mean(dim=(2, 3))[torch.arange(grids), asked].sum()
    (slope,) = torch.autograd.grad(said, whole)
    speaks = (slope * whole).detach().sum(dim=1).clamp(min=0)
    return float((speaks[:, :8, :8].sum(dim=(1, 2)) / speaks.sum(dim=(1, 2)).clamp(min=1e-12)).mean())
